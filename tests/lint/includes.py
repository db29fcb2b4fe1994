#!/usr/bin/env python3
"""Checks every #include of the product: none points backwards, each foreign library has its doors, and headers keep out
what is for source files.

    tests/lint/includes.py [ROOT]    prints what is wrong, and fails if anything is
    tests/lint/includes.py --self    checks that the check finds what it is for
"""

import pathlib
import re
import sys

# What a room may include beside itself. Each stands below those that may include it.
ROOMS = {
    "kernels": set(),
    "server/base": set(),
    "server/backend": {"kernels", "server/base"},
    "server/text": {"server/base"},
    "server/kv": {"server/base"},
    "server/metrics": {"server/base"},
    "server/admission": {"server/base"},
    "server/model": {"kernels", "server/base", "server/backend"},
    "server/adapters": {"kernels", "server/base", "server/backend", "server/text", "server/model"},
    "server/scheduler": {"kernels", "server/base", "server/backend", "server/text", "server/kv", "server/metrics",
                         "server/admission", "server/model", "server/adapters"},
    "server/front": {"kernels", "server/base", "server/backend", "server/text", "server/metrics", "server/admission",
                     "server/adapters", "server/scheduler"},
    "server/rpc": {"kernels", "server/base", "server/backend", "server/text", "server/metrics", "server/admission",
                   "server/adapters", "server/scheduler", "server/front"},
    "server/http": {"kernels", "server/base", "server/backend", "server/text", "server/metrics", "server/admission",
                    "server/adapters", "server/scheduler", "server/front"},
    # The daemon's own files, which put the rooms together, and whatever folder they are in.
    "server": {"server"},
    "client": {"server/base"},
}

# Where a foreign library may be included: the pattern of its headers, and the folders.
DOORS = [
    (r"(grpc|grpcpp|google)/", ["server/rpc", "client"]),
    (r"hydrad/v1/.*\.pb\.h$", ["server/rpc", "client"]),
    (r"boost/", ["server/http"]),
    (r"prometheus/", ["server/metrics"]),
    (r"(cuda.*|cublas.*|nccl.*|curand.*)\.h$", ["server/backend/cuda", "kernels/cuda", "kernels/bench/cuda"]),
    (r"(.*mmintrin|immintrin|cpuid|arm_neon|amxintrin)\.h$", ["kernels/simd", "kernels/bench"]),
    (r"utf8proc\.h$", ["server/text"]),
    (r"pcre2\.h$", ["server/text", "server/adapters/formats"]),
    (r"spdlog/", ["server/base"]),
    (r"openssl/", ["server/base", "server/admission", "client"]),
    # JSON of files (base, model, text), of the audit log, and of the command line's output.
    (r"nlohmann/", ["server/base", "server/model", "server/text", "server/front", "client"]),
    (r"CLI/", ["server", "client"]),  # see CLI_ROOMS
    (r"(gtest|gmock|benchmark)/", []),
    (r"tests/", []),
]
# Of the server only the daemon's own files read a command line; base says what a mistyped word may have meant.
CLI_ROOMS = {"server", "server/base", "server/daemon", "client"}

# Headers that only a source file may include, since a change of one is to recompile no more than what uses it.
FOR_SOURCES = {"server/base/status.h", "server/base/invalid_argument.h", "server/base/status_macros.h"}

# Includes that break a rule, by (file, included): each with its reason.
EXCEPTIONS = {
    # Bodies that are short enough to stand in the header, of CUDA alone.
    ("server/backend/cuda/cuda_handles.h", "server/base/status_macros.h"),
    ("server/backend/cuda/cuda_backend_impl.h", "server/base/status_macros.h"),
}

SUFFIXES = {".h", ".cc", ".cu", ".cuh"}
INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*[<"]([^>"\n]+)', re.MULTILINE)


def room_of(path):
    """The room of a file of ours: the longest name in ROOMS that is a folder of it."""
    parts = path.split("/")[:-1]
    for end in range(len(parts), 0, -1):
        name = "/".join(parts[:end])
        if name in ROOMS:
            return name
    return None


