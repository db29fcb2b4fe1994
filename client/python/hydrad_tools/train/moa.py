"""Trains a MoA in the paper's two stages and measures its experts and its routers.

Stage 1 trains a LoRA per domain on that domain alone. Stage 2 trains LoRAs and routers together on
all domains: the language-model loss under the sequence's own domain's expert, plus ``eta`` times
the cross entropy of every router's softmax against the domain, averaged over routers.

The routers learn from prompts, not from the sequences of the language-model loss: at work they
see where a prompt ends. They see each prompt twice, without an adapter (as ``vote`` and ``last``
will) and under its domain's expert (as ``layer`` will). No gradient goes from the routers into
the LoRAs: under its own domain's expert a hidden state could be bent to give the label away, which
would lower this loss and tell nothing of prompts whose domain is not known.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from transformers import AutoModelForCausalLM, AutoTokenizer

from hydrad_tools.errors import ToolError
from hydrad_tools.train.corpora import Corpus, Mixture, PromptMixture, TokenStream, encode, encode_prompts
from hydrad_tools.train.experts import Moa, MoaShape
from hydrad_tools.train.loop import Schedule, held_out_loss, seed_everything, train, trained_parameters
from hydrad_tools.train.routing import mutual_information

_SCALE_PROMPTS = 256  # from which the routers take the scale of their inputs
_WINDOW_PROMPT = 32  # tokens of a held-out window that stand for its prompt


@dataclass(frozen=True)
class MoaRun:
    """Everything besides the data that decides the result."""

    base: Path
    base_name: str  # written into adapter_config.json
    shape: MoaShape
    stage_one: Schedule  # of each domain's LoRA
    stage_two: Schedule
    length: int
    seed: int
    threads: int
    base_dtype: torch.dtype
    eta: float = 1.0
    trained: dict[str, Path] = field(default_factory=dict)  # experts that are there already, as PEFT directories
    windows: int = 48  # held-out sequences per domain
    prompts: int = 64  # held-out prompts per domain


@dataclass(frozen=True)
class MoaReport:
    """Held-out losses in nats per token by domain and column, and what the routers know."""

    parameters: int
    losses: dict[str, dict[str, float]]  # {domain: {"base", "stage 1", "label", "vote"}}
    accuracy: dict[str, float]  # of held-out prompts, by decision; "layer": mean over layers
    layer_accuracy: list[float]  # of each layer's router in the routing pass on the base
    mutual_information: float  # bits between domain and router's softmax, mean over layers
    best_router: float  # the same, of the best layer
    bound: float  # bits: the entropy of the domains


def train_moa(target: Path, corpora: list[Corpus], run: MoaRun) -> MoaReport:
    """Trains, writes the adapter into ``target`` and measures it as saved (bfloat16).

    Raises ToolError if a trained expert is none of the domains, or does not fit.
    """
    strangers = set(run.trained) - {corpus.name for corpus in corpora}
    if strangers:
        raise ToolError(f"expert {min(strangers)} has no --text")
    seed_everything(run.seed, run.threads)
    tokenizer = AutoTokenizer.from_pretrained(run.base)
    moa = Moa(AutoModelForCausalLM.from_pretrained(run.base, dtype=run.base_dtype), run.shape)
    streams = [encode(tokenizer, corpus.train) for corpus in corpora]
    held_out = [encode(tokenizer, corpus.held_out) for corpus in corpora]
    rng = np.random.default_rng(run.seed)
    prompts = [encode_prompts(tokenizer, corpus.train, rng) for corpus in corpora]
    losses = {corpus.name: {"base": _loss(moa, stream, run, None)} for corpus, stream in zip(corpora, held_out)}
    for domain, corpus in enumerate(corpora):
        if corpus.name in run.trained:
            moa.load_expert(corpus.name, run.trained[corpus.name])
        else:
            _train_expert(moa, domain, corpus, streams[domain], run)
        losses[corpus.name]["stage 1"] = _loss(moa, held_out[domain], run, domain)
    _train_together(moa, corpora, streams, PromptMixture(corpora, prompts, run.seed), run)
    moa.round_to_bf16()
    moa.save(target, run.base_name)
    for domain, corpus in enumerate(corpora):
        losses[corpus.name]["label"] = _loss(moa, held_out[domain], run, domain)
        losses[corpus.name]["vote"] = _loss(moa, held_out[domain], run, "vote")
    held_out_prompts = [encode_prompts(tokenizer, corpus.held_out, rng)[:run.prompts] for corpus in corpora]
    return _report(moa, held_out_prompts, losses)


def _train_expert(moa: Moa, domain: int, corpus: Corpus, stream: TokenStream, run: MoaRun) -> None:
    """Stage 1 for one domain; the other experts have no gradient and stay as they are."""
    print(f"stage 1, expert {corpus.name}", flush=True)
    moa.choose(torch.full((run.stage_one.rows,), domain))
    train(moa.model, Mixture([corpus], [stream], run.length, run.seed), run.stage_one)


def _train_together(moa: Moa, corpora: list[Corpus], streams: list[TokenStream], prompts: PromptMixture,
                    run: MoaRun) -> None:
    """Stage 2."""
    print("stage 2, experts and routers", flush=True)
    _fit_scales(moa, prompts)

    def router_loss(_domains: np.ndarray) -> torch.Tensor:
        ids, lengths, domains = (torch.from_numpy(part) for part in prompts.batch(run.stage_two.rows))
        return run.eta * domain_loss(moa, ids, lengths, domains)

    train(moa.model, Mixture(corpora, streams, run.length, run.seed), run.stage_two, router_loss,
          lambda domains: moa.choose(torch.from_numpy(domains)))


def domain_loss(moa: Moa, ids: torch.Tensor, lengths: torch.Tensor, domains: torch.Tensor) -> torch.Tensor:
    """Mean cross entropy of the routers against ``domains``, without and with the domains' experts."""
    parts = []
    for choice in (None, domains):
        moa.choose(choice)
        votes = moa.votes(ids, lengths)
        parts.append(F.cross_entropy(votes.flatten(0, 1), domains.repeat(len(votes))))
    return torch.stack(parts).mean()


