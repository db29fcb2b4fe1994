"""Makes the golden files: what transformers and peft compute, for the daemon to be compared with.

    python tests/golden/make.py random         # the random models, their adapters and cases
    python tests/golden/make.py plain          # the adapters of plain_adapters.py and their cases
    python tests/golden/make.py tiny smollm2   # cases of trained models, by name (see CASES)
    python tests/golden/make.py                # everything

Needs hydrad-tools, torch, transformers and peft; run from the root of the repository. README.md
describes the files.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import peft
import torch
import transformers
from peft.tuners.lora.variants import calculate_alora_offsets
from transformers import AutoModelForCausalLM, AutoTokenizer

from hydrad_tools.safetensors_io import StoredTensor, f32, read_safetensors, write_safetensors
from plain_adapters import PLAIN_ADAPTERS, PLAIN_PROMPTS, write_plain_adapters
from random_models import ADAPTERS, MOA_ADAPTERS, MOA_MODEL, MODELS, write_adapters, write_models
from reference import Reference, RoundedReference

HERE = Path(__file__).parent
SEED = 20240404
_TOP, _SAMPLED = 64, 256  # logits kept of a position that is not stored in full
_SPARSE_POSITIONS = 8
_CHECK_LIMIT = 2e-3  # how far transformers in float32 may be from the float64 reference


@dataclass(frozen=True)
class Case:
    """A model, perhaps with an adapter, and prompts; paths are relative to the repository."""

    model: str
    adapter: str | tuple[str, ...] | None  # several are composed
    prompts: tuple[str | list[int], ...]  # text, or token ids
    steps: int  # greedy tokens
    every_position: bool  # keep whole logits of all positions, or of the last alone
    decision: str | None = None  # how MoA chooses its experts
    label: int | None = None  # the expert of decision "label"
    weights: tuple[float, ...] | None = None  # of the composed adapters
    top_k: int | None = None  # experts that the request keeps


_TINY_PROMPTS = ("First Citizen:\nBefore we proceed", "Once upon a time there was",
                 "<|user|>\nHow many users are there?<|end|>\n<|assistant|>\n",
                 "<|user|>\nTom has 12 apples and buys 7 more. How many has he?<|end|>\n<|assistant|>\n")
_CHAT = "<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n"
_SMOLLM2_PROMPTS = ("ROMEO:\nWhat light through yonder", _CHAT.format("What is the capital of France?"),
                    _CHAT.format("Tom has 12 apples, eats 3 and buys 7 more. How many has he now?"),
                    _CHAT.format("How many customers are there in each country?"))
_TINY, _SMOLLM2 = "deploy/models/tiny", "build/models/smollm2"

CASES = {"tiny": Case(_TINY, None, _TINY_PROMPTS, 48, True),
         "smollm2": Case(_SMOLLM2, None, _SMOLLM2_PROMPTS[:3], 48, False)}
for _name in ("shakespeare", "sql", "domains"):
    CASES[f"tiny_{_name}"] = Case(_TINY, f"deploy/adapters/tiny/{_name}", _TINY_PROMPTS[::2], 48, True)
    _picked = (_SMOLLM2_PROMPTS[0], _SMOLLM2_PROMPTS[3])
    CASES[f"smollm2_{_name}"] = Case(_SMOLLM2, f"deploy/adapters/smollm2/{_name}", _picked, 32, False)
CASES["tiny_mixed_moa"] = Case(_TINY, "deploy/adapters/tiny/mixed-moa", _TINY_PROMPTS, 48, True, "vote")


# What a request may ask of adapters: (model, adapters, weights of a composition, top_k).
REQUESTS = {
    "llama_composed": ("llama", ("llama_lora", "llama_rslora"), (0.75, -0.5), None),
    "llama_composed_routed": ("llama", ("llama_hydralora", "llama_rslora"), (1.0, -0.5), None),
    "llama_hydralora_top2": ("llama", ("llama_hydralora",), None, 2),
    "mistral_loramoe_top1": ("mistral", ("mistral_loramoe",), None, 1),
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="default: all of them")
    made = {"random": make_random, "plain": make_plain}
    names = parser.parse_args().names or [*made, *CASES]
    unknown = [name for name in names if name not in (*made, *CASES)]
    if unknown:
        parser.error(f"no such case: {', '.join(unknown)}")
    for name in names:
        if name in made:
            made[name]()
        else:
            make_case(name, CASES[name])
    return 0


def make_random() -> None:
    """The random models and adapters, and their cases."""
    write_models(HERE / "models", SEED)
    write_adapters(HERE / "adapters", SEED)
    for name, case in random_cases().items():
        make_case(name, case)


def make_plain() -> None:
    """The adapters of plain_adapters.py, and a case for each. The random models must be there."""
    write_plain_adapters(HERE / "adapters", HERE / "models", SEED)
    for name, plain in PLAIN_ADAPTERS.items():
        prompts = tuple(list(prompt) for prompt in PLAIN_PROMPTS)
        make_case(name, Case(f"tests/golden/models/{plain.model}", f"tests/golden/adapters/{name}", prompts, 8, True))


def random_cases() -> dict[str, Case]:
    """A case for every random model and every random adapter."""
    rng = np.random.default_rng(SEED)
    root = "tests/golden"
    prompts = tuple(rng.integers(3, 131, size=length).tolist() for length in (1, 9, 40))
    cases = {name: Case(f"{root}/models/{name}", None, prompts, 24, True) for name in MODELS}
    # Where one expert of two near equals is kept, or one near a threshold, bfloat16 may choose otherwise: a short
    # prompt has none such.
    for name, (model, _, fields) in ADAPTERS.items():
        cases[name] = Case(f"{root}/models/{model}", f"{root}/adapters/{name}",
                           prompts[1:2] if "threshold" in fields else prompts[1:], 24, True)
    for name, (model, adapters, weights, top_k) in REQUESTS.items():
        paths = tuple(f"{root}/adapters/{adapter}" for adapter in adapters)
        cases[name] = Case(f"{root}/models/{model}", paths if weights else paths[0],
                           prompts[1:2] if top_k == 1 else prompts[1:], 24, True, weights=weights, top_k=top_k)
    routed = tuple(rng.integers(3, 131, size=length).tolist() for length in (4, 6, 20, 24))
    for name in MOA_ADAPTERS:
        for decision in ("label", "vote", "last", "layer"):
            # By layer, the second prompt's last router is within bfloat16 of another expert.
            settled = routed[:1] + routed[2:] if (name, decision) == ("moa_last", "layer") else routed
            cases[f"{name}_by_{decision}"] = Case(f"{root}/models/{MOA_MODEL}", f"{root}/adapters/{name}", settled,
                                                  24, True, decision, 1 if decision == "label" else None)
    return cases


def make_case(name: str, case: Case) -> None:
    """Writes ``cases/<name>.json`` and ``.safetensors``. Raises if the references disagree."""
    directory = Path(case.model)
    exact, coarse = (kind(directory, [Path(adapter) for adapter in adapters_of(case)], case.weights, case.top_k)
                     for kind in (Reference, RoundedReference))
    runs = {dtype: load(case, dtype) for dtype in (torch.float32, torch.bfloat16)}
    tensors: dict[str, StoredTensor] = {}
    entries = [make_prompt(case, index, prompt, (exact, coarse), runs, tensors)
               for index, prompt in enumerate(case.prompts)]
    versions = {module.__name__: module.__version__ for module in (torch, transformers, peft)}
    document = {"format": 1, "model": case.model, "model_sha256": sha256_of_weights(directory),
                "adapter": case.adapter} | ({"weights": case.weights} if case.weights else {}) | (
                    {"top_k": case.top_k} if case.top_k else {}) | {"decision": case.decision, "label": case.label, "versions": versions,
                "prompts": entries}
    (HERE / "cases").mkdir(exist_ok=True)
    write_safetensors(HERE / "cases" / f"{name}.safetensors", tensors)
    (HERE / "cases" / f"{name}.json").write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n")
    worst = max(entry["float64_max_abs_error"] for entry in entries)
    print(f"{name}: float32 within {worst:.1e} of float64; bfloat16 off by "
          f"{max(entry['bf16_max_abs_error'] for entry in entries):.3f}", flush=True)


def make_prompt(case: Case, index: int, prompt: str | list[int],
                references: tuple[Reference, RoundedReference], runs: dict, tensors: dict[str, StoredTensor]) -> dict:
    """Adds the prompt's logits to ``tensors``; returns its JSON entry."""
    exact, coarse = references
    text = prompt if isinstance(prompt, str) else None
    ids = tokenize(case, text) if text is not None else prompt
    route = exact.route(ids, case.decision, case.label) if case.decision else None
    if route and coarse.routes(ids, case.decision, case.label) != {tuple(route)}:
        raise SystemExit(f"{case.adapter} prompt {index}: bfloat16 may take another route than {route}")
    for model in runs.values():
        model.moa_route = route
    with torch.no_grad():
        batch = torch.tensor([ids])
        logits, rounded = (runs[dtype](input_ids=batch).logits[0].float().numpy()
                           for dtype in (torch.float32, torch.bfloat16))
    error = float(np.abs(exact.logits(ids) - logits).max())
    if not error < _CHECK_LIMIT:
        raise SystemExit(f"{case.model} {case.adapter}: float32 is {error} off the float64 reference")
    whole = list(range(len(ids))) if case.every_position else [len(ids) - 1]
    tensors[f"prompt{index}.positions"] = StoredTensor("I32", np.array(whole, np.int32))
    tensors[f"prompt{index}.logits"] = f32(logits[whole])
    if not case.every_position:
        add_sparse(tensors, f"prompt{index}", logits)
    tokens, margins = greedy(runs[torch.float32], ids, case.steps)
    last = np.abs(rounded[-1] - logits[-1]).max()
    return {"text": text, "ids": ids, "float64_max_abs_error": error,
            "bf16_max_abs_error": float(np.abs(rounded - logits).max()),
            "bf16_last_max_abs_error": float(last),
            "rounded_max_abs_error": coarse.worst_error(ids, route, tensors, f"prompt{index}"), "route": route,
            "greedy": {"ids": tokens, "margins": margins}}


