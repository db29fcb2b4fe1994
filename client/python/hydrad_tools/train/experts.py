"""MoA (arXiv 2403.03432): a LoRA per domain and a router per layer, as modules and as files.

For a sequence of which the routers (or the client) chose expert d, every target computes

    y = W x + b + s * B_d A_d x

The router of layer l reads the block's input, pooled over the prompt: R_l h + b_l, largest wins.
The files are hydrad's own: ``adapter_config.json`` with ``peft_type: MOA``, and tensors
``base_model.model.model.layers.{l}.moa_router.weight`` [experts, hidden], ``.bias`` [experts] and
``base_model.model.<module path>.lora_A.{expert}.weight`` [r, in], ``.lora_B.{expert}.weight``
[out, r].
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from hydrad_tools.errors import ToolError
from hydrad_tools.safetensors_io import StoredTensor, bf16, read_safetensors, write_safetensors
from hydrad_tools.train.low_rank import replace_linears

_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")


@dataclass(frozen=True)
class MoaShape:
    """What is adapted, for whom, and how a sequence's expert is chosen unless a request says."""

    rank: int
    alpha: float
    targets: tuple[str, ...]
    experts: tuple[str, ...]
    pool: str = "mean"  # or "last"
    decision: str = "vote"

    def __post_init__(self) -> None:
        """Raises ToolError for names that the daemon would not accept."""
        for name in self.experts:
            if not _NAME.fullmatch(name):
                raise ToolError(f"{name!r} cannot name an expert: a name has 1 to 64 of a-z A-Z 0-9 _ -")
        if len(set(self.experts)) < len(self.experts):
            raise ToolError(f"an expert is named twice: {', '.join(self.experts)}")

    def config(self, base_name: str) -> dict:
        """The ``adapter_config.json``."""
        return {
            "base_model_name_or_path": base_name, "bias": "none", "decision": self.decision,
            "experts": list(self.experts), "fan_in_fan_out": False, "inference_mode": True,
            "lora_alpha": self.alpha, "lora_dropout": 0.0, "modules_to_save": None, "peft_type": "MOA",
            "r": self.rank, "router": {"input": "block_input", "pool": self.pool, "bias": True},
            "target_modules": list(self.targets), "task_type": "CAUSAL_LM",
        }


