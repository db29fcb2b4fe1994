"""Reads the tensors of a ``torch.save`` file without PyTorch and without running what is in it.

A file is a zip (``<root>/data.pkl`` and raw storages ``<root>/data/<key>``). The pickle may name
only the few functions that build tensors and dictionaries; anything else, which is how a pickle
runs code, is refused. What a reader allocates is bounded by the size of the file.
"""

from __future__ import annotations

import pickle
import zipfile
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hydrad_tools.errors import ToolError
from hydrad_tools.safetensors_io import StoredTensor

_STORAGES = {
    "DoubleStorage": ("F64", np.float64), "FloatStorage": ("F32", np.float32), "HalfStorage": ("F16", np.float16),
    "BFloat16Storage": ("BF16", np.uint16), "LongStorage": ("I64", np.int64), "IntStorage": ("I32", np.int32),
    "ShortStorage": ("I16", np.int16), "CharStorage": ("I8", np.int8), "ByteStorage": ("U8", np.uint8),
    "BoolStorage": ("BOOL", np.bool_),
}


@dataclass(frozen=True)
class _StorageKind:
    """Stands for ``torch.<name>``; a class without behaviour, so that it cannot be called."""

    name: str


def read_torch_pickle(path: Path) -> dict[str, StoredTensor]:
    """The tensors of a saved state dict by name.

    Raises ToolError, naming the file, if it is no such file or asks for anything but tensors.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            state = _Unpickler(path, archive).load()
    except OSError as error:
        raise ToolError(f"{path}: {error.strerror or error}") from error
    except (zipfile.BadZipFile, pickle.UnpicklingError, KeyError, ValueError, TypeError, IndexError, EOFError,
            AttributeError) as error:
        raise ToolError(f"{path}: not a readable torch.save file: {error}") from error
    if not isinstance(state, dict) or not all(isinstance(name, str) for name in state):
        raise ToolError(f"{path}: does not hold a dictionary of named tensors")
    for name, value in state.items():
        if not isinstance(value, StoredTensor):
            raise ToolError(f"{path}: entry {name} is a {type(value).__name__}, not a tensor")
    return dict(state)


class _Unpickler(pickle.Unpickler):
    """Resolves the names in ``_allowed`` and no others."""

    def __init__(self, path: Path, archive: zipfile.ZipFile):
        self._path, self._archive = path, archive
        self._root = _find_root(path, archive)
        super().__init__(archive.open(_stored_entry(path, archive, f"{self._root}/data.pkl")))

    def find_class(self, module: str, name: str) -> Any:
        if module == "torch" and name in _STORAGES:
            return _StorageKind(name)
        allowed = {("collections", "OrderedDict"): OrderedDict,
                   ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
                   ("torch._utils", "_rebuild_parameter"): _rebuild_parameter}
        if (module, name) not in allowed:
            raise ToolError(f"{self._path}: the pickle asks for {module}.{name}, which no tensor needs; refused")
        return allowed[module, name]

    def persistent_load(self, identity: Any) -> StoredTensor:
        """A storage, as a one-dimensional tensor, from ('storage', kind, key, device, count)."""
        tag, kind, key, _, count = identity
        if tag != "storage" or not isinstance(kind, _StorageKind):
            raise pickle.UnpicklingError(f"unknown persistent object {identity!r}")
        dtype, numpy_type = _STORAGES[kind.name]
        raw = self._archive.read(_stored_entry(self._path, self._archive, f"{self._root}/data/{key}"))
        data = np.frombuffer(raw, numpy_type)
        if len(data) < count:
            raise ToolError(f"{self._path}: storage {key} holds {len(data)} numbers, not {count}")
        return StoredTensor(dtype, data)


def _find_root(path: Path, archive: zipfile.ZipFile) -> str:
    """The folder inside the zip, and a check of its byte order."""
    roots = [name.removesuffix("/data.pkl") for name in archive.namelist() if name.endswith("/data.pkl")]
    if len(roots) != 1:
        raise ToolError(f"{path}: a zip without the data.pkl of torch.save")
    order = f"{roots[0]}/byteorder"
    if order in archive.namelist() and archive.read(order) != b"little":
        raise ToolError(f"{path}: written on a big-endian machine")
    return roots[0]


def _stored_entry(path: Path, archive: zipfile.ZipFile, name: str) -> zipfile.ZipInfo:
    """The zip's entry, which must not be compressed: torch never does, a zip bomb does."""
    entry = archive.getinfo(name)
    if entry.compress_type != zipfile.ZIP_STORED:
        raise ToolError(f"{path}: entry {name} is compressed, which torch.save never does")
    return entry


def _rebuild_tensor(storage: StoredTensor, offset: int, size: tuple[int, ...], stride: tuple[int, ...],
                    *_: Any) -> StoredTensor:
    """``torch._utils._rebuild_tensor_v2``: a view of a storage, copied to be row-major."""
    count = int(np.prod(size, dtype=np.int64)) if size else 1
    if len(size) != len(stride) or offset < 0 or min((*size, *stride), default=0) < 0:
        raise ValueError(f"bad view: offset {offset}, size {size}, stride {stride}")
    last = offset + sum((extent - 1) * step for extent, step in zip(size, stride))
    if count and (last >= len(storage.data) or count > len(storage.data)):
        raise ValueError(f"view of {size} with stride {stride} leaves its storage of {len(storage.data)}")
    width = storage.data.itemsize
    view = np.lib.stride_tricks.as_strided(storage.data[offset:] if count else storage.data[:0], size,
                                           [step * width for step in stride], writeable=False)
    return StoredTensor(storage.dtype, np.ascontiguousarray(view).reshape(size))


def _rebuild_parameter(tensor: StoredTensor, *_: Any) -> StoredTensor:
    """``torch._utils._rebuild_parameter``: a parameter is its tensor."""
    return tensor
