#!/usr/bin/env python3
"""Plants bugs in kernels/cuda and server/backend/cuda, one at a time, and counts how many the tests catch.

  mutants.py                 all of mutants.json
  mutants.py --reduced       those marked "reduced", for CI
  mutants.py --only NAME...  these

Works on a copy of the tree in build/mutants, always on tests/ptxsim. A mutant is caught when its test fails, ends by a
signal or does not end. The last line is `caught N of M`; exit code 0 if that is at least 95 %.
"""
import argparse
import json
import os
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
WORK = ROOT / 'build/mutants'
SOURCE, BUILD = WORK / 'source', WORK / 'build'
MUTANTS = pathlib.Path(__file__).with_name('mutants.json')
SECONDS = 300


def copy_tree():
    """The tracked files, with the times of those that have not changed kept, so that little is built again."""
    files = subprocess.run(['git', 'ls-files', '-co', '--exclude-standard'], cwd=ROOT, capture_output=True, text=True,
                           check=True).stdout.splitlines()
    for name in files:
        source, target = ROOT / name, SOURCE / name
        if not source.is_file():
            continue
        if not target.exists() or target.read_bytes() != source.read_bytes():
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(source.read_bytes())
            target.chmod(source.stat().st_mode)


def configure():
    environment = os.environ | {'CCACHE_BASEDIR': str(SOURCE), 'CCACHE_NOHASHDIR': '1'}
    subprocess.run(['cmake', '-S', SOURCE, '-B', BUILD, '-G', 'Ninja', '-DCMAKE_BUILD_TYPE=Release',
                    '-DCMAKE_CXX_FLAGS_RELEASE=-O1', '-DCMAKE_CXX_COMPILER_LAUNCHER=ccache', '-DHYDRAD_CUDA=ON',
                    '-DHYDRAD_CUDA_ARCHITECTURES=80-virtual'], env=environment, check=True, capture_output=True)


def build(targets):
    environment = os.environ | {'CCACHE_BASEDIR': str(SOURCE), 'CCACHE_NOHASHDIR': '1'}
    return subprocess.run(['ninja', '-C', BUILD, *targets], env=environment, capture_output=True, text=True)


def passes(test, only):
    """Whether the test program passes on the stand-ins; with its last words."""
    command = [SOURCE / 'tests/cuda_emulation/on_device', BUILD / 'bin' / test]
    if only:
        command.append(f'--gtest_filter={only}')
    environment = os.environ | {'HYDRAD_PTXSIM': str(BUILD / 'tests/ptxsim/lib'), 'HYDRAD_NO_GPU': '1'}
    try:
        run = subprocess.run(command, cwd=SOURCE, env=environment, capture_output=True, text=True, timeout=SECONDS)
    except subprocess.TimeoutExpired:
        return False, 'did not end'
    return run.returncode == 0, f'exit code {run.returncode}'


def try_mutant(mutant):
    """'caught', 'missed', or what is wrong with the mutant itself."""
    path = SOURCE / mutant['file']
    original = path.read_text()
    if mutant['old'] not in original:
        return 'its text is not in the file', ''
    path.write_text(original.replace(mutant['old'], mutant['new'], 1))
    try:
        built = build([mutant['test']])
        if built.returncode != 0:
            return 'does not build', (built.stdout + built.stderr)[-1500:]
        passed, how = passes(mutant['test'], mutant.get('only'))
        return ('missed' if passed else 'caught'), how
    finally:
        path.write_text(original)


def check_baseline(mutants):
    """Ends the program if a test fails without any mutant."""
    if (built := build(sorted({m['test'] for m in mutants}))).returncode != 0:
        sys.exit(built.stdout[-3000:] + built.stderr)
    for test, only in sorted({(m['test'], m.get('only') or '') for m in mutants}):
        passed, how = passes(test, only)
        if not passed:
            sys.exit(f'{test} {only} fails without a mutant: {how}')


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('--reduced', action='store_true')
    parser.add_argument('--only', nargs='*', default=[])
    arguments = parser.parse_args()
    mutants = [m for m in json.loads(MUTANTS.read_text())
               if (not arguments.reduced or m.get('reduced')) and (not arguments.only or m['name'] in arguments.only)]
    copy_tree()
    configure()
    check_baseline(mutants)
    results = {}
    for mutant in mutants:
        result, how = try_mutant(mutant)
        results[mutant['name']] = result
        print(f'{result:8} {mutant["name"]} ({mutant["file"]}; {mutant["test"]}: {how})', flush=True)
    caught = sum(r == 'caught' for r in results.values())
    for name, result in results.items():
        if result != 'caught':
            print(f'not caught: {name}: {result}')
    print(f'caught {caught} of {len(results)}')
    return 0 if caught >= 0.95 * len(results) else 1


if __name__ == '__main__':
    sys.exit(main())
