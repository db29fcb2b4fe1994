"""Converting pickled adapters of every family: names, values, configurations, and what is refused."""

import contextlib
import io
import json
import tempfile
import unittest
from pathlib import Path

import numpy as np

import torch_files as tf
from hydrad_tools.adapter_import import ImportOptions, import_adapter
from hydrad_tools.cli import main
from hydrad_tools.errors import ToolError
from hydrad_tools.safetensors_io import read_safetensors

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = ROOT / "tests" / "golden" / "adapters"
Q = "model.layers.0.self_attn.q_proj"


class ImportCase(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.source, self.target = Path(directory.name) / "in", Path(directory.name) / "out"
        self.source.mkdir()

    def config(self, name="adapter_config.json", **fields):
        path = self.source / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps({"peft_type": "LORA", "r": 2, "lora_alpha": 4} | fields))

    def imported(self, source=None, **options):
        """What the import said, and the tensors it wrote."""
        notes = import_adapter(source or self.source, self.target, ImportOptions(**options))
        return notes, read_safetensors(self.target / "adapter_model.safetensors")

    def refused(self, message, source=None, **options):
        with self.assertRaisesRegex(ToolError, message):
            import_adapter(source or self.source, self.target, ImportOptions(**options))
        self.assertFalse(self.target.exists())


class PickledDirectoryTest(ImportCase):
    def test_every_family_comes_through_bit_for_bit(self):
        for name in ("llama_lora", "llama_hydralora", "mistral_loramoe", "moa_last", "moa_mean"):
            stored = read_safetensors(GOLDEN / name / "adapter_model.safetensors")
            entries = {key: tf.view("BFloat16Storage", str(i), tensor.shape, tf.row_major(tensor.shape))
                       for i, (key, tensor) in enumerate(stored.items())}
            storages = {str(i): tensor.data.tobytes() for i, tensor in enumerate(stored.values())}
            text = (GOLDEN / name / "adapter_config.json").read_text()
            (self.source / "adapter_config.json").write_text(text)
            tf.write(self.source / "adapter_model.bin", tf.dictionary(entries), storages)
            with self.subTest(name):
                notes, tensors = self.imported()
                self.assertEqual(notes, [])
                self.assertEqual(list(tensors), list(stored))
                for key, tensor in stored.items():
                    self.assertEqual(tensors[key].dtype, "BF16")
                    np.testing.assert_array_equal(tensors[key].data, tensor.data)
                self.assertEqual((self.target / "adapter_config.json").read_text(), text)

    def test_views_are_written_row_major(self):
        self.config()
        values = np.arange(6, dtype=np.float32)
        tf.write(self.source / "adapter_model.bin", tf.dictionary({
            "turned": tf.view("FloatStorage", "0", (3, 2), (1, 3)), "again": tf.view("FloatStorage", "0", (6,), (1,))}),
            {"0": values.tobytes()})
        _, tensors = self.imported()
        np.testing.assert_array_equal(tensors["turned"].data, values.reshape(2, 3).T)
        np.testing.assert_array_equal(tensors["again"].data, values)

    def test_doubles_become_floats(self):
        self.config()
        tf.write(self.source / "adapter_model.bin", tf.dictionary({"a": tf.view("DoubleStorage", "0", (2,), (1,))}),
                 {"0": np.array([1.5, 1e-3]).tobytes()})
        notes, tensors = self.imported()
        self.assertEqual(tensors["a"].dtype, "F32")
        np.testing.assert_array_equal(tensors["a"].data, np.array([1.5, 1e-3], np.float32))
        self.assertEqual(notes, ["rounded 1 tensors from double to float"])

    def test_where_files_are_looked_for(self):
        tensors = {"a": np.ones(2)}
        for pickle, config in (("adapter_model.bin", "adapter_config.json"),
                               ("pytorch_model.bin", "adapter_config.json"),
                               ("pytorch_model.bin", "sft_lora_model/adapter_config.json")):
            with self.subTest(pickle, config=config):
                tf.write_tensors(self.source / pickle, tensors)
                self.config(config)
                self.imported()
                self.imported(self.source / pickle)
                self.assertTrue((self.target / "adapter_config.json").is_file())
                (self.source / pickle).unlink()
                (self.source / config).unlink()

    def test_importing_in_place(self):
        self.config()
        tf.write_tensors(self.source / "adapter_model.bin", {"a": np.ones(2)})
        import_adapter(self.source, self.source)
        self.assertEqual(list(read_safetensors(self.source / "adapter_model.safetensors")), ["a"])

    def test_refusals(self):
        self.refused("holds none of adapter_model.bin")
        self.refused("nowhere: No such file", self.source / "nowhere")
        tf.write_tensors(self.source / "adapter_model.bin", {f"{Q}.lora_A.weight": np.ones((2, 4))})
        self.refused("adapter_config.json: No such file")
        self.config()
        tf.write(self.source / "adapter_model.bin", tf.dictionary({"a": tf.named("posix", "system")}), {})
        self.refused("asks for posix.system")

    def test_second_names_of_adamole_are_left_out(self):
        self.config(peft_type="ADAMOLE")
        tensors = {f"x.q_proj.lora_{kind}.{e}.weight": np.full((2, 2), e) for e in range(2) for kind in "AB"}
        aliases = {f"x.q_proj.moe_layer.experts.{e}.lora_{kind}.weight": np.full((2, 2), e)
                   for e in range(2) for kind in "AB"}
        tf.write_tensors(self.source / "adapter_model.bin", tensors | aliases)
        notes, read = self.imported()
        self.assertEqual(list(read), list(tensors))
        self.assertEqual(notes, ["left out 4 second names of tensors below moe_layer"])
        aliases["x.q_proj.moe_layer.experts.1.lora_A.weight"] = np.zeros((2, 2))  # not the same: nobody's second name
        tf.write_tensors(self.source / "adapter_model.bin", tensors | aliases)
        self.assertIn("x.q_proj.moe_layer.experts.1.lora_A.weight", self.imported()[1])

    def test_the_command_says_what_it_wrote(self):
        self.config(peft_type="MIXLORA")
        tf.write_tensors(self.source / "adapter_model.bin", {"mixlora.layers.0.mlp.moe_gate.weight": np.ones((2, 4))})
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            self.assertEqual(main(["adapter", "import", str(self.source), str(self.target)]), 0)
        self.assertRegex(out.getvalue(), r"wrote .*\n(.*\n)*family: +MixLoRA\n(.*\n)*warning: .*not served")


