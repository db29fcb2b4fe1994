"""Writes ``torch.save`` files without PyTorch, sound ones and hostile ones, for the tests of import."""

from __future__ import annotations

import struct
import zipfile
from pathlib import Path

import numpy as np


def text(value: str) -> bytes:
    """BINUNICODE"""
    raw = value.encode()
    return b"X" + struct.pack("<I", len(raw)) + raw


def number(value: int) -> bytes:
    """LONG1"""
    raw = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8a" + bytes([len(raw)]) + raw


def named(module: str, name: str) -> bytes:
    """GLOBAL"""
    return b"c" + module.encode() + b"\n" + name.encode() + b"\n"


def shape(values: tuple) -> bytes:
    """MARK ... TUPLE"""
    return b"(" + b"".join(number(value) for value in values) + b"t"


def view(kind: str, key: str, size: tuple, stride: tuple, offset: int = 0, count: int | None = None,
         parameter: bool = False) -> bytes:
    """What leaves one tensor on the stack: a view of the storage ``key``."""
    count = int(np.prod(size)) if count is None else count
    storage = b"(" + text("storage") + named("torch", kind) + text(key) + text("cpu") + number(count) + b"tQ"
    hooks = b"\x89" + named("collections", "OrderedDict") + b")R"
    tensor = (named("torch._utils", "_rebuild_tensor_v2") + b"(" + storage + number(offset) + shape(size)
              + shape(stride) + hooks + b"tR")
    return named("torch._utils", "_rebuild_parameter") + b"(" + tensor + hooks + b"tR" if parameter else tensor


def dictionary(entries: dict[str, bytes], metadata: bytes = b"") -> bytes:
    """A whole program that leaves an OrderedDict of the entries."""
    body = b"".join(text(name) + value for name, value in entries.items())
    return b"\x80\x02" + named("collections", "OrderedDict") + b")R(" + body + b"u" + metadata + b"."


def write(path: Path, program: bytes, storages: dict[str, bytes], compression: int = zipfile.ZIP_STORED,
          extra: dict[str, bytes] | None = None) -> None:
    """The zip around a program and its storages."""
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("archive/data.pkl", program)
        for key, data in storages.items():
            archive.writestr(f"archive/data/{key}", data)
        for name, data in (extra or {}).items():
            archive.writestr(name, data)


def write_tensors(path: Path, tensors: dict[str, np.ndarray]) -> None:
    """Float32 tensors, each in a storage of its own, as torch saves a state dict."""
    program = dictionary({name: view("FloatStorage", str(index), value.shape, row_major(value.shape))
                          for index, (name, value) in enumerate(tensors.items())})
    write(path, program, {str(index): np.asarray(value, np.float32).tobytes()
                          for index, value in enumerate(tensors.values())})


def row_major(size: tuple) -> tuple:
    """The strides of a row-major tensor."""
    return tuple(int(np.prod(size[axis + 1:])) for axis in range(len(size)))
