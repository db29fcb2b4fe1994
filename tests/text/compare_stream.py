#!/usr/bin/env python3
"""Compares our Detokenizer with the PyPI `tokenizers` package's DecodeStream, for every kind of decoder that we load.

Each kind is asked for COUNT continuations: a random prompt, which often ends inside a character, and random tokens
behind it: words, bytes of whole, cut and wrong characters, special and added tokens, ids that are none. Exit status 0
if for each of them

- the text of the prompt (as an echo), the pieces and the end join to the package's text of all ids;
- without an echo they join to what that has beyond the package's text of the prompt;
- each piece comes no later than DecodeStream, primed with the prompt, gives it.

Where DecodeStream is no reference:

- It holds text back as long as all text ends in U+FFFD, and at the end gives it to nobody. Ours may be earlier.
- After a prompt whose text ends in U+FFFD its first piece repeats all of the prompt. Ours does not.
- Of a run of <0xHH> tokens that is not UTF-8 the package replaces every byte. Where whole characters stand at its
  front, DecodeStream has given them already and raises "Invalid prefix", or gives them once more, replaced. What is
  expected of ours is that they stay and the other bytes are replaced, which settled() spells out for the package.
- A Replace behind a Fuse may find a match across two tokens, of which DecodeStream has given the first. Ours waits
  for what may become a match, and for the end of all if it looks for an expression.
- It decodes the last tokens only, and so a decoder that drops something from the first token drops it there, too.
"""

import argparse
import json
import random
import subprocess
import sys
import tempfile

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models

# Without U+FFFD, which would pass for what becomes of an unfinished character.
CHARACTERS = "aéßაあ한的🎉👩\u200d\u0301 ▁A0"
WORDS = (
    ["▁Hi", "▁the", "▁", "▁▁", "▁▁▁▁", "a▁b", "e", "ee", "ea", "a", "b", "aab", "ab", " ", " x", "x ", "é", "▁ა", "🎉"]
    + ["\ufffd", "\ufffdx", "<0x4", "<0xzz>", "_a", "_", "Ġthe", "ĠHello", "<", "0xC3>", "word"]
)  # fmt: skip
UNDERSCORE, FALLBACK, FUSE = decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()
FIRST = decoders.Strip(" ", 1, 0)


class Kind:
    """`waits`: ours waits for text that later tokens may change, where DecodeStream would have to take it back.

    `window`: DecodeStream decodes the last tokens only, and loses what the decoder drops from the first of them.
    `words_first`: how often the prompt begins with a word. The package panics where Strip cuts the end of no text.
    """

    def __init__(self, decoder, bytes_as="<0x>", waits=False, window=False, words_first=0.8):
        self.decoder, self.bytes_as, self.waits = decoder, bytes_as, waits
        self.window, self.words_first = window, words_first


def kinds():
    vowels = decoders.Replace(Regex("[aeiou]{1,2}"), "")
    expression, sequence = decoders.Replace(Regex("▁"), " "), decoders.Sequence
    out = {
        "byte-level": Kind(decoders.ByteLevel(), bytes_as="characters"),
        "byte-level-fuse-strip": Kind(sequence([decoders.ByteLevel(), FUSE, FIRST]), bytes_as="characters"),
        "llama2": Kind(sequence([UNDERSCORE, FALLBACK, FUSE, FIRST])),
        "gemma": Kind(sequence([UNDERSCORE, FALLBACK, FUSE])),
        "fallback": Kind(FALLBACK),
        "fallback-metaspace": Kind(sequence([FALLBACK, decoders.Metaspace(prepend_scheme="first")]), window=True),
        "metaspace-fallback-fuse": Kind(sequence([decoders.Metaspace(), FALLBACK, FUSE])),
        "metaspace-other": Kind(decoders.Metaspace(replacement="_")),
        "fuse-replace": Kind(sequence([sequence([FALLBACK, FUSE]), UNDERSCORE, FIRST])),
        "fuse-replace-text": Kind(sequence([FALLBACK, FUSE, decoders.Replace("aab", "-")]), waits=True),
        "strip-tokens": Kind(sequence([decoders.Strip("e", 0, 1), decoders.Strip("▁", 2, 0), FALLBACK])),
        "strip-runs": Kind(sequence([FALLBACK, FIRST, decoders.Strip("A", 1, 0)]), window=True),
        "strip-end": Kind(sequence([UNDERSCORE, FALLBACK, FUSE, decoders.Strip("e", 0, 1)]), words_first=1),
        "replace-regex": Kind(sequence([vowels, UNDERSCORE, FALLBACK, FUSE, FIRST])),
        "fuse-replace-regex": Kind(sequence([FALLBACK, FUSE, expression, FIRST]), waits=True),
        "no-steps": Kind(sequence([])),
        "space-join": Kind(None),
    }
    for scheme in ("always", "first", "never"):
        out[f"metaspace-{scheme}"] = Kind(decoders.Metaspace(prepend_scheme=scheme))
    return out


