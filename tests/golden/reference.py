"""The Llama family and its adapters in NumPy float64, written to be compared with formulas.

One forward pass over a whole prompt: no cache, no batch, every intermediate in float64. Covers
Llama, Mistral, Qwen2 and Qwen3 (grouped-query attention, q/k/v/o and MLP biases, q/k norm,
default, linear and llama3 rotary embeddings, sliding windows, tied or separate output
embeddings) with LoRA, rsLoRA, HydraLoRA, LoRAMoE, MoLA, MoLE, AdaMoLE and MoA adapters, and weighted sums of
them. For a projection with input x:

    y = W x + b + s * sum_i g_i B_i A_i x      g = 1 without a router, else of p = softmax(R x):
                                               p; its k largest, perhaps divided by their sum; or
                                               p / sum, or (p - t) / sum, of those with p >= t
                                               (MoLE, AdaMoLE)

LoRA with all that PEFT adds to it: with DoRA's magnitudes m, and biases c of lora_B,

    y = m / |W + s B A| * (W x + s B A x) + s c + b      norms by row; of an embedding by column

where W and b, or some rows of W, may be the adapter's own; and an aLoRA changes nothing before the
last place in the prompt where its invocation tokens begin.

MoA has an expert per domain and a router per layer, which sees the residual stream that enters
the layer; one expert is chosen per layer for the whole prompt (``Reference.route``).

``RoundedReference`` rounds what a model in bfloat16 cannot keep, and no more.
"""

from __future__ import annotations

import copy
import json
import math
import re
from pathlib import Path
from typing import Callable, Iterator

import numpy as np

from hydrad_tools.safetensors_io import StoredTensor, read_safetensors

_ADAPTER_PREFIX = "base_model.model."


class Weights:
    """All tensors of a model directory by name, float64; one file or shards with an index."""

    def __init__(self, directory: Path):
        index = directory / "model.safetensors.index.json"
        files = {"model.safetensors"}
        if index.exists():
            files = set(json.loads(index.read_text())["weight_map"].values())
        self._tensors = {name: tensor.to_f32().astype(np.float64)
                         for file in sorted(files) for name, tensor in read_safetensors(directory / file).items()}

    def __getitem__(self, name: str) -> np.ndarray:
        return self._tensors[name]

    def get(self, name: str) -> np.ndarray | None:
        """The tensor, or None if the model has none of that name."""
        return self._tensors.get(name)


