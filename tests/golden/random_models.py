"""Writes the small random models and adapters below ``models/`` and ``adapters/``.

Each model is one feature of a family at the smallest size that shows it. Nothing is trained;
the numbers are drawn large enough that attention, gates and biases all matter.
"""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np

from hydrad_tools.safetensors_io import StoredTensor, bf16, f32, write_safetensors

_LLAMA = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 48, "intermediate_size": 112,
    "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 256,
    "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "rope_scaling": None, "hidden_act": "silu",
    "attention_bias": False, "mlp_bias": False, "tie_word_embeddings": True, "vocab_size": 131,
    "bos_token_id": 1, "eos_token_id": 2, "torch_dtype": "bfloat16",
}
_LLAMA3_ROPE = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                "original_max_position_embeddings": 64}
_MISTRAL = _LLAMA | {"architectures": ["MistralForCausalLM"], "model_type": "mistral", "head_dim": 16,
                     "rope_theta": 1000000.0, "sliding_window": None, "tie_word_embeddings": False}
_QWEN2 = _LLAMA | {"architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "rope_theta": 1000000.0,
                   "rms_norm_eps": 1e-6, "use_sliding_window": False, "sliding_window": 32768,
                   "max_window_layers": 2}
_QWEN3 = _LLAMA | {"architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "hidden_size": 40, "head_dim": 16,
                   "num_attention_heads": 6, "rms_norm_eps": 1e-6, "rope_theta": 1000000.0,
                   "use_sliding_window": False, "sliding_window": None, "max_window_layers": 2}

MODELS = {
    "llama": _LLAMA,
    "llama_bias": _LLAMA | {"attention_bias": True, "mlp_bias": True, "torch_dtype": "float16"},
    "llama_rope_linear": _LLAMA | {"rope_scaling": {"type": "linear", "factor": 4.0}},
    "llama_rope_llama3": _LLAMA | {"rope_scaling": _LLAMA3_ROPE, "rope_theta": 500000.0},
    # Transformers 5 nests rope_theta and the scaling, and says dtype for torch_dtype.
    "llama_rope_parameters": {key: value for key, value in _LLAMA.items()
                              if key not in ("rope_theta", "rope_scaling", "torch_dtype")}
    | {"dtype": "bfloat16", "rope_parameters": _LLAMA3_ROPE | {"rope_theta": 500000.0}},
    "llama_multi_head": _LLAMA | {"num_key_value_heads": 4, "torch_dtype": "float32"},
    "llama_untied_sharded": _LLAMA | {"tie_word_embeddings": False},
    "mistral": _MISTRAL,
    "mistral_window": _MISTRAL | {"sliding_window": 8},
    "qwen2": _QWEN2,
    "qwen3": _QWEN3,
    "llama_deep": _LLAMA | {"num_hidden_layers": 5, "hidden_size": 32, "intermediate_size": 48},
}
_SHARDED = {"llama_untied_sharded": 3}

