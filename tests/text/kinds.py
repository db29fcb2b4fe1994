"""Tokenizers of every supported kind, trained here with the `tokenizers` package."""

import json
import random
from pydoc_data.topics import topics

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, processors, trainers
from tokenizers import pre_tokenizers as pre

LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
QWEN2 = LLAMA3.replace("{1,3}", "")
O200K = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
BLOOM = r" ?[^(\s|[.,!?…。，、।۔،])]+"
DEEPSEEK = [
    r"[\r\n]",
    r"\s?[A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽᏸ-ᏽᲐ-ᲺᲽ-Ჿᴀ-ᴫᵫ-ᵷᵹ-ᶚ]+",
    r"\s?[!-/:-~！-／：-～‘-‟　-。]+",
    r"\s+$",
    r"[一-龥ࠀ-一가-퟿]+",
]
# Words, marks and the rest of the syntax in one pattern.
SYNTAX = (
    r"\w+(?:['’]\w+)*+|\h{2,}|[\p{Mn}\p{Mc}]{1,2}|\p{P}{,3}?(?=\S)|(?<!\p{Sm})[[\p{S}][\p{Co}-]]+|^\W|\s+?(?<=\n)"
    r"|[^\S\r\n]+|[\x{1F300}-\x{1F5FF}]|\p{^L}\D??|\p{Han}|(?>.)\Z"
)
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
LLAMA_NORMALIZER = [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
LLAMA_DECODER = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
BARE = {"add_prefix_space": False, "use_regex": False}


def corpus():
    """English prose that every Python carries, and a little of other scripts."""
    rng = random.Random(7)
    yield from topics.values()
    for alphabet in ("абвгдежзийклмн", "αβγδεζηθικ", "的一是不了人我在有他", "가나다라마바사", "אבגדהו", "กขคงจฉ", "éàüößñç"):
        for _ in range(60):
            words = ("".join(rng.choices(alphabet, k=rng.randint(1, 6))) for _ in range(30))
            yield " ".join(words) + " 123 4567\n\n  x = [1, 2]\t# 😀 👩‍👩‍👧 e\u0301"


def train(tokenizer, special=tuple(SPECIAL), **options):
    trainer = trainers.BpeTrainer(vocab_size=3000, special_tokens=list(special), show_progress=False, **options)
    tokenizer.train_from_iterator(corpus(), trainer)
    return tokenizer


def edited(tokenizer, edit):
    """The tokenizer with its file changed by `edit`."""
    data = json.loads(tokenizer.to_str())
    edit(data)
    return Tokenizer.from_str(json.dumps(data))


def split(pattern, behavior="isolated", invert=False):
    return pre.Split(Regex(pattern), behavior, invert)


def byte_level(*pre_tokenizer, normalizer=None, post_processor=None, **model):
    """`pre_tokenizer` ends with a ByteLevel that only writes bytes, unless it is one ByteLevel."""
    tokenizer = Tokenizer(models.BPE(**model))
    whole = len(pre_tokenizer) == 1 and isinstance(pre_tokenizer[0], pre.ByteLevel)
    tokenizer.pre_tokenizer = pre_tokenizer[0] if whole else pre.Sequence([*pre_tokenizer, pre.ByteLevel(**BARE)])
    tokenizer.decoder = decoders.ByteLevel()
    if normalizer:
        tokenizer.normalizer = normalizer
    train(tokenizer, initial_alphabet=pre.ByteLevel.alphabet())
    if post_processor:
        tokenizer.post_processor = post_processor
    return tokenizer


def sentence_piece(normalizer, pre_tokenizer, decoder, byte_tokens=True, unk="<unk>", **model):
    tokenizer = Tokenizer(models.BPE(unk_token=unk, byte_fallback=byte_tokens, **model))
    special = ["<unk>", "<s>", "</s>"] + ([f"<0x{b:02X}>" for b in range(256)] if byte_tokens else [])
    if normalizer:
        tokenizer.normalizer = normalizer
    # Training needs words; the file may have no pre-tokenizer.
    tokenizer.pre_tokenizer = pre_tokenizer or pre.Metaspace(prepend_scheme="never")
    train(tokenizer, special=special, limit_alphabet=150, max_token_length=16)

    def finish(data):
        # The byte tokens are ordinary ones in such files, only the first three are special.
        data["added_tokens"] = data["added_tokens"][:3]
        if pre_tokenizer is None:
            data["pre_tokenizer"] = None

    tokenizer = edited(tokenizer, finish)
    tokenizer.decoder = decoder
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return tokenizer


def with_awkward_tokens(tokenizer):
    tokenizer.add_tokens(
        [
            AddedToken("[L]", lstrip=True, normalized=False),
            AddedToken("[R]", rstrip=True, normalized=False),
            AddedToken("[B]", lstrip=True, rstrip=True, special=True, normalized=False),
            AddedToken("word", single_word=True, normalized=False),
            AddedToken("naïve", single_word=True, normalized=True),
            AddedToken("<|im", normalized=False),
            AddedToken("<|im_start|>user", normalized=False),
            AddedToken("É", normalized=True),
            AddedToken("   ", normalized=False),
        ]
    )
    return tokenizer


def write_legacy_merges(data):
    data["model"]["merges"] = [" ".join(pair) for pair in data["model"]["merges"]]


def byte_level_kinds():
    bos = processors.TemplateProcessing(
        single="<|endoftext|> $A <|im_end|>", special_tokens=[("<|endoftext|>", 0), ("<|im_end|>", 2)]
    )
    offsets = processors.ByteLevel(trim_offsets=False)
    both = processors.Sequence([offsets, bos])
    smollm2 = pre.Sequence([pre.Digits(individual_digits=True), pre.ByteLevel(add_prefix_space=False)])
    nfkc = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase(), normalizers.Strip()])
    plain = pre.ByteLevel(add_prefix_space=False)
    kinds = {
        "gpt2": lambda: byte_level(plain, post_processor=offsets),
        "gpt2-prefix-space": lambda: byte_level(pre.ByteLevel(add_prefix_space=True)),
        "llama3": lambda: byte_level(split(LLAMA3), post_processor=both, ignore_merges=True),
        "qwen2": lambda: byte_level(split(QWEN2), normalizer=normalizers.NFC()),
        "smollm2": lambda: byte_level(smollm2),
        "awkward": lambda: with_awkward_tokens(byte_level(split(QWEN2), normalizer=normalizers.NFC())),
        "o200k": lambda: byte_level(split(O200K)),
        "bloom": lambda: byte_level(split(BLOOM)),
        "deepseek": lambda: byte_level(*map(split, DEEPSEEK), pre.Digits(individual_digits=True)),
        "syntax": lambda: byte_level(split(SYNTAX)),
        "nfkc-lower": lambda: byte_level(plain, normalizer=nfkc),
        "nfkd-words": lambda: byte_level(pre.Whitespace(), normalizer=normalizers.NFKD()),
        "nfd-spaces": lambda: byte_level(pre.WhitespaceSplit(), pre.Digits(), normalizer=normalizers.NFD()),
        "bytes-then-split": lambda: byte_level(pre.ByteLevel(add_prefix_space=True), split("[Ġ0-9]", "contiguous")),
        "split-empty-matches": lambda: byte_level(split(r"x*|(?<=a)", "merged_with_next")),
    }
    for behavior in ("removed", "isolated", "merged_with_previous", "merged_with_next", "contiguous"):
        for invert in (False, True):
            step = split(r"[\p{Lu}\d]|\s", behavior, invert)
            kinds[f"split-{behavior}-{invert}"] = lambda step=step: byte_level(step)
    return kinds


