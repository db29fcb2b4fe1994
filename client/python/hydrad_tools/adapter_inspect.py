"""Says what an adapter directory holds, and what about it will not be served as one may expect.

The families and their files: LoRA as PEFT writes it, with its variants; HydraLoRA (``lora_route``
and a shared ``lora_A``) and LoRAMoE (``lora_route`` and ``lora_A{i}``), both told by
``lora_nums``; MoLA and LoRAMoE as MoE-PEFT writes them; AdaMoLE and MoLE; MoA, with its experts in
the file or in directories of their own.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable

from hydrad_tools.adapter_tensors import Contents, sort_tensors
from hydrad_tools.adapter_traps import NOT_SERVED, config_warnings, moa_warnings, module_warnings
from hydrad_tools.errors import ToolError
from hydrad_tools.safetensors_io import StoredTensor, read_safetensors

_CONFIG, _TENSORS = "adapter_config.json", "adapter_model.safetensors"


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


def _is_rank(value: Any) -> bool:
    return type(value) is int and 1 <= value <= 1 << 16


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _list_of(what: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list) and all(map(what, value))


# What the fields that are read here can be; null is none of them.
_FIELDS: dict[str, Callable[[Any], bool]] = {
    "peft_type": _is_text, "base_model_name_or_path": _is_text, "lora_nums": _is_rank, "lora_rank": _is_rank,
    "r": lambda value: _is_rank(value) or _list_of(_is_rank)(value),
    "lora_alpha": lambda value: _is_number(value) or _list_of(_is_number)(value),
    "target_modules": lambda value: _is_text(value) or _list_of(_is_text)(value),
    "modules_to_save": _list_of(_is_text), "experts": _list_of(_is_text), "router": lambda v: isinstance(v, dict),
    "expert_paths": lambda value: isinstance(value, dict) and all(map(_is_text, value.values())),
    "decision": _is_text,
}


@dataclass
class Inspection:
    """What ``inspect`` found; ``ranks`` and ``heads`` are the sets over all projections."""

    family: str
    base: str | None
    scale: str
    ranks: list[int]
    heads: list[int]
    router: str
    targets: list[str]
    projections: int
    dtypes: list[str]
    bytes: int  # of the tensors in the files
    parameters: int
    digest: str  # as the daemon reports it
    experts: dict[str, str]  # of an MoA: what each is
    warnings: list[str]

    def lines(self) -> list[str]:
        """The report, a line per fact."""
        facts = [("family", self.family), ("base model", self.base or "not named"), ("scale", self.scale),
                 ("ranks", _join(self.ranks)), ("heads", _join(self.heads)), ("router", self.router),
                 ("targets", _join(self.targets)), ("projections", self.projections), ("dtypes", _join(self.dtypes)),
                 ("parameters", f"{self.parameters:,}"), ("bytes", f"{self.bytes:,} in the file"),
                 ("on a device", f"{2 * self.parameters:,} bytes in bfloat16, {4 * self.parameters:,} in float32, "
                                 "and small tables"),
                 ("digest", self.digest)]
        experts = [("expert", f"{name}: {what}") for name, what in self.experts.items()]
        return [f"{name + ':':13}{value}" for name, value in facts + experts] + [
            f"warning: {w}" for w in self.warnings]


def inspect(directory: Path) -> Inspection:
    """Reads the adapter's files. Raises ToolError if one is missing or malformed."""
    config = _read_config(directory / _CONFIG)
    contents = sort_tensors(_read_tensors(directory, config), config)
    family, served = _family(config, contents, directory)
    parts = {name: inspect(directory / path) for name, path in _expert_paths(directory, config).items()}
    found = Inspection(
        family=family, base=config.get("base_model_name_or_path"), scale=_scale(config),
        ranks=_ranks(contents), heads=sorted({len(m.b) for m in contents.modules.values() if m.b}),
        router=_router(config, contents), targets=_targets(contents), projections=len(contents.modules),
        dtypes=sorted({tensor.dtype for tensor in contents.tensors}),
        bytes=sum(tensor.data.nbytes for tensor in contents.tensors),
        parameters=sum(tensor.data.size for tensor in contents.tensors), digest=_digest(directory),
        experts=_experts(config, contents), warnings=_warnings(config, contents, served))
    for name, part in parts.items():
        _add_expert(found, name, part)
    return found