class ReimplementedMoaTest(ImportCase):
    def setUp(self):
        super().setUp()
        rng = np.random.default_rng(3)
        self.file = self.source / "moa.pth"
        self.experts = {f"{Q}.experts.{name}.{part}": rng.normal(size=shape).astype(np.float32)
                        for name in ("qa", "nli") for part, shape in (("A", (2, 4)), ("B", (6, 2)))}
        self.routers = {f"{Q}.router.weight": np.ones((2, 4)), f"{Q}.router.bias": np.ones(2)}

    def test_experts_come_through(self):
        tf.write_tensors(self.file, self.experts | self.routers)
        notes, tensors = self.imported(self.file, alpha=16, without_routers=True)
        for name in ("qa", "nli"):
            for part in "AB":
                np.testing.assert_array_equal(tensors[f"base_model.model.{Q}.lora_{part}.{name}.weight"].data,
                                              self.experts[f"{Q}.experts.{name}.{part}"])
        self.assertEqual(len(tensors), 4)
        self.assertRegex(notes[0], "left out 2 router tensors")
        config = json.loads((self.target / "adapter_config.json").read_text())
        expected = {"peft_type": "MOA", "experts": ["qa", "nli"], "decision": "label", "r": 2, "lora_alpha": 16,
                    "target_modules": ["q_proj"]}
        self.assertEqual({key: config[key] for key in expected}, expected)

    def test_a_single_task_becomes_a_lora(self):
        tf.write_tensors(self.file, {f"{Q}.A": np.ones((2, 4)), f"{Q}.B": np.ones((6, 2))})
        _, tensors = self.imported(self.file, alpha=8)
        self.assertEqual(set(tensors), {f"base_model.model.{Q}.lora_{part}.weight" for part in "AB"})
        self.assertEqual(json.loads((self.target / "adapter_config.json").read_text())["peft_type"], "LORA")

    def test_refusals(self):
        tf.write_tensors(self.file, self.experts | self.routers)
        self.refused("does not say lora_alpha; give --alpha", self.file)
        self.refused(rf"{Q}.router.weight and 1 more are routers of single modules", self.file, alpha=16)
        tf.write_tensors(self.file, self.experts | {f"{Q}.A": np.ones((2, 4))})
        self.refused(f"{Q}.A belongs to no expert", self.file, alpha=16)
        tf.write_tensors(self.file, self.experts | {f"{Q}.experts.other.A": np.ones((3, 4))})
        self.refused(r"ranks \[2, 3\]", self.file, alpha=16)
        tf.write_tensors(self.file, {f"{Q}.experts.a b.A": np.ones((3, 4))})
        self.refused("expert named 'a b' cannot be served", self.file, alpha=16)
        tf.write_tensors(self.file, {"unknown": np.ones(1)})
        self.refused("adapter_config.json: No such file", self.file, alpha=16)


if __name__ == "__main__":
    unittest.main()
