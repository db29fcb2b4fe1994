"""What inspect says of sound adapters of every family, and of broken ones."""

import hashlib
import json
import tempfile
import unittest
from pathlib import Path

import numpy as np

from hydrad_tools.adapter_inspect import inspect
from hydrad_tools.errors import ToolError
from hydrad_tools.safetensors_io import StoredTensor, bf16, f32, write_safetensors

ADAPTERS = Path(__file__).resolve().parents[1] / "golden" / "adapters"
PATH = "model.layers.0.self_attn.q_proj"
Q = f"base_model.model.{PATH}"


class DirectoryCase(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.directory = Path(directory.name)

    def write(self, tensors, directory=None, **config):
        """An adapter of q_proj of rank 2."""
        directory = directory or self.directory
        directory.mkdir(exist_ok=True)
        settings = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": ["q_proj"]} | config
        (directory / "adapter_config.json").write_text(json.dumps(settings))
        write_safetensors(directory / "adapter_model.safetensors", tensors)

    def warnings(self, tensors, **config):
        self.write(tensors, **config)
        return "\n".join(inspect(self.directory).warnings)

    def pair(self, **changes):
        return {f"{Q}.lora_A.weight": ones(2, 8), f"{Q}.lora_B.weight": ones(8, 2)} | {
            f"{Q}.{name}.weight": value for name, value in changes.items()}


def ones(*shape):
    return bf16(np.ones(shape))


def heads(count, shared=True, prefix=Q):
    """A HydraLoRA's or a LoRAMoE's tensors."""
    a = {"lora_A": (2, 8)} if shared else {f"lora_A{i}": (2, 8) for i in range(count)}
    shapes = a | {f"lora_B{i}": (8, 2) for i in range(count)} | {"lora_route": (count, 8)}
    return {f"{prefix}.{name}.weight": ones(*shape) for name, shape in shapes.items()}


def experts(prefix, gate, count):
    """Tensors as MoE-PEFT names them."""
    pairs = {f"{prefix}.experts.{e}.lora_{kind}.weight": ones(*shape) for e in range(count)
             for kind, shape in (("A", (2, 8)), ("B", (8, 2)))}
    return pairs | {f"{prefix}.{gate}.weight": ones(count, 8)}


def moa(*names, bias=True):
    """A bundle of one layer."""
    router = "base_model.model.model.layers.0.moa_router"
    tensors = {f"{router}.weight": ones(len(names), 8)} | ({f"{router}.bias": ones(len(names))} if bias else {})
    return tensors | {f"{Q}.lora_{kind}.{name}.weight": ones(*shape) for name in names
                      for kind, shape in (("A", (2, 8)), ("B", (8, 2)))}


MOA = {"peft_type": "MOA", "experts": ["x", "y"], "router": {"input": "block_input", "pool": "last", "bias": True}}


class SoundAdapterTest(DirectoryCase):
    def test_committed_adapters(self):
        expected = {"llama_lora": ("LoRA", [4], [1]), "llama_rslora": ("rsLoRA", [3], [1]),
                    "qwen2_patterns": ("LoRA", [1, 4, 7], [1]), "llama_hydralora": ("HydraLoRA", [4], [4]),
                    "mistral_loramoe": ("LoRAMoE", [2], [3]), "moa_last": ("MoA", [3], [3]),
                    "moa_mean": ("MoA", [2, 3, 5], [3])}
        for name, (family, ranks, count) in expected.items():
            found = inspect(ADAPTERS / name)
            with self.subTest(name):
                self.assertEqual((found.family, found.ranks, found.heads), (family, ranks, count))
                self.assertEqual(found.warnings, [])

    def test_committed_adapters_have_no_traps(self):
        for path in sorted(ADAPTERS.glob("*/adapter_config.json")):
            with self.subTest(path.parent.name):
                self.assertEqual([w for w in inspect(path.parent).warnings if not w.startswith("DoRA: needs")], [])

    def test_a_copy_of_the_base_is_no_part(self):
        self.write(self.pair() | {"base_model.model.model.embed_tokens.base_layer.weight": ones(30, 8)})
        found = inspect(self.directory)
        self.assertEqual((found.parameters, found.targets, found.warnings), (32, ["q_proj"], []))
        self.write(heads(3), lora_nums=3, top_k=2)
        self.assertIn("the 2 largest of all heads", inspect(self.directory).router)

    def test_facts(self):
        found = inspect(ADAPTERS / "llama_hydralora")
        self.assertEqual(found.targets, ["down_proj", "gate_proj", "up_proj"])
        self.assertEqual(found.projections, 6)
        self.assertEqual(found.dtypes, ["BF16"])
        files = [(ADAPTERS / "llama_hydralora" / name).read_bytes()
                 for name in ("adapter_config.json", "adapter_model.safetensors")]
        self.assertEqual(found.digest, f"sha256:{hashlib.sha256(b''.join(files)).hexdigest()}")
        # 2 layers, hidden 48, inner 112, r 4, 4 heads: A and router of three inputs, 4 B of three outputs
        parameters = 2 * ((4 + 4) * (48 + 48 + 112) + 4 * 4 * (112 + 112 + 48))
        self.assertEqual((found.parameters, found.bytes), (parameters, 2 * parameters))
        self.assertIn("scale:       2 (alpha 8, r 4)", found.lines())
        self.assertIn("router:      one per projection, by token: softmax over all heads", found.lines())

    def test_families_of_other_projects(self):
        moe = {"target_modules": ["q_proj"], "num_experts": 3, "r": 2, "lora_alpha": 4, "top_k": 2}
        mole = {"lora_rank": 2, "lora_alpha": 4, "r": None, "num_experts": 2}
        adamole = {f"{Q}.lora_{k}.{e}.weight": ones(*s) for e in range(2) for k, s in (("A", (2, 8)), ("B", (8, 2)))}
        adamole[f"{Q}.lora_gating.weight"] = ones(2, 8)
        threshold = {f"{Q}.lora_threshold.weight": ones(1, 8), f"{Q}.lora_threshold.bias": ones(1)}
        cases = {
            "MoLA": (experts("mola.layers.0.self_attn.q_proj", "moe_gate", 3), {"peft_type": "MOLA"} | moe, 3,
                     "the 2 largest, renormalised"),
            "LoRAMoE (MoE-PEFT)": (experts("loramoe.layers.0.self_attn.q_proj", "moe_gate", 3),
                                   {"peft_type": "LORAMOE"} | moe, 3, "softmax over all heads"),
            "AdaMoLE": (adamole | threshold, {"peft_type": "ADAMOLE"} | mole, 2, "over a threshold of its own"),
            "MoLE": (adamole, {"peft_type": "MOLE", "threshold": 0.4} | mole, 2, "experts over 0.4"),
        }
        for family, (tensors, config, count, router) in cases.items():
            self.write(tensors, **config)
            found = inspect(self.directory)
            with self.subTest(family):
                self.assertEqual((found.family, found.heads, found.warnings), (family, [count], []))
                self.assertIn(router, found.router)
                self.assertTrue(found.scale.startswith("2 "), found.scale)

    def test_variants_of_plain_lora(self):
        embedding = {"base_model.model.model.embed_tokens.lora_embedding_A": ones(2, 30),
                     "base_model.model.model.embed_tokens.lora_embedding_B": ones(8, 2)}
        cases = {
            "DoRA": (self.pair() | {f"{Q}.lora_magnitude_vector": ones(8)}, {"use_dora": True}, ["q_proj"]),
            "LoRA": (self.pair() | {f"{Q}.lora_B.bias": ones(8)}, {"lora_bias": True}, ["q_proj"]),
            "aLoRA": (self.pair(), {"alora_invocation_tokens": [1, 2]}, ["q_proj"]),
            "LoRA ": (embedding, {"target_modules": ["embed_tokens"]}, ["embed_tokens"]),
            "LoRA  ": (self.pair() | {"base_model.model.lm_head.weight": ones(30, 8)}, {"modules_to_save": ["lm_head"]},
                       ["lm_head (whole)", "q_proj"]),
            "LoRA    ": (self.pair() | {f"{Q}.base_layer.bias": ones(8)}, {"bias": "lora_only"}, ["q_proj"]),
            "LoRA     ": (self.pair() | {f"{Q}.bias": ones(8), f"{Q}.bias".replace("q_proj", "k_proj"): ones(8)},
                          {"bias": "all"}, ["k_proj", "q_proj"]),
            "LoRA   ": (self.pair() | {"base_model.model.model.embed_tokens.token_adapter.trainable_tokens_delta":
                                       ones(3, 8)}, {"trainable_token_indices": [1, 2, 3],
                                                     "target_modules": ["q_proj", "embed_tokens"]},
                        ["embed_tokens", "q_proj"]),
        }
        for family, (tensors, config, targets) in cases.items():
            self.write(tensors, **config)
            found = inspect(self.directory)
            with self.subTest(family):
                self.assertEqual((found.family, found.ranks, found.targets), (family.strip(), [2], targets))
                self.assertEqual(found.parameters, sum(tensor.data.size for tensor in tensors.values()))
                self.assertEqual(found.warnings, [found.warnings[0]] if family == "DoRA" else [])
                self.assertEqual("norms of the base's rows" in "".join(found.warnings), family == "DoRA")

    def test_moa_with_experts_in_directories(self):
        self.write(moa("x"), **MOA | {"experts": ["x", "y"], "expert_paths": {"y": "y-v2"}})
        self.write({name: ones(3, 8) if "lora_A" in name else ones(8, 3) for name in self.pair()},
                   self.directory / "y-v2", r=3)
        found = inspect(self.directory)
        self.assertEqual(found.ranks, [2, 3])
        self.assertEqual(found.experts, {"x": "rank 2", "y": "LoRA, rank 3, in a directory of its own"})
        self.assertEqual(found.parameters, 9 + 32 + 48)
        self.assertEqual(found.warnings, ["model.layers.0: the router has 1 rows for 2 experts"])
        self.write({}, **MOA | {"expert_paths": {"x": "x", "y": "y-v2"}, "decision": "label"})
        self.write(heads(2), self.directory / "x", lora_nums=2)
        self.assertIn("expert x is HydraLoRA, but only a plain LoRA can be one", inspect(self.directory).warnings)

    def test_an_experts_directory_lies_inside(self):
        for path in ("../elsewhere", "/etc", "", "."):
            self.write(moa("x"), **MOA | {"expert_paths": {"y": path}})
            with self.subTest(path), self.assertRaisesRegex(ToolError, "not inside the directory"):
                inspect(self.directory)
        self.write(moa("x"), **MOA | {"expert_paths": ["y"]})
        with self.assertRaisesRegex(ToolError, "field 'expert_paths' cannot be"):
            inspect(self.directory)


class BrokenAdapterTest(DirectoryCase):
    def test_tensor_warnings(self):
        no_b = self.pair()
        del no_b[f"{Q}.lora_B.weight"]
        cases = {
            "has no lora_B": no_b,
            "A and B disagree on the rank: 3, 2": self.pair(lora_A=ones(3, 8)),
            "lora_A has a value that is not finite": self.pair(lora_A=f32(np.full((2, 8), np.nan))),
            "every B is zero": self.pair(lora_B=bf16(np.zeros((8, 2)))),
            "lora_A is not a matrix": self.pair(lora_A=ones(8)),
            "lora_A is I32, not of floats": self.pair(lora_A=StoredTensor("I32", np.ones((2, 8), np.int32))),
            "the router has 3 rows for 1 heads": self.pair(lora_route=ones(3, 8)),
            "has 2 numbered heads and no router": {k: v for k, v in heads(2, shared=False).items() if "route" not in k},
            "A of 0, 1, but B of 0, 1, 2": {k: v for k, v in heads(3, shared=False).items() if "lora_A2" not in k},
            "disagree on the shape": heads(2) | {f"{Q}.lora_B1.weight": ones(9, 2)},
            "tensor stranger belongs to no known part": self.pair() | {"stranger": f32(np.ones(1))},
            "there is no low-rank tensor": {},
            "has only one of lora_embedding_A": {"base_model.model.model.embed_tokens.lora_embedding_A": ones(2, 30)},
            "1 second names": self.pair() | {f"{Q}.moe_layer.experts.0.lora_A.weight": ones(2, 8)},
        }
        for message, tensors in cases.items():
            with self.subTest(message):
                self.assertIn(message, self.warnings(tensors))

    def test_config_warnings(self):
        cases = {
            "lora_nums is 3 but there is no lora_route": {"lora_nums": 3},
            "target_modules without tensors: v_proj": {"target_modules": ["q_proj", "v_proj"]},
            "modules that target_modules does not name: q_proj": {"target_modules": ["v_proj"]},
            "'.*mlp.*' does not match: q_proj": {"target_modules": ".*mlp.*"},
            "there is no lora_magnitude_vector": {"use_dora": True},
            "lora_bias together with use_dora": {"use_dora": True, "lora_bias": True},
            "bias is 'all', but there are no trained biases": {"bias": "all"},
            "init_lora_weights is 'pissa_niter_4'": {"init_lora_weights": "pissa_niter_4"},
            "init_lora_weights is 'olora'": {"init_lora_weights": "olora"},
            "fan_in_fan_out is True": {"fan_in_fan_out": True},
            "layer_replication is [[0, 4]]": {"layer_replication": [[0, 4]]},
            "target_parameters is": {"target_parameters": ["experts"]},
            "use_qalora is True": {"use_qalora": True},
            "kasa_config is": {"kasa_config": {"beta": 1}},
            "arrow_config is": {"arrow_config": {"top_k": 3}},
            "enable_lora is": {"enable_lora": [True, False, True]},
            "merge_weights is set": {"merge_weights": True},
            "r is 4, but there are A matrices of rank 2": {"r": 4},
        }
        for message, config in cases.items():
            with self.subTest(message):
                self.assertIn(message, self.warnings(self.pair(), **config))
        unsaved = {k.replace(".weight", ".default.weight"): v for k, v in self.pair().items()}
        self.assertIn("carry the name of an adapter (default)", self.warnings(unsaved))
        self.assertEqual(self.warnings(self.pair(), init_lora_weights="gaussian", bias="none", r=4,
                                       rank_pattern={"q_proj": 2}), "")
        self.assertIn("use_dora is not set", self.warnings(self.pair() | {f"{Q}.lora_magnitude_vector": ones(8)}))

    def test_heads_that_lora_nums_denies(self):
        self.assertIn("2 B heads, but lora_nums is 4", self.warnings(heads(2), lora_nums=4))
        self.assertIn("lora_nums is not set", self.warnings(heads(2)))
        self.assertIn("lora_nums is 1", self.warnings(heads(1), lora_nums=1))
        self.assertIn("a single target", self.warnings(heads(2), lora_nums=2))
        other = {k.replace("q_proj", "v_proj"): v for k, v in heads(2).items() if "route" not in k}
        self.assertIn("v_proj: has no router, though others have", self.warnings(heads(2) | other, lora_nums=2))

    def test_moa_warnings(self):
        layer_1 = {k.replace("layers.0", "layers.1"): v for k, v in moa("x", "y").items() if "router" not in k}
        no_router = {k: v for k, v in moa("x", "y").items() if "router" not in k}
        cases = {
            "expert z has neither tensors nor": (moa("x", "y"), {"experts": ["x", "y", "z"]}),
            "tensors of y, which experts does not name": (moa("x", "y"), {"experts": ["x"]}),
            "expert_paths names z, which": (moa("x", "y"), {"expert_paths": {"z": "z"}}),
            "the router has 2 rows for 3 experts": (moa("x", "y"), {"experts": ["x", "y", "z"]}),
            "router.bias is True, but the tensor is not there": (moa("x", "y", bias=False), {}),
            "router.bias is False, but the tensor is there": (moa("x", "y"), {"router": {"bias": False}}),
            "layers without a router: 1": (moa("x", "y") | layer_1, {}),
            "decision is 'dice'": (moa("x", "y"), {"decision": "dice"}),
            "decision is 'vote', but there are no routers": (no_router, {}),
            "requests must name the domain": (no_router, {"decision": "label"}),
            "experts names nobody": (moa("x", "y"), {"experts": []}),
        }
        self.write({name: ones(2, 8) if "lora_A" in name else ones(8, 2) for name in self.pair()}, self.directory / "z")
        self.assertEqual(self.warnings(moa("x", "y"), **MOA), "")
        for message, (tensors, config) in cases.items():
            with self.subTest(message):
                self.assertIn(message, self.warnings(tensors, **MOA | config))

    def test_families_that_are_not_served(self):
        for kind, family in {"XLORA": "X-LoRA", "MIXLORA": "MixLoRA", "POLY": "Poly", "MMOELORA": "MOELoRA"}.items():
            self.assertIn(f"peft_type is {kind}: not served", self.warnings(self.pair(), peft_type=kind))
            self.assertEqual(inspect(self.directory).family, family)
        self.assertIn("not served", self.warnings(self.pair(), peft_type="NEW"))
        (self.directory / "moe_args.pth").write_bytes(b"")
        self.write(self.pair())
        self.assertEqual(inspect(self.directory).family, "MLLM-HydraLoRA")

    def test_whatever_a_field_holds_there_is_an_answer(self):
        values = [None, True, 0, 3, -1, 1.5, float("inf"), float("nan"), 1 << 80, "", "x", "(", [], [1], ["x"],
                  [None], [[]], {}, {"x": 1}, {"x": "y"}, {"x": None}]
        fields = ["peft_type", "r", "lora_alpha", "target_modules", "lora_nums", "experts", "expert_paths", "router",
                  "bias", "decision", "modules_to_save", "rank_pattern", "alpha_pattern", "use_rslora", "use_dora",
                  "lora_bias", "init_lora_weights", "layer_replication", "alora_invocation_tokens", "top_k",
                  "threshold", "lora_rank", "base_model_name_or_path"]
        answers = {True: 0, False: 0}
        for tensors, config in ((self.pair(), {}), (heads(2), {"lora_nums": 2}), (moa("x", "y"), MOA)):
            self.write(tensors)
            for field in fields:
                for value in values:
                    settings = {"peft_type": "LORA", "r": 2, "lora_alpha": 4} | config | {field: value}
                    (self.directory / "adapter_config.json").write_text(json.dumps(settings))
                    with self.subTest(field, value=value):
                        try:
                            self.assertTrue(inspect(self.directory).lines())
                            answers[True] += 1
                        except ToolError as error:
                            self.assertIn(str(self.directory), str(error))
                            answers[False] += 1
        self.assertGreater(min(answers.values()), 100)

    def test_whatever_shape_a_tensor_has_there_is_an_answer(self):
        cases = ((self.pair(lora_route=ones(2, 8)), {"lora_nums": 2}), (heads(2), {"lora_nums": 2}),
                 (heads(2, shared=False), {"lora_nums": 2}), (moa("x", "y"), MOA),
                 (self.pair() | {f"{Q}.lora_magnitude_vector": ones(8), f"{Q}.lora_B.bias": ones(8)},
                  {"use_dora": True}))
        for tensors, config in cases:
            for name in tensors:
                for shape in ((), (0,), (5,), (0, 8), (2, 0), (3, 3), (1, 2, 3)):
                    with self.subTest(name, shape=shape):
                        self.warnings(tensors | {name: ones(*shape)}, **config)

    def test_missing_and_malformed_files(self):
        with self.assertRaisesRegex(ToolError, "adapter_config.json"):
            inspect(self.directory)
        (self.directory / "adapter_config.json").write_text("{")
        with self.assertRaisesRegex(ToolError, "not JSON"):
            inspect(self.directory)
        (self.directory / "adapter_config.json").write_text("{}")
        with self.assertRaisesRegex(ToolError, "adapter_model.safetensors"):
            inspect(self.directory)
        (self.directory / "adapter_model.bin").write_bytes(b"")
        with self.assertRaisesRegex(ToolError, "never opened"):
            inspect(self.directory)


if __name__ == "__main__":
    unittest.main()
