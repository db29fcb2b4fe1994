"""The committed golden files agree with the float64 reference, so both are what README.md says."""

import hashlib
import json
import sys
import unittest
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from hydrad_tools.safetensors_io import read_safetensors

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = ROOT / "tests" / "golden"
sys.path.insert(0, str(GOLDEN))

from reference import Reference, RoundedReference  # noqa: E402


class GoldenTest(unittest.TestCase):
    def test_logits_and_first_greedy_token(self):
        checked = 0
        for path in sorted((GOLDEN / "cases").glob("*.json")):
            case = json.loads(path.read_text())
            if not (ROOT / case["model"]).exists() or case["model"].startswith("build/"):
                continue
            with self.subTest(path.stem):
                self.check(case, read_safetensors(path.with_suffix(".safetensors")))
            checked += 1
        self.assertGreater(checked, 15)

    def check(self, case, tensors):
        named = case["adapter"] or []
        adapters = [ROOT / path for path in (named if isinstance(named, list) else [named])]
        reference, rounded = (kind(ROOT / case["model"], adapters, case.get("weights"), case.get("top_k"))
                              for kind in (Reference, RoundedReference))
        for index, prompt in enumerate(case["prompts"]):
            if case["decision"]:
                self.assertEqual(reference.route(prompt["ids"], case["decision"], case["label"]), prompt["route"])
                self.assertEqual(rounded.routes(prompt["ids"], case["decision"], case["label"]), {tuple(prompt["route"])})
            positions = tensors[f"prompt{index}.positions"].data.tolist()
            stored = tensors[f"prompt{index}.logits"].data
            exact = reference.logits(prompt["ids"], positions)
            np.testing.assert_allclose(stored, exact, rtol=0, atol=2 * prompt["float64_max_abs_error"] + 1e-6)
            self.assertAlmostEqual(rounded.worst_error(prompt["ids"], prompt["route"], tensors, f"prompt{index}"),
                                   prompt["rounded_max_abs_error"], delta=1e-6)
            self.assertEqual(positions[-1], len(prompt["ids"]) - 1)
            self.assertEqual(int(exact[-1].argmax()), prompt["greedy"]["ids"][0])
            self.assertEqual(len(prompt["greedy"]["ids"]), len(prompt["greedy"]["margins"]))

    def test_tokens_of_the_tiny_model(self):
        golden = json.loads((GOLDEN / "tokens" / "tiny.json").read_text())
        tokenizer = Tokenizer.from_file(str(ROOT / golden["model"] / "tokenizer.json"))
        for entry in golden["texts"]:
            with self.subTest(entry["text"]):
                self.assertEqual(tokenizer.encode(entry["text"], add_special_tokens=False).ids, entry["ids"])

    def test_trained_adapters_belong_to_the_models_at_hand(self):
        for path in sorted((GOLDEN / "cases").glob("tiny*.json")):
            case = json.loads(path.read_text())
            weights = (ROOT / case["model"] / "model.safetensors").read_bytes()
            self.assertEqual(hashlib.sha256(weights).hexdigest(), case["model_sha256"], path.name)


if __name__ == "__main__":
    unittest.main()