def byte_characters():
    """What byte-level vocabularies write each byte as."""
    visible = [b for b in range(256) if 33 <= b <= 126 or 161 <= b <= 172 or b >= 174]
    hidden = [b for b in range(256) if b not in visible]
    return [chr(b) if b in visible else chr(256 + hidden.index(b)) for b in range(256)]


def make_tokenizer(decoder):
    """All kinds have the same tokens: what their decoders make of them is the difference."""
    rng = random.Random(3)
    characters = byte_characters()
    tokens = ["<unk>", "<s>", "</s>"] + [f"<0x{b:02X}>" for b in range(256)] + ["<0xc3>", "<0x+9>"] + WORDS + characters
    # Parts of characters, as byte-level models merge them.
    data = CHARACTERS.encode()
    for _ in range(60):
        at = rng.randrange(len(data))
        tokens.append("".join(characters[b] for b in data[at : at + rng.randint(2, 4)]))
    vocab = {token: i for i, token in enumerate(dict.fromkeys(tokens))}
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=[], unk_token="<unk>"))
    tokenizer.add_special_tokens(["<unk>", "<s>", "</s>", "<|im_end|>"])
    tokenizer.add_tokens(["[L]", AddedToken(" é! ", normalized=False), "naïve", "▁x▁", "<0xE1>x"])
    if decoder is not None:
        tokenizer.decoder = decoder
    return tokenizer


class Source:
    """Random prompts and continuations."""

    def __init__(self, tokenizer, kind, seed):
        self.rng, self.size, self.words_first = random.Random(seed), tokenizer.get_vocab_size(), kind.words_first
        spelt = byte_characters() if kind.bytes_as == "characters" else [f"<0x{b:02X}>" for b in range(256)]
        self.byte = [tokenizer.token_to_id(token) for token in spelt]
        self.words = [tokenizer.token_to_id(w) for w in WORDS]
        self.special = [tokenizer.token_to_id(t) for t in ("<s>", "</s>", "<|im_end|>", "<unk>")]
        self.added = [tokenizer.token_to_id(t) for t in ("[L]", " é! ", "naïve", "▁x▁", "<0xE1>x")]

    def part(self):
        rng, turn = self.rng, self.rng.random()
        if turn < 0.35:
            return [rng.choice(self.words)]
        if turn < 0.7:
            spelt = [self.byte[b] for b in "".join(rng.choices(CHARACTERS, k=rng.randint(1, 2))).encode()]
            if rng.random() < 0.15:
                del spelt[rng.randrange(len(spelt))]
            if rng.random() < 0.1:
                spelt.insert(rng.randint(0, len(spelt)), rng.choice(self.special))
            return spelt
        if turn < 0.8:
            return [self.byte[rng.choice([0x41, 0x80, 0xC3, 0xE1, 0xED, 0xF0, 0xFF])]]
        if turn < 0.9:
            return [rng.choice(self.special + self.added)]
        return [rng.randrange(self.size + 2)]

    def ids(self):
        """A list of ids and how many of them are the prompt."""
        ids = [self.words[0]] if self.rng.random() < self.words_first else []
        while len(ids) < self.rng.randint(2, 14):
            ids += self.part()
        return ids, self.rng.randint(min(1, len(ids)), max(1, len(ids) - 1))


def byte_of(token):
    if token is None or len(token) != 6 or not token.startswith("<0x") or token[5] != ">":
        return None
    try:
        return int(token[3:5].replace("+", "0"), 16)
    except ValueError:
        return None


def whole_characters(data):
    """The number of bytes of the whole characters at the front."""
    try:
        data.decode()
    except UnicodeDecodeError as error:
        return error.start
    return len(data)