class ExpertLinear(nn.Module):
    """A frozen linear layer with a LoRA per expert beside it, in float32; every B starts at zero.

    ``choice`` [rows] is the expert of each sequence of the next forward pass; None: the base alone.
    """

    def __init__(self, base: nn.Linear, shape: MoaShape):
        super().__init__()
        self.base = base
        self.scale = shape.alpha / shape.rank
        self.lora_A = nn.Parameter(torch.empty(len(shape.experts), shape.rank, base.in_features))
        for a in self.lora_A:
            nn.init.kaiming_uniform_(a, a=math.sqrt(5))
        self.lora_B = nn.Parameter(torch.zeros(len(shape.experts), base.out_features, shape.rank))
        self.choice: torch.Tensor | None = None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[rows, tokens, in] -> [rows, tokens, out]."""
        result = self.base(x)
        if self.choice is None:
            return result
        a, b = self.lora_A[self.choice], self.lora_B[self.choice]  # [rows, r, in], [rows, out, r]
        return result + (x.float() @ a.mT * self.scale @ b.mT).to(result.dtype)


class Router(nn.Module):
    """A linear classifier of pooled block inputs, [rows, hidden] -> [rows, experts].

    Residual streams have channels a thousand times the others, so it learns on standardised
    inputs (``fit_scale``); ``folded`` is the same map on inputs as they are.
    """

    def __init__(self, hidden: int, experts: int):
        super().__init__()
        self.linear = nn.Linear(hidden, experts)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)
        self.register_buffer("mean", torch.zeros(hidden), persistent=False)
        self.register_buffer("deviation", torch.ones(hidden), persistent=False)

    def forward(self, pooled: torch.Tensor) -> torch.Tensor:
        return self.linear((pooled - self.mean) / self.deviation)

    def fit_scale(self, pooled: torch.Tensor) -> None:
        """Takes the mean and deviation of each channel from ``pooled`` [samples, hidden]."""
        self.mean, self.deviation = pooled.mean(dim=0), pooled.std(dim=0) + 1e-3 * pooled.std()

    def folded(self) -> tuple[torch.Tensor, torch.Tensor]:
        """(weight [experts, hidden], bias [experts]) of the map on inputs as they are."""
        weight = self.linear.weight / self.deviation
        return weight, self.linear.bias - weight @ self.mean

    def round_to_bf16(self) -> None:
        """Becomes the map that the file holds: folded and rounded, on inputs as they are."""
        weight, bias = self.folded()
        self.linear.weight.copy_(weight.bfloat16())
        self.linear.bias.copy_(bias.bfloat16())
        self.mean, self.deviation = torch.zeros_like(self.mean), torch.ones_like(self.deviation)


class Moa:
    """A model with experts in its projections and a router before each of its layers."""

    def __init__(self, model: nn.Module, shape: MoaShape):
        """Freezes ``model`` and puts experts into it. Raises ToolError if a target is not found."""
        self.model, self.shape = model, shape
        self.experts = replace_linears(model, shape.targets, lambda base: ExpertLinear(base, shape))
        self.routers = nn.ModuleList(
            Router(model.config.hidden_size, len(shape.experts)) for _ in model.model.layers)
        model.moa_routers = self.routers  # so that they are among the model's parameters

    def load_expert(self, name: str, directory: Path) -> None:
        """Puts a LoRA in PEFT's format in the place of the expert ``name``.

        Raises ToolError unless it has the MoA's rank and targets and nothing else.
        """
        config = json.loads((directory / "adapter_config.json").read_text(encoding="utf-8"))
        tensors = read_safetensors(directory / "adapter_model.safetensors")
        rank = config.get("r")
        if config.get("peft_type") != "LORA" or config.get("lora_nums") or rank != self.shape.rank:
            raise ToolError(f"{directory}: not a plain LoRA of rank {self.shape.rank}")
        scale = config["lora_alpha"] / (math.sqrt(rank) if config.get("use_rslora") else rank)
        index, factor = self.shape.experts.index(name), scale * rank / self.shape.alpha
        with torch.no_grad():
            for path, expert in self.experts.items():
                for part, held in (("A", expert.lora_A), ("B", expert.lora_B)):
                    tensor = tensors.pop(f"base_model.model.{path}.lora_{part}.weight", None)
                    if tensor is None or tensor.shape != tuple(held[index].shape):
                        raise ToolError(f"{directory}: {path} has no lora_{part} of {tuple(held[index].shape)}")
                    held[index] = torch.from_numpy(tensor.to_f32()) * (factor if part == "B" else 1)
        if tensors:
            raise ToolError(f"{directory}: tensor {next(iter(tensors))} is of no target of the MoA")

    def choose(self, choice: torch.Tensor | None) -> None:
        """Sets the expert of each row, [rows], or of each row in each layer, [layers, rows]."""
        for path, expert in self.experts.items():
            layer = int(path.split(".")[2])
            expert.choice = choice if choice is None or choice.ndim == 1 else choice[layer]

    @torch.no_grad()
    def pooled(self, ids: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """What the routers read, [layers, rows, hidden], with the experts chosen at present.

        ``ids`` [rows, tokens] are prompts, filled up on the right; row i has ``lengths[i]`` tokens.
        """
        states = self.model.model(input_ids=ids, use_cache=False, output_hidden_states=True).hidden_states
        return torch.stack([pool(state.float(), lengths, self.shape.pool) for state in states[:-1]])

    def votes(self, ids: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Every router's logits, [layers, rows, experts], of prompts as for ``pooled``."""
        return torch.stack([router(inputs) for router, inputs in zip(self.routers, self.pooled(ids, lengths))])

    @torch.no_grad()
    def decide(self, ids: torch.Tensor, lengths: torch.Tensor, decision: str) -> torch.Tensor:
        """The experts that prompts get: [rows] by ``vote`` or ``last``, [layers, rows] by ``layer``."""
        self.choose(None)
        if decision == "layer":
            return self._decide_by_layer(ids, lengths)
        picked = self.votes(ids, lengths).argmax(-1)  # [layers, rows]
        if decision == "last":
            return picked[-1]
        tally = nn.functional.one_hot(picked, len(self.shape.experts)).sum(dim=0)
        return tally.argmax(-1)  # of equals the lower index, as the daemon has it

    def _decide_by_layer(self, ids: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Each layer follows its own router, the layers below already adapted."""
        chosen: list[torch.Tensor] = []

        def follow(layer: int):
            def hook(_module, inputs):
                chosen.append(self.routers[layer](pool(inputs[0].float(), lengths, self.shape.pool)).argmax(-1))
                for path, expert in self.experts.items():
                    if int(path.split(".")[2]) == layer:
                        expert.choice = chosen[-1]
            return hook

        handles = [block.register_forward_pre_hook(follow(layer))
                   for layer, block in enumerate(self.model.model.layers)]
        self.model.model(input_ids=ids, use_cache=False)
        for handle in handles:
            handle.remove()
        return torch.stack(chosen)

    def round_to_bf16(self) -> None:
        """Rounds everything trained in place, so that what is measured is what is saved."""
        with torch.no_grad():
            for expert in self.experts.values():
                expert.lora_A.copy_(expert.lora_A.bfloat16())
                expert.lora_B.copy_(expert.lora_B.bfloat16())
            for router in self.routers:
                router.round_to_bf16()

    def save(self, target: Path, base_name: str) -> None:
        """Writes both files into ``target``, which is created if need be."""
        target.mkdir(parents=True, exist_ok=True)
        tensors: dict[str, StoredTensor] = {}
        for layer, router in enumerate(self.routers):
            for name, value in zip(("weight", "bias"), router.folded()):
                tensors[f"base_model.model.model.layers.{layer}.moa_router.{name}"] = _stored(value)
        for path, expert in self.experts.items():
            for index, name in enumerate(self.shape.experts):
                prefix = f"base_model.model.{path}"
                tensors[f"{prefix}.lora_A.{name}.weight"] = _stored(expert.lora_A[index])
                tensors[f"{prefix}.lora_B.{name}.weight"] = _stored(expert.lora_B[index])
        write_safetensors(target / "adapter_model.safetensors", tensors)
        text = json.dumps(self.shape.config(base_name), indent=2, sort_keys=True)
        (target / "adapter_config.json").write_text(text + "\n", encoding="utf-8")


def pool(states: torch.Tensor, lengths: torch.Tensor, how: str) -> torch.Tensor:
    """One vector per prompt from ``states`` [rows, tokens, hidden]: its last token's, or the mean."""
    if how == "last":
        return states[torch.arange(len(states)), lengths - 1]
    inside = torch.arange(states.shape[1])[None, :] < lengths[:, None]  # [rows, tokens]
    return (states * inside.unsqueeze(-1)).sum(dim=1) / lengths.unsqueeze(-1)


def _stored(value: torch.Tensor) -> StoredTensor:
    return bf16(value.detach().numpy())
