"""The committed golden files agree with the float64 reference, so both are what README.md says."""

import json
import sys
import unittest
from pathlib import Path

import numpy as np

from hydrad_tools.safetensors_io import read_safetensors

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = ROOT / "tests" / "golden"
sys.path.insert(0, str(GOLDEN))

from reference import Reference  # noqa: E402


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
        adapter = ROOT / case["adapter"] if case["adapter"] else None
        reference = Reference(ROOT / case["model"], adapter)
        for index, prompt in enumerate(case["prompts"]):
            if case["decision"]:
                self.assertEqual(reference.route(prompt["ids"], case["decision"], case["label"]), prompt["route"])
            positions = tensors[f"prompt{index}.positions"].data.tolist()
            stored = tensors[f"prompt{index}.logits"].data
            exact = reference.logits(prompt["ids"], positions)
            np.testing.assert_allclose(stored, exact, rtol=0, atol=2 * prompt["float64_max_abs_error"] + 1e-6)
            self.assertEqual(positions[-1], len(prompt["ids"]) - 1)
            self.assertEqual(int(exact[-1].argmax()), prompt["greedy"]["ids"][0])
            self.assertEqual(len(prompt["greedy"]["ids"]), len(prompt["greedy"]["margins"]))


if __name__ == "__main__":
    unittest.main()