def add_sparse(tensors: dict[str, StoredTensor], prefix: str, logits: np.ndarray) -> None:
    """Keeps, of up to eight positions, the largest logits (falling) and some at random columns."""
    rng = np.random.default_rng(SEED)
    positions = np.unique(np.linspace(0, len(logits) - 1, _SPARSE_POSITIONS).astype(np.int32))
    columns = []
    for row in logits[positions]:
        order = np.argsort(-row, kind="stable")
        columns.append(np.append(order[:_TOP], rng.choice(order[_TOP:], _SAMPLED, replace=False)))
    columns = np.stack(columns).astype(np.int32)
    tensors[f"{prefix}.sparse_positions"] = StoredTensor("I32", positions)
    tensors[f"{prefix}.sparse_columns"] = StoredTensor("I32", columns)
    tensors[f"{prefix}.sparse_logits"] = f32(np.take_along_axis(logits[positions], columns, axis=1))


def tokenize(case: Case, text: str) -> list[int]:
    """Token ids of the text; special tokens in it are recognised, none are added."""
    return AutoTokenizer.from_pretrained(case.model).encode(text, add_special_tokens=False)


@torch.no_grad()
def greedy(model: torch.nn.Module, ids: list[int], steps: int) -> tuple[list[int], list[float]]:
    """The tokens of largest logit, never stopping, and each one's margin over the second."""
    tokens, margins, cache = [], [], None
    fresh = torch.tensor([ids])
    fixed = alora_offsets(model, fresh)
    for _ in range(steps):
        out = model(input_ids=fresh, past_key_values=cache, use_cache=True, **fixed)
        cache = out.past_key_values
        (first, second), (token, _) = out.logits[0, -1].float().topk(2)
        tokens.append(int(token))
        margins.append(float(first - second))
        fresh = token.reshape(1, 1)
    return tokens, margins


