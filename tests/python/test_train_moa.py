"""Training a MoA on the tiny model, where PyTorch is installed: files, formula, gradients, routers."""

import importlib.util
import json
import sys
import tempfile
import unittest
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
TINY = ROOT / "deploy" / "models" / "tiny"
PROMPTS = [[57, 301, 44, 260, 700, 12, 90], [5, 9, 33], [800, 2, 91, 17, 17, 64, 400, 3]]

sys.path.insert(0, str(ROOT / "tests" / "golden"))


@unittest.skipUnless(importlib.util.find_spec("transformers"), "needs hydrad-tools[train]")
class MoaTest(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.directory = Path(directory.name)

    def random_moa(self, pool, seed=1):
        """The tiny model with three experts and routers of random numbers, rounded as files are."""
        import torch
        from transformers import AutoModelForCausalLM

        from hydrad_tools.train.experts import Moa, MoaShape
        torch.manual_seed(seed)
        moa = Moa(AutoModelForCausalLM.from_pretrained(TINY, dtype=torch.float32),
                  MoaShape(3, 6.0, ("q_proj", "down_proj"), ("x", "y", "z"), pool))
        for expert in moa.experts.values():
            torch.nn.init.normal_(expert.lora_B, std=0.3)
        for router in moa.routers:
            torch.nn.init.normal_(router.linear.weight)
            torch.nn.init.normal_(router.linear.bias, std=0.1)
            router.fit_scale(torch.randn(50, 128) * torch.linspace(0.1, 3, 128) + 0.2)
        moa.round_to_bf16()
        return moa

    def test_the_files_compute_and_decide_what_the_modules_do(self):
        import torch

        from hydrad_tools.train.corpora import PromptMixture
        from reference import Reference
        ids, lengths = (torch.from_numpy(part) for part in PromptMixture.pad([np.array(ids) for ids in PROMPTS]))
        for pool in ("last", "mean"):
            moa = self.random_moa(pool)
            moa.save(self.directory / pool, "tiny")
            for decision in ("vote", "last", "layer"):
                picked = moa.decide(ids, lengths, decision)
                moa.choose(picked)
                with torch.no_grad():
                    logits = moa.model(input_ids=ids).logits.numpy()
                for row, prompt in enumerate(PROMPTS):
                    reference = Reference(TINY, self.directory / pool)
                    route = reference.route(prompt, decision)
                    mine = picked[:, row].tolist() if decision == "layer" else [int(picked[row])] * 4
                    with self.subTest(pool=pool, decision=decision, row=row):
                        self.assertEqual(mine, route)
                        np.testing.assert_allclose(logits[row, :len(prompt)], reference.logits(prompt), atol=1e-3)

    def test_routers_read_what_enters_the_layers(self):
        import torch
        moa, ids = self.random_moa("last"), torch.tensor([PROMPTS[0]])
        moa.choose(torch.tensor([1]))
        seen = []
        for block in moa.model.model.layers:
            block.register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0][0, -1].clone()))
        pooled = moa.pooled(ids, torch.tensor([len(PROMPTS[0])]))
        self.assertEqual(len(seen), len(pooled))
        torch.testing.assert_close(pooled[:, 0], torch.stack(seen), rtol=0, atol=0)

    def test_folding_changes_nothing(self):
        import torch

        from hydrad_tools.train.experts import Router
        torch.manual_seed(3)
        router, inputs = Router(40, 5), torch.randn(30, 40) * torch.logspace(-2, 3, 40) + 7
        torch.nn.init.normal_(router.linear.weight)
        router.fit_scale(inputs)
        weight, bias = router.folded()
        torch.testing.assert_close(inputs @ weight.T + bias, router(inputs), rtol=1e-4, atol=1e-3)

    def test_gradients_reach_the_chosen_expert_and_the_routers(self):
        import torch

        from hydrad_tools.train.moa import domain_loss
        moa = self.random_moa("last")
        layer = moa.experts["model.layers.1.mlp.down_proj"]
        layer.choice = torch.tensor([2, 0])
        x, slope = torch.randn(2, 4, 320), torch.randn(2, 4, 128)
        (layer(x) * slope).sum().backward()
        self.assertEqual(layer.lora_A.grad[1].abs().max(), 0)
        for row, expert in enumerate((2, 0)):
            a, b = layer.lora_A[expert].detach(), layer.lora_B[expert].detach()
            by_b, by_a = 2 * slope[row].T @ (x[row] @ a.T), 2 * (slope[row] @ b).T @ x[row]
            torch.testing.assert_close(layer.lora_B.grad[expert], by_b, rtol=1e-4, atol=1e-4)
            torch.testing.assert_close(layer.lora_A.grad[expert], by_a, rtol=1e-4, atol=1e-4)
        moa.model.zero_grad()
        ids, domains = torch.tensor([[5, 6, 7], [8, 9, 10]]), torch.tensor([0, 1])
        for router in moa.routers:
            torch.nn.init.zeros_(router.linear.weight)
            torch.nn.init.zeros_(router.linear.bias)
        loss = domain_loss(moa, ids, torch.tensor([3, 2]), domains)
        self.assertAlmostEqual(loss.item(), np.log(3), places=5)
        loss.backward()
        self.assertTrue(all(router.linear.bias.grad.abs().max() > 0 for router in moa.routers))
        self.assertTrue(all(e.lora_A.grad is None or not e.lora_A.grad.any() for e in moa.experts.values()))

    def test_training_end_to_end_from_the_command_line(self):
        import contextlib
        import io

        from hydrad_tools.adapter_inspect import inspect
        from hydrad_tools.cli import main
        texts = []
        for name, words in {"abc": "a b c d e f g", "numbers": "1 2 3 4 5 6 7"}.items():
            (self.directory / f"{name}.txt").write_text("\n\n".join([words] * 200))
            texts += ["--text", f"{name}={self.directory / name}.txt"]
        out = io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(io.StringIO()):
            self.assertEqual(main(["train", "moa", str(TINY), str(self.directory / "moa"), *texts, "--steps", "15",
                                   "--stage-one-steps", "8", "--rows", "4", "--length", "32", "--learning-rate", "5e-3",
                                   "--targets", "gate_proj,down_proj", "--rank", "4", "--windows", "8"]), 0)
        for name in ("abc", "numbers"):
            line = next(line for line in out.getvalue().splitlines() if line.startswith(f"{name}  base"))
            loss = {part.split()[0]: float(part.split()[-1]) for part in line.removeprefix(name).strip().split("  ")}
            self.assertLess(loss["stage"], loss["base"] - 0.2)
            self.assertLess(loss["label"], loss["stage"])
            self.assertLess(loss["vote"], loss["base"] - 0.5)
        self.assertRegex(out.getvalue(), r"accuracy on held-out prompts: vote 1.000, last 1.000, layer (0.[5-9]|1.000)")
        found = inspect(self.directory / "moa")
        self.assertEqual((found.family, list(found.experts), found.warnings), ("MoA", ["abc", "numbers"], []))
        config = json.loads((self.directory / "moa" / "adapter_config.json").read_text())
        self.assertEqual(config["router"], {"bias": True, "input": "block_input", "pool": "mean"})

    def test_an_expert_may_be_there_already(self):
        """As PEFT saves it, whatever its scale; it must fit."""
        import torch

        from hydrad_tools.errors import ToolError
        from hydrad_tools.train.low_rank import AdapterShape, adapt, round_to_bf16, save_adapter
        from transformers import AutoModelForCausalLM
        ids = torch.tensor([PROMPTS[0]])

        def lora(name, rank, targets):
            torch.manual_seed(4)
            model = AutoModelForCausalLM.from_pretrained(TINY, dtype=torch.float32)
            shape = AdapterShape(rank, 12.0, targets)
            adapted = adapt(model, shape)
            for layer in adapted.values():
                torch.nn.init.normal_(layer.heads[0], std=0.3)
            round_to_bf16(adapted)
            save_adapter(self.directory / name, adapted, shape, "tiny")
            return model

        trained, moa = lora("fits", 3, ("q_proj", "down_proj")), self.random_moa("last")
        moa.load_expert("y", self.directory / "fits")
        moa.choose(torch.tensor([1]))
        with torch.no_grad():
            torch.testing.assert_close(moa.model(input_ids=ids).logits, trained(input_ids=ids).logits)
        for name, rank, targets, message in (("rank", 2, ("q_proj", "down_proj"), "plain LoRA of rank 3"),
                                             ("few", 3, ("q_proj",), "down_proj has no lora_A"),
                                             ("many", 3, ("q_proj", "k_proj", "down_proj"), "k_proj.* of no target")):
            lora(name, rank, targets)
            with self.subTest(name), self.assertRaisesRegex(ToolError, message):
                moa.load_expert("y", self.directory / name)

    def test_an_experts_name_can_be_served(self):
        from hydrad_tools.errors import ToolError
        from hydrad_tools.train.experts import MoaShape
        for name in ("a b", "", "x" * 65, "a.b"):
            with self.subTest(name), self.assertRaisesRegex(ToolError, "cannot name an expert"):
                MoaShape(2, 4.0, ("q_proj",), ("x", name))
        with self.assertRaisesRegex(ToolError, "twice"):
            MoaShape(2, 4.0, ("q_proj",), ("x", "x"))


if __name__ == "__main__":
    unittest.main()
