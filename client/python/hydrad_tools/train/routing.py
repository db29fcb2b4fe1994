"""Teaches HydraLoRA's routers to tell domains apart, and measures how well they do.

The paper starts every head at zero and leaves it to the router's random start to break the
symmetry; on short trainings the heads then stay nearly alike. Here each domain has a head of
its own (by its place on the command line), and a small auxiliary loss asks every router for
it: the mean over routers of ``-log g_d``, with g the gate averaged over the sequence's tokens
and d the sequence's domain. The gates stay soft and are decided per token as in the paper.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Sequence

import numpy as np
import torch

from hydrad_tools.train.corpora import TokenStream
from hydrad_tools.train.low_rank import AdaptedLinear


@dataclass(frozen=True)
class Separation:
    """How far the gates tell the domains apart on held-out sequences."""

    accuracy: float  # of a nearest-centroid classifier over mean gate vectors
    chance: float
    mutual_information: float  # bits between domain and gate-weighted head, mean over routers
    best_router: float  # the same for the best single router
    bound: float  # bits: the entropy of the domains


def domain_loss(layers: Sequence[AdaptedLinear], domains: np.ndarray) -> torch.Tensor:
    """Mean over routers and rows of -log of the mean gate that the row's own head got."""
    gates = torch.stack([layer.gates.mean(dim=1) for layer in layers])  # [routers, rows, N]
    own = gates[:, torch.arange(len(domains)), torch.from_numpy(domains)]
    return -own.log().mean()


@torch.no_grad()
def mean_gates(model: torch.nn.Module, layers: Sequence[AdaptedLinear], stream: TokenStream,
               length: int, limit: int, rows: int = 8) -> np.ndarray:
    """Gates averaged over each window's tokens, [windows, routers, N]."""
    all_ids, _ = stream.windows(length, limit)
    parts = []
    for start in range(0, len(all_ids), rows):
        model.model(input_ids=torch.from_numpy(all_ids[start:start + rows]), use_cache=False)
        parts.append(torch.stack([layer.gates.mean(dim=1) for layer in layers], dim=1).numpy())
    return np.concatenate(parts)


def separation(train: list[np.ndarray], held_out: list[np.ndarray]) -> Separation:
    """Measures from the gates of each domain, arrays [windows, routers, N] as of mean_gates.

    The centroids come from ``train``. Every domain counts alike, whatever its windows.
    """
    centroids = np.stack([gates.mean(axis=0).ravel() for gates in train])
    hits = []
    for domain, gates in enumerate(held_out):
        distance = np.linalg.norm(gates.reshape(len(gates), 1, -1) - centroids, axis=2)
        hits.append(np.mean(distance.argmin(axis=1) == domain))
    information = mutual_information(np.stack([gates.mean(axis=0) for gates in held_out]))
    return Separation(float(np.mean(hits)), 1 / len(held_out), float(information.mean()),
                      float(information.max()), float(np.log2(len(held_out))))


def mutual_information(gates: np.ndarray) -> np.ndarray:
    """Bits between domain and head for each router, [routers], from mean gates [domains, routers, N].

    Domains are equally likely; a router without any preference has 0, a perfect one log2(domains).
    """
    marginal = gates.mean(axis=0, keepdims=True)
    share = np.divide(gates, marginal, out=np.ones_like(gates), where=gates > 0)
    return (gates * np.log2(share)).sum(axis=2).mean(axis=0)
