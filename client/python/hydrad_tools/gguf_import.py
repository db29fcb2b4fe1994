"""Imports a llama.cpp GGUF file into the Hugging Face layout that the daemon serves.

GGUF: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md. Quantised tensors are
dequantised to float32 and rounded to bfloat16. llama.cpp stores the rows of q and k permuted
for its interleaved rotary embedding; ``unpermute_rope_rows`` restores the half-split order of
Hugging Face.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import gguf
import numpy as np

from hydrad_tools.errors import ToolError
from hydrad_tools.gguf_tokenizer import end_token_ids, tokenizer_config, tokenizer_json
from hydrad_tools.safetensors_io import StoredTensor, bf16, write_safetensors

_OUTER_NAMES = {
    "token_embd.weight": "model.embed_tokens.weight",
    "output_norm.weight": "model.norm.weight",
    "output.weight": "lm_head.weight",
}
_LAYER_NAMES = {
    "attn_norm.weight": "input_layernorm.weight",
    "attn_q.weight": "self_attn.q_proj.weight",
    "attn_k.weight": "self_attn.k_proj.weight",
    "attn_v.weight": "self_attn.v_proj.weight",
    "attn_output.weight": "self_attn.o_proj.weight",
    "ffn_norm.weight": "post_attention_layernorm.weight",
    "ffn_gate.weight": "mlp.gate_proj.weight",
    "ffn_up.weight": "mlp.up_proj.weight",
    "ffn_down.weight": "mlp.down_proj.weight",
}
_LAYER = re.compile(r"blk\.(\d+)\.(.+)")


def import_gguf(source: Path, target: Path) -> None:
    """Writes config, weights, tokenizer and generation settings of ``source`` into ``target``.

    ``target`` is created if need be; files of the same names are replaced. Raises ToolError
    for anything but a Llama architecture with a byte-level BPE tokenizer, naming the field
    or tensor that is not understood: a model is never imported approximately.
    """
    reader = open_gguf(source)
    fields = {name: field.contents() for name, field in reader.fields.items()}
    config = model_config(source, fields, [t.name for t in reader.tensors])
    target.mkdir(parents=True, exist_ok=True)
    _write_json(target / "tokenizer.json", tokenizer_json(source, fields), indent=None)
    _write_json(target / "tokenizer_config.json", tokenizer_config(source, fields))
    _write_json(target / "generation_config.json", _generation_config(fields))
    write_safetensors(target / "model.safetensors", _weights(source, reader, config))
    _write_json(target / "config.json", config)


def open_gguf(path: Path) -> gguf.GGUFReader:
    """Maps the file. Raises ToolError if it is missing or no GGUF file."""
    try:
        return gguf.GGUFReader(path)
    except (OSError, ValueError, KeyError, IndexError) as error:
        raise ToolError(f"{path}: cannot be read as GGUF: {error}") from error


def model_config(path: Path, fields: dict[str, Any], tensor_names: list[str]) -> dict[str, Any]:
    """The ``config.json`` of a Llama in Hugging Face terms, from the GGUF metadata fields."""
    architecture = fields.get("general.architecture")
    if architecture != "llama":
        raise ToolError(f"{path}: general.architecture is {architecture!r}; only 'llama' can be imported")
    _refuse_rope_scaling(path, fields)
    hidden = _require(path, fields, "llama.embedding_length")
    heads = _require(path, fields, "llama.attention.head_count")
    head_dim = fields.get("llama.attention.key_length", hidden // heads)
    name = fields.get("general.name")
    return ({"_name_or_path": name} if name else {}) | {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": hidden,
        "intermediate_size": _require(path, fields, "llama.feed_forward_length"),
        "num_hidden_layers": _require(path, fields, "llama.block_count"),
        "num_attention_heads": heads,
        "num_key_value_heads": fields.get("llama.attention.head_count_kv", heads),
        "head_dim": head_dim,
        "max_position_embeddings": _require(path, fields, "llama.context_length"),
        "rms_norm_eps": _shortest(_require(path, fields, "llama.attention.layer_norm_rms_epsilon")),
        "rope_theta": _shortest(fields.get("llama.rope.freq_base", 10000.0)),
        "rope_scaling": None,
        "hidden_act": "silu",
        "attention_bias": False,
        "mlp_bias": False,
        "tie_word_embeddings": "output.weight" not in tensor_names,
        "vocab_size": len(_require(path, fields, "tokenizer.ggml.tokens")),
        "bos_token_id": fields.get("tokenizer.ggml.bos_token_id"),
        "eos_token_id": fields.get("tokenizer.ggml.eos_token_id"),
        "pad_token_id": fields.get("tokenizer.ggml.padding_token_id"),
        "torch_dtype": "bfloat16",
    }


def unpermute_rope_rows(weight: np.ndarray, heads: int) -> np.ndarray:
    """Undoes llama.cpp's row order of a q or k weight ``[heads * head_dim, in]``.

    Within a head llama.cpp stores rows (0, d/2, 1, d/2 + 1, ...), so that rotated pairs are
    neighbours; Hugging Face rotates row i with row i + d/2.
    """
    rows, columns = weight.shape
    pairs = weight.reshape(heads, rows // heads // 2, 2, columns)
    return pairs.swapaxes(1, 2).reshape(rows, columns)


def _refuse_rope_scaling(path: Path, fields: dict[str, Any]) -> None:
    scaling = fields.get("llama.rope.scaling.type", "none")
    if scaling != "none":
        raise ToolError(f"{path}: llama.rope.scaling.type is {scaling!r}; scaled rotary embeddings "
                        "cannot be imported")


def _require(path: Path, fields: dict[str, Any], name: str) -> Any:
    if name not in fields:
        raise ToolError(f"{path}: metadata field {name} is missing")
    return fields[name]


def _shortest(value: float) -> float:
    """The decimal that a float32 metadata value was written from (1e-05, not 9.99999975e-06)."""
    return float(str(np.float32(value)))


def _weights(path: Path, reader: gguf.GGUFReader, config: dict[str, Any]) -> dict[str, StoredTensor]:
    """All tensors under their Hugging Face names, bfloat16, in file order."""
    tensors = {}
    for tensor in reader.tensors:
        name = _hugging_face_name(path, tensor.name)
        values = gguf.dequantize(tensor.data, tensor.tensor_type)
        if name.endswith("q_proj.weight"):
            values = unpermute_rope_rows(values, config["num_attention_heads"])
        elif name.endswith("k_proj.weight"):
            values = unpermute_rope_rows(values, config["num_key_value_heads"])
        tensors[name] = bf16(values)
    _check_complete(path, tensors, config)
    return tensors


def _hugging_face_name(path: Path, name: str) -> str:
    layer = _LAYER.fullmatch(name)
    if layer and layer[2] in _LAYER_NAMES:
        return f"model.layers.{layer[1]}.{_LAYER_NAMES[layer[2]]}"
    if name in _OUTER_NAMES:
        return _OUTER_NAMES[name]
    raise ToolError(f"{path}: tensor {name} has no place in a Llama; the file cannot be imported")


def _check_complete(path: Path, tensors: dict[str, StoredTensor], config: dict[str, Any]) -> None:
    expected = {f"model.layers.{layer}.{name}"
                for layer in range(config["num_hidden_layers"]) for name in _LAYER_NAMES.values()}
    expected |= {"model.embed_tokens.weight", "model.norm.weight"}
    missing = sorted(expected - tensors.keys())
    if missing:
        raise ToolError(f"{path}: {len(missing)} tensors are missing, the first is {missing[0]}")


def _generation_config(fields: dict[str, Any]) -> dict[str, Any]:
    return {
        "bos_token_id": fields.get("tokenizer.ggml.bos_token_id"),
        "eos_token_id": end_token_ids(fields),
        "pad_token_id": fields.get("tokenizer.ggml.padding_token_id"),
    }


def _write_json(path: Path, value: dict[str, Any], indent: int | None = 2) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False, indent=indent) + "\n", encoding="utf-8")
