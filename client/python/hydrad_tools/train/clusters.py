"""Picks how many heads a HydraLoRA gets, from its training text, as the paper does.

Documents become TF-IDF vectors, k-means groups them for k = 1, 2, ..., and the elbow of the sums
of squared distances is N. The groups serve for nothing else: which head learns what is left to
the routers. numpy alone; no PyTorch.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import Sequence

import numpy as np

from hydrad_tools.errors import ToolError
from hydrad_tools.train.corpora import Corpus, Document

_WORD = re.compile(r"\w+|[^\w\s]")
_VOCABULARY = 1000  # words kept: those in the most documents
_DOCUMENTS = 1200  # at most, over all corpora
_RESTARTS = 4
_ROUNDS = 40


@dataclass(frozen=True)
class HeadCount:
    """``heads`` is the elbow of ``distances``: the sum of squared distances for k = 1, 2, ..."""

    heads: int
    distances: list[float]


def pick_heads(corpora: Sequence[Corpus], seed: int, limit: int = 10) -> HeadCount:
    """N for a training on ``corpora``, each sampled by its weight. Deterministic for a seed.

    Raises ToolError if there are fewer documents than ``limit`` groups.
    """
    rng = np.random.default_rng(seed)
    points = tf_idf(_sample(corpora, rng))
    if len(points) < limit:
        raise ToolError(f"{len(points)} documents are too few to be put into {limit} groups")
    distances = [min(k_means(points, k, rng) for _ in range(_RESTARTS)) for k in range(1, limit + 1)]
    return HeadCount(elbow(distances), distances)


def tf_idf(texts: Sequence[str]) -> np.ndarray:
    """Rows of unit length, [texts, words]: counts times log((1 + n) / (1 + df)) + 1."""
    counts = [Counter(word.lower() for word in _WORD.findall(text)) for text in texts]
    spread = Counter(word for count in counts for word in count)
    kept = sorted(spread, key=lambda word: (-spread[word], word))[:_VOCABULARY]
    column = {word: index for index, word in enumerate(kept)}
    matrix = np.zeros((len(texts), len(kept)))
    for row, count in enumerate(counts):
        for word, times in count.items():
            if word in column:
                matrix[row, column[word]] = times
    matrix *= np.log((1 + len(texts)) / (1 + np.array([spread[word] for word in kept]))) + 1
    return matrix / np.maximum(np.linalg.norm(matrix, axis=1, keepdims=True), 1e-12)


def k_means(points: np.ndarray, k: int, rng: np.random.Generator) -> float:
    """The sum of squared distances after Lloyd's rounds from a k-means++ start."""
    centres = points[[rng.integers(len(points))]]
    while len(centres) < k:
        nearest = _squared_distances(points, centres).min(axis=1)
        total = nearest.sum()
        share = nearest / total if total > 0 else np.full(len(points), 1 / len(points))
        centres = np.vstack([centres, points[rng.choice(len(points), p=share)]])
    for _ in range(_ROUNDS):
        group = _squared_distances(points, centres).argmin(axis=1)
        moved = np.stack([points[group == i].mean(axis=0) if (group == i).any() else centres[i] for i in range(k)])
        if np.array_equal(moved, centres):
            break
        centres = moved
    return float(_squared_distances(points, centres).min(axis=1).sum())


def elbow(distances: Sequence[float]) -> int:
    """The k (from 1) that lies furthest below the line between both ends; at least 2."""
    steps = np.linspace(0, 1, len(distances))
    line = distances[0] + steps * (distances[-1] - distances[0])
    return max(2, 1 + int(np.argmax(line - np.array(distances))))


def _squared_distances(points: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """[points, centres]"""
    squares = (points * points).sum(axis=1)[:, None] + (centres * centres).sum(axis=1)[None, :]
    return np.maximum(squares - 2 * points @ centres.T, 0)


def _sample(corpora: Sequence[Corpus], rng: np.random.Generator) -> list[str]:
    total = sum(corpus.weight for corpus in corpora)
    texts = []
    for corpus in corpora:
        count = min(len(corpus.train), round(_DOCUMENTS * corpus.weight / total))
        picked = rng.choice(len(corpus.train), size=count, replace=False)
        texts += [_text(corpus.train[index]) for index in sorted(picked)]
    return texts


def _text(document: Document) -> str:
    return f"{document.prompt}\n{document.reply}" if document.prompt else document.reply