class Adapter:
    """An adapter directory: what it adds to each projection. ``route`` is MoA's expert by layer."""

    def __init__(self, directory: Path):
        self.config = json.loads((directory / "adapter_config.json").read_text())
        self._tensors = {name.removeprefix(_ADAPTER_PREFIX): tensor.to_f32().astype(np.float64)
                         for name, tensor in read_safetensors(directory / "adapter_model.safetensors").items()}
        self.route: dict[int, int] = {}
        self.top_k: int | None = None  # asked for by a request

    def delta(self, path: str, x: np.ndarray) -> np.ndarray | float:
        """What the adapter adds to the projection ``path`` for rows x [tokens, in]: [tokens, out]."""
        if "experts" in self.config and path == "lm_head":  # experts are of layers
            return 0.0
        if "experts" in self.config:
            return self._expert_delta(path, self.route[int(path.split(".")[2])], x)
        route = self._tensors.get(self._name(path, "route"))
        if route is None:
            if f"{path}.lora_A.weight" not in self._tensors:
                return 0.0
            return self._scale(path) * self._low_rank(path, "", x)
        gates = self._gates(path, softmax(x @ route.T), x)  # [tokens, heads]
        heads = range(len(route))
        return self._scale(path) * sum(gates[:, i:i + 1] * self._low_rank(path, str(i), x) for i in heads)

    def _gates(self, path: str, p: np.ndarray, x: np.ndarray) -> np.ndarray:
        """The experts' weights [tokens, experts] from the router's softmax ``p``."""
        if self.config["peft_type"] == "ADAMOLE":
            logit = x @ self._tensors[f"{path}.lora_threshold.weight"].T + self._tensors[f"{path}.lora_threshold.bias"]
            above = p - self.config["max_threshold"] / (1 + np.exp(-logit))
            return shares(np.where(above >= 0, above, 0))
        if self.config.get("threshold") is not None:
            return shares(np.where(p >= self.config["threshold"], p, 0))
        top_k = self.top_k or self.config.get("top_k")
        if not top_k:
            return p
        rank = np.argsort(np.argsort(-p, axis=-1, kind="stable"), axis=-1)
        kept = np.where(rank < top_k, p, 0)
        return kept if self.config.get("norm_topk_prob") is False else kept / kept.sum(axis=-1, keepdims=True)

    def _name(self, path: str, part: str, head: str = "") -> str:
        """The tensor of a part ("route", "A", "B") in the names of the code that wrote the file."""
        kind = self.config["peft_type"]
        if kind in ("MOLA", "LORAMOE"):
            prefix = f"{kind.lower()}.{path.removeprefix('model.')}"
            return f"{prefix}.moe_gate.weight" if part == "route" else f"{prefix}.experts.{head}.lora_{part}.weight"
        if kind in ("ADAMOLE", "MOLE"):
            return f"{path}.lora_gating.weight" if part == "route" else f"{path}.lora_{part}.{head}.weight"
        return f"{path}.lora_{part}{head}.weight"

    def own_rows(self, path: str, weight: np.ndarray, tied: bool) -> np.ndarray:
        """The matrix of ``path`` with the rows that the adapter has in place of the base's."""
        embedding = "model.embed_tokens"
        sharing = (embedding, "lm_head") if tied and path in (embedding, "lm_head") else (path,)
        for name in (f"{path}.weight", *(f"{shared}.base_layer.weight" for shared in sharing)):
            weight = self._tensors.get(name, weight)
        trained = self.config.get("trainable_token_indices") or {}
        trained = trained if isinstance(trained, dict) else {"embed_tokens": trained}
        source = embedding if path in sharing[1:] and "lm_head" not in trained else path
        rows = self._tensors.get(f"{source}.token_adapter.trainable_tokens_delta")
        if rows is not None:
            weight = weight.copy()
            weight[trained[source.rpartition(".")[2]]] = rows
        return weight

    def own_bias(self, path: str, bias: np.ndarray | float) -> np.ndarray | float:
        """The bias that holds in place of the base's."""
        return self._tensors.get(f"{path}.base_layer.bias", self._tensors.get(f"{path}.bias", bias))

    def bias(self, path: str) -> np.ndarray | float:
        """What lora_B adds to every row."""
        bias = self._tensors.get(f"{path}.lora_B.bias")
        return 0.0 if bias is None else self._scale(path) * bias

    def magnitude(self, path: str, weight: np.ndarray) -> np.ndarray | float:
        """DoRA's factor of every output of the module with this matrix."""
        magnitudes = self._tensors.get(f"{path}.lora_magnitude_vector")
        if magnitudes is None:
            return 1.0
        if path == "model.embed_tokens":
            return magnitudes / np.linalg.norm(weight + self.embedded(np.arange(len(weight))), axis=0)
        product = self._tensors[f"{path}.lora_B.weight"] @ self._tensors[f"{path}.lora_A.weight"]
        return magnitudes / np.linalg.norm(weight + self._scale(path) * product, axis=1)

    def embedded(self, ids: np.ndarray | list[int]) -> np.ndarray | float:
        """What the adapter adds to the embeddings of ``ids``."""
        a = self._tensors.get("model.embed_tokens.lora_embedding_A")
        if a is None:
            return 0.0
        return self._scale("model.embed_tokens") * a[:, ids].T @ self._tensors["model.embed_tokens.lora_embedding_B"].T

    def active(self, ids: list[int]) -> np.ndarray:
        """Which positions of the prompt the adapter changes."""
        call = self.config.get("alora_invocation_tokens")
        if not call:
            return np.ones(len(ids), bool)
        begins = [i for i in range(len(ids)) if ids[i:i + len(call)] == call]
        return np.arange(len(ids)) >= (begins[-1] if begins else len(ids))

    def choose(self, layer: int, x: np.ndarray) -> int:
        """The expert that MoA's router of ``layer`` picks for the layer's input x [tokens, hidden]."""
        settings = self.config["router"]
        pooled = x.mean(axis=0) if settings["pool"] == "mean" else x[-1]
        scores = self._tensors[f"model.layers.{layer}.moa_router.weight"] @ pooled
        if settings["bias"]:
            scores = scores + self._tensors[f"model.layers.{layer}.moa_router.bias"]
        return int(scores.argmax())

    def _expert_delta(self, path: str, expert: int, x: np.ndarray) -> np.ndarray | float:
        part = f".{self.config['experts'][expert]}"
        if f"{path}.lora_A{part}.weight" not in self._tensors:
            return 0.0
        rank, alpha = (value[expert] if isinstance(value, list) else value
                       for value in (self.config["r"], self.config["lora_alpha"]))
        return alpha / rank * self._low_rank(path, part, x)

    def _low_rank(self, path: str, head: str, x: np.ndarray) -> np.ndarray:
        """B_i A_i x, with the A of the head (LoRAMoE) or the one that all share."""
        a = self._tensors.get(self._name(path, "A", head))
        if a is None:
            a = self._tensors[f"{path}.lora_A.weight"]
        return x @ a.T @ self._tensors[self._name(path, "B", head)].T

    def _scale(self, path: str) -> float:
        rank = self._pattern("rank_pattern", path, self.config.get("r", self.config.get("lora_rank")))
        alpha = self._pattern("alpha_pattern", path, self.config["lora_alpha"])
        return alpha / (math.sqrt(rank) if self.config.get("use_rslora") else rank)

    def _pattern(self, field: str, path: str, default: float) -> float:
        """PEFT's rule: the first pattern that matches the end of the path, at a dot, wins."""
        for pattern, value in self.config.get(field, {}).items():
            if re.match(rf"(.*\.)?({pattern})$", path):
                return value
        return default


