"""Python stubs of proto/hydrad/v1 stand beside the packages that people have installed: health checks and error details."""

import importlib
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

PROTO = Path(__file__).resolve().parents[2] / "proto"


class ProtoTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.stubs = tempfile.TemporaryDirectory()
        files = sorted(str(file.relative_to(PROTO)) for file in (PROTO / "hydrad" / "v1").glob("*.proto"))
        command = ["protoc", "-I", str(PROTO), f"--python_out={cls.stubs.name}", *files]
        subprocess.run(command, check=True)
        sys.path.insert(0, cls.stubs.name)

    @classmethod
    def tearDownClass(cls):
        sys.path.remove(cls.stubs.name)
        cls.stubs.cleanup()

    def test_beside_health_and_error_details(self):
        health = importlib.import_module("grpc_health.v1.health_pb2")
        status = importlib.import_module("google.rpc.status_pb2")
        details = importlib.import_module("google.rpc.error_details_pb2")
        admin = importlib.import_module("hydrad.v1.admin_pb2")
        inference = importlib.import_module("hydrad.v1.inference_pb2")
        self.assertEqual(health.HealthCheckRequest(service="hydrad.v1.Inference").service, "hydrad.v1.Inference")
        self.assertEqual(inference.GenerateRequest(text="a").text, "a")
        self.assertIn("LoadAdapter", admin.DESCRIPTOR.services_by_name["Admin"].methods_by_name)
        error = status.Status(code=3)
        error.details.add().Pack(details.ErrorInfo(reason="BAD_FIELD", domain="hydrad"))
        info = details.ErrorInfo()
        self.assertTrue(error.details[0].Unpack(info))
        self.assertEqual(info.reason, "BAD_FIELD")

    def test_our_files_are_upstreams_by_name(self):
        """What is not hydrad's has the path under which its own package knows it, so that a compiler finds one of them."""
        files = sorted(str(file.relative_to(PROTO)) for file in PROTO.rglob("*.proto"))
        self.assertEqual(files, ["google/rpc/error_details.proto", "google/rpc/status.proto", "grpc/health/v1/health.proto",
                                 "hydrad/v1/admin.proto", "hydrad/v1/inference.proto"])


if __name__ == "__main__":
    unittest.main()
