"""The safetensors reader and writer: values, rounding, and files that lie."""

import json
import struct
import tempfile
import unittest
from pathlib import Path

import numpy as np

from hydrad_tools.errors import ToolError
from hydrad_tools.safetensors_io import (StoredTensor, bf16, bf16_bits_to_f32, f32, f32_to_bf16_bits,
                                         read_safetensors, write_safetensors)


class Bfloat16Test(unittest.TestCase):
    def test_rounds_to_nearest_and_ties_to_even(self):
        bits = np.array([0x3F800000, 0x3F808000, 0x3F818000, 0x3F808001, 0x3F807FFF, 0x80000000], np.uint32)
        expected = [0x3F80, 0x3F80, 0x3F82, 0x3F81, 0x3F80, 0x8000]
        self.assertEqual(f32_to_bf16_bits(bits.view(np.float32)).tolist(), expected)

    def test_keeps_what_is_not_finite(self):
        values = np.array([np.inf, -np.inf, np.nan, np.finfo(np.float32).max], np.float32)
        widened = bf16_bits_to_f32(f32_to_bf16_bits(values))
        self.assertEqual(widened[0], np.inf)
        self.assertEqual(widened[1], -np.inf)
        self.assertTrue(np.isnan(widened[2]))
        self.assertEqual(widened[3], np.inf)

    def test_nan_with_only_low_bits_stays_nan(self):
        values = np.array([0x7F800001], np.uint32).view(np.float32)
        self.assertTrue(np.isnan(bf16_bits_to_f32(f32_to_bf16_bits(values)))[0])

    def test_every_bfloat16_survives_a_round_trip(self):
        bits = np.arange(1 << 16, dtype=np.uint32).astype(np.uint16)
        values = bf16_bits_to_f32(bits)
        number = ~np.isnan(values)
        np.testing.assert_array_equal(f32_to_bf16_bits(values)[number], bits[number])

    def test_keeps_the_shape(self):
        for shape in ((), (0, 3), (2, 3, 4)):
            self.assertEqual(f32_to_bf16_bits(np.zeros(shape, np.float32)).shape, shape)


class FileTest(unittest.TestCase):
    def setUp(self):
        self._directory = tempfile.TemporaryDirectory()
        self.addCleanup(self._directory.cleanup)
        self.path = Path(self._directory.name) / "some.safetensors"

    def test_round_trip(self):
        tensors = {"a": f32(np.arange(6).reshape(2, 3)), "empty": f32(np.zeros((0, 4))), "b": bf16(np.ones(3)),
                   "i": StoredTensor("I32", np.array([-1, 2], np.int32))}
        write_safetensors(self.path, tensors)
        read = read_safetensors(self.path)
        self.assertEqual(list(read), list(tensors))
        for name, tensor in tensors.items():
            self.assertEqual(read[name].dtype, tensor.dtype)
            np.testing.assert_array_equal(read[name].data, tensor.data)
        np.testing.assert_array_equal(read["b"].to_f32(), np.ones(3, np.float32))

    def test_data_starts_aligned_and_no_partial_file_stays(self):
        write_safetensors(self.path, {"a": f32(np.ones(1))})
        (length,) = struct.unpack_from("<Q", self.path.read_bytes())
        self.assertEqual(length % 8, 0)
        self.assertEqual([p.name for p in self.path.parent.iterdir()], [self.path.name])

    def test_integers_have_no_float_values(self):
        with self.assertRaises(ToolError):
            StoredTensor("I8", np.zeros(1, np.int8)).to_f32()

    def test_missing_file(self):
        with self.assertRaisesRegex(ToolError, "some.safetensors"):
            read_safetensors(self.path)

    def test_broken_files_name_file_and_tensor(self):
        entry = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
        cases = {
            "too few": b"1234",
            "exceeds the file": struct.pack("<Q", 1 << 40) + b"{}",
            "not JSON": struct.pack("<Q", 2) + b"{{",
            "not a JSON object": struct.pack("<Q", 2) + b"[]",
            "tensor t: bytes": _file({"t": entry | {"data_offsets": [0, 16]}}, 16),
            r"tensor t: bytes \[4, 12": _file({"t": entry | {"data_offsets": [4, 12]}}, 8),
            r"tensor t: bytes \[0, 8": _file({"t": entry | {"shape": [3]}}, 8),
            "not JSON: maximum recursion": struct.pack("<Q", 100000) + b"[" * 100000,
        }
        for message, content in cases.items():
            self.refused(message, content)

    def test_malformed_entries(self):
        entry = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
        changes = [{"dtype": "F3"}, {"dtype": ["F32"]}, {"dtype": None}, {"shape": [-2]}, {"shape": ["2"]}, {"shape": [2.0]},
                   {"shape": [True, 2]}, {"shape": 2}, {"shape": None}, {"shape": [1] * 17}, {"data_offsets": [0]},
                   {"data_offsets": [0, 8, 8]}, {"data_offsets": ["0", "8"]}, {"data_offsets": [-8, 0]},
                   {"shape": [1 << 32, 1 << 32]}, {"shape": [1 << 64]}, {"data_offsets": [8, 0]},
                   {"shape": [0, 1 << 40, 1 << 40], "data_offsets": [0, 0]}]
        for change in changes:
            with self.subTest(change):
                self.refused("tensor t: ", _file({"t": entry | change}, 8))
        for value in (None, [], "x", 3):
            with self.subTest(value):
                self.refused("tensor t: bad header entry", _file({"t": value}, 8))

    def refused(self, message, content):
        self.path.write_bytes(content)
        with self.subTest(message), self.assertRaisesRegex(ToolError, f"some.safetensors.*{message}"):
            read_safetensors(self.path)


def _file(header: dict, size: int) -> bytes:
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + bytes(size)


if __name__ == "__main__":
    unittest.main()
