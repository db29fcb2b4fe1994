"""Writes ``tokens/<model>.json``: texts with their token ids, and chats with their rendered text.

    python tests/golden/make_tokens.py

Needs tokenizers and transformers; run from the root of the repository.
"""

from __future__ import annotations

import json
from pathlib import Path

from tokenizers import Tokenizer
from transformers import AutoTokenizer

MODELS = {"tiny": "deploy/models/tiny", "smollm2": "build/models/smollm2"}
TEXTS = [
    "", " ", "  ", "\n", "\t\t", "Hello world", "  two  spaces ", "trailing   ", "a\n\n\nb", "line\r\nline",
    "Numbers: 1234567890, 3.14159 and 0x1F", "year2024was", "1 2 3", "don't can't we'll I'm you've he'd it's DON'T",
    "naïve café", "e\u0301 combined", "Привет, мир", "日本語のテキスト", "ｆｕｌｌ１２３", "٣٤٥ ½ x² Ⅷ",
    "emoji 🙂🚀👩‍👩‍👧 done", "\u00a0non-breaking\u2003space\u200bzero", "\x00\x7f\u0080\ufeff\ufffd\U0010ffff",
    "def f(x):\n    return x ** 2  # comment", "SELECT * FROM t WHERE a >= 10;", "x" * 100, "ab" * 60, "-----____!!!!",
    "<|endoftext|>", "a<|endoftext|>b", "<|end|> <|end|>", "<|im_start|>user\nhi<|im_end|>\n", "<|im_start", "<|endoftext",
    "To be, or not to be, that is the question:",
]
SYSTEM = {"role": "system", "content": "Be brief."}
USER = {"role": "user", "content": "How many customers are there? "}
CHATS = [([USER], True), ([SYSTEM, USER], True), ([USER, {"role": "assistant", "content": "12"}, USER], True),
         ([USER, {"role": "assistant", "content": "Twelve.\n"}], False)]


def main() -> None:
    for name, directory in MODELS.items():
        tokenizer = Tokenizer.from_file(f"{directory}/tokenizer.json")
        document = {"format": 1, "model": directory, "texts": [encoded(tokenizer, text) for text in TEXTS],
                    "chats": [rendered(directory, *chat) for chat in CHATS]}
        target = Path(__file__).parent / "tokens" / f"{name}.json"
        target.parent.mkdir(exist_ok=True)
        target.write_text(json.dumps(document, indent=1) + "\n")


def encoded(tokenizer: Tokenizer, text: str) -> dict:
    """Ids with special tokens recognised but none added, and what they decode to."""
    ids = tokenizer.encode(text, add_special_tokens=False).ids
    return {"text": text, "ids": ids, "decoded": tokenizer.decode(ids, skip_special_tokens=False),
            "decoded_without_special": tokenizer.decode(ids, skip_special_tokens=True)}


def rendered(directory: str, messages: list[dict], add_generation_prompt: bool) -> dict:
    """A chat as the model's template writes it."""
    text = AutoTokenizer.from_pretrained(directory).apply_chat_template(
        messages, tokenize=False, add_generation_prompt=add_generation_prompt)
    return {"messages": messages, "add_generation_prompt": add_generation_prompt, "text": text}


if __name__ == "__main__":
    main()