_ATTENTION = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj")
_MLP = ("mlp.gate_proj", "mlp.up_proj", "mlp.down_proj")
# name: (model, targets, fields of adapter_config.json, who has an A of its own)
ADAPTERS = {
    "llama_lora": ("llama", _ATTENTION + _MLP, {"r": 4, "lora_alpha": 8}),
    "llama_rslora": ("llama", ("self_attn.q_proj", "self_attn.v_proj"),
                     {"r": 3, "lora_alpha": 4, "use_rslora": True}),
    "qwen2_patterns": ("qwen2", ("self_attn.q_proj", "mlp.down_proj"), {
        "r": 4, "lora_alpha": 8, "rank_pattern": {"down_proj": 7, "layers.1.self_attn.q_proj": 1},
        "alpha_pattern": {"layers.0.mlp.down_proj": 3}}),
    "mistral_lm_head": ("mistral", ("self_attn.o_proj", "lm_head"), {"r": 2, "lora_alpha": 4}),
    "llama_hydralora": ("llama", _MLP, {"r": 4, "lora_alpha": 8.0, "lora_nums": 4}),
    "qwen3_hydralora": ("qwen3", _ATTENTION, {"r": 3, "lora_alpha": 6, "lora_nums": 3}),
    "mistral_loramoe": ("mistral", _MLP, {"r": 2, "lora_alpha": 8, "lora_nums": 3, "blc_alpha": 0.0,
                                          "blc_weight": 0.0}),
    "llama_mola": ("llama", _ATTENTION + _MLP, {"r": 3, "lora_alpha": 6, "peft_type": "MOLA",
                                                "routing_strategy": "mola", "num_experts": 4, "top_k": 2}),
    "llama_moe_peft": ("llama", ("self_attn.v_proj", "mlp.up_proj"), {
        "r": 2, "lora_alpha": 4, "use_rslora": True, "peft_type": "LORAMOE", "routing_strategy": "loramoe",
        "num_experts": 2}),
    "qwen3_adamole": ("qwen3", _ATTENTION, {"lora_rank": 2, "lora_alpha": 6, "peft_type": "ADAMOLE", "num_experts": 5,
                                            "max_threshold": 0.4}),
    "mistral_mole": ("mistral", _MLP, {"lora_rank": 4, "lora_alpha": 8, "peft_type": "MOLE", "num_experts": 3,
                                       "top_k": 1}),
    "llama_hydralora_top": ("llama", _MLP, {"r": 3, "lora_alpha": 6, "lora_nums": 4, "top_k": 2,
                                            "norm_topk_prob": False}),
    "mistral_mole_threshold": ("mistral", _MLP, {"lora_rank": 3, "lora_alpha": 6, "peft_type": "MOLE",
                                                 "num_experts": 4, "threshold": 0.29}),
}
# MoA, in the format that hydrad defines: an expert per domain, a router per layer.
_MOA = {"peft_type": "MOA", "experts": ["poems", "sums", "queries"], "decision": "vote"}
MOA_ADAPTERS = {
    "moa_last": _ATTENTION + _MLP, "moa_mean": ("self_attn.q_proj", "mlp.down_proj"),
}
_MOA_FIELDS = {
    "moa_last": _MOA | {"r": 3, "lora_alpha": 6, "router": {"input": "block_input", "pool": "last", "bias": True}},
    "moa_mean": _MOA | {"r": [2, 3, 5], "lora_alpha": [4, 4, 20], "decision": "layer",
                        "router": {"input": "block_input", "pool": "mean", "bias": False}},
}
MOA_MODEL = "llama_deep"


def write_models(root: Path, seed: int) -> None:
    """Every model of MODELS into ``root/<name>``; each has its own stream of random numbers."""
    for index, (name, config) in enumerate(MODELS.items()):
        directory = root / name
        directory.mkdir(parents=True, exist_ok=True)
        _write_json(directory / "config.json", config)
        tensors = _model_tensors(config, np.random.default_rng([seed, index]))
        kind = config.get("torch_dtype") or config["dtype"]
        _write_shards(directory, {key: _stored(kind, value) for key, value in tensors.items()}, _SHARDED.get(name, 1))


def write_adapters(root: Path, seed: int) -> None:
    """Every adapter of ADAPTERS and MOA_ADAPTERS into ``root/<name>``."""
    for index, (name, (model, targets, fields)) in enumerate(ADAPTERS.items()):
        config = _adapter_config(model, targets) | fields
        rng = np.random.default_rng([seed, 1000 + index])
        tensors = {}
        for path in module_paths(MODELS[model]["num_hidden_layers"], targets):
            tensors |= _adapter_tensors(path, extents(MODELS[model], path), config, rng)
        _write_adapter(root / name, config, tensors)
    for index, (name, targets) in enumerate(MOA_ADAPTERS.items()):
        config = _adapter_config(MOA_MODEL, targets) | _MOA_FIELDS[name]
        _write_adapter(root / name, config, _moa_tensors(config, targets, np.random.default_rng([seed, 2000 + index])))


