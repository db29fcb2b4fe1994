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

    def train(self, target, steps, weight=0.5, **shape):
        """A short training of both domains; returns its report."""
        import torch

        from hydrad_tools.train.adapter import Run, train_adapter
        from hydrad_tools.train.corpora import parse_corpus
        from hydrad_tools.train.loop import Schedule
        from hydrad_tools.train.low_rank import AdapterShape
        corpora = [parse_corpus(f"{name}={self.directory / name}.txt") for name in ("abc", "numbers")]
        run = Run(TINY, "tiny", AdapterShape(**shape), Schedule(steps, 4, 5e-3, warmup=2), length=32, seed=5,
                  threads=1, base_dtype=torch.float32, domain_weight=weight)
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

    def test_gradients_are_those_of_the_formula(self):
        """dy = d(s sum_i g_i B_i A x), with the softmax's own derivative, in NumPy."""
        import torch

        from hydrad_tools.train.low_rank import AdaptedLinear, AdapterShape
        torch.manual_seed(2)
        layer = AdaptedLinear(torch.nn.Linear(6, 5), AdapterShape(2, 6.0, (), heads=3))
        for head in layer.heads:
            torch.nn.init.normal_(head)
        x, slope = torch.randn(1, 4, 6), torch.randn(1, 4, 5)
        (layer(x) * slope).sum().backward()
        a, r, b = layer.lora_A.weight, layer.lora_route.weight, torch.stack(list(layer.heads))
        a, r, b, rows, g_y = (value.detach().double().numpy() for value in (a, r, b, x[0], slope[0]))
        gates = np.exp(rows @ r.T) / np.exp(rows @ r.T).sum(axis=1, keepdims=True)  # [tokens, heads]
        through = np.einsum("to,ior->tir", g_y, b)  # what each head hands back to u = A x
        by_gate = 3.0 * np.einsum("tir,tr->ti", through, rows @ a.T)
        expected = {
            "A": 3.0 * np.einsum("ti,tir,tn->rn", gates, through, rows),
            "R": np.einsum("ti,tn->in", gates * (by_gate - (gates * by_gate).sum(axis=1, keepdims=True)), rows),
        } | {f"B{i}": 3.0 * np.einsum("t,to,tr->or", gates[:, i], g_y, rows @ a.T) for i in range(3)}
        found = {"A": layer.lora_A.weight.grad, "R": layer.lora_route.weight.grad} | {
            f"B{i}": head.grad for i, head in enumerate(layer.heads)}
        for name, value in expected.items():
            np.testing.assert_allclose(found[name].numpy(), value, rtol=1e-4, atol=1e-5, err_msg=name)

    def test_the_domain_loss_by_hand(self):
        import types

        import torch

        from hydrad_tools.train.routing import domain_loss, mutual_information
        gates = torch.tensor([[[0.5, 0.5], [0.25, 0.75]], [[1.0, 0.0], [0.5, 0.5]]])  # [rows, tokens, heads]
        loss = domain_loss([types.SimpleNamespace(gates=gates)], np.array([1, 0]))
        self.assertAlmostEqual(float(loss), -(np.log(0.625) + np.log(0.75)) / 2, places=6)
        perfect, blind = np.array([[[1.0, 0]], [[0, 1.0]]]), np.array([[[0.3, 0.7]], [[0.3, 0.7]]])
        np.testing.assert_allclose(mutual_information(np.concatenate([perfect, blind], axis=1)), [1, 0], atol=1e-12)

    def test_heads_without_domains_learn_from_the_language_alone(self):
        report = self.train("free", 2, weight=0.0, rank=2, alpha=4.0, targets=("q_proj", "v_proj"), heads=1)
        self.assertEqual(report.separation.bound, 1)

    def test_refusals(self):
        from hydrad_tools.errors import ToolError
        with self.assertRaisesRegex(ToolError, "a head for each of 2 domains"):
            self.train("few", 1, rank=2, alpha=4.0, targets=("q_proj", "v_proj"), heads=1)
        with self.assertRaisesRegex(ToolError, "no projection named .*w1"):
            self.train("none", 1, rank=2, alpha=4.0, targets=("q_proj", "w1"))


if __name__ == "__main__":
    unittest.main()
