#!/usr/bin/env python3
"""Compares our chat templates with jinja2, set up as transformers sets it up.

    compare_chat_templates.py DRIVER [--cases N] [--seed N] [TEMPLATE ...]

Rendered are the templates of chat_templates/ and those named (.jinja, or a tokenizer_config.json) with every
conversation of chat_contexts.py, and N random ones of chat_grammar.py. Each text must be equal, or both sides refuse.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import warnings

from chat_contexts import contexts
from chat_grammar import Grammar
from chat_oracle import Oracle

NOW = 1_700_000_000
# Texts that depend on an address of Python's, on its own types, or that we have no bound for.
UNEQUAL = (" object at 0x", " at 0x", "<built-in", "<Macro", "<LoopContext", "{...}")
# What we refuse by promise where jinja2 goes on.
LIMITS = ("64 bits", "levels deep", "too much memory", "cannot be written as text")


def templates(paths):
    for path in paths:
        if path.suffix != ".json":
            yield path.name, path.read_text(encoding="utf-8")
            continue
        template = json.loads(path.read_text(encoding="utf-8")).get("chat_template")
        for entry in [{"name": "", "template": template}] if isinstance(template, str) else template or []:
            yield f"{path.parent.name} {entry['name']}", entry["template"]


def ask(driver, cases):
    """Our answers, in order."""
    lines = [json.dumps({"template": source, "context": context, "now": NOW}) for _, source, context in cases]
    result = subprocess.run([driver], input="\n".join(lines) + "\n", capture_output=True, text=True)
    if result.returncode != 0:
        raise SystemExit(f"the driver failed with {result.returncode}: {result.stderr[-2000:]}")
    return [json.loads(line) for line in result.stdout.split("\n") if line]


def is_excused(text, answer):
    if text is not None and any(part in text for part in UNEQUAL):
        return True
    return "refused" in answer and any(limit in answer["refused"] for limit in LIMITS)


def compare(driver, cases):
    """Prints the first differences; returns how many texts are equal, refused by both, excused, and different."""
    oracle = Oracle(NOW)
    counts = {"equal": 0, "refused by both": 0, "excused": 0, "different": 0}
    for (name, source, context), answer in zip(cases, ask(driver, cases), strict=True):
        text, error = oracle.render(source, context)
        if text is not None and answer.get("text") == text:
            kind = "equal"
        elif text is None and "refused" in answer:
            kind = "refused by both"
        else:
            kind = "excused" if is_excused(text, answer) else "different"
        counts[kind] += 1
        if kind == "different" and counts[kind] <= 5:
            print(f"{name}: {ascii(source)[:1500]}\n  context: {ascii(context)[:600]}\n  jinja2: {ascii(text or error)[:600]}"
                  f"\n  ours: {ascii(answer)[:600]}")
    return counts


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("driver")
    parser.add_argument("--cases", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("templates", nargs="*", type=pathlib.Path)
    args = parser.parse_args()
    os.environ["TZ"] = "UTC"
    warnings.simplefilter("ignore")  # of Python's compiler, about what random templates become

    own = sorted((pathlib.Path(__file__).parent / "chat_templates").glob("*.jinja"))
    cases = [(name, source, context) for name, source in templates(own + args.templates) for context in contexts()]
    written = compare(args.driver, cases)
    print("templates:", written)
    random_cases = []
    for i in range(args.cases):
        grammar = Grammar(args.seed * 1_000_003 + i)
        random_cases.append((f"random {i}", grammar.template(), grammar.context()))
    made = compare(args.driver, random_cases)
    print("random:", made)
    # What all refuse shows nothing, so enough must render.
    enough = written["equal"] >= len(cases) // 4 and made["equal"] >= args.cases // 8
    return 0 if written["different"] == made["different"] == 0 and enough else 1


if __name__ == "__main__":
    sys.exit(main())
