"""What inspect says of sound adapters of every family, and of broken ones."""

import json
import tempfile
import unittest
from pathlib import Path

import numpy as np

from hydrad_tools.adapter_inspect import inspect
from hydrad_tools.errors import ToolError
from hydrad_tools.safetensors_io import bf16, f32, write_safetensors

ADAPTERS = Path(__file__).resolve().parents[1] / "golden" / "adapters"
Q = "base_model.model.model.layers.0.self_attn.q_proj"


class SoundAdapterTest(unittest.TestCase):
    def test_families(self):
        expected = {"llama_lora": ("LoRA", [4], [1]), "llama_rslora": ("rsLoRA", [3], [1]),
                    "qwen2_patterns": ("LoRA", [1, 4, 7], [1]), "llama_hydralora": ("HydraLoRA", [4], [4]),
                    "mistral_loramoe": ("LoRAMoE", [2], [3])}
        for name, (family, ranks, heads) in expected.items():
            found = inspect(ADAPTERS / name)
            with self.subTest(name):
                self.assertEqual((found.family, found.ranks, found.heads), (family, ranks, heads))
                self.assertEqual(found.warnings, [])

    def test_facts(self):
        found = inspect(ADAPTERS / "llama_hydralora")
        self.assertEqual(found.targets, ["down_proj", "gate_proj", "up_proj"])
        self.assertEqual(found.projections, 6)
        self.assertEqual(found.dtypes, ["BF16"])
        self.assertIn("scale:       2 (alpha 8, r 4)", found.lines())


class BrokenAdapterTest(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.directory = Path(directory.name)

    def warnings(self, tensors, **config):
        """Writes an adapter of q_proj and returns what inspect warns of."""
        settings = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": ["q_proj"]} | config
        (self.directory / "adapter_config.json").write_text(json.dumps(settings))
        write_safetensors(self.directory / "adapter_model.safetensors", tensors)
        return "\n".join(inspect(self.directory).warnings)

    def pair(self, **changes):
        return {f"{Q}.lora_A.weight": bf16(np.ones((2, 8))), f"{Q}.lora_B.weight": bf16(np.ones((8, 2)))} | {
            f"{Q}.{name}.weight": value for name, value in changes.items()}

    def test_tensor_warnings(self):
        no_b = self.pair()
        del no_b[f"{Q}.lora_B.weight"]
        cases = {
            "has no lora_B": no_b,
            "disagree on the rank: 2, 3": self.pair(lora_A=bf16(np.ones((3, 8)))),
            "lora_A has a value that is not finite": self.pair(lora_A=f32(np.full((2, 8), np.nan))),
            "every B is zero": self.pair(lora_B=bf16(np.zeros((8, 2)))),
            "lora_A is not a matrix": self.pair(lora_A=bf16(np.ones(8))),
            "lora_route has 3 rows for 1 heads": self.pair(lora_route=bf16(np.ones((3, 8)))),
            "tensor stranger belongs to no known part": self.pair() | {"stranger": f32(np.ones(1))},
            "there is no low-rank tensor": {},
        }
        for message, tensors in cases.items():
            with self.subTest(message):
                self.assertIn(message, self.warnings(tensors))

    def test_config_warnings(self):
        cases = {
            "lora_nums is 3 but there is no lora_route": {"lora_nums": 3},
            "target_modules without tensors: v_proj": {"target_modules": ["q_proj", "v_proj"]},
            "use_dora is True": {"use_dora": True},
            "bias is 'all'": {"bias": "all"},
        }
        for message, config in cases.items():
            with self.subTest(message):
                self.assertIn(message, self.warnings(self.pair(), **config))

    def test_heads_that_lora_nums_denies(self):
        tensors = {f"{Q}.{name}.weight": bf16(np.ones(shape)) for name, shape in {
            "lora_A": (2, 8), "lora_B0": (8, 2), "lora_B1": (8, 2), "lora_route": (2, 8)}.items()}
        self.assertIn("2 B heads, but lora_nums is 4", self.warnings(tensors, lora_nums=4))
        self.assertIn("lora_nums is not set", self.warnings(tensors))

    def test_families_that_are_not_served(self):
        self.warnings(self.pair(), peft_type="XLORA")
        self.assertEqual(inspect(self.directory).family, "XLORA (not served)")

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