def suffixed():
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", end_of_word_suffix="</w>", continuing_subword_prefix="##"))
    tokenizer.pre_tokenizer = pre.Whitespace()
    affixes = {"end_of_word_suffix": "</w>", "continuing_subword_prefix": "##"}
    return train(tokenizer, special=["<unk>"], limit_alphabet=100, **affixes)


def sentence_piece_kinds():
    normalizer = normalizers.Sequence(LLAMA_NORMALIZER)
    llama = decoders.Sequence(LLAMA_DECODER)
    gemma = decoders.Sequence(LLAMA_DECODER[:3])
    underscore = normalizers.Replace(" ", "▁")
    replace = normalizers.Sequence([normalizers.Replace(Regex(r"\s+"), " "), normalizers.Replace(Regex("a*?"), "▁")])
    # Where stripping from both ends would meet, or in an empty token, the package panics.
    strips = [decoders.Strip("e", 0, 1), decoders.Strip("▁", 2, 0)]
    strip = decoders.Sequence([*strips, decoders.Replace(Regex("[aeiou]{1,2}"), "")])
    meta, fallback = pre.Metaspace(), decoders.ByteFallback()
    kinds = {
        "llama2": lambda: sentence_piece(normalizer, None, llama, fuse_unk=True),
        "llama2-awkward": lambda: with_awkward_tokens(sentence_piece(normalizer, None, llama)),
        "fuse-unk": lambda: sentence_piece(None, meta, decoders.Metaspace(), False, fuse_unk=True),
        "no-unk": lambda: sentence_piece(None, meta, decoders.Fuse(), False, unk=None),
        "gemma": lambda: sentence_piece(underscore, split(" ", "merged_with_previous"), gemma, fuse_unk=True),
        "replace-regex": lambda: sentence_piece(replace, meta, strip),
        "some-byte-tokens": lambda: edited(sentence_piece(None, meta, fallback, fuse_unk=True), forget_byte_tokens),
        "suffixed": suffixed,
    }
    for scheme in ("always", "first", "never"):
        space = pre.Metaspace(prepend_scheme=scheme, split=scheme != "first")
        decoder = decoders.Metaspace(prepend_scheme=scheme)
        kinds[f"metaspace-{scheme}"] = lambda space=space, decoder=decoder, scheme=scheme: with_awkward_tokens(
            sentence_piece(None, space, decoder, scheme == "first")
        )
    return kinds


def forget_byte_tokens(data):
    """Leaves tokens for half of the bytes, so that some characters can be spelt and others are unknown."""
    for b in range(1, 256, 2):
        data["model"]["vocab"][f"unused{b}"] = data["model"]["vocab"].pop(f"<0x{b:02X}>")


def files(only=""):
    """Pairs of a name that holds `only` and the text of a tokenizer.json."""
    for name, make in {**byte_level_kinds(), **sentence_piece_kinds()}.items():
        if only in name:
            text = make().to_str()
            yield name, text
            if name in ("gpt2", "llama2"):
                data = json.loads(text)
                write_legacy_merges(data)
                yield name + "-legacy-merges", json.dumps(data, ensure_ascii=False)
