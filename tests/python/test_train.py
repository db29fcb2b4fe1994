"""Training end to end on the tiny model, where PyTorch is installed: files, formula, gains."""

import importlib.util
import sys
import tempfile
import unittest
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
TINY = ROOT / "deploy" / "models" / "tiny"
IDS = [57, 301, 44, 260, 700, 12, 90]

sys.path.insert(0, str(ROOT / "tests" / "golden"))


@unittest.skipUnless(importlib.util.find_spec("transformers"), "needs hydrad-tools[train]")
class TrainTest(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.directory = Path(directory.name)
        for name, words in {"abc": "a b c d e f g", "numbers": "1 2 3 4 5 6 7"}.items():
            (self.directory / f"{name}.txt").write_text("\n\n".join([words] * 200))

    def train(self, target, steps, **shape):
        """A short training of both domains; returns its report."""
        import torch

        from hydrad_tools.train.adapter import Run, train_adapter
        from hydrad_tools.train.corpora import parse_corpus
        from hydrad_tools.train.loop import Schedule
        from hydrad_tools.train.low_rank import AdapterShape
        corpora = [parse_corpus(f"{name}={self.directory / name}.txt") for name in ("abc", "numbers")]
        run = Run(TINY, "tiny", AdapterShape(**shape), Schedule(steps, 4, 5e-3, warmup=2), length=32, seed=5,
                  threads=1, base_dtype=torch.float32, domain_weight=0.5)
        return train_adapter(self.directory / target, corpora, run)

    def test_hydralora_learns_and_its_routers_separate(self):
        report = self.train("hydra", 25, rank=4, alpha=8.0, targets=("gate_proj", "down_proj"), heads=2)
        for before, after in report.losses.values():
            self.assertLess(after, before - 0.5)
        self.assertEqual(report.separation.accuracy, 1)
        self.assertGreater(report.separation.mutual_information, 0.1)

    def test_the_files_compute_what_the_trained_modules_do(self):
        import torch
        from transformers import AutoModelForCausalLM

        from hydrad_tools.train.low_rank import AdapterShape, adapt, round_to_bf16, save_adapter
        from reference import Reference
        for heads, stabilised in ((3, False), (None, False), (None, True)):
            torch.manual_seed(1)
            model = AutoModelForCausalLM.from_pretrained(TINY, dtype=torch.float32)
            shape = AdapterShape(3, 6.0, ("q_proj", "o_proj", "up_proj"), heads, stabilised)
            adapted = adapt(model, shape)
            for layer in adapted.values():
                for head in layer.heads:
                    torch.nn.init.normal_(head, std=0.3)
            round_to_bf16(adapted)
            save_adapter(self.directory / "some", adapted, shape, "tiny")
            with torch.no_grad():
                logits = model(input_ids=torch.tensor([IDS])).logits[0].numpy()
            with self.subTest(heads=heads, stabilised=stabilised):
                np.testing.assert_allclose(logits, Reference(TINY, self.directory / "some").logits(IDS), atol=1e-3)

    def test_equal_seeds_give_equal_bytes(self):
        files = []
        for target in ("one", "two"):
            self.train(target, 3, rank=2, alpha=4.0, targets=("q_proj", "v_proj"))
            files.append((self.directory / target / "adapter_model.safetensors").read_bytes())
        self.assertEqual(*files)

    def test_refusals(self):
        from hydrad_tools.errors import ToolError
        with self.assertRaisesRegex(ToolError, "as many heads"):
            self.train("few", 1, rank=2, alpha=4.0, targets=("q_proj", "v_proj"), heads=1)
        with self.assertRaisesRegex(ToolError, "no projection named .*w1"):
            self.train("none", 1, rank=2, alpha=4.0, targets=("q_proj", "w1"))


if __name__ == "__main__":
    unittest.main()
