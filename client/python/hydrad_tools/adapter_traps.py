"""What in an ``adapter_config.json`` makes an adapter compute something else than one would expect."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from hydrad_tools.adapter_tensors import Contents, Module
from hydrad_tools.safetensors_io import StoredTensor

# peft_type of families that hydrad refuses to load.
NOT_SERVED = {
    "XLORA": "X-LoRA", "MIXLORA": "MixLoRA", "MMOELORA": "MOELoRA", "POLY": "Poly", "ADALORA": "AdaLoRA",
    "LOHA": "LoHa", "LOKR": "LoKr", "VERA": "VeRA", "IA3": "IA3", "OFT": "OFT", "BOFT": "BOFT",
    "PROMPT_TUNING": "prompt tuning", "PREFIX_TUNING": "prefix tuning", "P_TUNING": "p-tuning",
}
_SWITCHES = {
    "fan_in_fan_out": "weights stored as [in, out], for layers that Llamas do not have",
    "layer_replication": "the base's layers are repeated; tensors name layers that it does not have",
    "target_parameters": "LoRA on bare parameters, such as fused experts",
    "use_qalora": "QALoRA pools the input in groups",
    "use_bdlora": "BdLoRA's factors are block-diagonal",
    "kasa_config": "KaSA has singular values beside A and B",
    "arrow_config": "Arrow routes by prototypes from a random start",
    "monteclora_config": "MonteCLoRA samples its weights",
    "megatron_config": "made for Megatron's parallel layers",
    "enable_lora": "LoRA on parts of a merged layer",
}
_HARMLESS_INITS = [None, True, False, "gaussian", "orthogonal", "eva", "mica"]
_DECISIONS = ("vote", "last", "layer", "label")


def config_warnings(config: dict[str, Any], contents: Contents) -> list[str]:
    """A line for everything in ``config`` that is a trap with these tensors."""
    warnings = [f"{name} is {config[name]}: {text}; not served" for name, text in _SWITCHES.items() if config.get(name)]
    init = config.get("init_lora_weights")
    if init not in _HARMLESS_INITS:
        warnings.append(f"init_lora_weights is {init!r}: such a training starts by changing the base's weights, and "
                        "the adapter is wrong on the plain base unless it was converted when it was saved; not served")
    biases = any("bias" in module.extras for module in contents.modules.values())
    if config.get("bias") in ("all", "lora_only") and not biases:
        warnings.append(f"bias is {config['bias']!r}, but there are no trained biases")
    if config.get("merge_weights"):
        warnings.append("merge_weights is set, but a router decides by token: nothing merges such an adapter")
    return warnings + _dora_warnings(config, contents) + _heads_warnings(config, contents) + _targets(config, contents)


def _dora_warnings(config: dict[str, Any], contents: Contents) -> list[str]:
    with_magnitude = [path for path, m in contents.modules.items() if "lora_magnitude_vector" in m.extras]
    if not config.get("use_dora"):
        return [f"{path}: lora_magnitude_vector is there, but use_dora is not set" for path in with_magnitude[:1]]
    warnings = [f"{path}: use_dora is set, but there is no lora_magnitude_vector"
                for path, module in contents.modules.items() if module.a and path not in with_magnitude]
    if config.get("lora_bias"):
        warnings.append("lora_bias together with use_dora, which PEFT refuses to make")
    return warnings + (["DoRA: needs the norms of the base's rows, so the result depends on the very base it was "
                        "trained on"] if with_magnitude else [])


def _heads_warnings(config: dict[str, Any], contents: Contents) -> list[str]:
    """HydraLoRA and LoRAMoE: lora_nums, and a router in every module."""
    heads = config.get("lora_nums")
    routed = [path for path, module in contents.modules.items() if module.router is not None]
    if config.get("peft_type") != "LORA":
        return []
    warnings = []
    if heads and not routed:
        warnings.append(f"lora_nums is {heads} but there is no lora_route tensor")
    if routed and not heads:
        warnings.append("there are lora_route tensors but lora_nums is not set")
    for path in routed:
        count = len(contents.modules[path].b)
        if heads not in (None, count):
            warnings.append(f"{path}: {count} B heads, but lora_nums is {heads}")
    if heads and routed:
        warnings += [f"{path}: has no router, though others have" for path in contents.modules if path not in routed]
    named = sorted({name for module in contents.modules.values() for name in module.b if not name.isdigit()} - {""})
    if named:
        warnings.append(f"keys still carry the name of an adapter ({', '.join(named)}), which PEFT leaves out when it "
                        "saves")
    if heads == 1:
        warnings.append("lora_nums is 1: the router has nothing to choose from")
    targets = config.get("target_modules")
    if heads and isinstance(targets, list) and len(targets) == 1:
        warnings.append("a single target: the HydraLoRA code takes that for a merged layer and cannot have trained it")
    return warnings


def _targets(config: dict[str, Any], contents: Contents) -> list[str]:
    """target_modules against the tensors: the daemon refuses what differs, unless it is told to be lenient."""
    targets, warnings = config.get("target_modules"), []
    adapted = [path for path, module in contents.modules.items() if not set(module.extras) >= set(module.named())]
    if isinstance(targets, list):
        unused = [t for t in targets if not any(p == t or p.endswith(f".{t}") for p in contents.modules)]
        if unused:
            warnings.append(f"target_modules without tensors: {', '.join(unused)}")
        stray = sorted({p.rpartition(".")[2] for p in adapted if not any(p.endswith(t) for t in targets)})
        if stray:
            warnings.append(f"tensors of modules that target_modules does not name: {', '.join(stray)}")
    elif isinstance(targets, str) and targets != "all-linear":
        stray = sorted({p.rpartition(".")[2] for p in adapted if not _matches(targets, p)})
        if stray:
            warnings.append(f"tensors of modules that target_modules {targets!r} does not match: {', '.join(stray)}")
    if not config.get("rank_pattern") and isinstance(config.get("r"), int) and config.get("peft_type") == "LORA":
        ranks = {a.shape[0] for m in contents.modules.values() for a in m.a.values() if a.data.ndim == 2}
        if ranks - {config["r"]}:
            found = ", ".join(map(str, sorted(ranks)))
            warnings.append(f"r is {config['r']}, but there are A matrices of rank {found}")
    return warnings


def _matches(pattern: str, path: str) -> bool:
    try:
        return re.fullmatch(pattern, path) is not None
    except re.error:
        return False


def moa_warnings(config: dict[str, Any], contents: Contents) -> list[str]:
    """MoA: a router for every layer, a row and an adapter for every expert."""
    experts, warnings = config.get("experts"), []
    if not experts:
        return ["experts names nobody"]
    paths = config.get("expert_paths") or {}
    present = {name for module in contents.modules.values() for name in module.b}
    for name in experts:
        if name not in present and name not in paths:
            warnings.append(f"expert {name} has neither tensors nor a directory in expert_paths")
    warnings += [f"tensors of {name}, which experts does not name" for name in sorted(present - set(experts))]
    warnings += [f"expert_paths names {name}, which experts does not" for name in paths if name not in experts]
    decision = config.get("decision") or "vote"
    if decision not in _DECISIONS:
        warnings.append(f"decision is {decision!r}, none of {', '.join(_DECISIONS)}")
    if not contents.routers and not paths:
        return warnings + (["there are no routers: requests must name the domain"] if decision == "label" else
                           [f"decision is {decision!r}, but there are no routers"])
    return warnings + _moa_routers(config, contents, len(experts))


def _moa_routers(config: dict[str, Any], contents: Contents, experts: int) -> list[str]:
    warnings = []
    has_bias = bool((config.get("router") or {}).get("bias"))
    for path, router in contents.routers.items():
        if router.router is None:
            warnings.append(f"{path}: a router bias without a router")
        elif router.router.data.ndim != 2:
            warnings.append(f"{path}: the router is not a matrix but {router.router.shape}")
        elif router.router.shape[0] != experts:
            warnings.append(f"{path}: the router has {router.router.shape[0]} rows for {experts} experts")
        if has_bias != (router.router_bias is not None):
            warnings.append(f"{path}: router.bias is {has_bias}, but the tensor is {'not ' if has_bias else ''}there")
    layers = {_layer(path) for path in contents.modules} - {None}
    missing = sorted(layers - {_layer(path) for path in contents.routers}) if contents.routers else []
    return warnings + ([f"layers without a router: {', '.join(map(str, missing))}"] if missing else [])


def _layer(path: str) -> int | None:
    match = re.search(r"\blayers\.(\d+)", path)
    return int(match[1]) if match else None


def module_warnings(path: str, module: Module) -> list[str]:
    """Shapes and values of one module that cannot be, or do nothing."""
    return [f"{path}: {problem}" for problem in _module_problems(module)]


def _module_problems(module: Module) -> list[str]:
    tensors = module.named()
    problems = [f"{name} is {tensor.dtype}, not of floats" for name, tensor in tensors.items()
                if tensor.dtype not in ("F64", "F32", "F16", "BF16")]
    if problems:
        return problems
    embedding = {"lora_embedding_A", "lora_embedding_B"} & set(module.extras)
    if embedding or module.extras and not module.a and not module.b:
        problems = ["has only one of lora_embedding_A and lora_embedding_B"] if len(embedding) == 1 else []
    elif not module.a or not module.b:
        return [f"has no {'lora_A' if not module.a else 'lora_B'}"]
    else:
        problems = _pair_problems(module)
    return problems + [f"{name} has a value that is not finite" for name, tensor in tensors.items()
                       if not _finite(tensor)]


def _pair_problems(module: Module) -> list[str]:
    flat = [f"{name} is not a matrix but {tensor.shape}" for name, tensor in module.named().items()
            if name.startswith(("lora_A", "lora_B", "router")) and not name.endswith("bias") and tensor.data.ndim != 2]
    if flat:
        return flat
    problems = []
    if set(module.a) not in ({""}, set(module.b)):
        problems.append(f"has A of {_names(module.a)}, but B of {_names(module.b)}")
    for expert, b in module.b.items():
        a = module.a.get(expert, module.a.get(""))
        if a is not None and a.shape[0] != b.shape[1]:
            problems.append(f"A and B{expert and ' of ' + expert} disagree on the rank: {a.shape[0]}, {b.shape[1]}")
    if len({a.shape[1] for a in module.a.values()}) > 1 or len({b.shape[0] for b in module.b.values()}) > 1:
        problems.append("its experts disagree on the shape of the module")
    if module.router is not None and module.router.shape[0] != len(module.b):
        problems.append(f"the router has {module.router.shape[0]} rows for {len(module.b)} heads")
    if module.router is None and len(module.b) > 1 and all(expert.isdigit() for expert in module.b):
        problems.append(f"has {len(module.b)} numbered heads and no router")
    if not any(b.to_f32().any() for b in module.b.values()):
        problems.append("every B is zero: the adapter changes nothing here")
    return problems


def _finite(tensor: StoredTensor) -> bool:
    return bool(np.isfinite(tensor.to_f32()).all())


def _names(group: dict[str, Any]) -> str:
    return ", ".join(name or "all" for name in group) or "none"
