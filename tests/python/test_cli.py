"""The command line: help of every command, exit statuses, messages without tracebacks."""

import contextlib
import importlib.util
import io
import unittest
from pathlib import Path

from hydrad_tools.cli import main

ADAPTERS = Path(__file__).resolve().parents[1] / "golden" / "adapters"


def run(*arguments: str) -> tuple[int, str, str]:
    """Exit status, standard output and standard error of one command."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            status = main(arguments)
        except SystemExit as exit:
            status = exit.code
    return status, out.getvalue(), err.getvalue()


class CommandLineTest(unittest.TestCase):
    def test_help_of_every_command(self):
        for command in ("", "model", "model import", "adapter", "adapter inspect", "adapter import", "train",
                        "train tiny", "train lora", "train hydralora", "train moa"):
            with self.subTest(command):
                status, out, _ = run(*command.split(), "--help")
                self.assertEqual(status, 0)
                self.assertIn(f"usage: hydrad-tools {command}".strip(), out)

    def test_inspect(self):
        status, out, _ = run("adapter", "inspect", str(ADAPTERS / "qwen3_hydralora"))
        self.assertEqual(status, 0)
        self.assertIn("HydraLoRA", out)

    def test_errors_are_one_line(self):
        status, _, err = run("model", "import", "/nowhere/x.gguf", "/nowhere/y")
        self.assertEqual(status, 1)
        self.assertRegex(err, r"^hydrad-tools: /nowhere/x.gguf: .*\n$")

    @unittest.skipIf(importlib.util.find_spec("torch"), "torch is installed")
    def test_training_without_torch_says_what_to_install(self):
        for kind in (["tiny", "x"], ["lora", "x", "y"], ["hydralora", "x", "y"], ["moa", "x", "y"]):
            status, _, err = run("train", *kind, "--text", "a=b")
            self.assertEqual(status, 1)
            self.assertIn("hydrad-tools[train]", err)

    def test_bad_usage(self):
        self.assertEqual(run("train", "lora")[0], 2)


if __name__ == "__main__":
    unittest.main()
