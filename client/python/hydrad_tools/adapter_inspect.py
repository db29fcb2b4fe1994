"""Says what an adapter directory holds, and what about it will not be served as one may expect.

The families and their files: LoRA as PEFT writes it; HydraLoRA (``lora_route`` and a shared
``lora_A``) and LoRAMoE (``lora_route`` and ``lora_A{i}``), both told by ``lora_nums``; MoA.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from hydrad_tools.errors import ToolError
from hydrad_tools.safetensors_io import StoredTensor, read_safetensors

_KEY = re.compile(r"base_model\.model\.(?P<path>.+)\.(?P<part>lora_(?:A|B)(?:\d+|\.[^.]+)?|lora_route)\.weight")
_UNSUPPORTED = ("MOLA", "ADAMOLE", "XLORA", "MIXLORA", "MOLE", "POLY", "MMOELORA", "LORAMOE")


@dataclass
class Projection:
    """One adapted projection: its low-rank pairs and its router, by part name (lora_A, lora_B0, ...)."""

    parts: dict[str, StoredTensor] = field(default_factory=dict)

    def matrices(self, kind: str) -> dict[str, StoredTensor]:
        """The parts that are A or B matrices (``kind``), by part name."""
        return {name: tensor for name, tensor in self.parts.items() if name.startswith(f"lora_{kind}")}


@dataclass
class Inspection:
    """What ``inspect`` found; ``ranks`` and ``heads`` are the sets over all projections."""

    family: str
    base: str | None
    scale: str
    ranks: list[int]
    heads: list[int]
    targets: list[str]
    projections: int
    dtypes: list[str]
    bytes: int
    warnings: list[str]

    def lines(self) -> list[str]:
        """The report, a line per fact."""
        facts = [("family", self.family), ("base model", self.base or "not named"), ("scale", self.scale),
                 ("ranks", _join(self.ranks)), ("heads", _join(self.heads)), ("targets", _join(self.targets)),
                 ("projections", self.projections), ("dtypes", _join(self.dtypes)),
                 ("bytes", f"{self.bytes:,}")]
        return [f"{name + ':':13}{value}" for name, value in facts] + [f"warning: {w}" for w in self.warnings]


def inspect(directory: Path) -> Inspection:
    """Reads both files of the adapter. Raises ToolError if one is missing or malformed."""
    config = _read_config(directory / "adapter_config.json")
    tensors = _read_tensors(directory)
    projections, strangers = _group(tensors)
    heads = sorted({len(p.matrices("B")) for p in projections.values()})
    return Inspection(
        family=_family(config, projections, tensors),
        base=config.get("base_model_name_or_path"),
        scale=_scale(config),
        ranks=sorted({a.shape[0] for p in projections.values() for a in p.matrices("A").values() if a.data.ndim == 2}),
        heads=heads,
        targets=sorted({path.rpartition(".")[2] for path in projections}),
        projections=len(projections),
        dtypes=sorted({tensor.dtype for tensor in tensors.values()}),
        bytes=sum(tensor.data.nbytes for tensor in tensors.values()),
        warnings=_config_warnings(config, projections) + _tensor_warnings(projections, strangers))


def _read_config(path: Path) -> dict[str, Any]:
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ToolError(f"{path}: {error.strerror}") from error
    except ValueError as error:
        raise ToolError(f"{path}: not JSON: {error}") from error
    if not isinstance(config, dict):
        raise ToolError(f"{path}: not a JSON object")
    return config


def _read_tensors(directory: Path) -> dict[str, StoredTensor]:
    path = directory / "adapter_model.safetensors"
    pickle = directory / "adapter_model.bin"
    if not path.exists() and pickle.exists():
        raise ToolError(f"{pickle}: a pickle, which is never opened as it is; convert it with "
                        "'hydrad-tools adapter import'")
    return read_safetensors(path)


def _group(tensors: dict[str, StoredTensor]) -> tuple[dict[str, Projection], list[str]]:
    """Tensors by projection, and the names that belong to none."""
    projections: dict[str, Projection] = defaultdict(Projection)
    strangers = []
    for name, tensor in tensors.items():
        key = _KEY.fullmatch(name)
        if key:
            projections[key["path"]].parts[key["part"]] = tensor
        else:
            strangers.append(name)
    return dict(projections), strangers


def _family(config: dict[str, Any], projections: dict[str, Projection], names: dict[str, StoredTensor]) -> str:
    kind = config.get("peft_type")
    if kind == "MOA":
        return "MoA"
    if kind in _UNSUPPORTED:
        return f"{kind} (not served)"
    if any("lora_route" in p.parts for p in projections.values()):
        return "HydraLoRA" if any("lora_A" in p.parts for p in projections.values()) else "LoRAMoE"
    if any(name.endswith("lora_magnitude_vector") for name in names):
        return "DoRA"
    if kind == "LORA":
        return "rsLoRA" if config.get("use_rslora") else "LoRA"
    return f"{kind} (unknown)"


def _scale(config: dict[str, Any]) -> str:
    rank, alpha = config.get("r"), config.get("lora_alpha")
    if not rank or alpha is None:
        return "not given"
    divisor = rank ** 0.5 if config.get("use_rslora") else rank
    patterns = ", with patterns" if config.get("rank_pattern") or config.get("alpha_pattern") else ""
    return f"{alpha / divisor:g} (alpha {alpha:g}, r {rank}{patterns})"


def _config_warnings(config: dict[str, Any], projections: dict[str, Projection]) -> list[str]:
    warnings = []
    routed = [path for path, p in projections.items() if "lora_route" in p.parts]
    if config.get("lora_nums") and not routed:
        warnings.append(f"lora_nums is {config['lora_nums']} but there is no lora_route tensor")
    if routed and not config.get("lora_nums"):
        warnings.append("there are lora_route tensors but lora_nums is not set")
    for path in routed:
        heads = len(projections[path].matrices("B"))
        if config.get("lora_nums") not in (None, heads):
            warnings.append(f"{path}: {heads} B heads, but lora_nums is {config['lora_nums']}")
    targets = config.get("target_modules")
    if isinstance(targets, list):
        unused = [t for t in targets if not any(path == t or path.endswith(f".{t}") for path in projections)]
        if unused:
            warnings.append(f"target_modules without tensors: {_join(unused)}")
    for name in ("use_dora", "modules_to_save", "fan_in_fan_out", "lora_bias", "layer_replication"):
        if config.get(name):
            warnings.append(f"{name} is {config[name]}")
    return warnings + ([f"bias is {config['bias']!r}"] if config.get("bias", "none") != "none" else [])


def _tensor_warnings(projections: dict[str, Projection], strangers: list[str]) -> list[str]:
    warnings = [f"tensor {name} belongs to no known part of an adapter" for name in strangers]
    if not projections:
        warnings.append("there is no low-rank tensor")
    for path, projection in projections.items():
        warnings += [f"{path}: {problem}" for problem in _projection_problems(projection)]
    return warnings


def _projection_problems(projection: Projection) -> list[str]:
    a, b = projection.matrices("A"), projection.matrices("B")
    if not a or not b:
        return [f"has no {'lora_A' if not a else 'lora_B'}"]
    problems = [f"{name} is not a matrix but {tensor.shape}" for name, tensor in projection.parts.items()
                if tensor.data.ndim != 2]
    if problems:
        return problems
    ranks = {tensor.shape[0] for tensor in a.values()} | {tensor.shape[1] for tensor in b.values()}
    if len(ranks) > 1:
        problems.append(f"A and B disagree on the rank: {_join(sorted(ranks))}")
    route = projection.parts.get("lora_route")
    if route is not None and route.shape[0] != len(b):
        problems.append(f"lora_route has {route.shape[0]} rows for {len(b)} heads")
    for name, tensor in projection.parts.items():
        if not np.isfinite(tensor.to_f32()).all():
            problems.append(f"{name} has a value that is not finite")
    if not any(tensor.to_f32().any() for tensor in b.values()):
        problems.append("every B is zero: the adapter changes nothing here")
    return problems


def _join(values: list) -> str:
    return ", ".join(str(value) for value in values) or "none"