class WeightedSum:
    """Several adapters at once: the sum of what each adds, times its weight."""

    def __init__(self, adapters: list[Adapter], weights: list[float]):
        self._parts = list(zip(adapters, weights))

    def delta(self, path: str, x: np.ndarray) -> np.ndarray | float:
        """As Adapter.delta."""
        return sum(weight * adapter.delta(path, x) for adapter, weight in self._parts)

    def bias(self, path: str) -> np.ndarray | float:
        """As Adapter.bias."""
        return sum(weight * adapter.bias(path) for adapter, weight in self._parts)

    def embedded(self, ids: np.ndarray | list[int]) -> np.ndarray | float:
        """As Adapter.embedded."""
        return sum(weight * adapter.embedded(ids) for adapter, weight in self._parts)

    # Adapters with a DoRA, matrices or biases of the base or an invocation of their own have no sum.
    def own_rows(self, path: str, weight: np.ndarray, tied: bool) -> np.ndarray:
        return weight

    def own_bias(self, path: str, bias: np.ndarray | float) -> np.ndarray | float:
        return bias

    def magnitude(self, path: str, weight: np.ndarray) -> float:
        return 1.0

    def active(self, ids: list[int]) -> np.ndarray:
        return np.ones(len(ids), bool)


class Reference:
    """A model directory, with or without an adapter: a directory, or several with their weights."""

    def __init__(self, model: Path, adapter: Path | list[Path] | None = None, weights: list[float] | None = None,
                 top_k: int | None = None):
        self.config = json.loads((model / "config.json").read_text())
        self._weights = Weights(model)
        adapters = [Adapter(path) for path in (adapter if isinstance(adapter, list) else [adapter] if adapter else [])]
        for each in adapters:
            each.top_k = top_k
        self._adapter = WeightedSum(adapters, weights) if weights else adapters[0] if adapters else None
        self._active = np.zeros(0, bool)  # of the rows at hand
        self._heads = self.config["num_attention_heads"]
        self._kv_heads = self.config.get("num_key_value_heads") or self._heads
        self._head_dim = self.config.get("head_dim") or self.config["hidden_size"] // self._heads

    def logits(self, ids: list[int], positions: list[int] | None = None) -> np.ndarray:
        """Logits [positions, vocabulary] at ``positions`` of the prompt (all, if not given)."""
        x = self._residual(ids)
        if positions is not None:
            x, self._active = x[positions], self._active[positions]
        return self._project("lm_head", self._norm("model.norm", x))

    def route(self, ids: list[int], decision: str, label: int | None = None) -> list[int]:
        """Chooses MoA's expert of every layer for the prompt, and keeps to it from now on.

        ``label``: the expert ``label``. ``layer``: each layer's own router, the layers below
        already adapted. ``last`` and ``vote``: the last layer's router, or what most routers say
        (the lowest of equals), as they are when no adapter is active.
        """
        layers, route = range(self.config["num_hidden_layers"]), self._adapter.route
        if decision == "label":
            route.update({layer: label for layer in layers})
        elif decision == "layer":
            self._residual(ids, lambda layer, x: route.update({layer: self._adapter.choose(layer, x)}))
        else:
            plain, heard = copy.copy(self), []
            plain._adapter = None
            plain._residual(ids, lambda layer, x: heard.append(self._adapter.choose(layer, x)))
            chosen = heard[-1] if decision == "last" else int(np.bincount(heard).argmax())
            route.update({layer: chosen for layer in layers})
        return [route[layer] for layer in layers]

    def _residual(self, ids: list[int], before_layer: Callable[[int, np.ndarray], None] | None = None) -> np.ndarray:
        """The residual stream after the last layer, [tokens, hidden]."""
        self._active = self._adapter.active(ids) if self._adapter else np.zeros(len(ids), bool)
        x = self._embed(ids)
        rotation = self._rotation(len(ids))
        for layer in range(self.config["num_hidden_layers"]):
            if before_layer:
                before_layer(layer, x)
            prefix = f"model.layers.{layer}"
            x = x + self._attention(f"{prefix}.self_attn", self._norm(f"{prefix}.input_layernorm", x), rotation)
            x = x + self._mlp(f"{prefix}.mlp", self._norm(f"{prefix}.post_attention_layernorm", x))
        return x

    def greedy(self, ids: list[int], count: int) -> tuple[list[int], list[float]]:
        """``count`` tokens of largest logit, and each step's margin over the runner-up."""
        tokens, margins = [], []
        for _ in range(count):
            row = self.logits(ids + tokens, [len(ids) + len(tokens) - 1])[0]
            second, first = np.sort(row)[-2:]
            tokens.append(int(row.argmax()))
            margins.append(float(first - second))
        return tokens, margins

    def _embed(self, ids: list[int]) -> np.ndarray:
        weight, adapter = self._weights["model.embed_tokens.weight"], self._adapter
        if not adapter:
            return weight[ids]
        own = adapter.own_rows("model.embed_tokens", weight, self._weights.get("lm_head.weight") is None)
        return adapter.magnitude("model.embed_tokens", own) * (own[ids] + adapter.embedded(ids))

    def _rounded(self, x: np.ndarray) -> np.ndarray:
        """What is left of the base's inputs of a product, and of k and v: all."""
        return x

    def _project(self, path: str, x: np.ndarray) -> np.ndarray:
        weight, bias, adapter = self._weights.get(f"{path}.weight"), self._weights.get(f"{path}.bias"), self._adapter
        tied = weight is None
        weight = self._weights["model.embed_tokens.weight"] if tied else weight
        bias = 0.0 if bias is None else bias
        rounded = self._rounded(x)
        y = rounded @ weight.T + bias
        if not adapter:
            return y
        own = adapter.own_rows(path, weight, tied)
        changed = adapter.magnitude(path, own) * (rounded @ own.T + adapter.delta(path, x))
        changed = changed + adapter.bias(path) + adapter.own_bias(path, bias)
        return np.where(self._active[:, None], changed, y)

    def _norm(self, path: str, x: np.ndarray) -> np.ndarray:
        mean_square = np.mean(x * x, axis=-1, keepdims=True)
        return x / np.sqrt(mean_square + self.config["rms_norm_eps"]) * self._weights[f"{path}.weight"]

    def _mlp(self, path: str, x: np.ndarray) -> np.ndarray:
        gate = self._project(f"{path}.gate_proj", x)
        return self._project(f"{path}.down_proj", gate / (1 + np.exp(-gate)) * self._project(f"{path}.up_proj", x))

    def _attention(self, path: str, x: np.ndarray, rotation: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
        q = self._split_heads(path, "q", x, self._heads)  # [heads, tokens, head_dim]
        k = self._split_heads(path, "k", x, self._kv_heads)
        v = self._split_heads(path, "v", x, self._kv_heads)
        group = self._heads // self._kv_heads
        q, k = rotate(q, rotation), np.repeat(self._rounded(rotate(k, rotation)), group, axis=0)
        v = np.repeat(self._rounded(v), group, axis=0)
        scores = q @ k.swapaxes(1, 2) / math.sqrt(self._head_dim)
        mixed = softmax(np.where(self._visible(len(x)), scores, -np.inf)) @ v
        return self._project(f"{path}.o_proj", mixed.swapaxes(0, 1).reshape(len(x), -1))

    def _split_heads(self, path: str, kind: str, x: np.ndarray, heads: int) -> np.ndarray:
        y = self._project(f"{path}.{kind}_proj", x).reshape(len(x), heads, self._head_dim)
        if self._weights.get(f"{path}.{kind}_norm.weight") is not None:
            y = self._norm(f"{path}.{kind}_norm", y)
        return y.swapaxes(0, 1)

    def _visible(self, tokens: int) -> np.ndarray:
        """Which position (column) each position (row) attends to: [tokens, tokens] of bool."""
        distance = np.arange(tokens)[:, None] - np.arange(tokens)[None, :]
        window = self.config.get("sliding_window")
        if window is None or self.config.get("use_sliding_window") is False:
            window = tokens
        return (distance >= 0) & (distance < window)

    def _rotation(self, tokens: int) -> tuple[np.ndarray, np.ndarray]:
        angles = np.arange(tokens)[:, None] * self._frequencies()[None, :]
        return np.cos(angles), np.sin(angles)  # each [tokens, head_dim / 2]

    def _frequencies(self) -> np.ndarray:
        rope = self.config.get("rope_parameters") or self.config.get("rope_scaling") or {}
        theta = rope.get("rope_theta") or self.config.get("rope_theta", 10000.0)
        plain = theta ** (-np.arange(0, self._head_dim, 2) / self._head_dim)
        kind = rope.get("rope_type") or rope.get("type") or "default"
        if kind == "default":
            return plain
        if kind == "linear":
            return plain / rope["factor"]
        if kind == "llama3":
            return llama3_frequencies(plain, rope)
        raise ValueError(f"rope type {kind!r} is not covered")


class RoundedReference(Reference):
    """With matrices, the base's inputs of a product, k and v in bfloat16, and all else as it was.

    Every draw but the first moves what is rounded by 2**-22 of itself, as arithmetic in float32
    does, so that what lies between two numbers falls to the other one here and there.
    """

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self._random: np.random.Generator | None = None
        parts = [part for part, _ in getattr(self._adapter, "_parts", [(self._adapter, 1)]) if part]
        for tensors in [self._weights._tensors, *(part._tensors for part in parts)]:
            tensors.update({name: to_bf16(value) for name, value in tensors.items() if value.ndim == 2})

    def worst_error(self, ids: list[int], route: list[int] | None, tensors: dict[str, StoredTensor],
                    prefix: str) -> float:
        """How far the logits of nine draws are at most from those of a case's prompt, which are ``prefix``'s."""
        if route:
            self._adapter.route.update(enumerate(route))
        worst = 0.0
        for _ in self._draws():
            logits = self.logits(ids)
            pairs = [(logits[tensors[f"{prefix}.positions"].data], tensors[f"{prefix}.logits"].data)]
            if f"{prefix}.sparse_logits" in tensors:
                rows = logits[tensors[f"{prefix}.sparse_positions"].data]
                columns = tensors[f"{prefix}.sparse_columns"].data
                pairs.append((np.take_along_axis(rows, columns, axis=1), tensors[f"{prefix}.sparse_logits"].data))
            worst = max(worst, *(float(np.abs(drawn - stored).max()) for drawn, stored in pairs))
        return worst

    def routes(self, ids: list[int], decision: str, label: int | None) -> set[tuple[int, ...]]:
        """The routes that the draws choose."""
        return {tuple(self.route(ids, decision, label)) for _ in self._draws()}

    def _draws(self) -> Iterator[None]:
        for draw in range(9):
            self._random = np.random.default_rng(draw) if draw else None
            yield

    def _rounded(self, x: np.ndarray) -> np.ndarray:
        moved = x if self._random is None else x * (1 + 2.0 ** -22 * self._random.normal(size=x.shape))
        return to_bf16(moved)


def to_bf16(x: np.ndarray) -> np.ndarray:
    """The nearest bfloat16, of two the even one, as float64; finite."""
    bits = np.ascontiguousarray(x, np.float32).view(np.uint32)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) & np.uint32(0xFFFF0000)).view(np.float32).astype(np.float64)


def llama3_frequencies(plain: np.ndarray, rope: dict) -> np.ndarray:
    """Llama 3.1's rule: long waves are slowed by ``factor``, short ones kept, a ramp between."""
    turns = rope["original_max_position_embeddings"] * plain / (2 * math.pi)
    low, high = rope["low_freq_factor"], rope["high_freq_factor"]
    kept = np.clip((turns - low) / (high - low), 0, 1)
    return (1 - kept) * plain / rope["factor"] + kept * plain


def rotate(x: np.ndarray, rotation: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """Rotates x [heads, tokens, head_dim]: number i with number i + head_dim / 2."""
    cos, sin = rotation
    first, second = np.split(x, 2, axis=-1)
    return np.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)


def shares(kept: np.ndarray) -> np.ndarray:
    """Of the sum over the last axis; zeros where it is zero."""
    total = kept.sum(axis=-1, keepdims=True)
    return kept / np.where(total > 0, total, 1)


def softmax(x: np.ndarray) -> np.ndarray:
    """Over the last axis."""
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)