def alora_offsets(model: torch.nn.Module, prompt: torch.Tensor) -> dict:
    """Where an aLoRA begins in the prompt, as peft's own generate() fixes it for all steps; else nothing."""
    config = getattr(model, "peft_config", {}).get("default")
    if not getattr(config, "alora_invocation_tokens", None):
        return {}
    return {"alora_offsets": calculate_alora_offsets(model.peft_config, "default", prompt)}


def load(case: Case, dtype: torch.dtype) -> torch.nn.Module:
    """The model with its adapter in ``dtype`` throughout; the file's values, only widened or rounded."""
    model = AutoModelForCausalLM.from_pretrained(case.model, dtype=dtype, attn_implementation="eager").eval()
    configs = [json.loads((Path(adapter) / "adapter_config.json").read_text()) for adapter in adapters_of(case)]
    if not configs:
        return model
    if all(config["peft_type"] == "LORA" and "lora_nums" not in config for config in configs):
        return with_peft(model, case).to(dtype).eval()
    for index, (adapter, config) in enumerate(zip(adapters_of(case), configs)):
        weight = case.weights[index] if case.weights else 1
        with_hooks(model, Path(adapter), config | ({"top_k": case.top_k} if case.top_k else {}), dtype, weight)
    return model


def adapters_of(case: Case) -> tuple[str, ...]:
    """Its adapters' directories."""
    return case.adapter if isinstance(case.adapter, tuple) else (case.adapter,) if case.adapter else ()