def wrong_with(path, included):
    """Why the file may not include this; None if it may."""
    if (path, included) in EXCEPTIONS:
        return None
    if included in FOR_SOURCES and path.endswith(".h"):
        return "is for source files"
    room = room_of(path)
    top = included.split("/")[0]
    if top in ("server", "kernels", "client"):
        other = room_of(included)
        if other is None:
            return "is in no room that tests/lint/includes.py knows"
        if other != room and room != "server" and other not in ROOMS[room]:
            return f"points backwards: {room} may not include {other}"
        return None
    for pattern, folders in DOORS:
        if not re.match(pattern, included):
            continue
        if not any(path.startswith(folder + "/") for folder in folders):
            return "has its doors elsewhere: " + (", ".join(folders) or "in tests")
        if pattern == r"CLI/" and room not in CLI_ROOMS:
            return "has its doors elsewhere: " + ", ".join(sorted(CLI_ROOMS))
    return None


def check(root):
    """All that is wrong with the tree, a line each."""
    lines = []
    files = 0
    for top in ("server", "kernels", "client"):
        for path in sorted((root / top).rglob("*")):
            if path.suffix not in SUFFIXES:
                continue
            files += 1
            name = path.relative_to(root).as_posix()
            if room_of(name) is None:
                lines.append(f"{name}: is in no room")
                continue
            for included in INCLUDE.findall(path.read_text(encoding="utf-8")):
                why = wrong_with(name, included)
                if why:
                    lines.append(f"{name}: <{included}> {why}")
    if files == 0:
        lines.append(f"{root} holds no sources")
    for room, others in ROOMS.items():
        for other in others:
            if room in ROOMS.get(other, set()) and room != other:
                lines.append(f"the table has {room} and {other} include each other")
    return lines


def check_self():
    """Each kind of wrong include is found, and right ones are left alone."""
    wrong = [
        ("server/model/model.cc", "server/scheduler/engine.h"),
        ("server/base/file.cc", "kernels/gemm.h"),
        ("kernels/gemm.cc", "server/base/status.h"),
        ("server/front/intake.h", "server/rpc/to_proto.h"),
        ("server/front/intake.h", "hydrad/v1/inference.pb.h"),
        ("server/front/intake.h", "grpcpp/grpcpp.h"),
        ("server/front/intake.h", "server/http/reply.h"),
        ("server/http/answer.cc", "server/rpc/to_proto.h"),
        ("server/http/answer.cc", "hydrad/v1/inference.pb.h"),
        ("server/rpc/server.cc", "boost/asio/buffer.hpp"),
        ("server/rpc/server.cc", "prometheus/counter.h"),
        ("server/backend/backend.h", "cuda_runtime_api.h"),
        ("kernels/ref/gemm.cc", "immintrin.h"),
        ("server/model/model.cc", "CLI/CLI.hpp"),
        ("server/kv/block_pool.cc", "gtest/gtest.h"),
        ("server/kv/block_pool.cc", "tests/fakes/fake_clock.h"),
        ("client/client.cc", "server/rpc/server.h"),
        ("server/base/file.cc", "server/main.h"),
        ("server/model/model.h", "server/base/status.h"),
    ]
    right = [
        ("server/daemon.cc", "server/rpc/server.h"),
        ("server/rpc/to_proto.h", "hydrad/v1/inference.pb.h"),
        ("server/rpc/server.cc", "server/front/intake.h"),
        ("server/http/connection.cc", "boost/asio/buffer.hpp"),
        ("server/backend/cuda/cuda_backend.cc", "cuda_runtime_api.h"),
        ("kernels/simd/gemm.cc", "immintrin.h"),
        ("server/front/intake.h", "server/scheduler/request.h"),
        ("server/front/intake.cc", "vector"),
        ("client/client.cc", "server/base/status.h"),
    ]
    return [f"{p} <{i}> is not found" for p, i in wrong if not wrong_with(p, i)] + [
        f"{p} <{i}> is found: {wrong_with(p, i)}" for p, i in right if wrong_with(p, i)
    ]


def main():
    if sys.argv[1:] == ["--self"]:
        lines = check_self()
    else:
        lines = check(pathlib.Path(sys.argv[1]) if sys.argv[1:] else pathlib.Path(__file__).resolve().parents[2])
    for line in lines:
        print(line)
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())
