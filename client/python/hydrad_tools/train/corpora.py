"""Training text by domain: reads files, splits off held-out documents, packs tokens into windows.

A document is either plain text, or a prompt with its reply. A prompt is put through the
tokenizer's chat template and carries no loss: only what the model is to write is learned and
measured.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Iterable

import numpy as np

from hydrad_tools.errors import ToolError

HELD_OUT_SHARE = 0.1
IGNORED = -100  # the label PyTorch's cross entropy skips
PROMPT_TOKENS = 256  # the longest prompt a router learns from


@dataclass(frozen=True)
class Document:
    """``reply`` follows ``prompt`` in a chat; without a prompt it is plain text."""

    reply: str
    prompt: str | None = None


@dataclass(frozen=True)
class Corpus:
    """One domain. ``weight`` is its share of the training sequences, relative to the others."""

    name: str
    weight: float
    train: list[Document]
    held_out: list[Document]


@dataclass(frozen=True)
class TokenStream:
    """Documents laid end to end: ``ids`` and ``labels``, both int64 [tokens]."""

    ids: np.ndarray
    labels: np.ndarray

    def sample(self, rng: np.random.Generator, length: int) -> tuple[np.ndarray, np.ndarray]:
        """A window of ``length`` tokens from a random place, as (ids, labels)."""
        start = int(rng.integers(0, len(self.ids) - length + 1))
        return self.ids[start:start + length], self.labels[start:start + length]

    def windows(self, length: int, limit: int) -> tuple[np.ndarray, np.ndarray]:
        """The first ``limit`` windows without overlap, as (ids, labels), each [windows, length]."""
        count = min(limit, len(self.ids) // length)
        shape = (count, length)
        return self.ids[:count * length].reshape(shape), self.labels[:count * length].reshape(shape)


def parse_corpus(argument: str) -> Corpus:
    """Reads ``NAME[:WEIGHT]=FILE[,FILE...]``. The last tenth of each file is held out.

    Raises ToolError if the argument, a file or a record of it is not understood.
    """
    head, separator, files = argument.partition("=")
    name, _, weight = head.partition(":")
    if not (name and separator and files):
        raise ToolError(f"text {argument!r}: expected NAME[:WEIGHT]=FILE[,FILE...]")
    train, held_out = [], []
    for file in files.split(","):
        documents = read_documents(Path(file))
        split = len(documents) - max(1, round(HELD_OUT_SHARE * len(documents)))
        train += documents[:split]
        held_out += documents[split:]
    return Corpus(name, float(weight or 1), train, held_out)


def read_documents(path: Path) -> list[Document]:
    """The documents of a ``.txt`` (paragraphs), ``.jsonl`` or ``.csv`` file, possibly ``.gz``."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise ToolError(f"{path}: {error.strerror}") from error
    text = (gzip.decompress(raw) if path.suffix == ".gz" else raw).decode("utf-8")
    kind = path.name.removesuffix(".gz").rpartition(".")[2]
    if kind == "txt":
        return [Document(paragraph.strip("\n")) for paragraph in text.split("\n\n") if paragraph.strip()]
    if kind == "jsonl":
        records: Iterable[dict] = [json.loads(line) for line in text.splitlines() if line.strip()]
    elif kind == "csv":
        records = csv.DictReader(io.StringIO(text))
    else:
        raise ToolError(f"{path}: unknown kind of file; expected .txt, .jsonl or .csv")
    return [_document(path, record) for record in records]


def _document(path: Path, record: dict[str, Any]) -> Document:
    """Understands the records of gsm8k, sql-eval, self-instruct, HumanEval and plain ``text``."""
    if "query" in record and "question" in record:  # sql-eval: alternatives are joined with ';'
        return Document(record["query"].split(";")[0] + ";", record["question"])
    if "question" in record and "answer" in record:
        return Document(record["answer"], record["question"])
    if "instances" in record:
        instance = record["instances"][0]
        return Document(instance["output"], f"{record['instruction']}\n{instance['input']}".strip())
    if "canonical_solution" in record:
        return Document(record["prompt"] + record["canonical_solution"])
    if "text" in record:
        return Document(record["text"])
    raise ToolError(f"{path}: a record has none of the known sets of fields: {sorted(record)}")


