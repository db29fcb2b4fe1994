"""Reads the tensors of a ``torch.save`` file without PyTorch and without running what is in it.

A file is a zip: ``<root>/data.pkl``, a pickle that says which tensors there are (``tensor_pickle``
reads it), and the raw numbers in ``<root>/data/<key>``. Nothing in it may be compressed, and all
that is read and built is bounded by the size of the file, whatever its tables claim.
"""

from __future__ import annotations

import io
import math
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np

from hydrad_tools.errors import ToolError
from hydrad_tools.safetensors_io import StoredTensor
from hydrad_tools.tensor_pickle import PickleRefused, Storage, View, run_pickle

_TYPES = {
    "Double": ("F64", np.float64), "Float": ("F32", np.float32), "Half": ("F16", np.float16),
    "BFloat16": ("BF16", np.uint16), "Long": ("I64", np.int64), "Int": ("I32", np.int32), "Short": ("I16", np.int16),
    "Char": ("I8", np.int8), "Byte": ("U8", np.uint8), "Bool": ("BOOL", np.bool_),
}
_MAX_SHARING = 8  # the tensors' bytes over the file's: views may share storages, but not without end
_MAX_RANK = 16
_TORCH_MAGIC = b"\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19"  # of files before PyTorch 1.6, after the protocol's two bytes


def read_torch_pickle(path: Path) -> dict[str, StoredTensor]:
    """The tensors of a saved state dict by name; each is a view of its storage, not always row-major.

    Raises ToolError, naming the file, if it is no such file or asks for anything but tensors.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise ToolError(f"{path}: {error.strerror}") from error
    try:
        _refuse_other_formats(raw)
        with zipfile.ZipFile(io.BytesIO(raw)) as archive:
            return _Archive(archive, len(raw)).tensors()
    except PickleRefused as error:
        raise ToolError(f"{path}: {error}; refused") from error
    except (zipfile.BadZipFile, zlib.error, struct.error, RuntimeError, NotImplementedError, OSError, ValueError,
            KeyError, EOFError, OverflowError) as error:
        raise ToolError(f"{path}: not a readable torch.save file: {error}") from error


def _refuse_other_formats(raw: bytes) -> None:
    """Names the formats that are met under the same file names."""
    if raw[2:2 + len(_TORCH_MAGIC)] == _TORCH_MAGIC:
        raise PickleRefused("it is in the format that torch.save had before PyTorch 1.6; load it in PyTorch and "
                            "save it again")
    if raw[257:262] == b"ustar":
        raise PickleRefused("it is a tar archive, the format of the first PyTorch releases; load it in PyTorch and "
                            "save it again")
    if raw[:1] == b"\x80" and raw[-1:] == b".":
        raise PickleRefused("it is a bare pickle, not the zip that torch.save writes")
    if raw[8:9] == b"{" and len(raw) > 8:
        raise PickleRefused("it looks like a safetensors file, which needs no import")


class _Archive:
    def __init__(self, archive: zipfile.ZipFile, file_size: int):
        self._archive, self._file_size, self._read = archive, file_size, 0
        self._storages: dict[str, bytes] = {}
        self._root = self._find_root()

    def tensors(self) -> dict[str, StoredTensor]:
        state = run_pickle(self._entry(f"{self._root}/data.pkl"))
        if not isinstance(state, dict):
            raise ValueError("does not hold a dictionary of named tensors")
        tensors, total = {}, 0
        for name, view in state.items():
            if not isinstance(view, View):
                raise ValueError(f"entry {name} is a {type(view).__name__}, not a tensor")
            tensors[name] = self._tensor(name, view)
            total += tensors[name].data.nbytes
        if total > _MAX_SHARING * self._file_size:
            raise ValueError(f"its tensors share storages to the sum of {total} bytes, over {_MAX_SHARING} times "
                             "those of the file")
        return tensors

    def _find_root(self) -> str:
        """The folder inside the zip, and a check of its byte order and kind."""
        names = set(self._archive.namelist())
        roots = [name.removesuffix("/data.pkl") for name in names if name.endswith("/data.pkl")]
        if len(roots) != 1:
            raise ValueError("a zip without the data.pkl of torch.save")
        if f"{roots[0]}/constants.pkl" in names:
            raise PickleRefused("it is a TorchScript program, not a dictionary of tensors")
        if f"{roots[0]}/byteorder" in names and self._entry(f"{roots[0]}/byteorder") != b"little":
            raise ValueError("written on a big-endian machine")
        return roots[0]

    def _entry(self, name: str) -> bytes:
        """An entry's bytes. It must not be compressed: torch never does, a zip bomb does."""
        entry = self._archive.getinfo(name)
        if entry.compress_type != zipfile.ZIP_STORED or entry.file_size != entry.compress_size:
            raise ValueError(f"entry {name} is compressed, which torch.save never does")
        self._read += entry.file_size
        if self._read > self._file_size:
            raise ValueError(f"entry {name}: the entries overlap, or claim more bytes than the file has")
        return self._archive.read(entry)

    def _tensor(self, name: str, view: View) -> StoredTensor:
        """The view as a NumPy view of its storage. Nothing is copied."""
        if len(view.size) > _MAX_RANK:
            raise ValueError(f"tensor {name} has {len(view.size)} dimensions")
        dtype, numpy_type = _TYPES[view.storage.kind]
        count = math.prod(view.size)
        if not count:
            return StoredTensor(dtype, np.empty(_bounded(name, view.size), numpy_type))
        numbers = self._numbers(view.storage, np.dtype(numpy_type))
        last = view.offset + sum((extent - 1) * step for extent, step in zip(view.size, view.stride))
        if last >= len(numbers) or count > len(numbers):
            raise ValueError(f"tensor {name}: a view of {view.size} with stride {view.stride} from {view.offset} on "
                             f"leaves its storage of {len(numbers)}")
        strides = [step * numbers.itemsize for step in view.stride]
        return StoredTensor(dtype, np.lib.stride_tricks.as_strided(numbers[view.offset:], view.size, strides,
                                                                   writeable=False))

    def _numbers(self, storage: Storage, numpy_type: np.dtype) -> np.ndarray:
        if storage.key not in self._storages:
            self._storages[storage.key] = self._entry(f"{self._root}/data/{storage.key}")
        raw = self._storages[storage.key]
        if len(raw) < storage.count * numpy_type.itemsize:
            raise ValueError(f"storage {storage.key} holds {len(raw)} bytes, too few for {storage.count} numbers")
        return np.frombuffer(raw, numpy_type, storage.count)


def _bounded(name: str, size: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of a tensor without numbers, whose other extents nothing else bounds."""
    if max(size) >= 1 << 31:
        raise ValueError(f"tensor {name}: a shape of {size} is not one of an adapter")
    return size
