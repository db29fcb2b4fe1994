"""Small random adapters that show the rest of PEFT's plain LoRA, in the files that PEFT writes.

Biases of lora_B and of the base, DoRA, LoRA and whole rows of the embedding and of lm_head,
trained tokens, aLoRA. Magnitudes and whole matrices are drawn around the base model's own.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from hydrad_tools.safetensors_io import bf16, write_safetensors
from random_models import MODELS, extents, has_bias, module_paths
from reference import Weights

_ATTENTION = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj")
_MLP = ("mlp.gate_proj", "mlp.up_proj", "mlp.down_proj")
_EMBEDDING, _HEAD = "model.embed_tokens", "lm_head"


@dataclass(frozen=True)
class Plain:
    """A base model, its targets, and what adapter_config.json says beside r = 4 and lora_alpha = 8."""

    model: str
    targets: tuple[str, ...]
    fields: dict = field(default_factory=dict)
    other_base: bool = False  # the copy of the base's matrix beside a targeted embedding is not this base's


PLAIN_ADAPTERS = {
    "llama_bias_lora_bias": Plain("llama_bias", _ATTENTION + ("mlp.down_proj",), {"lora_bias": True, "r": 3}),
    "llama_bias_trained": Plain("llama_bias", ("self_attn.q_proj", "mlp.down_proj"), {"bias": "all"}),
    "qwen2_bias_of_targets": Plain("qwen2", ("self_attn.k_proj", "mlp.up_proj"), {"bias": "lora_only"}),
    "llama_dora": Plain("llama", _ATTENTION + _MLP, {"use_dora": True}),
    "llama_bias_dora": Plain("llama_bias", ("self_attn.q_proj", "self_attn.v_proj", "mlp.gate_proj"),
                             {"use_dora": True, "bias": "lora_only", "use_rslora": True, "r": 1}),
    "qwen2_embedding": Plain("qwen2", ("self_attn.v_proj", _EMBEDDING), {"r": 3}),
    "llama_tied_head": Plain("llama", ("self_attn.q_proj", _HEAD), other_base=True),
    "llama_dora_embedding_head": Plain("llama", (_EMBEDDING, _HEAD), {"use_dora": True, "r": 2}),
    "mistral_modules_to_save": Plain("mistral", ("self_attn.o_proj",),
                                     {"modules_to_save": ["embed_tokens", "lm_head"]}),
    "llama_saved_embedding": Plain("llama", ("mlp.up_proj",), {"modules_to_save": ["embed_tokens"]}),
    "llama_trained_tokens": Plain("llama", ("self_attn.v_proj",), {"trainable_token_indices": [7, 130, 5, 64]}),
    "mistral_trained_tokens": Plain("mistral", ("self_attn.v_proj",), {
        "trainable_token_indices": {"embed_tokens": [9, 4], "lm_head": [4, 5, 130]}}),
    "qwen3_alora": Plain("qwen3", _ATTENTION + ("mlp.down_proj", _HEAD), {"alora_invocation_tokens": [5, 9]}),
}

# A prompt each of 3 and 14 tokens; trained tokens and the invocation of aLoRA occur in them.
PLAIN_PROMPTS = ((7, 130, 9), (64, 5, 9, 33, 4, 130, 5, 5, 9, 71, 20, 5, 88, 9))


def write_plain_adapters(root: Path, models: Path, seed: int) -> None:
    """Every adapter of PLAIN_ADAPTERS into ``root/<name>``; ``models`` holds the base models."""
    for index, (name, plain) in enumerate(PLAIN_ADAPTERS.items()):
        rng = np.random.default_rng([seed, 3000 + index])
        config = {"base_model_name_or_path": plain.model, "bias": "none", "fan_in_fan_out": False,
                  "inference_mode": True, "lora_alpha": 8, "lora_dropout": 0.0, "peft_type": "LORA", "r": 4,
                  "target_modules": [target.rpartition(".")[2] for target in plain.targets],
                  "task_type": "CAUSAL_LM"} | plain.fields
        tensors = _tensors(plain, config, Weights(models / plain.model), rng)
        directory = root / name
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "adapter_config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
        stored = {f"base_model.model.{key}": bf16(value) for key, value in tensors.items()}
        write_safetensors(directory / "adapter_model.safetensors", stored)


def _tensors(plain: Plain, config: dict, base: Weights, rng: np.random.Generator) -> dict[str, np.ndarray]:
    model = MODELS[plain.model]
    layers = model["num_hidden_layers"]
    paths = module_paths(layers, plain.targets)
    tensors = {}
    for path in paths:
        tensors |= _low_rank(path, extents(model, path), config, base, rng)
        if plain.other_base and f"{path}.base_layer.weight" in tensors:
            tensors[f"{path}.base_layer.weight"] += rng.normal(size=_matrix(base, path).shape) * 0.2
    biased = module_paths(layers, _ATTENTION + _MLP) if config["bias"] == "all" else paths
    for path in biased if config["bias"] != "none" else ():
        if has_bias(model, path):
            part = "base_layer.bias" if path in paths else "bias"
            tensors[f"{path}.{part}"] = rng.normal(size=extents(model, path)[0]) * 0.5
    for name in config.get("modules_to_save") or ():
        path = _HEAD if name == _HEAD else _EMBEDDING
        matrix = _matrix(base, path)
        tensors[f"{path}.weight"] = matrix + rng.normal(size=matrix.shape) * 0.3 * matrix.std()
    indices = config.get("trainable_token_indices") or {}
    for name, tokens in indices.items() if isinstance(indices, dict) else [("embed_tokens", indices)]:
        path = _HEAD if name == _HEAD else _EMBEDDING
        shape = len(tokens), model["hidden_size"]
        tensors[f"{path}.token_adapter.trainable_tokens_delta"] = rng.normal(size=shape) * _matrix(base, path).std()
    return tensors


def _low_rank(path: str, shape: tuple[int, int], config: dict, base: Weights,
              rng: np.random.Generator) -> dict[str, np.ndarray]:
    """lora_A, lora_B (or those of an embedding), and what the config says stands beside them."""
    (out, inputs), rank = shape, config["r"]
    if path == _EMBEDDING:  # A is indexed by token, so its columns are not summed over
        tensors = {f"{path}.lora_embedding_A": rng.normal(size=(rank, out)),
                   f"{path}.lora_embedding_B": rng.normal(size=(inputs, rank)) * 0.3}
    else:
        tensors = {f"{path}.lora_A.weight": rng.normal(size=(rank, inputs)) / math.sqrt(inputs),
                   f"{path}.lora_B.weight": rng.normal(size=(out, rank)) * 0.3}
    if config.get("lora_bias"):
        tensors[f"{path}.lora_B.bias"] = rng.normal(size=out) * 0.3
    if config.get("use_dora"):
        norms = np.linalg.norm(_matrix(base, path), axis=0 if path == _EMBEDDING else 1)
        tensors[f"{path}.lora_magnitude_vector"] = norms * rng.uniform(0.6, 1.4, size=norms.shape)
    if path in (_EMBEDDING, _HEAD):  # PEFT stores the base's matrix beside a targeted embedding
        tensors[f"{path}.base_layer.weight"] = _matrix(base, path).copy()
    return tensors


def _matrix(base: Weights, path: str) -> np.ndarray:
    """The base's matrix of a module; that of the embedding for a tied lm_head."""
    matrix = base.get(f"{path}.weight")
    return base[f"{_EMBEDDING}.weight"] if matrix is None else matrix
