"""Converting pickled adapters: tensors come through, code does not run, lies are refused."""

import io
import json
import os
import pickle
import sys
import tempfile
import types
import unittest
import zipfile
from collections import OrderedDict
from pathlib import Path
from unittest import mock

import numpy as np

from hydrad_tools.adapter_import import import_adapter
from hydrad_tools.errors import ToolError
from hydrad_tools.safetensors_io import read_safetensors


def stub_torch() -> dict[str, types.ModuleType]:
    """Modules with the names that a state dict's pickle refers to."""
    torch, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")
    for name in ("FloatStorage", "BFloat16Storage"):
        setattr(torch, name, type(name, (), {"__module__": "torch"}))
    for name in ("_rebuild_tensor_v2", "_rebuild_parameter"):
        function = types.FunctionType((lambda *_: None).__code__, {}, name)
        function.__module__, function.__qualname__ = "torch._utils", name
        setattr(utils, name, function)
    torch._utils = utils
    return {"torch": torch, "torch._utils": utils}


class View:
    """A tensor to be pickled as torch does it: a view of a storage."""

    def __init__(self, kind, key, size, stride, offset=0, count=None):
        self.kind, self.key, self.size, self.stride, self.offset = kind, key, size, stride, offset
        self.count = count if count is not None else int(np.prod(size))

    def __reduce__(self):
        rebuild = sys.modules["torch._utils"]._rebuild_tensor_v2
        return rebuild, (Storage(self), self.offset, self.size, self.stride, False, OrderedDict())


class Storage:
    """What the pickler replaces by a persistent id."""

    def __init__(self, view):
        self.identity = ("storage", getattr(sys.modules["torch"], view.kind), view.key, "cpu", view.count)


class Pickler(pickle.Pickler):
    def persistent_id(self, value):
        return value.identity if isinstance(value, Storage) else None


class AdapterImportTest(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.source, self.target = Path(directory.name) / "in", Path(directory.name) / "out"
        self.source.mkdir()
        (self.source / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA"}))

    def write(self, state, storages, compression=zipfile.ZIP_STORED, extra=()):
        """Writes adapter_model.bin in the layout of torch.save."""
        text = io.BytesIO()
        with mock.patch.dict(sys.modules, stub_torch()):
            Pickler(text, protocol=2).dump(state)
        with zipfile.ZipFile(self.source / "adapter_model.bin", "w", compression) as archive:
            archive.writestr("archive/data.pkl", text.getvalue())
            for key, data in storages.items():
                archive.writestr(f"archive/data/{key}", data)
            for name, data in extra:
                archive.writestr(name, data)

    def test_tensors_come_through(self):
        values = np.arange(12, dtype=np.float32)
        with mock.patch.dict(sys.modules, stub_torch()):
            state = OrderedDict(whole=View("FloatStorage", "0", (3, 4), (4, 1)),
                                turned=View("FloatStorage", "0", (4, 3), (1, 4)),
                                part=View("FloatStorage", "0", (2, 2), (4, 1), offset=5, count=12),
                                half=View("BFloat16Storage", "1", (2,), (1,)),
                                scalar=View("FloatStorage", "0", (), (), offset=7))
        self.write(state, {"0": values.tobytes(), "1": np.array([0x3F80, 0x4000], np.uint16).tobytes()})
        import_adapter(self.source, self.target)
        read = read_safetensors(self.target / "adapter_model.safetensors")
        np.testing.assert_array_equal(read["whole"].data, values.reshape(3, 4))
        np.testing.assert_array_equal(read["turned"].data, values.reshape(3, 4).T)
        np.testing.assert_array_equal(read["part"].data, [[5, 6], [9, 10]])
        np.testing.assert_array_equal(read["half"].to_f32(), [1, 2])
        self.assertEqual((read["scalar"].shape, float(read["scalar"].data)), ((), 7))
        self.assertEqual(json.loads((self.target / "adapter_config.json").read_text()), {"peft_type": "LORA"})

    def test_code_is_refused_and_not_run(self):
        marker = self.source / "ran"

        class Attack:
            def __reduce__(self):
                return os.mkdir, (str(marker),)

        self.write({"a": Attack()}, {})
        with self.assertRaisesRegex(ToolError, r"asks for posix.mkdir"):
            import_adapter(self.source, self.target)
        self.assertFalse(marker.exists())

    def test_views_cannot_leave_or_multiply_their_storage(self):
        cases = {"past the end": ((4, 4), (4, 1), 0), "offset": ((3,), (1,), 10), "negative": ((2,), (-1,), 3),
                 "repeated": ((1 << 40,), (0,), 0), "lengths": ((2, 2), (1,), 0)}
        for name, (size, stride, offset) in cases.items():
            self.write({"a": View("FloatStorage", "0", size, stride, offset, count=12)}, {"0": bytes(48)})
            with self.subTest(name), self.assertRaisesRegex(ToolError, "adapter_model.bin"):
                import_adapter(self.source, self.target)
        self.assertFalse(self.target.exists())

    def test_refusals_say_why(self):
        view = View("FloatStorage", "0", (2,), (1,))
        cases = {
            "holds 1 numbers, not 2": ({"a": view}, {"0": bytes(4)}, {}),
            "is compressed": ({"a": view}, {"0": bytes(8)}, {"compression": zipfile.ZIP_DEFLATED}),
            "big-endian": ({"a": view}, {"0": bytes(8)}, {"extra": [("archive/byteorder", b"big")]}),
            "not a readable torch.save file": ({"a": view}, {}, {}),
            "dictionary of named tensors": ([view], {"0": bytes(8)}, {}),
            "entry a is a int": ({"a": 3}, {}, {}),
        }
        for message, (state, storages, options) in cases.items():
            self.write(state, storages, **options)
            with self.subTest(message), self.assertRaisesRegex(ToolError, f"adapter_model.bin.*{message}"):
                import_adapter(self.source, self.target)

    def test_missing_and_foreign_files(self):
        with self.assertRaisesRegex(ToolError, "adapter_model.bin"):
            import_adapter(self.source, self.target)
        (self.source / "adapter_model.bin").write_bytes(b"\x80\x02}.")
        with self.assertRaisesRegex(ToolError, "not a readable"):
            import_adapter(self.source, self.target)
        (self.source / "adapter_config.json").unlink()
        with self.assertRaisesRegex(ToolError, "adapter_config.json"):
            import_adapter(self.source, self.target)


if __name__ == "__main__":
    unittest.main()
