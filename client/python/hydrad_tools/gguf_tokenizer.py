"""Rebuilds a Hugging Face ``tokenizer.json`` from the tokenizer fields of a GGUF file.

GGUF keeps the tokens, merges and token types of a byte-level BPE tokenizer, but only the name
(``tokenizer.ggml.pre``) of its pre-tokenizer; ``_PRE_TOKENIZERS`` holds what the names mean.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gguf

from hydrad_tools.errors import ToolError

_BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
_PRE_TOKENIZERS = {
    "smollm": {"type": "Sequence",
               "pretokenizers": [{"type": "Digits", "individual_digits": True}, _BYTE_LEVEL]},
    "gpt-2": _BYTE_LEVEL,
}
_END_TOKENS = ("<|endoftext|>", "<|im_end|>", "<|eot_id|>", "<|end_of_text|>", "</s>")


def tokenizer_json(path: Path, fields: dict[str, Any]) -> dict[str, Any]:
    """The content of ``tokenizer.json``. Raises ToolError for tokenizers other than BPE."""
    model, pre = fields.get("tokenizer.ggml.model"), fields.get("tokenizer.ggml.pre")
    if model != "gpt2":
        raise ToolError(f"{path}: tokenizer.ggml.model is {model!r}; only byte-level BPE ('gpt2') can be imported")
    if pre not in _PRE_TOKENIZERS:
        raise ToolError(f"{path}: tokenizer.ggml.pre is {pre!r}; known are {sorted(_PRE_TOKENIZERS)}")
    tokens = fields["tokenizer.ggml.tokens"]
    return {
        "version": "1.0", "truncation": None, "padding": None,
        "added_tokens": _added_tokens(fields),
        "normalizer": None,
        "pre_tokenizer": _PRE_TOKENIZERS[pre],
        "post_processor": _post_processor(path, fields),
        "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
        "model": {
            "type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
            "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
            "vocab": {token: index for index, token in enumerate(tokens)},
            "merges": fields["tokenizer.ggml.merges"],
        },
    }


def tokenizer_config(path: Path, fields: dict[str, Any]) -> dict[str, Any]:
    """The content of ``tokenizer_config.json``: special tokens by content, and the chat template."""
    config: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": fields.get("llama.context_length"),
        "clean_up_tokenization_spaces": False,
        "add_bos_token": bool(fields.get("tokenizer.ggml.add_bos_token", False)),
        "add_prefix_space": bool(fields.get("tokenizer.ggml.add_space_prefix", False)),
    }
    for role, field in (("bos", "bos"), ("eos", "eos"), ("unk", "unknown"), ("pad", "padding")):
        token = _token(path, fields, f"tokenizer.ggml.{field}_token_id")
        if token is not None:
            config[f"{role}_token"] = token
    if "tokenizer.chat_template" in fields:
        config["chat_template"] = fields["tokenizer.chat_template"]
    return config


def end_token_ids(fields: dict[str, Any]) -> list[int]:
    """Ids that end a generation: the declared eos first, then control tokens that are known to.

    Instruction-tuned models end a turn with one token and a text with another; a generation
    must stop at either.
    """
    ids = [fields["tokenizer.ggml.eos_token_id"]] if "tokenizer.ggml.eos_token_id" in fields else []
    types, tokens = fields["tokenizer.ggml.token_type"], fields["tokenizer.ggml.tokens"]
    return ids + [index for index, token in enumerate(tokens)
                  if token in _END_TOKENS and types[index] == gguf.TokenType.CONTROL and index not in ids]


def _added_tokens(fields: dict[str, Any]) -> list[dict[str, Any]]:
    """Control and user-defined tokens: matched in the text before BPE sees it."""
    added = []
    for index, kind in enumerate(fields["tokenizer.ggml.token_type"]):
        if kind in (gguf.TokenType.CONTROL, gguf.TokenType.USER_DEFINED):
            added.append({"id": index, "content": fields["tokenizer.ggml.tokens"][index],
                          "single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
                          "special": kind == gguf.TokenType.CONTROL})
    return added


def _post_processor(path: Path, fields: dict[str, Any]) -> dict[str, Any] | None:
    """A template that puts bos first, if the file asks for it; else nothing is added."""
    if not fields.get("tokenizer.ggml.add_bos_token", False):
        return None
    token = _token(path, fields, "tokenizer.ggml.bos_token_id")
    if token is None:
        raise ToolError(f"{path}: tokenizer.ggml.add_bos_token is set without a bos_token_id")
    bos = {"SpecialToken": {"id": token, "type_id": 0}}
    text = {"Sequence": {"id": "A", "type_id": 0}}
    second = {"Sequence": {"id": "B", "type_id": 1}}
    return {"type": "TemplateProcessing", "single": [bos, text], "pair": [bos, text, bos, second],
            "special_tokens": {token: {"id": token, "ids": [fields["tokenizer.ggml.bos_token_id"]],
                                       "tokens": [token]}}}


def _token(path: Path, fields: dict[str, Any], field: str) -> str | None:
    """The text of the token whose id is in ``field``; None if the field is absent."""
    if field not in fields:
        return None
    tokens = fields["tokenizer.ggml.tokens"]
    if not 0 <= fields[field] < len(tokens):
        raise ToolError(f"{path}: {field} is {fields[field]}, outside the vocabulary of {len(tokens)}")
    return tokens[fields[field]]