def may_go_on(data):
    """Whether bytes behind `data` can make it UTF-8."""
    ends = ("", "80", "8080", "808080", "A0", "A080", "90", "9080", "908080")
    return any(whole_characters(data + bytes.fromhex(end)) == len(data) + len(end) // 2 for end in ends)


class Comparison:
    def __init__(self, name, kind, seed):
        self.name, self.kind = name, kind
        self.tokenizer = make_tokenizer(kind.decoder)
        self.source = Source(self.tokenizer, kind, seed)
        self.tokens = [self.tokenizer.id_to_token(i) for i in range(self.tokenizer.get_vocab_size())] + [None] * 4
        self.runs = "ByteFallback" in self.tokenizer.to_str()
        self.differences = self.settled_runs = self.raised = self.repeated = self.held = self.wrong = 0

    def ask(self, driver, questions):
        with tempfile.NamedTemporaryFile("w", suffix=".json", encoding="utf-8") as file:
            file.write(self.tokenizer.to_str())
            file.flush()
            lines = [f"S {int(skip)} {count} " + " ".join(map(str, ids)) for ids, count, skip in questions]
            result = subprocess.run([driver, file.name], input="\n".join(lines) + "\n", capture_output=True, text=True)
        if result.returncode != 0:
            raise SystemExit(f"{self.name}: the driver failed: {result.stderr.strip()}")
        for line in result.stdout.splitlines():
            pieces, without = line.split(";")
            yield [bytes.fromhex(p).decode() for p in pieces.split(",")], bytes.fromhex(without).decode()

    def settled(self, ids, count, skip):
        """The ids with U+FFFD written for the bytes that are all that a stream replaces of a run."""
        special = set(self.source.special) if skip else ()
        shown = [(i, t) for i, t in enumerate(ids) if self.tokens[min(t, len(self.tokens) - 1)] and t not in special]
        out, at = [], 0
        while at < len(shown):
            end = at
            while end < len(shown) and byte_of(self.tokens[shown[end][1]]) is not None:
                end += 1
            if end > at:
                out += self.settled_run(shown[at:end], count, ends_in_prompt=end < len(shown) and shown[end][0] < count)
            else:
                out.append(shown[at][1])
                end += 1
            at = end
        return out

    def settled_run(self, run, count, ends_in_prompt):
        ids = [t for _, t in run]
        data = bytes(byte_of(self.tokens[t]) for t in ids)
        whole, in_prompt = whole_characters(data), sum(i < count for i, _ in run)
        if ends_in_prompt or not may_go_on(data[:in_prompt]) or whole in (0, len(data)):
            return ids
        return ids[:whole] + [self.source.byte[b] for b in b"\xef\xbf\xbd"] * (len(ids) - whole)

    def check(self, what, question, ours, theirs):
        if ours == theirs:
            return
        self.differences += 1
        if self.differences <= 5:
            tokens = [self.tokens[min(t, len(self.tokens) - 1)] for t in question[0]]
            print(f"{self.name}: {what}: {tokens} {question[1:]} ours {ours!r} theirs {theirs!r}")

    def compare(self, question, pieces, without):
        ids, count, skip = question
        decode = lambda ids: self.tokenizer.decode(ids, skip_special_tokens=skip)
        packages, prompt = decode(ids), decode(ids[:count])
        whole, alone = packages, prompt
        if self.runs and "\ufffd" in packages + prompt:
            whole, alone = decode(self.settled(ids, count, skip)), decode(self.settled(ids[:count], count, skip))
            self.settled_runs += whole != packages
        self.check("joined", question, "".join(pieces), whole)
        beyond = whole[len(alone) :] if whole.startswith(alone) else whole[len(pieces[0]) :]
        # A character that completes the prompt's and is all of the text so far may be one that the decoder drops;
        # then U+FFFD behind it is not the prompt's.
        if pieces[0] or not prompt.endswith("\ufffd"):
            self.check("without an echo", question, without, beyond)
        self.follow(question, pieces, whole, packages, prompt)

    def follow(self, question, pieces, whole, packages, prompt):
        ids, count, skip = question
        stream = decoders.DecodeStream(ids=ids[:count], skip_special_tokens=skip)
        repeats = prompt.endswith("\ufffd")
        self.repeated += repeats
        ours, theirs = pieces[0], "" if repeats else prompt
        for id, piece in zip(ids[count:], pieces[1:]):
            ours += piece
            try:
                theirs += stream.step(self.tokenizer, id) or ""
            except Exception as error:
                if whole == packages and not self.kind.waits:
                    self.check("raised", question, "", str(error))
                self.raised += 1
                return
            if not whole.startswith(theirs):
                if whole == packages and not self.kind.window and not self.kind.waits:
                    self.check("another text", question, ours, theirs)
                self.wrong += 1
                return
            if not self.kind.waits and not ours.startswith(theirs):
                return self.check("late", question, ours, theirs)
        self.held += whole.endswith("\ufffd")
        if not whole.endswith("\ufffd") and not self.kind.window:
            self.check("all of DecodeStream", question, "".join(pieces) if self.kind.waits else ours, theirs)

    def run(self, driver, count):
        rng = self.source.rng
        questions = [(*self.source.ids(), rng.random() < 0.5) for _ in range(count)]
        for question, (pieces, without) in zip(questions, self.ask(driver, questions)):
            self.compare(question, pieces, without)
        print(
            f"{self.name}: {count} continuations, {self.repeated} behind an unfinished character:"
            f" {self.differences} differences ({self.settled_runs} runs spoilt; DecodeStream held {self.held} ends"
            f" back, raised {self.raised} times, gave another text {self.wrong} times)",
            flush=True,
        )
        return self.differences


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("driver", help="the tokenizer_driver binary")
    parser.add_argument("--count", type=int, default=10000, help="continuations per kind")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default="", help="compare only the kinds whose name holds this")
    options = parser.parse_args()
    todo = {name: kind for name, kind in kinds().items() if options.only in name}
    differences = sum(
        Comparison(name, kind, options.seed).run(options.driver, options.count) for name, kind in todo.items()
    )
    print(f"{len(todo)} kinds compared, {differences} differences")
    return 1 if differences or not todo else 0


if __name__ == "__main__":
    sys.exit(main())
