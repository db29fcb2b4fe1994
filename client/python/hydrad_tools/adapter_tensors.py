"""Sorts the tensors of an adapter file, of whatever family, by the module that they belong to."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

from hydrad_tools.safetensors_io import StoredTensor

_PREFIX = re.compile(r"(base_model\.model\.|loramoe\.|mola\.|mixlora\.)")  # PEFT and its forks; MoE-PEFT
# What follows a module's path. ``expert`` is a number, or the name of an MoA's expert.
_PAIR = re.compile(r"(?P<path>.+?)\.(?:experts\.(?P<e1>[^.]+)\.)?lora_(?P<kind>[AB])(?:(?P<e2>\d+)|\.(?P<e3>[^.]+))?"
                   r"\.weight")
_ROUTER = re.compile(r"(?P<path>.+)\.(lora_route|lora_gating|moe_gate|moa_router)\.(?P<part>weight|bias)")
_EXTRA = re.compile(r"(?P<path>.+)\.(?P<part>lora_threshold\.weight|lora_threshold\.bias|lora_B\.bias|"
                    r"lora_magnitude_vector|lora_embedding_[AB]|token_adapter\.trainable_tokens_delta)(\.weight)?")
_BIAS = re.compile(r"(?P<path>.+?)(\.base_layer)?\.bias")  # the base's own, trained
_COPY = re.compile(r".+\.base_layer\.weight")  # the base's matrix, which PEFT saves beside a targeted embedding
_ALIAS = re.compile(r".+\.moe_layer\..+")  # AdaMoLE's second names


@dataclass
class Module:
    """One adapted module. A and B by expert; "" is the one A that all share, or a plain LoRA's pair."""

    a: dict[str, StoredTensor] = field(default_factory=dict)
    b: dict[str, StoredTensor] = field(default_factory=dict)
    router: StoredTensor | None = None
    router_bias: StoredTensor | None = None
    extras: dict[str, StoredTensor] = field(default_factory=dict)  # lora_B.bias, lora_magnitude_vector, ...

    def named(self) -> dict[str, StoredTensor]:
        """Every tensor, by the name that a user knows it under."""
        pairs = {f"lora_{kind}{e and '.' + e}": tensor for kind, group in (("A", self.a), ("B", self.b))
                 for e, tensor in group.items()}
        routers = {"router": self.router, "router bias": self.router_bias}
        return pairs | {name: tensor for name, tensor in routers.items() if tensor is not None} | self.extras


@dataclass
class Contents:
    """A file, sorted. ``modules`` have low-rank pairs or extras; ``routers`` are those of whole layers or MLPs.

    ``copies`` are matrices of the base as the adapter saw them; they are no part of it.
    """

    modules: dict[str, Module]
    routers: dict[str, Module]
    whole: dict[str, StoredTensor]  # modules_to_save: full tensors of the base model
    copies: list[str]
    aliases: list[str]
    strangers: list[str]

    @property
    def tensors(self) -> list[StoredTensor]:
        """All that would be held on a device."""
        held = [*self.modules.values(), *self.routers.values()]
        return [tensor for module in held for tensor in module.named().values()] + list(self.whole.values())


def sort_tensors(tensors: dict[str, StoredTensor], config: dict[str, Any]) -> Contents:
    """Every tensor to its place; one that no family has goes to the strangers."""
    modules: dict[str, Module] = defaultdict(Module)
    whole, copies, aliases, strangers = {}, [], [], []
    for name, tensor in tensors.items():
        key = _PREFIX.sub("", name, count=1) if _PREFIX.match(name) else name
        if _ALIAS.fullmatch(key):
            aliases.append(name)
        elif _COPY.fullmatch(key):
            copies.append(name)
        elif (match := _BIAS.fullmatch(key)) and config.get("bias") in ("all", "lora_only") and ".lora_" not in key:
            modules[match["path"]].extras["bias"] = tensor
        elif not _place(modules, key, tensor):
            if _is_whole(key, config):
                whole[key] = tensor
            else:
                strangers.append(name)
    pairs = {path: module for path, module in modules.items() if module.a or module.b or module.extras}
    routers = {path: module for path, module in modules.items() if path not in pairs}
    return Contents(pairs, routers, whole, copies, aliases, strangers)


def _place(modules: dict[str, Module], key: str, tensor: StoredTensor) -> bool:
    """Puts the tensor into its module; False if its name is no adapter's."""
    if match := _PAIR.fullmatch(key):
        expert = match["e1"] or match["e2"] or match["e3"] or ""
        group = modules[match["path"]].a if match["kind"] == "A" else modules[match["path"]].b
        group[expert] = tensor
    elif match := _ROUTER.fullmatch(key):
        module = modules[match["path"]]
        module.router, module.router_bias = ((tensor, module.router_bias) if match["part"] == "weight"
                                             else (module.router, tensor))
    elif match := _EXTRA.fullmatch(key):
        modules[match["path"]].extras[match["part"]] = tensor
    else:
        return False
    return True


def _is_whole(key: str, config: dict[str, Any]) -> bool:
    """Whether it is a full tensor of a module that the adapter brings along."""
    saved = config.get("modules_to_save") or []
    name = key.rpartition(".")[0].rpartition(".")[2]
    return name in saved or name in ("embed_tokens", "lm_head")
