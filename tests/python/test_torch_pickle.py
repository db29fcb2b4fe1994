"""Reading torch.save files: tensors come through, code does not run, lies and bombs are refused."""

import importlib.util
import os
import pickle
import struct
import tarfile
import tempfile
import time
import tracemalloc
import unittest
import zipfile
from pathlib import Path

import numpy as np

import torch_files as tf
from hydrad_tools.errors import ToolError
from hydrad_tools.torch_pickle import read_torch_pickle

HAS_TORCH = importlib.util.find_spec("torch") is not None


class FileCase(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.path = Path(directory.name) / "adapter_model.bin"

    def read(self, program, storages=None, **options):
        tf.write(self.path, program, storages or {}, **options)
        return read_torch_pickle(self.path)

    def refused(self, message, program, storages=None, **options):
        with self.assertRaisesRegex(ToolError, f"adapter_model.bin: .*{message}"):
            self.read(program, storages, **options)


class SoundFileTest(FileCase):
    def test_every_type(self):
        values = {"DoubleStorage": ("F64", np.float64), "FloatStorage": ("F32", np.float32),
                  "HalfStorage": ("F16", np.float16), "LongStorage": ("I64", np.int64), "IntStorage": ("I32", np.int32),
                  "ShortStorage": ("I16", np.int16), "CharStorage": ("I8", np.int8), "ByteStorage": ("U8", np.uint8),
                  "BoolStorage": ("BOOL", np.bool_), "BFloat16Storage": ("BF16", np.uint16)}
        data = {kind: np.array([1, 0, 3], dtype) for kind, (_, dtype) in values.items()}
        read = self.read(tf.dictionary({kind: tf.view(kind, kind, (3,), (1,)) for kind in values}),
                         {kind: array.tobytes() for kind, array in data.items()})
        for kind, (dtype, _) in values.items():
            with self.subTest(kind):
                self.assertEqual(read[kind].dtype, dtype)
                np.testing.assert_array_equal(read[kind].data, data[kind])

    def test_views(self):
        values = np.arange(12, dtype=np.float32)
        entries = {"whole": tf.view("FloatStorage", "0", (3, 4), (4, 1)),
                   "turned": tf.view("FloatStorage", "0", (4, 3), (1, 4)),
                   "part": tf.view("FloatStorage", "0", (2, 2), (4, 1), offset=5, count=12),
                   "repeated": tf.view("FloatStorage", "0", (2, 3), (0, 1), offset=1, count=12),
                   "scalar": tf.view("FloatStorage", "0", (), (), offset=7, count=12),
                   "empty": tf.view("FloatStorage", "0", (0, 5), (5, 1), count=12),
                   "parameter": tf.view("FloatStorage", "0", (12,), (1,), parameter=True)}
        read = self.read(tf.dictionary(entries), {"0": values.tobytes()})
        expected = {"whole": values.reshape(3, 4), "turned": values.reshape(3, 4).T, "part": [[5, 6], [9, 10]],
                    "repeated": [[1, 2, 3]] * 2, "scalar": 7, "empty": np.zeros((0, 5)), "parameter": values}
        self.assertEqual(read.keys(), expected.keys())
        for name, value in expected.items():
            np.testing.assert_array_equal(read[name].data, value, name)

    def test_metadata_of_a_state_dict_is_dropped(self):
        metadata = b"}" + tf.text("_metadata") + tf.named("collections", "OrderedDict") + b")Rs" + b"b"
        program = tf.dictionary({"a": tf.view("FloatStorage", "0", (1,), (1,))}, metadata)
        self.assertEqual(list(self.read(program, {"0": bytes(4)})), ["a"])

    @unittest.skipUnless(HAS_TORCH, "needs PyTorch")
    def test_what_pytorch_writes(self):
        import torch
        base = torch.arange(24, dtype=torch.float32).reshape(4, 6)
        state = {"plain": base, "turned": base.T, "part": base[1:3, ::2], "parameter": torch.nn.Parameter(base + 1),
                 "bf16": base.bfloat16(), "f16": base.half(), "f64": base.double(), "scalar": torch.tensor(3.5),
                 "expanded": base[:1].expand(3, 6)}
        layer = torch.nn.Linear(3, 2).state_dict()
        for protocol in (2, 3, 4, 5):
            torch.save(state | layer, self.path, pickle_protocol=protocol)
            read = read_torch_pickle(self.path)
            for name, value in (state | layer).items():
                with self.subTest(name, protocol=protocol):
                    numbers = read[name].data if read[name].dtype == "F64" else read[name].to_f32()
                    np.testing.assert_array_equal(numbers, value.detach().to(torch.float64).numpy())
        torch.save(layer, self.path)  # an OrderedDict with _metadata
        self.assertEqual(set(read_torch_pickle(self.path)), {"weight", "bias"})
        torch.save(state, self.path, _use_new_zipfile_serialization=False)
        with self.assertRaisesRegex(ToolError, "before PyTorch 1.6"):
            read_torch_pickle(self.path)


class HostileProgramTest(FileCase):
    def test_code_is_refused_by_name_and_not_run(self):
        marker = self.path.parent / "ran"
        argument = tf.text(str(marker))
        calls = {
            "posix.mkdir": tf.named("posix", "mkdir") + b"(" + argument + b"tR",
            "builtins.eval": tf.named("builtins", "eval") + b"(" + argument + b"tR",
            "os.system": tf.text("os") + tf.text("system") + b"\x93(" + argument + b"tR",
            "torch.load": tf.named("torch", "load") + b"(" + argument + b"tR",
            "torch.nn.FloatStorage": tf.named("torch.nn", "FloatStorage"),
            "torch.ComplexFloatStorage": tf.named("torch", "ComplexFloatStorage"),
            "torch.Storage": tf.named("torch", "Storage"),
            "torch._utils._rebuild_parameter_with_state": tf.named("torch._utils", "_rebuild_parameter_with_state"),
            "collections.OrderedDict.fromkeys": tf.text("collections") + tf.text("OrderedDict.fromkeys") + b"\x93",
        }
        for name, call in calls.items():
            with self.subTest(name):
                self.refused(f"asks for {name}, which no tensor needs; refused", tf.dictionary({"a": call}))
        self.assertFalse(marker.exists())

    def test_what_pythons_pickler_writes_for_an_attack(self):
        marker = self.path.parent / "ran"

        class Attack:
            def __reduce__(self):
                return os.mkdir, (str(marker),)

        for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
            self.refused("asks for (posix|nt).mkdir", pickle.dumps({"a": Attack()}, protocol))
        self.assertFalse(marker.exists())

    def test_operations_that_no_tensor_needs(self):
        cases = {"INST": b"(ios\nsystem\n.", "OBJ": b"(c__builtin__\nlist\no.", "NEWOBJ": b")\x81.",
                 "EXT1": b"\x82\x01.", "PERSID": b"Pkey\n.", "DUP": b"N2.", "POP": b"N0.", "INT": b"I1\n.",
                 "BYTEARRAY8": b"\x96" + struct.pack("<Q", 1) + b"a.", "NEXT_BUFFER": b"\x97.", "DICT": b"(d.",
                 "EMPTY_SET": b"\x8f.", "LONG4": b"\x8b" + struct.pack("<i", 1) + b"\x01."}
        for name, program in cases.items():
            with self.subTest(name):
                self.refused(f"(uses the operation {name}|asks for __builtin__.list)", program)

    def test_values_cannot_be_called_set_or_extended(self):
        tensor = tf.view("FloatStorage", "0", (1,), (1,))
        name = tf.named("torch._utils", "_rebuild_tensor_v2")
        state = b"}" + tf.text("__code__") + b"Ns"
        cases = {
            "a tensor called": tensor + b")R", "a storage type called": tf.named("torch", "FloatStorage") + b")R",
            "a text called": tf.text("x") + b")R", "attributes of a tensor": tensor + state + b"b",
            "attributes of a function": name + state + b"b", "slots of a function": name + b"N" + state + b"\x86b",
            "attributes of a class": tf.named("collections", "OrderedDict") + state + b"b",
            "items of a tensor": tensor + tf.text("k") + b"Ns", "appending to a tuple": b")Na",
            "a dictionary of something": tf.named("collections", "OrderedDict") + b"(" + b"]t" + b"R",
            "a tensor from texts": name + b"(" + tf.text("a") * 4 + b"tR",
            "a parameter from nothing": tf.named("torch._utils", "_rebuild_parameter") + b")R",
            "a parameter from a storage": tf.named("torch._utils", "_rebuild_parameter") + b"(" + b"("
            + tf.text("storage") + tf.named("torch", "FloatStorage") + tf.text("0") + tf.text("cpu") + tf.number(1)
            + b"tQ" + b"tR",
            "a persistent text": tf.text("x") + b"Q", "a storage of another kind": b"(" + tf.text("module")
            + b"NNNN" + b"tQ", "a storage with a function for a type": b"(" + tf.text("storage") + name + tf.text("0")
            + tf.text("cpu") + tf.number(1) + b"tQ",
        }
        for case, value in cases.items():
            with self.subTest(case):
                self.refused("refused|not a readable", tf.dictionary({"a": value}), {"0": bytes(4)})

    def test_memo_and_mark_tricks(self):
        cases = {
            "nothing remembered": b"h\x07.", "remembering nothing": b"q\x00.", "no mark": b"t.", "empty stack": b".",
            "below the mark": b"N(\x85.", "no end": b"N", "nothing at all": b"",
            "an odd dictionary": b"}(" + tf.text("a") + b"u.",
            "a number for a name": b"}" + tf.number(1) + b"Ns.", "a tuple for a name": b"}()Ns.",
            "half an argument": b"X\xff\xff\xff\x7fab", "not a text": b"X\x02\x00\x00\x00\xff\xfe.",
            "a mark in memory": b"}(q\x00.", "unknown byte": b"\xf0.",
        }
        for case, program in cases.items():
            with self.subTest(case):
                self.refused("", program)

    def test_nested_and_shared_values_take_no_time(self):
        doubled = b")" + b"".join(b"q\x00h\x00h\x00\x86" for _ in range(20000))  # 2^20000 leaves, if followed
        cases = {"as the whole": doubled + b".", "as an entry": tf.dictionary({"a": doubled}),
                 "as a key": b"}" + doubled + b"Ns.", "as a storage": tf.dictionary({"a": doubled + b"Q"}),
                 "as a call": tf.dictionary({"a": tf.named("torch._utils", "_rebuild_tensor_v2") + doubled + b"R"}),
                 "itself": b"}q\x00" + tf.text("a") + b"h\x00s."}
        begin = time.monotonic()
        for case, program in cases.items():
            with self.subTest(case):
                self.refused("", program)
        self.assertLess(time.monotonic() - begin, 20)


class HostileViewTest(FileCase):
    def test_views_cannot_leave_their_storage(self):
        cases = {"past the end": ((4, 4), (4, 1), 0), "offset": ((3,), (1,), 10), "negative stride": ((2,), (-1,), 3),
                 "negative size": ((-2,), (1,), 0), "negative offset": ((1,), (1,), -1), "lengths": ((2, 2), (1,), 0),
                 "repeated": ((1 << 40,), (0,), 0), "wraps to nothing": ((1 << 32, 1 << 32), (0, 0), 0),
                 "wraps to something": ((1 << 33, (1 << 31) + 1), (0, 0), 0), "wide stride": ((2,), (1 << 62,), 0),
                 "beyond 64 bits": ((1 << 70,), (0,), 0), "no numbers, huge": ((0, 1 << 60), (0, 0), 0),
                 "many dimensions": ((1,) * 1000, (0,) * 1000, 0)}
        for name, (size, stride, offset) in cases.items():
            with self.subTest(name):
                self.refused("", tf.dictionary({"a": tf.view("FloatStorage", "0", size, stride, offset, count=12)}),
                             {"0": bytes(48)})

    def test_storages_hold_what_they_claim(self):
        entry = {"a": tf.view("FloatStorage", "0", (2,), (1,))}
        self.refused("holds 4 bytes, too few for 2 numbers", tf.dictionary(entry), {"0": bytes(4)})
        self.refused("holds 8 bytes, too few", tf.dictionary({"a": tf.view("DoubleStorage", "0", (2,), (1,))}),
                     {"0": bytes(8)})
        self.refused("no item named 'archive/data/0'", tf.dictionary(entry))
        self.refused("data/../data.pkl", tf.dictionary({"a": tf.view("ByteStorage", "../data.pkl", (2,), (1,))}))
        huge = {"a": tf.view("FloatStorage", "0", (2,), (1,), count=1 << 62)}
        self.refused("too few for 4611686018427387904 numbers", tf.dictionary(huge), {"0": bytes(8)})

    def test_entries_are_tensors(self):
        self.refused("dictionary of named tensors", b"\x80\x02" + tf.view("FloatStorage", "0", (1,), (1,)) + b".",
                     {"0": bytes(4)})
        self.refused("entry a is a int", tf.dictionary({"a": tf.number(3)}))
        self.refused("entry a is a dict", tf.dictionary({"a": b"}"}))
        self.refused("entry a is a Storage", tf.dictionary({"a": b"(" + tf.text("storage") + tf.named(
            "torch", "FloatStorage") + tf.text("0") + tf.text("cpu") + tf.number(1) + b"tQ"}), {"0": bytes(4)})

    def test_sharing_has_an_end(self):
        """A thousand names of one storage cost nothing to read, and are not written out."""
        numbers = 1 << 20
        entries = {f"t{i}": tf.view("FloatStorage", "0", (numbers,), (1,)) for i in range(1000)}
        tracemalloc.start()
        self.refused("over 8 times", tf.dictionary(entries), {"0": bytes(4 * numbers)})
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        self.assertLess(peak, 6 * 4 * numbers)


class HostileArchiveTest(FileCase):
    PROGRAM = tf.dictionary({"a": tf.view("FloatStorage", "0", (2,), (1,))})

    def test_compression_is_refused(self):
        self.refused("is compressed", self.PROGRAM, {"0": bytes(8)}, compression=zipfile.ZIP_DEFLATED)
        with zipfile.ZipFile(self.path, "w") as archive:
            archive.writestr("archive/data.pkl", self.PROGRAM)
            archive.writestr("archive/data/0", bytes(1 << 24), zipfile.ZIP_DEFLATED)
        with self.assertRaisesRegex(ToolError, "data/0 is compressed"):
            read_torch_pickle(self.path)
        with zipfile.ZipFile(self.path, "w") as archive:
            archive.writestr("archive/data.pkl", self.PROGRAM)
            archive.writestr("archive/byteorder", bytes(1 << 24), zipfile.ZIP_DEFLATED)
        with self.assertRaisesRegex(ToolError, "byteorder is compressed"):
            read_torch_pickle(self.path)

    def test_overlapping_entries_are_refused(self):
        """The table of contents names one run of bytes many times (and Python reads it each time)."""
        count, size = 64, 1 << 16
        program = tf.dictionary({f"t{i}": tf.view("FloatStorage", str(i), (size // 4,), (1,)) for i in range(count)})
        tf.write(self.path, program, {"0": bytes(size)})
        raw = self.path.read_bytes()
        end = raw.rindex(b"PK\x05\x06")
        begin = struct.unpack_from("<I", raw, end + 16)[0]
        first = raw.index(b"PK\x01\x02", begin + 4)  # the storage's line; the program's stands before
        line = raw[first:end]
        lines = [line]
        for i in range(1, count):  # the key is one byte, so longer names need their length set too
            name = f"archive/data/{i}".encode()
            lines.append(line[:28] + struct.pack("<H", len(name)) + line[30:46] + name + line[46 + 14:])
        table = raw[begin:first] + b"".join(lines)
        tail = bytearray(raw[end:])
        struct.pack_into("<HHII", tail, 8, count + 1, count + 1, len(table), begin)
        self.path.write_bytes(raw[:begin] + table + bytes(tail))
        with self.assertRaisesRegex(ToolError, "overlap|differ"):
            read_torch_pickle(self.path)

    def test_every_flipped_byte_is_survived(self):
        """Whatever one byte becomes, the answer is tensors or a ToolError."""
        tf.write(self.path, self.PROGRAM, {"0": bytes(8)}, extra={"archive/byteorder": b"little"})
        raw = self.path.read_bytes()
        outcomes = {True: 0, False: 0}
        for position in range(len(raw)):
            for change in (0x01, 0x80, 0xff):
                self.path.write_bytes(raw[:position] + bytes([raw[position] ^ change]) + raw[position + 1:])
                try:
                    read_torch_pickle(self.path)
                    outcomes[True] += 1
                except ToolError:
                    outcomes[False] += 1
        self.assertGreater(outcomes[False], len(raw))
        for length in range(len(raw)):
            self.path.write_bytes(raw[:length])
            with self.assertRaises(ToolError):
                read_torch_pickle(self.path)

    def test_every_changed_program_is_survived(self):
        """Here the sums of the archive are right, so that the changes reach the machine."""
        entries = {"a": tf.view("FloatStorage", "0", (2, 3), (3, 1)),
                   "b": tf.view("HalfStorage", "0", (4,), (2,), count=12),
                   "c": tf.view("FloatStorage", "1", (5,), (1,), parameter=True)}
        program = tf.dictionary(entries, b"}" + tf.text("_metadata") + b"}sb")
        rng = np.random.default_rng(5)
        outcomes = {True: 0, False: 0}
        for _ in range(1500):
            changed = bytearray(program)
            for _ in range(int(rng.integers(1, 3))):
                place, kind = int(rng.integers(len(changed))), int(rng.integers(3))
                if kind == 0:
                    changed[place] = int(rng.integers(256))
                elif kind == 1:
                    del changed[place:place + int(rng.integers(1, 20))]
                else:
                    begin = int(rng.integers(len(program)))
                    changed[place:place] = program[begin:begin + int(rng.integers(1, 40))]
            tf.write(self.path, bytes(changed), {"0": bytes(24), "1": bytes(20)})
            try:
                for tensor in read_torch_pickle(self.path).values():
                    self.assertLessEqual(tensor.data.nbytes, 24)
                outcomes[True] += 1
            except ToolError as error:
                self.assertIn(str(self.path), str(error))
                outcomes[False] += 1
        self.assertGreater(min(outcomes.values()), 5)  # most changes are refused

    def test_other_formats_are_named(self):
        with tarfile.open(self.path, "w") as archive:
            archive.add(__file__, "sys_info")
        self.named("tar archive")
        self.path.write_bytes(b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.")
        self.named("before PyTorch 1.6")
        self.path.write_bytes(pickle.dumps({"a": 1}))
        self.named("a bare pickle")
        self.path.write_bytes(struct.pack("<Q", 2) + b"{}")
        self.named("safetensors file")
        self.path.write_bytes(b"")
        self.named("not a readable torch.save file")
        self.path.unlink()
        self.named("No such file")
        tf.write(self.path, self.PROGRAM, {"0": bytes(8)}, extra={"archive/constants.pkl": b""})
        self.named("TorchScript")
        tf.write(self.path, self.PROGRAM, {"0": bytes(8)}, extra={"archive/byteorder": b"big"})
        self.named("big-endian")
        tf.write(self.path, self.PROGRAM, {"0": bytes(8)}, extra={"other/data.pkl": b"."})
        self.named("without the data.pkl")

    def named(self, message):
        with self.subTest(message), self.assertRaisesRegex(ToolError, message):
            read_torch_pickle(self.path)


if __name__ == "__main__":
    unittest.main()
