"""The optimisation loop and the held-out loss, shared by every kind of training."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Callable

import numpy as np
import torch
import torch.nn.functional as F
from tqdm import tqdm

from hydrad_tools.train.corpora import IGNORED, Mixture, TokenStream


@dataclass(frozen=True)
class Schedule:
    """How long and how fast: AdamW, linear warm-up, cosine decay to a tenth."""

    steps: int
    rows: int  # sequences per step
    learning_rate: float
    warmup: int = 20
    weight_decay: float = 0.0
    clip: float = 1.0  # bound on the gradient's norm

    def rate(self, step: int) -> float:
        """The learning rate of step ``step`` (from 0)."""
        if step < self.warmup:
            return self.learning_rate * (step + 1) / self.warmup
        progress = (step - self.warmup) / max(1, self.steps - self.warmup)
        return self.learning_rate * (0.1 + 0.45 * (1 + math.cos(math.pi * progress)))


ExtraLoss = Callable[[np.ndarray], torch.Tensor]  # domain index [rows] -> scalar
Prepare = Callable[[np.ndarray], None]


def seed_everything(seed: int, threads: int) -> None:
    """Fixes the random state and the thread count, on which floating-point sums depend."""
    torch.manual_seed(seed)
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True)


def trained_parameters(model: torch.nn.Module) -> int:
    """How many numbers a training of ``model`` changes."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def token_loss(model: torch.nn.Module, ids: np.ndarray, labels: np.ndarray) -> torch.Tensor:
    """Mean cross entropy in nats of the labelled tokens, each predicted from those before it."""
    logits = model(input_ids=torch.from_numpy(ids), use_cache=False).logits
    targets = torch.from_numpy(labels)[:, 1:]
    return F.cross_entropy(logits[:, :-1].flatten(0, 1).float(), targets.flatten(), ignore_index=IGNORED)


def train(model: torch.nn.Module, mixture: Mixture, schedule: Schedule,
          extra_loss: ExtraLoss | None = None, prepare: Prepare | None = None) -> None:
    """Trains the parameters of ``model`` that require gradients, with a progress bar.

    ``prepare`` is called with each batch's domains before its forward pass.
    """
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, betas=(0.9, 0.95), weight_decay=schedule.weight_decay)
    model.train()
    average, bar = None, tqdm(range(schedule.steps), unit="step", mininterval=2)
    for step in bar:
        ids, labels, domains = mixture.batch(schedule.rows)
        if prepare:
            prepare(domains)
        loss = token_loss(model, ids, labels)
        average = loss.item() if average is None else 0.95 * average + 0.05 * loss.item()
        if extra_loss:
            loss = loss + extra_loss(domains)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, schedule.clip)
        for group in optimizer.param_groups:
            group["lr"] = schedule.rate(step)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        bar.set_postfix(loss=f"{average:.3f}", refresh=False)
    model.eval()


@torch.no_grad()
def held_out_loss(model: torch.nn.Module, stream: TokenStream, length: int, limit: int, rows: int = 8,
                  prepare: Prepare | None = None) -> float:
    """Mean loss in nats per labelled token over at most ``limit`` windows of ``length`` tokens.

    ``prepare`` is called with each batch's ids before its forward pass.
    """
    all_ids, all_labels = stream.windows(length, limit)
    total, tokens = 0.0, 0
    for start in range(0, len(all_ids), rows):
        labels = all_labels[start:start + rows]
        count = int((labels[:, 1:] != IGNORED).sum())
        if count:
            if prepare:
                prepare(all_ids[start:start + rows])
            total += token_loss(model, all_ids[start:start + rows], labels).item() * count
            tokens += count
    return total / max(1, tokens)
