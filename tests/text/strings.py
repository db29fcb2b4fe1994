"""Seeded strings of every awkward kind."""

import itertools
import random
import unicodedata
from pydoc_data.topics import topics

BLANKS = (
    [" ", "  ", "\t", "\n", "\r\n", "\r", "\v", "\f", "\x85", "\xa0", "\u1680", "\u180e", "\u2003", "\u200b", "\u2028"]
    + ["\u2029", "\u202f", "\u205f", "\u2581", "\u3000", "\ufeff", "a", "1", "!"]
)  # fmt: skip
CODE = (
    ["def ", "if(", "x", "_id", "==", " = ", "    ", "\n", "\t", "{", "}", "[0]", "->", "::", "0xFF", "//", '"s"', ";"]
    + ["camelCase", "UPPER_CASE", "<T>", "\\n", "#include", "'", "''", "'S", "'lL ", "l\u0301", "+="]
)  # fmt: skip
BESIDE_SPECIAL = (
    ["a", " ", "  ", "<", ">", "|", "word", " word", "words", "naïve", "nai\u0308ve", "E\u0301", "É", "[L]", " [R] "]
    + ["[B]", "<|im", "user", "\n", "é", "_", "\u0301", "1", "<0x41>", "▁", "   ", "\t[L]", "[R]\u3000"]
)  # fmt: skip
EMOJI = (
    ["😀", "👩", "👧", "\u200d", "\ufe0f", "🏽", "🇩", "🇪", "❤", "⚕", "🦙", "1\ufe0f\u20e3"]
    + ["🏴\U000e0067\U000e007f", " "]
)  # fmt: skip
DIGITS = list("0123456789") + ["٣", "五", "Ⅷ", "½", "²", "௧", "𝟘", ".", ",", " ", "\U00011f50", "\U00011de0"]
CONTRACTIONS = (
    ["'s", "'S", "'ſ", "'t", "'re", "'RE", "'ve", "'m", "'ll", "'LL", "'d", "’s", "I", " you", "K", "'", "\u212a"]
)  # fmt: skip
CJK = [(0x4E00, 0x9FFF), (0x3040, 0x30FF), (0xAC00, 0xD7A3), (0x3000, 0x303F), (0xFF00, 0xFFEF)]
CJK += [(0x20000, 0x2A6DF), (0x2EBF0, 0x2EE5D)]
MARKS = [(0x300, 0x370), (0x591, 0x5C8), (0x1DC0, 0x1E00), (0x3099, 0x309B), (0x1AB0, 0x1AF0), (0x8D0, 0x900)]
BASES = list("aeioucnAEYs가ᄀかはΑως") + ["\u1161", "\u11a8", "\u212b", "\ufb01", "\u1e9b", "\u0f71", "\u0f72"]
LONG = ["a", "ab", "aeiouxyz", "▁", " ", "é", "的", "=", "\u0301", "0123456789", "😀", "th", "\n ", "<"]


class Strings:
    def __init__(self, seed, special):
        self.rng = random.Random(seed)
        self.prose = "".join(topics.values())
        self.marks = [chr(c) for c in itertools.chain(*(range(*r) for r in MARKS))]
        self.kinds = [self.prose_part, self.ascii, self.planes, self.cjk, self.marked, self.latin, self.hangul]
        alphabets = (BLANKS, CODE, BESIDE_SPECIAL + special * 2, EMOJI, DIGITS, CONTRACTIONS)
        self.kinds += [lambda alphabet=alphabet: self.some(alphabet, 1, 20) for alphabet in alphabets]

    def some(self, alphabet, low, high):
        return "".join(self.rng.choices(alphabet, k=self.rng.randint(low, high)))

    def code_point(self, low, high):
        c = self.rng.randint(low, high)
        return chr(c - 0x800 if 0xD800 <= c < 0xE000 else c)  # surrogates are no characters

    def prose_part(self):
        at = self.rng.randrange(len(self.prose))
        return self.prose[at : at + self.rng.randint(1, 300)]

    def ascii(self):
        return "".join(chr(self.rng.randrange(128)) for _ in range(self.rng.randint(0, 60)))

    def planes(self):
        plane = self.rng.choice([0, 0, 0, 0, 1, 1, 1, 2, 3, 14, 15, 16]) << 16
        start = plane + self.rng.randrange(0x10000)
        end = min(start + self.rng.choice([16, 256, 4096]), plane + 0xFFFF)
        between = ["", " ", "a", "1", "'s"]
        parts = (self.rng.choice(between) + self.code_point(start, end) for _ in range(self.rng.randint(1, 30)))
        return "".join(parts)

    def cjk(self):
        return "".join(self.code_point(*self.rng.choice(CJK)) for _ in range(self.rng.randint(1, 40)))

    def marked(self):
        parts = (self.rng.choice(BASES) + self.some(self.marks, 0, 4) for _ in range(self.rng.randint(1, 10)))
        return "".join(parts)

    def latin(self):
        return "".join(self.code_point(0x20, 0x24F) for _ in range(self.rng.randint(1, 40)))

    def hangul(self):
        return "".join(self.code_point(0x1100, 0x11FF) for _ in range(self.rng.randint(1, 12)))

    def mixed(self):
        parts = (self.rng.choice(self.kinds)()[: self.rng.randint(1, 12)] for _ in range(self.rng.randint(2, 8)))
        return "".join(parts)

    def broken(self):
        """Bytes that are mostly not UTF-8."""
        data = bytearray(self.mixed().encode()) if self.rng.random() < 0.5 else bytearray(self.rng.randbytes(20))
        for _ in range(self.rng.randint(1, 5)):
            data[self.rng.randrange(len(data))] = self.rng.randrange(256)
        return bytes(data)

    def make(self, count):
        """`count` strings as bytes."""
        out = [b"\xff", b"\xe4\xbd", b"\xed\xa0\x80", b"\xf4\x90\x80\x80a", b"\xc0\xaf"]
        fixed = ["", " ", "\n", "a", "\0", "\ufffd", "<0x41>", "<unk>", "\U0010ffff", "▁", "▁▁a", "a▁"]
        out += [s.encode() for s in fixed + [self.some(self.rng.choice(LONG), 2000, 8000) for _ in range(30)]]
        while len(out) < count:
            turn = len(out) % 16
            if turn == 0:
                out.append(self.broken())
            else:
                out.append((self.mixed() if turn < 6 else self.rng.choice(self.kinds)()).encode())
        return out


def all_code_points():
    return [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]


def telling_code_points(margin=3, stride=16):
    """Those that differ from a neighbour, and of long ranges of equal ones their ends and one of every `stride`."""
    points, kind = all_code_points(), lambda c: (unicodedata.category(chr(c)), unicodedata.combining(chr(c)))
    kept = {c for c in points if c % stride == 0 or unicodedata.decomposition(chr(c)) or chr(c).lower() != chr(c)}
    for before, c in zip(points, points[1:]):
        if kind(before) != kind(c):
            kept.update(range(c - margin, c + margin))
    return sorted(kept.intersection(points))


def beside_others(points, step=64):
    """Each code point beside a letter, a digit, a space and a sign, to see which it joins."""
    for i in range(0, len(points), step):
        yield "".join(f"{chr(c)}a{chr(c)}1 {chr(c)}!" for c in points[i : i + step]).encode()
