"""Reads and writes safetensors files with numpy alone, bfloat16 included.

The format (https://github.com/huggingface/safetensors#format) is an 8-byte little-endian
header length, a JSON header ``{name: {dtype, shape, data_offsets}}`` and the raw row-major
data. numpy has no bfloat16, so a bfloat16 tensor is held as its ``uint16`` bit pattern; the
``dtype`` string tells it from a genuine U16.
"""

from __future__ import annotations

import json
import math
import os
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hydrad_tools.errors import ToolError

_NUMPY_OF = {
    "F64": np.float64, "F32": np.float32, "F16": np.float16, "BF16": np.uint16,
    "I64": np.int64, "I32": np.int32, "I16": np.int16, "I8": np.int8,
    "U64": np.uint64, "U32": np.uint32, "U16": np.uint16, "U8": np.uint8, "BOOL": np.bool_,
}
_MAX_HEADER_BYTES = 100 << 20
_MAX_RANK = 16


@dataclass(frozen=True)
class StoredTensor:
    """A tensor as it lies in the file: ``data`` is row-major; BF16 is held as uint16 bits."""

    dtype: str
    data: np.ndarray

    @property
    def shape(self) -> tuple[int, ...]:
        return self.data.shape

    def to_f32(self) -> np.ndarray:
        """The values as float32, same shape. Raises ToolError for integer tensors."""
        if self.dtype == "BF16":
            return bf16_bits_to_f32(self.data)
        if self.dtype in ("F64", "F32", "F16"):
            return self.data.astype(np.float32)
        raise ToolError(f"tensor of dtype {self.dtype} has no float values")


def f32_to_bf16_bits(values: np.ndarray) -> np.ndarray:
    """Rounds float32 to bfloat16 (to nearest, ties to even; NaN stays NaN) as uint16 bits."""
    bits = np.ascontiguousarray(values, dtype=np.float32).view(np.uint32)
    rounded = ((bits + (0x7FFF + ((bits >> 16) & 1))) >> 16).astype(np.uint16)
    quiet_nan = ((bits >> 16) | 0x40).astype(np.uint16)
    return np.where(np.isnan(values), quiet_nan, rounded).reshape(np.shape(values))


def bf16_bits_to_f32(bits: np.ndarray) -> np.ndarray:
    """Widens uint16 bfloat16 bits to float32; exact."""
    return (bits.astype(np.uint32) << 16).view(np.float32)


def bf16(values: np.ndarray) -> StoredTensor:
    """A BF16 tensor from float values."""
    return StoredTensor("BF16", f32_to_bf16_bits(np.asarray(values, np.float32)))


def f32(values: np.ndarray) -> StoredTensor:
    """An F32 tensor from float values."""
    return StoredTensor("F32", np.ascontiguousarray(values, dtype=np.float32))


def write_safetensors(path: Path, tensors: dict[str, StoredTensor],
                      metadata: dict[str, str] | None = None) -> None:
    """Writes ``tensors`` to ``path``, in the order given, atomically (write, then rename)."""
    header, offset = {}, 0
    header["__metadata__"] = metadata or {"format": "pt"}
    for name, tensor in tensors.items():
        end = offset + tensor.data.nbytes
        header[name] = {"dtype": tensor.dtype, "shape": list(tensor.shape),
                        "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # data starts 8-aligned, as the reference writer does
    temporary = Path(f"{path}.partial")
    with open(temporary, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for tensor in tensors.values():
            file.write(np.ascontiguousarray(tensor.data).tobytes())
    os.replace(temporary, path)


def read_safetensors(path: Path) -> dict[str, StoredTensor]:
    """Every tensor of the file by name. Raises ToolError naming the file and the tensor."""
    try:
        raw = Path(path).read_bytes()
    except OSError as error:
        raise ToolError(f"{path}: {error.strerror}") from error
    header, body = _parse_header(path, raw)
    return {name: _tensor(path, name, entry, body)
            for name, entry in header.items() if name != "__metadata__"}


def _parse_header(path: Path, raw: bytes) -> tuple[dict, memoryview]:
    if len(raw) < 8:
        raise ToolError(f"{path}: {len(raw)} bytes are too few for a safetensors file")
    (length,) = struct.unpack_from("<Q", raw)
    if length > min(len(raw) - 8, _MAX_HEADER_BYTES):
        raise ToolError(f"{path}: header length {length} exceeds the file")
    try:
        header = json.loads(raw[8:8 + length])
    except (ValueError, RecursionError) as error:
        raise ToolError(f"{path}: header is not JSON: {error}") from error
    if not isinstance(header, dict):
        raise ToolError(f"{path}: header is not a JSON object")
    return header, memoryview(raw)[8 + length:]


def _tensor(path: Path, name: str, entry: dict, body: memoryview) -> StoredTensor:
    try:
        dtype, shape = entry["dtype"], tuple(entry["shape"])
        begin, end = entry["data_offsets"]
        numpy_type = np.dtype(_NUMPY_OF[dtype])
        fits = all(type(value) is int and 0 <= value < 1 << 48 for value in (*shape, begin, end))
        if not fits or len(shape) > _MAX_RANK:
            raise ValueError("no such shape or place")
    except (KeyError, TypeError, ValueError) as error:
        raise ToolError(f"{path}: tensor {name}: bad header entry {str(entry)[:200]}") from error
    if not begin <= end <= len(body) or end - begin != math.prod(shape) * numpy_type.itemsize:
        raise ToolError(f"{path}: tensor {name}: bytes [{begin}, {end}) do not hold {dtype} {shape}")
    try:
        return StoredTensor(dtype, np.frombuffer(body[begin:end], numpy_type).reshape(shape))
    except ValueError as error:  # no numbers, but extents beyond what an array can have
        raise ToolError(f"{path}: tensor {name}: {error}") from error
