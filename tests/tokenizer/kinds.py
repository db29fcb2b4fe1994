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
    if pre_tokenizer is None:
        del tokenizer.pre_tokenizer
    # The byte tokens are ordinary ones in such files, only the first three are special.
    tokenizer = edited(tokenizer, lambda data: data.update(added_tokens=data["added_tokens"][:3]))
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
    gpt2 = byte_level(pre.ByteLevel(add_prefix_space=False), post_processor=processors.ByteLevel(trim_offsets=False))
    yield "gpt2", gpt2
    yield "gpt2-prefix-space", byte_level(pre.ByteLevel(add_prefix_space=True))
    bos = processors.TemplateProcessing(
        single="<|endoftext|> $A <|im_end|>", special_tokens=[("<|endoftext|>", 0), ("<|im_end|>", 2)]
    )
    both = processors.Sequence([processors.ByteLevel(trim_offsets=False), bos])
    yield "llama3", byte_level(split(LLAMA3), post_processor=both, ignore_merges=True)
    yield "qwen2", byte_level(split(QWEN2), normalizer=normalizers.NFC())
    smollm2 = [pre.Digits(individual_digits=True), pre.ByteLevel(add_prefix_space=False)]
    yield "smollm2", byte_level(pre.Sequence(smollm2))
    yield "awkward", with_awkward_tokens(byte_level(split(QWEN2), normalizer=normalizers.NFC()))
    yield "o200k", byte_level(split(O200K))
    yield "bloom", byte_level(split(BLOOM))
    yield "deepseek", byte_level(*map(split, DEEPSEEK), pre.Digits(individual_digits=True))
    yield "syntax", byte_level(split(SYNTAX))
    steps = [normalizers.NFKC(), normalizers.Lowercase(), normalizers.Strip()]
    yield "nfkc-lower", byte_level(pre.ByteLevel(add_prefix_space=False), normalizer=normalizers.Sequence(steps))
    yield "nfkd-words", byte_level(pre.Whitespace(), normalizer=normalizers.NFKD())
    yield "nfd-spaces", byte_level(pre.WhitespaceSplit(), pre.Digits(), normalizer=normalizers.NFD())
    yield "bytes-then-split", byte_level(pre.ByteLevel(add_prefix_space=True), split("[Ġ0-9]", "contiguous"))
    for behavior in ("removed", "isolated", "merged_with_previous", "merged_with_next", "contiguous"):
        for invert in (False, True):
            yield f"split-{behavior}-{invert}", byte_level(split(r"[\p{Lu}\d]|\s", behavior, invert))
    yield "split-empty-matches", byte_level(split(r"x*|(?<=a)", "merged_with_next"))


def sentence_piece_kinds():
    normalizer = normalizers.Sequence(LLAMA_NORMALIZER)
    llama2 = sentence_piece(normalizer, None, decoders.Sequence(LLAMA_DECODER), fuse_unk=True)
    yield "llama2", llama2
    yield "llama2-awkward", with_awkward_tokens(sentence_piece(normalizer, None, decoders.Sequence(LLAMA_DECODER)))
    for scheme in ("always", "first", "never"):
        space = pre.Metaspace(prepend_scheme=scheme, split=scheme != "first")
        decoder = decoders.Metaspace(prepend_scheme=scheme)
        yield f"metaspace-{scheme}", with_awkward_tokens(sentence_piece(None, space, decoder, scheme == "first"))
    yield "fuse-unk", sentence_piece(None, pre.Metaspace(), decoders.Metaspace(), False, fuse_unk=True)
    yield "no-unk", sentence_piece(None, pre.Metaspace(), decoders.Fuse(), False, unk=None)
    gemma = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    space = split(" ", "merged_with_previous")
    yield "gemma", sentence_piece(normalizers.Replace(" ", "▁"), space, gemma, fuse_unk=True)
    replace = [normalizers.Replace(Regex(r"\s+"), " "), normalizers.Replace(Regex("a*?"), "▁")]
    strip = decoders.Sequence([decoders.Strip("▁", 2, 1), decoders.Replace(Regex("[aeiou]{1,2}"), "")])
    yield "replace-regex", sentence_piece(normalizers.Sequence(replace), pre.Metaspace(), strip)
    partial = sentence_piece(None, pre.Metaspace(), decoders.ByteFallback(), fuse_unk=True)
    yield "some-byte-tokens", edited(partial, forget_byte_tokens)
    suffixed = Tokenizer(models.BPE(unk_token="<unk>", end_of_word_suffix="</w>", continuing_subword_prefix="##"))
    suffixed.pre_tokenizer = pre.Whitespace()
    affixes = {"end_of_word_suffix": "</w>", "continuing_subword_prefix": "##"}
    yield "suffixed", train(suffixed, special=["<unk>"], limit_alphabet=100, **affixes)


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
