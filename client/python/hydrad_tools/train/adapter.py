"""Trains a LoRA or a HydraLoRA on a base model in Hugging Face layout and reports what it gained."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from hydrad_tools.errors import ToolError
from hydrad_tools.train.corpora import Corpus, Mixture, encode
from hydrad_tools.train.loop import ExtraLoss, Schedule, held_out_loss, seed_everything, train, trained_parameters
from hydrad_tools.train.low_rank import AdaptedLinear, AdapterShape, adapt, round_to_bf16, save_adapter
from hydrad_tools.train.routing import Separation, domain_loss, mean_gates, separation


@dataclass(frozen=True)
class Run:
    """Everything besides the data that decides the result."""

    base: Path
    base_name: str  # written into adapter_config.json
    shape: AdapterShape
    schedule: Schedule
    length: int
    seed: int
    threads: int
    base_dtype: torch.dtype
    domain_weight: float = 0.0  # of the auxiliary domain loss; HydraLoRA only
    windows: int = 48  # held-out sequences per domain


@dataclass(frozen=True)
class Report:
    """Held-out losses in nats per token as {domain: (base, adapted)}, and the routers' separation."""

    parameters: int
    losses: dict[str, tuple[float, float]]
    separation: Separation | None


def train_adapter(target: Path, corpora: list[Corpus], run: Run) -> Report:
    """Trains, writes the adapter into ``target`` and measures it as saved (bfloat16).

    Raises ToolError if the domain loss is asked for and there are fewer heads than domains.
    """
    if run.domain_weight and run.shape.heads is not None and run.shape.heads < len(corpora):
        raise ToolError(f"the domain loss needs a head for each of {len(corpora)} domains; "
                        f"there are {run.shape.heads}")
    seed_everything(run.seed, run.threads)
    tokenizer = AutoTokenizer.from_pretrained(run.base)
    model = AutoModelForCausalLM.from_pretrained(run.base, dtype=run.base_dtype)
    adapted = adapt(model, run.shape)
    layers = list(adapted.values())
    streams = [encode(tokenizer, corpus.train) for corpus in corpora]
    held_out = [encode(tokenizer, corpus.held_out) for corpus in corpora]
    before = [held_out_loss(model, stream, run.length, run.windows) for stream in held_out]
    train(model, Mixture(corpora, streams, run.length, run.seed), run.schedule, _router_loss(layers, run))
    round_to_bf16(adapted)
    save_adapter(target, adapted, run.shape, run.base_name)
    after = [held_out_loss(model, stream, run.length, run.windows) for stream in held_out]
    losses = {corpus.name: pair for corpus, *pair in zip(corpora, before, after)}
    parameters = trained_parameters(model)
    if run.shape.heads is None or len(corpora) < 2:
        return Report(parameters, losses, None)
    gates = [[mean_gates(model, layers, stream, run.length, run.windows) for stream in part]
             for part in (streams, held_out)]
    return Report(parameters, losses, separation(*gates))


def _router_loss(layers: list[AdaptedLinear], run: Run) -> ExtraLoss | None:
    """The weighted domain loss of a HydraLoRA; None if it has no weight, or there are no routers."""
    if run.shape.heads is None or not run.domain_weight:
        return None
    return lambda domains: run.domain_weight * domain_loss(layers, domains)