def with_peft(model: torch.nn.Module, case: Case) -> torch.nn.Module:
    """The model with one adapter, or with peft's own weighted concatenation of several."""
    names = [f"part{index}" for index in range(len(adapters_of(case)))]
    model = peft.PeftModel.from_pretrained(model, adapters_of(case)[0], adapter_name=names[0])
    for name, adapter in zip(names[1:], adapters_of(case)[1:]):
        model.load_adapter(adapter, adapter_name=name)
    if case.weights:
        model.add_weighted_adapter(names, list(case.weights), "all", combination_type="cat")
        model.set_adapter("all")
    return model


def with_hooks(model: torch.nn.Module, adapter: Path, config: dict, dtype: torch.dtype,
               weight: float) -> torch.nn.Module:
    """Hooks an adapter into the layers of ``model``: for the families that peft does not know."""
    stored = {name: torch.from_numpy(tensor.to_f32()).to(dtype)
              for name, tensor in read_safetensors(adapter / "adapter_model.safetensors").items()}
    for path, module in model.named_modules():
        prefix = f"base_model.model.{path}"
        names = {"moe_gate": f"{config['peft_type'].lower()}.{path.removeprefix('model.')}",
                 "lora_gating": prefix, "lora_route": prefix}
        router = next((name for name, start in names.items() if f"{start}.{name}.weight" in stored), None)
        if router:
            module.register_forward_hook(routed_hook(stored, names[router], router, config, weight))
        elif f"{prefix}.lora_A.{config.get('experts', [''])[0]}.weight" in stored:
            module.register_forward_hook(expert_hook(model, stored, prefix, config))
        elif f"{prefix}.lora_A.weight" in stored:
            module.register_forward_hook(plain_hook(stored, prefix, config, weight))
    return model


def plain_hook(stored: dict[str, torch.Tensor], prefix: str, config: dict, weight: float):
    """A forward hook that adds a plain LoRA, for a composition with one that peft does not know."""
    a, b = stored[f"{prefix}.lora_A.weight"], stored[f"{prefix}.lora_B.weight"]
    scaling = weight * config["lora_alpha"] / (config["r"] ** 0.5 if config.get("use_rslora") else config["r"])
    return lambda module, inputs, result: result + ((inputs[0] @ a.T) @ b.T) * scaling