def encode(tokenizer: Any, documents: list[Document]) -> TokenStream:
    """Packs ``documents`` with a transformers tokenizer; the tokens of prompts have no label."""
    ids, labels = [], []
    for document in documents:
        prompt, reply = _render(tokenizer, document)
        prompt_ids = tokenizer.encode(prompt, add_special_tokens=False)
        reply_ids = tokenizer.encode(reply, add_special_tokens=False)
        ids += prompt_ids + reply_ids
        labels += [IGNORED] * len(prompt_ids) + reply_ids
    return TokenStream(np.array(ids, np.int64), np.array(labels, np.int64))


def encode_prompts(tokenizer: Any, documents: list[Document], rng: np.random.Generator) -> list[np.ndarray]:
    """The ids of a prompt for each document, as a router will see them.

    A document with a prompt gives that, up to the assistant's turn; plain text is cut after 8 to 64
    tokens, and before its end, which would give its kind away. Prompts of more than PROMPT_TOKENS
    tokens and empty ones are left out.
    """
    prompts = []
    for document in documents:
        plain = document.prompt is None
        ids = tokenizer.encode(document.reply if plain else _render(tokenizer, document)[0], add_special_tokens=False)
        if plain:
            last = min(64, len(ids) - 1)
            ids = ids[:int(rng.integers(min(8, last), last + 1))] if last > 0 else []
        if 0 < len(ids) <= PROMPT_TOKENS:
            prompts.append(np.array(ids, np.int64))
    return prompts


def _render(tokenizer: Any, document: Document) -> tuple[str, str]:
    """The text before and the text from the point where the model is to write."""
    if document.prompt is None:
        return "", document.reply + "\n\n"
    turns = [{"role": "user", "content": document.prompt}]
    prompt = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    turns.append({"role": "assistant", "content": document.reply})
    whole = tokenizer.apply_chat_template(turns, tokenize=False)
    if not whole.startswith(prompt):
        raise ToolError("the chat template does not extend its generation prompt by the reply")
    return prompt, whole[len(prompt):]


class Mixture:
    """Draws training batches from several domains by their weights; deterministic for a seed."""

    def __init__(self, corpora: list[Corpus], streams: list[TokenStream], length: int, seed: int):
        for corpus, stream in zip(corpora, streams):
            if len(stream.ids) < length:
                raise ToolError(f"text {corpus.name}: {len(stream.ids)} tokens are fewer than one "
                                f"sequence of {length}")
        weights = np.array([corpus.weight for corpus in corpora])
        self._shares = weights / weights.sum()
        self._streams = streams
        self._length = length
        self._rng = np.random.default_rng(seed)

    def batch(self, rows: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(ids [rows, length], labels [rows, length], domain index [rows])."""
        domains = self._rng.choice(len(self._streams), size=rows, p=self._shares)
        drawn = [self._streams[domain].sample(self._rng, self._length) for domain in domains]
        return np.stack([ids for ids, _ in drawn]), np.stack([labels for _, labels in drawn]), domains


class PromptMixture:
    """Draws prompts from several domains by their weights; deterministic for a seed."""

    def __init__(self, corpora: list[Corpus], prompts: list[list[np.ndarray]], seed: int):
        for corpus, part in zip(corpora, prompts):
            if not part:
                raise ToolError(f"text {corpus.name}: no prompt of at most {PROMPT_TOKENS} tokens")
        weights = np.array([corpus.weight for corpus in corpora])
        self._shares = weights / weights.sum()
        self._prompts = prompts
        self._rng = np.random.default_rng(seed)

    def batch(self, rows: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(ids [rows, longest], lengths [rows], domain index [rows])."""
        domains = self._rng.choice(len(self._prompts), size=rows, p=self._shares)
        drawn = [self._prompts[domain][self._rng.integers(len(self._prompts[domain]))] for domain in domains]
        return *self.pad(drawn), domains

    @staticmethod
    def pad(prompts: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """(ids [prompts, longest] filled up with 0 on the right, lengths [prompts])."""
        lengths = np.array([len(ids) for ids in prompts], np.int64)
        padded = np.zeros((len(prompts), lengths.max()), np.int64)
        for row, ids in enumerate(prompts):
            padded[row, :len(ids)] = ids
        return padded, lengths