def _adapter_config(model: str, targets: tuple[str, ...]) -> dict:
    return {"base_model_name_or_path": model, "bias": "none", "fan_in_fan_out": False, "inference_mode": True,
            "lora_dropout": 0.0, "modules_to_save": None, "peft_type": "LORA",
            "target_modules": [target.rpartition(".")[2] for target in targets], "task_type": "CAUSAL_LM"}


def _write_adapter(directory: Path, config: dict, tensors: dict[str, np.ndarray]) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    _write_json(directory / "adapter_config.json", config)
    write_safetensors(directory / "adapter_model.safetensors", {key: bf16(value) for key, value in tensors.items()})


def _moa_tensors(config: dict, targets: tuple[str, ...], rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Routers ``moa_router`` per layer, and ``lora_A.<expert>``, ``lora_B.<expert>`` per projection."""
    model, experts, tensors = MODELS[MOA_MODEL], config["experts"], {}
    for layer in range(model["num_hidden_layers"]):
        router = f"base_model.model.model.layers.{layer}.moa_router"
        tensors[f"{router}.weight"] = rng.normal(size=(len(experts), model["hidden_size"]))
        if config["router"]["bias"]:
            tensors[f"{router}.bias"] = rng.normal(size=len(experts))
    for path in module_paths(model["num_hidden_layers"], targets):
        out, inputs = extents(model, path)
        for index, expert in enumerate(experts):
            rank = config["r"][index] if isinstance(config["r"], list) else config["r"]
            prefix = f"base_model.model.{path}.lora"
            tensors[f"{prefix}_A.{expert}.weight"] = rng.normal(size=(rank, inputs)) / math.sqrt(inputs)
            tensors[f"{prefix}_B.{expert}.weight"] = rng.normal(size=(out, rank)) * 0.2
    return tensors


def _model_tensors(config: dict, rng: np.random.Generator) -> dict[str, np.ndarray]:
    hidden, layers = config["hidden_size"], config["num_hidden_layers"]
    tensors = {"model.embed_tokens.weight": rng.normal(size=(config["vocab_size"], hidden))}
    for path in module_paths(layers, _ATTENTION + _MLP):
        out, inputs = extents(config, path)
        tensors[f"{path}.weight"] = rng.normal(size=(out, inputs)) / math.sqrt(inputs)
        if has_bias(config, path):
            tensors[f"{path}.bias"] = rng.normal(size=out) * 0.5
    norms = module_paths(layers, ("input_layernorm", "post_attention_layernorm"))
    for path in norms + ["model.norm"]:
        tensors[f"{path}.weight"] = rng.uniform(0.5, 1.5, size=hidden)
    if config["model_type"] == "qwen3":
        for path in module_paths(layers, ("self_attn.q_norm", "self_attn.k_norm")):
            tensors[f"{path}.weight"] = rng.uniform(0.5, 2.0, size=config["head_dim"])
    if not config["tie_word_embeddings"]:
        tensors["lm_head.weight"] = rng.normal(size=(config["vocab_size"], hidden)) / math.sqrt(hidden)
    return tensors


def _adapter_tensors(path: str, shape: tuple[int, int], config: dict,
                     rng: np.random.Generator) -> dict[str, np.ndarray]:
    if "num_experts" in config:
        return _routed_tensors(path, shape, config, rng)
    out, inputs = shape
    heads = config.get("lora_nums")
    rank = next((rank for pattern, rank in config.get("rank_pattern", {}).items() if path.endswith(pattern)),
                config["r"])
    a = {"lora_A": rng.normal(size=(rank, inputs)) / math.sqrt(inputs)}
    b = {"lora_B": rng.normal(size=(out, rank)) * 0.3}
    if heads:
        b = {f"lora_B{i}": rng.normal(size=(out, rank)) * 0.3 for i in range(heads)}
        b["lora_route"] = rng.normal(size=(heads, inputs)) * 2 / math.sqrt(inputs)
    if "blc_alpha" in config:  # LoRAMoE: every head has an A of its own
        a = {f"lora_A{i}": rng.normal(size=(rank, inputs)) / math.sqrt(inputs) for i in range(heads)}
    return {f"base_model.model.{path}.{name}.weight": value for name, value in (a | b).items()}


def _routed_tensors(path: str, shape: tuple[int, int], config: dict,
                    rng: np.random.Generator) -> dict[str, np.ndarray]:
    """A router and an A and a B per expert, by the names of MoE-PEFT or of AdaMoLE's code."""
    out, inputs = shape
    router, experts = rng.normal(size=(config["num_experts"], inputs)) * 2 / math.sqrt(inputs), {}
    for i in range(config["num_experts"]):
        rank = config.get("lora_rank", config.get("r"))
        experts["A", i] = rng.normal(size=(rank, inputs)) / math.sqrt(inputs)
        experts["B", i] = rng.normal(size=(out, rank)) * 0.3
    if "routing_strategy" in config:
        prefix = f"{config['routing_strategy']}.{path.removeprefix('model.')}"
        return {f"{prefix}.moe_gate.weight": router} | {
            f"{prefix}.experts.{i}.lora_{kind}.weight": value for (kind, i), value in experts.items()}
    prefix = f"base_model.model.{path}"
    tensors = {f"{prefix}.lora_gating.weight": router} | {
        f"{prefix}.lora_{kind}.{i}.weight": value for (kind, i), value in experts.items()}
    if "max_threshold" in config:
        tensors[f"{prefix}.lora_threshold.weight"] = rng.normal(size=(1, inputs)) / math.sqrt(inputs)
        tensors[f"{prefix}.lora_threshold.bias"] = rng.normal(size=1)
    return tensors


def module_paths(layers: int, names: tuple[str, ...]) -> list[str]:
    """The names once per layer; lm_head and model.embed_tokens, which no layer has, at the end."""
    outer = [name for name in names if name in ("lm_head", "model.embed_tokens")]
    return [f"model.layers.{layer}.{name}" for layer in range(layers) for name in names if name not in outer] + outer


def extents(config: dict, path: str) -> tuple[int, int]:
    """(out, in) of a projection."""
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    head_dim = config.get("head_dim") or hidden // config["num_attention_heads"]
    q, kv = head_dim * config["num_attention_heads"], head_dim * config["num_key_value_heads"]
    return {"q_proj": (q, hidden), "k_proj": (kv, hidden), "v_proj": (kv, hidden), "o_proj": (hidden, q),
            "gate_proj": (inner, hidden), "up_proj": (inner, hidden), "down_proj": (hidden, inner),
            "lm_head": (config["vocab_size"], hidden),
            "embed_tokens": (config["vocab_size"], hidden)}[path.rpartition(".")[2]]


def has_bias(config: dict, path: str) -> bool:
    """Whether the model has a bias there."""
    if not path.endswith("_proj"):
        return False
    if config["model_type"] == "qwen2":
        return path.endswith(("q_proj", "k_proj", "v_proj"))
    return config["mlp_bias" if ".mlp." in path else "attention_bias"] and config["model_type"] == "llama"


def _stored(kind: str, values: np.ndarray) -> StoredTensor:
    if kind == "float16":
        return StoredTensor("F16", values.astype(np.float16))
    return bf16(values) if kind == "bfloat16" else f32(values)


def _write_shards(directory: Path, tensors: dict[str, StoredTensor], count: int) -> None:
    if count == 1:
        write_safetensors(directory / "model.safetensors", tensors)
        return
    weight_map = {}
    for shard in range(count):
        file = f"model-{shard + 1:05}-of-{count:05}.safetensors"
        part = {name: tensor for i, (name, tensor) in enumerate(tensors.items()) if i % count == shard}
        write_safetensors(directory / file, part)
        weight_map |= {name: file for name in part}
    total = sum(tensor.data.nbytes for tensor in tensors.values())
    _write_json(directory / "model.safetensors.index.json",
                {"metadata": {"total_size": total}, "weight_map": dict(sorted(weight_map.items()))})


def _write_json(path: Path, value: dict) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
