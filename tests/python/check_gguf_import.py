"""Compares ``hydrad-tools model import`` with the GGUF reader of transformers, tensor by tensor.

    python tests/python/check_gguf_import.py FILE.gguf DIR [--tokenizer tokenizer.json]

DIR is what ``hydrad-tools model import FILE.gguf DIR`` wrote. Weights must equal those of
transformers bit for bit after rounding to bfloat16, the configurations must agree, and the tokenizers must
give the same ids and decode them to the same text. The tokenizer that transformers derives from
GGUF forgets that SmolLM splits off every digit, which shows on digits outside ASCII; those texts
are compared only with an original tokenizer.json. Needs torch and transformers; not part of the
hermetic tests.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM, AutoTokenizer

from hydrad_tools.safetensors_io import read_safetensors

TEXTS = [
    "", " ", "Hello world", "  two  spaces ", "Numbers: 1234567890, 3.14159 and 0x1F", "year2024was", "1 2 3",
    "don't can't we'll I'm you've he'd it's", "line one\nline two\r\n\n\n\tindented\t\t", "naïve café déjà vu",
    "Привет, мир", "日本語のテキスト", "emoji 🙂🚀 done", "é vs e\u0301", "<|im_start|>user\nhi<|im_end|>\n",
    "a<|endoftext|>b<repo_name>c", "def f(x):\n    return x ** 2  # comment", "SELECT * FROM t WHERE a >= 10;",
    "\u00a0non-breaking\u2003space", "trailing   ", "\n", "x" * 300, "<|im_start", "\x00\x7f",
]
OTHER_DIGITS = ["ARABIC ٣٤٥ digits", "½ cup, x²", "１２ full width", "Ⅷ and ⑨"]
CONFIG_FIELDS = ["hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
                 "num_key_value_heads", "head_dim", "max_position_embeddings", "rms_norm_eps", "vocab_size",
                 "tie_word_embeddings", "rope_parameters", "bos_token_id", "eos_token_id"]


def check_weights(gguf: Path, directory: Path) -> list[str]:
    """Every way in which our weights or configuration differ from what transformers reads."""
    theirs = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
    ours = read_safetensors(directory / "model.safetensors")
    state = dict(theirs.state_dict())
    if theirs.config.tie_word_embeddings:
        state.pop("lm_head.weight", None)
    problems = [f"only in one: {name}" for name in sorted(state.keys() ^ ours.keys())]
    for name in sorted(state.keys() & ours.keys()):
        bits = state[name].bfloat16().contiguous().view(torch.uint16).numpy()
        if bits.shape != ours[name].shape or (bits != ours[name].data).any():
            problems.append(f"tensor {name} differs")
    mine = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.bfloat16).config
    for field in CONFIG_FIELDS:
        a, b = getattr(theirs.config, field, None), getattr(mine, field, None)
        if a != b and not (isinstance(a, float) and abs(a - b) < 1e-7 * abs(a)):
            problems.append(f"config {field}: transformers {a}, ours {b}")
    print(f"{len(ours)} tensors compared")
    return problems


def check_tokenizer(gguf: Path, original: Path | None, directory: Path) -> list[str]:
    """Every text on which our tokenizer and the reference disagree, in ids or in decoded text."""
    if original:
        reference, texts = Tokenizer.from_file(str(original)), TEXTS + OTHER_DIGITS
    else:
        derived = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
        reference, texts = derived.backend_tokenizer, TEXTS
    ours, problems = AutoTokenizer.from_pretrained(directory), []
    for text in texts:
        a, b = reference.encode(text, add_special_tokens=False).ids, ours.encode(text, add_special_tokens=False)
        theirs = reference.decode(a, skip_special_tokens=False)
        if a != b:
            problems.append(f"ids of {text!r}: reference {a}, ours {b}")
        elif theirs != ours.decode(b):
            problems.append(f"decoded {text!r}: reference {theirs!r}, ours {ours.decode(b)!r}")
    if reference.get_vocab() != ours.get_vocab():
        problems.append("the vocabularies differ")
    print(f"{len(texts)} texts compared")
    return problems


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("gguf", type=Path)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--tokenizer", type=Path,
                        help="the model's original tokenizer.json (default: the one transformers derives)")
    options = parser.parse_args()
    problems = check_weights(options.gguf, options.directory)
    problems += check_tokenizer(options.gguf, options.tokenizer, options.directory)
    print("\n".join(problems) or "equal")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