def _read_config(path: Path) -> dict[str, Any]:
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ToolError(f"{path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise ToolError(f"{path}: not JSON: {error}") from error
    if not isinstance(config, dict):
        raise ToolError(f"{path}: not a JSON object")
    for name, value in config.items():
        if value is not None and not _FIELDS.get(name, lambda _: True)(value):
            raise ToolError(f"{path}: field {name!r} cannot be {str(value)[:100]}")
    return config


def _read_tensors(directory: Path, config: dict[str, Any]) -> dict[str, StoredTensor]:
    path = directory / _TENSORS
    pickle = next((directory / name for name in ("adapter_model.bin", "pytorch_model.bin", "adapter_model.pth")
                   if (directory / name).exists()), None)
    if not path.exists() and pickle:
        raise ToolError(f"{pickle}: a pickle, which is never opened as it is; convert it with "
                        "'hydrad-tools adapter import'")
    if not path.exists() and config.get("expert_paths"):
        return {}
    return read_safetensors(path)


def _expert_paths(directory: Path, config: dict[str, Any]) -> dict[str, str]:
    paths = config.get("expert_paths") or {}
    for name, path in paths.items():
        if not (directory / path).resolve().is_relative_to(directory.resolve()) or path in ("", "."):
            raise ToolError(f"{directory / _CONFIG}: expert_paths: {name}: {path!r} is not inside the directory")
    return paths


def _add_expert(found: Inspection, name: str, part: Inspection) -> None:
    """Adds an expert that is a directory of its own to what was found of the whole."""
    found.experts[name] = f"{part.family}, rank {_join(part.ranks)}, in a directory of its own"
    found.ranks = sorted({*found.ranks, *part.ranks})
    found.targets = sorted({*found.targets, *part.targets})
    found.dtypes = sorted({*found.dtypes, *part.dtypes})
    found.projections = max(found.projections, part.projections)
    found.parameters, found.bytes = found.parameters + part.parameters, found.bytes + part.bytes
    if part.family not in ("LoRA", "rsLoRA"):
        found.warnings.append(f"expert {name} is {part.family}, but only a plain LoRA can be one")
    found.warnings += [f"expert {name}: {warning}" for warning in part.warnings]


def _family(config: dict[str, Any], contents: Contents, directory: Path) -> tuple[str, bool]:
    """The family's name, and whether hydrad serves it."""
    kind = config.get("peft_type")
    if kind in NOT_SERVED:
        return NOT_SERVED[kind], False
    if (directory / "moe_args.pth").exists():
        return "MLLM-HydraLoRA", False
    modules = contents.modules.values()
    if kind == "LORA" and any(m.router is not None for m in modules):
        return ("HydraLoRA" if any("" in m.a for m in modules) else "LoRAMoE"), True
    if kind == "LORA" and any("lora_magnitude_vector" in m.extras for m in modules):
        return "DoRA", True
    if kind == "LORA" and config.get("alora_invocation_tokens"):
        return "aLoRA", True
    if kind == "LORA":
        return ("rsLoRA" if config.get("use_rslora") else "LoRA"), True
    names = {"MOA": "MoA", "MOLA": "MoLA", "LORAMOE": "LoRAMoE (MoE-PEFT)", "ADAMOLE": "AdaMoLE", "MOLE": "MoLE"}
    return names.get(kind, f"{kind} (unknown)"), kind in names


def _scale(config: dict[str, Any]) -> str:
    rank, alpha = config.get("r") or config.get("lora_rank"), config.get("lora_alpha")
    if rank is None or alpha is None:
        return "not given"
    if isinstance(rank, list) or isinstance(alpha, list):
        return f"by expert (alpha {alpha}, r {rank})"
    divisor = rank ** 0.5 if config.get("use_rslora") else rank
    patterns = ", with patterns" if config.get("rank_pattern") or config.get("alpha_pattern") else ""
    return f"{alpha / divisor:g} (alpha {alpha:g}, r {rank}{patterns})"


def _router(config: dict[str, Any], contents: Contents) -> str:
    """How the experts are weighed or picked."""
    kind = config.get("peft_type")
    if kind == "MOA":
        pool = (config.get("router") or {}).get("pool", "last")
        what = "the mean of the prompt's tokens" if pool == "mean" else "the prompt's last token"
        decision = f"decision {config.get('decision', 'vote')}"
        return f"one per layer, reads {what}; one expert per sequence, {decision}" if contents.routers else (
            f"none; one expert per sequence, {decision}")
    if kind == "ADAMOLE":
        return "one per projection, by token: experts over a threshold of its own"
    if kind in ("MOLA", "MIXLORA") or (kind == "MOLE" and config.get("top_k")):
        return f"one per projection, by token: the {config.get('top_k')} largest, renormalised"
    if kind == "MOLE":
        return f"one per projection, by token: experts over {config.get('threshold')}"
    if any(module.router is not None for module in contents.modules.values()):
        few = kind == "LORA" and config.get("top_k")
        rule = f"the {few} largest of all heads, renormalised" if few else "softmax over all heads"
        return f"one per projection, by token: {rule}"
    return "none"


def _ranks(contents: Contents) -> list[int]:
    pairs = [a for module in contents.modules.values() for a in module.a.values()]
    embeddings = [m.extras["lora_embedding_A"] for m in contents.modules.values() if "lora_embedding_A" in m.extras]
    return sorted({a.shape[0] for a in pairs + embeddings if a.data.ndim == 2})


def _targets(contents: Contents) -> list[str]:
    whole = {f"{name.removesuffix('.weight').rpartition('.')[2]} (whole)" for name in contents.whole}
    return sorted({path.rpartition(".")[2] for path in contents.modules} | whole)


def _experts(config: dict[str, Any], contents: Contents) -> dict[str, str]:
    """The experts that an MoA's file holds."""
    if config.get("peft_type") != "MOA":
        return {}
    ranks: dict[str, set[int]] = {}
    for module in contents.modules.values():
        for name, a in module.a.items():
            ranks.setdefault(name, set()).add(a.shape[0] if a.data.ndim == 2 else 0)
    return {name: f"rank {_join(sorted(found))}" for name, found in ranks.items()}


def _warnings(config: dict[str, Any], contents: Contents, served: bool) -> list[str]:
    warnings = [] if served else [f"peft_type is {config.get('peft_type')}: not served, the daemon refuses it by name"]
    if not contents.modules and not config.get("expert_paths"):
        warnings.append("there is no low-rank tensor")
    if contents.aliases:
        warnings.append(f"{len(contents.aliases)} second names of tensors below moe_layer")
    warnings += config_warnings(config, contents)
    if config.get("peft_type") == "MOA":
        warnings += moa_warnings(config, contents)
    warnings += [f"tensor {name} belongs to no known part of an adapter" for name in contents.strangers]
    for path, module in contents.modules.items():
        warnings += module_warnings(path, module)
    return warnings


def _digest(directory: Path) -> str:
    """sha256 over the configuration and the tensors, one after the other."""
    digest = hashlib.sha256()
    for name in (_CONFIG, _TENSORS):
        if (directory / name).exists():
            digest.update((directory / name).read_bytes())
    return f"sha256:{digest.hexdigest()}"


def _join(values: list) -> str:
    return ", ".join(str(value) for value in values) or "none"
