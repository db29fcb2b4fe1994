"""Converts an adapter that was saved as a pickle to safetensors, the only form the daemon opens."""

from __future__ import annotations

import shutil
from pathlib import Path

from hydrad_tools.errors import ToolError
from hydrad_tools.safetensors_io import write_safetensors
from hydrad_tools.torch_pickle import read_torch_pickle


def import_adapter(source: Path, target: Path) -> None:
    """Writes ``source``'s configuration and tensors into ``target``, names and types unchanged.

    ``source`` holds ``adapter_config.json`` and ``adapter_model.bin``. Raises ToolError if either
    is missing, or if the pickle holds anything but tensors.
    """
    config = source / "adapter_config.json"
    if not config.is_file():
        raise ToolError(f"{config}: No such file or directory")
    tensors = read_torch_pickle(source / "adapter_model.bin")
    target.mkdir(parents=True, exist_ok=True)
    write_safetensors(target / "adapter_model.safetensors", tensors)
    if source.resolve() != target.resolve():
        shutil.copyfile(config, target / "adapter_config.json")