@torch.no_grad()
def _fit_scales(moa: Moa, prompts: PromptMixture) -> None:
    """Gives every router the scale of its inputs in the routing pass on the base."""
    moa.choose(None)
    ids, lengths, _ = (torch.from_numpy(part) for part in prompts.batch(_SCALE_PROMPTS))
    pooled = moa.pooled(ids, lengths)
    for router, inputs in zip(moa.routers, pooled):
        router.fit_scale(inputs)


def _loss(moa: Moa, stream: TokenStream, run: MoaRun, how: int | str | None) -> float:
    """Held-out loss without an adapter (None), under one expert, or as a decision routes each window."""

    def prepare(ids: np.ndarray) -> None:
        if isinstance(how, str):
            prompt = torch.from_numpy(ids[:, :_WINDOW_PROMPT])
            moa.choose(moa.decide(prompt, torch.full((len(ids),), prompt.shape[1]), how))
        else:
            moa.choose(None if how is None else torch.full((len(ids),), how))

    return held_out_loss(moa.model, stream, run.length, run.windows, prepare=prepare)


@torch.no_grad()
def _report(moa: Moa, prompts: list[list[np.ndarray]], losses: dict[str, dict[str, float]]) -> MoaReport:
    hits: dict[str, list[float]] = {"vote": [], "last": [], "layer": []}
    by_layer, gates = [], []
    for domain, part in enumerate(prompts):
        ids, lengths = (torch.from_numpy(value) for value in PromptMixture.pad(part))
        for decision, rates in hits.items():
            rates.append((moa.decide(ids, lengths, decision) == domain).float().mean().item())
        moa.choose(None)
        votes = moa.votes(ids, lengths)  # [layers, prompts, experts]
        by_layer.append((votes.argmax(-1) == domain).float().mean(dim=1).numpy())
        gates.append(votes.softmax(-1).mean(dim=1).numpy())  # [layers, experts]
    information = mutual_information(np.stack(gates))
    return MoaReport(trained_parameters(moa.model), losses, {name: float(np.mean(r)) for name, r in hits.items()},
                     np.mean(by_layer, axis=0).tolist(), float(information.mean()), float(information.max()),
                     float(np.log2(len(prompts))))
