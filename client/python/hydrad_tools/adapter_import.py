"""Converts an adapter that was saved as a pickle to safetensors, the only form the daemon opens.

Names and types of the tensors stay, with three exceptions: doubles become floats, for the daemon
has no doubles; second names of one tensor under ``moe_layer`` (AdaMoLE saves them) are left out;
and the files of the MoA re-implementation, whose names are its own, become adapters in our format.
"""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hydrad_tools.errors import ToolError
from hydrad_tools.safetensors_io import StoredTensor, write_safetensors
from hydrad_tools.torch_pickle import read_torch_pickle

_PICKLES = ("adapter_model.bin", "adapter_model.pth", "adapter_model.pt", "pytorch_model.bin")
_CONFIG = "adapter_config.json"
_CONFIG_PLACES = (_CONFIG, f"sft_lora_model/{_CONFIG}", f"../sft_lora_model/{_CONFIG}")
_EXPERT = re.compile(r"(?P<path>.+)\.experts\.(?P<name>[^.]+)\.(?P<part>[AB])")
_ROUTER = re.compile(r".+\.router\.(weight|bias)")
_LORA = re.compile(r"(?P<path>.+)\.(?P<part>[AB])")
_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")


@dataclass(frozen=True)
class ImportOptions:
    """What a file without a configuration does not say."""

    alpha: float | None = None
    without_routers: bool = False  # leave out routers that ours cannot compute, instead of refusing


def import_adapter(source: Path, target: Path, options: ImportOptions = ImportOptions()) -> list[str]:
    """Writes the adapter of ``source`` into ``target``; returns what is to be said about it.

    ``source`` is a pickle, or a directory that holds one under a usual name. Raises ToolError if
    the pickle holds anything but tensors, or the configuration is missing where one is needed.
    Nothing is written then.
    """
    pickle = _find_pickle(source)
    tensors = read_torch_pickle(pickle)
    config = next((pickle.parent / place for place in _CONFIG_PLACES if (pickle.parent / place).is_file()), None)
    if config is None and _is_reimplementation(tensors):
        return _import_reimplementation(pickle, tensors, target, options)
    if config is None:
        raise ToolError(f"{pickle.parent / _CONFIG}: No such file; without it nobody knows rank, scale and family")
    tensors, notes = _as_served(tensors)
    _write(target, tensors)
    if config.resolve() != (target / _CONFIG).resolve():
        shutil.copyfile(config, target / _CONFIG)
    return notes


def _find_pickle(source: Path) -> Path:
    if not source.is_dir():
        return source
    for name in _PICKLES:
        if (source / name).is_file():
            return source / name
    raise ToolError(f"{source}: holds none of {', '.join(_PICKLES)}")


def _as_served(tensors: dict[str, StoredTensor]) -> tuple[dict[str, StoredTensor], list[str]]:
    """The tensors that the daemon's readers know, and a line for each kind of change."""
    kept = {name: tensor for name, tensor in tensors.items() if not _is_alias(name, tensors)}
    notes = []
    if len(kept) < len(tensors):
        notes.append(f"left out {len(tensors) - len(kept)} second names of tensors below moe_layer")
    doubles = [name for name, tensor in kept.items() if tensor.dtype == "F64"]
    for name in doubles:
        kept[name] = StoredTensor("F32", kept[name].data.astype(np.float32))
    if doubles:
        notes.append(f"rounded {len(doubles)} tensors from double to float")
    return kept, notes


def _is_alias(name: str, tensors: dict[str, StoredTensor]) -> bool:
    """Whether ``X.moe_layer.experts.{e}.lora_A.weight`` repeats ``X.lora_A.{e}.weight``."""
    match = re.fullmatch(r"(.+)\.moe_layer\.experts\.(\d+)\.(lora_[AB])\.weight", name)
    original = match and tensors.get(f"{match[1]}.{match[3]}.{match[2]}.weight")
    return bool(original) and original.dtype == tensors[name].dtype and np.array_equal(
        original.data, tensors[name].data, equal_nan=original.data.dtype.kind == "f")


def _write(target: Path, tensors: dict[str, StoredTensor], config: dict[str, Any] | None = None) -> None:
    target.mkdir(parents=True, exist_ok=True)
    write_safetensors(target / "adapter_model.safetensors", tensors)
    if config is not None:
        (target / _CONFIG).write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")


# The MoA re-implementation (terateil/BS_thesis): tensors <module>.experts.<task>.A and .B with a router
# for each module, or <module>.A and .B of one task; no configuration.


def _is_reimplementation(tensors: dict[str, StoredTensor]) -> bool:
    return bool(tensors) and all(_pattern_of(name) for name in tensors)


def _pattern_of(name: str) -> re.Match | None:
    """The match of a tensor's name with one of the re-implementation's patterns."""
    return _EXPERT.fullmatch(name) or _ROUTER.fullmatch(name) or _LORA.fullmatch(name)


def _import_reimplementation(pickle: Path, tensors: dict[str, StoredTensor], target: Path,
                             options: ImportOptions) -> list[str]:
    if options.alpha is None:
        raise ToolError(f"{pickle}: the file does not say lora_alpha; give --alpha (its code's default is 16)")
    routers = [name for name in tensors if _ROUTER.fullmatch(name)]
    if routers and not options.without_routers:
        raise ToolError(
            f"{pickle}: {routers[0]} and {len(routers) - 1} more are routers of single modules, which read what the "
            "module reads; hydrad's read what enters the layer, before its norm, and decide for the whole layer, so "
            "these have no equal there. --without-routers imports the experts, for requests that name the domain")
    tensors, notes = _as_served({name: tensor for name, tensor in tensors.items() if name not in routers})
    named = {name: _EXPERT.fullmatch(name) for name in tensors}
    experts = list(dict.fromkeys(match["name"] for match in named.values() if match))
    if experts and not all(named.values()):
        stranger = next(name for name, match in named.items() if not match)
        raise ToolError(f"{pickle}: {stranger} belongs to no expert, though others do")
    bad = [name for name in experts if not _NAME.fullmatch(name)]
    if bad:
        raise ToolError(f"{pickle}: an expert named {bad[0]!r} cannot be served; a name has 1 to 64 of a-z A-Z 0-9 _ -")
    renamed = {_new_name(name): tensor for name, tensor in tensors.items()}
    _write(target, renamed, _config(pickle, renamed, experts, options.alpha))
    if routers:
        notes.append(f"left out {len(routers)} router tensors: requests must name the domain (decision label)")
    return notes


def _new_name(name: str) -> str:
    match = _EXPERT.fullmatch(name)
    expert = f".{match['name']}" if match else ""
    match = match or _LORA.fullmatch(name)
    return f"base_model.model.{match['path']}.lora_{match['part']}{expert}.weight"


def _config(pickle: Path, tensors: dict[str, StoredTensor], experts: list[str], alpha: float) -> dict[str, Any]:
    ranks = {tensor.shape[0] for name, tensor in tensors.items() if ".lora_A." in name and tensor.data.ndim == 2}
    if len(ranks) != 1:
        raise ToolError(f"{pickle}: its A matrices have ranks {sorted(ranks)}; its code writes one rank")
    targets = sorted({name.partition(".lora_")[0].rpartition(".")[2] for name in tensors})
    config = {"base_model_name_or_path": None, "bias": "none", "inference_mode": True, "lora_alpha": alpha,
              "r": ranks.pop(), "target_modules": targets, "task_type": "CAUSAL_LM", "peft_type": "LORA"}
    return config | {"peft_type": "MOA", "experts": experts, "decision": "label"} if experts else config
