"""Low-rank adapters of linear layers, as modules to train and as files to serve.

LoRA (arXiv 2106.09685) adds ``s B A x`` to a layer. HydraLoRA (arXiv 2404.19245) shares one A
among N heads B_i and weighs them, per token and per layer, with a softmax router:

    y = W x + b + s * sum_i softmax(R x)_i B_i A x

The files are those of PEFT and of the HydraLoRA reference code: ``adapter_config.json`` and
``adapter_model.safetensors`` with keys ``base_model.model.<module path>.lora_A.weight`` [r, in],
``.lora_B.weight`` [out, r] (LoRA), ``.lora_B{i}.weight`` [out, r] and ``.lora_route.weight``
[N, in] (HydraLoRA).
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Sequence, TypeVar

import torch
from torch import nn

from hydrad_tools.errors import ToolError
from hydrad_tools.safetensors_io import StoredTensor, bf16, write_safetensors

Module = TypeVar("Module", bound=nn.Module)


@dataclass(frozen=True)
class AdapterShape:
    """What is adapted and how. ``heads`` is None for a plain LoRA, else N of a HydraLoRA."""

    rank: int
    alpha: float
    targets: tuple[str, ...]
    heads: int | None = None
    rank_stabilised: bool = False  # rsLoRA, arXiv 2312.03732: alpha / sqrt(r)

    @property
    def scale(self) -> float:
        """The factor s of the low-rank product."""
        return self.alpha / (math.sqrt(self.rank) if self.rank_stabilised else self.rank)

    def config(self, base_name: str) -> dict:
        """The ``adapter_config.json``; HydraLoRA's is told from LoRA's by ``lora_nums``."""
        config = {
            "base_model_name_or_path": base_name, "bias": "none", "fan_in_fan_out": False,
            "inference_mode": True, "lora_alpha": self.alpha, "lora_dropout": 0.0, "modules_to_save": None,
            "peft_type": "LORA", "r": self.rank, "target_modules": list(self.targets), "task_type": "CAUSAL_LM",
        }
        if self.heads is not None:
            return config | {"enable_lora": None, "lora_nums": self.heads, "merge_weights": False}
        return config | {"alpha_pattern": {}, "rank_pattern": {}, "init_lora_weights": True,
                         "use_dora": False, "use_rslora": self.rank_stabilised}


class AdaptedLinear(nn.Module):
    """A frozen linear layer with a LoRA or HydraLoRA beside it.

    The adapter computes in float32 whatever the type of the base. Every B starts at zero, so
    that training starts from the base model. ``gates`` holds the last forward pass's router
    output, [rows, tokens, N] (None for LoRA).
    """

    def __init__(self, base: nn.Linear, shape: AdapterShape):
        super().__init__()
        self.base = base
        self.scale = shape.scale
        self.lora_A = nn.Linear(base.in_features, shape.rank, bias=False)
        nn.init.kaiming_uniform_(self.lora_A.weight, a=math.sqrt(5))
        self.heads = nn.ParameterList(
            torch.zeros(base.out_features, shape.rank) for _ in range(shape.heads or 1))
        self.lora_route = None
        if shape.heads is not None:
            self.lora_route = nn.Linear(base.in_features, shape.heads, bias=False)
            nn.init.kaiming_uniform_(self.lora_route.weight, a=math.sqrt(5))
        self.gates: torch.Tensor | None = None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[rows, tokens, in] -> [rows, tokens, out]."""
        result, x = self.base(x), x.float()
        u = self.lora_A(x) * self.scale
        if self.lora_route is not None:
            self.gates = self.lora_route(x).softmax(-1)
            u = (self.gates.unsqueeze(-1) * u.unsqueeze(-2)).flatten(-2)  # [rows, tokens, N * r]
        return result + (u @ torch.cat(list(self.heads), dim=1).T).to(result.dtype)

    def tensors(self, prefix: str) -> dict[str, StoredTensor]:
        """The adapter's tensors, rounded to bfloat16, under the keys of the file format."""
        parts = {"lora_A": self.lora_A.weight}
        if self.lora_route is None:
            parts["lora_B"] = self.heads[0]
        else:
            parts["lora_route"] = self.lora_route.weight
            parts |= {f"lora_B{index}": head for index, head in enumerate(self.heads)}
        return {f"{prefix}.{name}.weight": bf16(value.detach().numpy()) for name, value in parts.items()}


def adapt(model: nn.Module, shape: AdapterShape) -> dict[str, AdaptedLinear]:
    """Freezes ``model`` and adapts every linear layer named in ``shape.targets``, in place.

    Returns the adapted layers by module path. Raises ToolError if a target is not found.
    """
    return replace_linears(model, shape.targets, lambda base: AdaptedLinear(base, shape))


def replace_linears(model: nn.Module, targets: Sequence[str],
                    make: Callable[[nn.Linear], Module]) -> dict[str, Module]:
    """Freezes ``model`` and puts ``make(layer)`` in the place of every linear layer named in ``targets``.

    Returns the new modules by path. Raises ToolError if a target is not found.
    """
    model.requires_grad_(False)
    replaced, found = {}, set()
    for path, module in list(model.named_modules()):
        parent, _, name = path.rpartition(".")
        if name in targets and isinstance(module, nn.Linear):
            replaced[path] = make(module)
            setattr(model.get_submodule(parent), name, replaced[path])
            found.add(name)
    if found != set(targets):
        raise ToolError(f"the model has no projection named {sorted(set(targets) - found)}")
    return replaced


def round_to_bf16(adapted: dict[str, AdaptedLinear]) -> None:
    """Rounds the adapter's parameters in place, so that what is measured is what is saved."""
    with torch.no_grad():
        for layer in adapted.values():
            for parameter in layer.parameters():
                if parameter.requires_grad:
                    parameter.copy_(parameter.bfloat16())


def save_adapter(target: Path, adapted: dict[str, AdaptedLinear], shape: AdapterShape, base_name: str) -> None:
    """Writes both files of the adapter into ``target``, which is created if need be."""
    target.mkdir(parents=True, exist_ok=True)
    tensors: dict[str, StoredTensor] = {}
    for path, layer in adapted.items():
        tensors |= layer.tensors(f"base_model.model.{path}")
    write_safetensors(target / "adapter_model.safetensors", tensors)
    text = json.dumps(shape.config(base_name), indent=2, sort_keys=True)
    (target / "adapter_config.json").write_text(text + "\n", encoding="utf-8")