def routed_hook(stored: dict[str, torch.Tensor], prefix: str, router: str, config: dict, weight: float):
    """A forward hook that adds the experts one by one, each weighed, as the families' codes do.

    HydraLoRA's and LoRAMoE's multiply the router in the model's type, MoE-PEFT's in float32;
    AdaMoLE's takes the softmax in the model's type too.
    """
    route = stored[f"{prefix}.{router}.weight"]
    spelled = {"moe_gate": ".experts.{i}.lora_{kind}", "lora_gating": ".lora_{kind}.{i}",
               "lora_route": ".lora_{kind}{i}"}[router]
    rank = config.get("r", config.get("lora_rank"))
    scaling = weight * config["lora_alpha"] / (rank ** 0.5 if config.get("use_rslora") else rank)

    def add_experts(module, inputs, result):
        x = inputs[0]
        logits = x.float() @ route.float().T if router == "moe_gate" else x @ route.T
        p = torch.softmax(logits, dim=-1, dtype=x.dtype if router == "lora_gating" else torch.float32)
        gates = weigh(p, x, stored, prefix, config).to(x.dtype)
        for i in range(len(route)):
            a, b = (stored.get(f"{prefix}{spelled.format(i=i, kind=kind)}.weight") for kind in "AB")
            a = stored[f"{prefix}.lora_A.weight"] if a is None else a
            result = result + (gates[..., i:i + 1] * ((x @ a.T) @ b.T)) * scaling
        return result

    return add_experts


def weigh(p: torch.Tensor, x: torch.Tensor, stored: dict[str, torch.Tensor], prefix: str,
          config: dict) -> torch.Tensor:
    """The experts' weights from the router's softmax ``p``."""
    if config["peft_type"] == "ADAMOLE":
        name = f"{prefix}.lora_threshold"
        threshold = torch.sigmoid(x @ stored[f"{name}.weight"].T + stored[f"{name}.bias"]) * config["max_threshold"]
        return shares(torch.clamp(p - threshold, min=0))
    if config.get("threshold") is not None:
        return shares(torch.where(p >= config["threshold"], p, 0))
    if not config.get("top_k"):
        return p
    largest, index = torch.topk(p, config["top_k"], dim=-1)
    if config.get("norm_topk_prob") is not False:
        largest = largest / largest.sum(dim=-1, keepdim=True)
    return torch.zeros_like(p).scatter(-1, index, largest)


def shares(kept: torch.Tensor) -> torch.Tensor:
    """Of every row's sum; zeros where it is zero."""
    total = kept.sum(dim=-1, keepdim=True)
    return kept / torch.where(total == 0, torch.ones_like(total), total)


def expert_hook(model: torch.nn.Module, stored: dict[str, torch.Tensor], prefix: str, config: dict):
    """A forward hook that adds the expert that ``model.moa_route`` names for the layer."""
    layer = int(prefix.removeprefix("base_model.model.").split(".")[2])

    def add_expert(module, inputs, result):
        expert = model.moa_route[layer]
        rank, alpha = (v[expert] if isinstance(v, list) else v for v in (config["r"], config["lora_alpha"]))
        a, b = (stored[f"{prefix}.lora_{kind}.{config['experts'][expert]}.weight"] for kind in "AB")
        return result + ((inputs[0] @ a.T) @ b.T) * (alpha / rank)

    return add_expert


def sha256_of_weights(directory: Path) -> str:
    """Of the model's safetensors files, concatenated in the order of their names."""
    digest = hashlib.sha256()
    for file in sorted(directory.glob("*.safetensors")):
        digest.update(file.read_bytes())
    return digest.hexdigest()


if __name__ == "__main__":
    sys.exit(main())
