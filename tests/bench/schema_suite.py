#!/usr/bin/env python3
"""Structured output on the schemas of JSON-Schema-Test-Suite, through a running daemon.

    schema_suite.py --server 127.0.0.1:PORT [--limit 1000] [--max-tokens 200]

Takes the suite's schemas, of all drafts and each once, from the source package of jsonschema on PyPI, which is only unpacked
into build/downloads. Asks for an answer of each by hydractl, and counts the schemas that are refused, the answers that have
ended, those of them that do not parse, and those that jsonschema's validator does not take (the library passes over some
keywords, such as `not`). Exit code 1 if an answer that has ended does not parse.
"""
import argparse
import collections
import concurrent.futures
import json
import pathlib
import subprocess
import sys
import tarfile
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
PACKAGE = "jsonschema==4.23.0"


def schemas():
    """Every schema of the suite, once, as text."""
    folder = ROOT / "build/downloads"
    if not list(folder.glob("jsonschema-*.tar.gz")):
        folder.mkdir(parents=True, exist_ok=True)
        subprocess.run([sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--no-binary", ":all:", "-d", folder, PACKAGE],
                       check=True)
    found = {}
    with tarfile.open(next(folder.glob("jsonschema-*.tar.gz"))) as archive:
        for member in archive.getmembers():
            if "/json/tests/draft" not in member.name or not member.name.endswith(".json"):
                continue
            for group in json.load(archive.extractfile(member)):
                if isinstance(group["schema"], dict):
                    found.setdefault(json.dumps(group["schema"], sort_keys=True), json.dumps(group["schema"]))
    return list(found.values())


def ask(options, number, schema):
    """(what became of it, the text)."""
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        file.write(schema)
        file.flush()
        done = subprocess.run(
            [options.bin / "hydractl", "generate", "--server", options.server, "--json", "--seed", str(number), "--max-tokens",
             str(options.max_tokens), "--json-schema", file.name, f"JSON of the schema {schema[:500]}:"],
            capture_output=True, text=True)
    if done.returncode != 0:
        return "refused", done.stderr
    choice = json.loads(done.stdout)["choices"][0]
    if choice["finish_reason"] != "stop":
        return "cut", choice["text"]
    try:
        answer = json.loads(choice["text"])
    except ValueError:
        return "broken", choice["text"]
    try:
        import jsonschema
        validator = jsonschema.validators.validator_for(json.loads(schema), jsonschema.Draft202012Validator)
        return ("ended" if validator(json.loads(schema)).is_valid(answer) else "not valid"), choice["text"]
    except ImportError:
        return "ended", choice["text"]
    except Exception:  # a schema that refers to what is not there
        return "ended", choice["text"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--server", required=True)
    parser.add_argument("--bin", type=pathlib.Path, default=ROOT / "build/bin")
    parser.add_argument("--limit", type=int, default=1000, help="schemas that are accepted")
    parser.add_argument("--max-tokens", type=int, default=200)
    parser.add_argument("--show", action="store_true", help="print what is refused, and broken answers")
    options = parser.parse_args()
    counts = collections.Counter()
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        jobs = [pool.submit(ask, options, number, schema) for number, schema in enumerate(schemas())]
        for job in jobs:
            what, text = job.result()
            counts[what] += 1
            if what == "broken" or (options.show and what != "ended"):
                print(what, text.strip()[:300])
            if sum(counts.values()) - counts["refused"] >= options.limit:
                for other in jobs:
                    other.cancel()
                break
    print(dict(counts))
    return 1 if counts["broken"] else 0


if __name__ == "__main__":
    sys.exit(main())
