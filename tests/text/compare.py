#!/usr/bin/env python3
"""Compares our tokenizer with the PyPI `tokenizers` package on many generated strings, id by id.

Compared are files of every supported kind, which kinds.py trains, the files named on the command line, and every
tokenizer.json below the directory $HYDRAD_TOKENIZER_DIR. Each is asked for COUNT strings: ids with and without
special tokens in the text and around it, then the text of those ids and of random ids (compare_stream.py has the text
that is streamed). Exit status 0 if everything is equal. With --long each is asked for 10,000 strings, and every code
point of Unicode takes part instead of those that differ from their neighbours.
"""

import argparse
import functools
import os
import pathlib
import random
import subprocess
import sys
import tempfile

from tokenizers import Tokenizer

from kinds import files
from strings import Strings, all_code_points, beside_others, telling_code_points

# The kinds that together show every class and normal form are asked about Unicode's code points too.
WHOLE_UNICODE = "gpt2 smollm2 o200k qwen2 syntax nfkc-lower nfkd-words nfd-spaces".split()


@functools.cache
def make_strings(seed, special, count):
    return Strings(seed, list(special)).make(count)


class Comparison:
    """One tokenizer.json, both ways."""

    def __init__(self, driver, name, path):
        self.driver, self.name, self.path = driver, name, path
        self.tokenizer = Tokenizer.from_file(path)
        # A server bounds prompts itself, so ours applies neither.
        self.tokenizer.no_truncation()
        self.tokenizer.no_padding()
        self.differences = 0

    def special(self):
        """Some added tokens, to be put into texts."""
        added = [t.content for t in self.tokenizer.get_added_tokens_decoder().values()]
        return added[:40] or ["<s>"]

    def ask(self, lines):
        command = [self.driver, self.path]
        result = subprocess.run(command, input="\n".join(lines) + "\n", capture_output=True, text=True)
        if result.returncode != 0:
            raise SystemExit(f"{self.name}: the driver failed: {result.stderr.strip()}")
        return [answer.split(";") for answer in result.stdout.split("\n")]

    def check(self, what, question, ours, theirs):
        if ours == theirs:
            return
        self.differences += 1
        if self.differences <= 5:
            print(f"{self.name}: {what}: " + " | ".join(ascii(v)[:300] for v in (question, ours, theirs)))

    def encode(self, strings, all_flags=True):
        """Compares the ids of all strings; returns lists of ids worth decoding."""
        texts = [s.decode("utf-8", "replace") for s in strings]
        answers = self.ask(["E " + s.hex() for s in strings])
        lists = []
        for flags in range(4) if all_flags else (3,):
            self.tokenizer.encode_special_tokens = not flags & 1
            encodings = self.tokenizer.encode_batch_fast(texts, add_special_tokens=bool(flags & 2))
            ids = [encoding.ids for encoding in encodings]
            for text, answer, theirs in zip(texts, answers, ids):
                self.check(f"ids {flags}", text, answer[flags], " ".join(map(str, theirs)))
            if flags in (0, 3):
                lists += ids
        return lists

    def decode(self, lists):
        answers = self.ask(["D " + " ".join(map(str, ids)) for ids in lists])
        for ids, answer in zip(lists, answers):
            for skip, ours in enumerate(answer):
                theirs = self.tokenizer.decode(ids, skip_special_tokens=bool(skip))
                self.check(f"text, skip {skip}", ids, bytes.fromhex(ours).decode(), theirs)

    def random_ids(self, rng, count):
        size = self.tokenizer.get_vocab_size()
        low = range(min(300, size))  # byte tokens stand at the front of most vocabularies
        for _ in range(count // 4):
            yield [rng.randrange(size + 2) for _ in range(rng.randint(0, 30))]
            yield rng.choices(low, k=rng.randint(1, 12))

    def run(self, count, seed, code_points):
        strings = make_strings(seed, tuple(self.special()), count)
        lists = self.encode(strings)
        if code_points:
            self.encode(list(beside_others(code_points)), all_flags=False)
        lists += self.random_ids(random.Random(seed), count)
        self.decode(lists)
        print(f"{self.name}: {len(strings)} strings, {len(lists)} id lists: {self.differences} differences", flush=True)
        return self.differences


def given_files(arguments):
    directory = os.environ.get("HYDRAD_TOKENIZER_DIR")
    paths = [pathlib.Path(a) for a in arguments]
    paths += sorted(pathlib.Path(directory).rglob("tokenizer.json")) if directory else []
    for path in paths:
        path = path / "tokenizer.json" if path.is_dir() else path
        if path.exists():
            yield path.parent.name, str(path)
        else:
            print(f"{path} is not there and is left out")


def todo(options):
    """Name, path and whether to ask about all of Unicode, for every tokenizer.json; trained ones live meanwhile."""
    with tempfile.TemporaryDirectory() as directory:
        for name, text in files(options.only):
            path = os.path.join(directory, name + ".json")
            pathlib.Path(path).write_text(text, encoding="utf-8")
            yield name, path, name in WHOLE_UNICODE
    for name, path in given_files(options.files):
        if options.only in name:
            yield name, path, True


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("driver", help="the tokenizer_driver binary")
    parser.add_argument("--long", action="store_true", help="five minutes of one core instead of one")
    parser.add_argument("--count", type=int, help="strings per tokenizer [3000; 10000 with --long]")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default="", help="compare only the tokenizers whose name holds this")
    parser.add_argument("files", nargs="*", help="tokenizer.json files or directories that hold one")
    options = parser.parse_intermixed_args()
    count = options.count or (10000 if options.long else 3000)
    code_points = all_code_points() if options.long else telling_code_points()
    differences = compared = 0
    for name, path, whole_unicode in todo(options):
        points = code_points if whole_unicode else []
        differences += Comparison(options.driver, name, path).run(count, options.seed, points)
        compared += 1
    print(f"{compared} tokenizers compared, {differences} differences")
    return 1 if differences or not compared else 0


if __name__ == "__main__":
    sys.exit(main())
