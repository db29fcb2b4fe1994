#!/usr/bin/env python3
"""Plants bugs in kernels/cuda and server/backend/cuda, one at a time, and counts how many the tests catch.

  mutants.py                 all of mutants.json
  mutants.py --reduced       those marked "reduced", for CI
  mutants.py --only TEXT...  those whose name holds one of these
  mutants.py --jobs N        so many at a time (2)
  mutants.py --control       plants nothing, goes the same ways, and expects every test to pass

Needs the configured and built folder "build", always runs on tests/ptxsim, and leaves tree and folder as they are. A
mutant is one text of one file, found once, and another in its place. Only the source with the text is compiled again
("unit" where that is a header), for PTX alone, and linked in front of the archive that holds the original. A mutant is
caught when its test fails, ends by a signal or does not end. The last line is `caught N of M`; exit code 0 if that is all.
"""
import argparse
import json
import os
import pathlib
import shlex
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = ROOT / 'build'
MUTANTS = pathlib.Path(__file__).with_name('mutants.json')
SECONDS = 120


def run(command, **more):
    return subprocess.run([str(c) for c in command], cwd=BUILD, capture_output=True, text=True, **more)


def compile_command(unit, source, overlay, target):
    """That of the built tree for `unit`, but of `source`, with `overlay` first among the include paths."""
    commands = json.loads((BUILD / 'compile_commands.json').read_text())
    command = shlex.split(next(c['command'] for c in commands if c['file'] == str(ROOT / unit)))
    words, begin = [], 1 if 'ccache' in command[0] else 0
    for word in command[begin:]:
        if word.startswith('--generate-code') or word == '-Werror':  # a planted bug may well deserve a warning
            continue
        words.append(str(source) if word == str(ROOT / unit) else word)
    words[words.index('-o') + 1] = str(target)
    words[1:1] = [f'-I{overlay}'] + (['--generate-code=arch=compute_80,code=compute_80'] if unit.endswith('.cu') else ['-O1'])
    return words


def link_command(test, first, target):
    """That of the built tree for `test`, with the object `first` in front of every archive."""
    shown = run(['ninja', '-t', 'commands', '-s', f'bin/{test}']).stdout.strip()
    words = shlex.split(shown.removeprefix(': && ').removesuffix(' && :'))
    if '&&' in words:
        sys.exit(f'the link of {test} is more than one command: {shown}')
    at = words.index('-o')
    return [*words[:at], str(first), '-o', str(target), *words[at + 2:]]


def passes(program, only):
    """Whether the test program passes on the stand-ins; with its last words."""
    command = [ROOT / 'tests/cuda_emulation/on_device', program, '--gtest_fail_fast']
    if only:
        command.append(f'--gtest_filter={only}')
    environment = os.environ | {'HYDRAD_PTXSIM': str(BUILD / 'tests/ptxsim/lib'), 'HYDRAD_NO_GPU': '1'}
    try:
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, errors='replace',
                              timeout=SECONDS)
    except subprocess.TimeoutExpired:
        return False, 'did not end'
    if only and '[       OK ]' not in done.stdout and done.returncode == 0:
        sys.exit(f'{program}: nothing matches {only}')
    return done.returncode == 0, f'exit code {done.returncode}'


def try_mutant(mutant):
    """'caught', 'missed', or what is wrong with the mutant itself; and a word on how."""
    unit = mutant.get('unit', mutant['file'])
    original = (ROOT / mutant['file']).read_text()
    if (found := original.count(mutant['old'])) != 1:
        return f'its text is in the file {found} times', ''
    directory = pathlib.Path(tempfile.mkdtemp(prefix='mutant-', dir=BUILD))
    try:
        changed = directory / 'tree' / mutant['file']
        changed.parent.mkdir(parents=True)
        changed.write_text(original.replace(mutant['old'], mutant['new']))
        source = changed if unit == mutant['file'] else ROOT / unit
        unit_object, program = directory / 'unit.o', directory / mutant['test']
        for command in (compile_command(unit, source, directory / 'tree', unit_object),
                        link_command(mutant['test'], unit_object, program)):
            if (built := run(command)).returncode != 0:
                return 'does not build', (built.stdout + built.stderr)[-1500:]
        passed, how = passes(program, mutant.get('only'))
        return ('missed' if passed else 'caught'), how
    finally:
        shutil.rmtree(directory)


def check_baseline(mutants, pool):
    """Ends the program if a test fails without any mutant."""
    if (built := run(['ninja', 'ptxsim_cudart', 'ptxsim_cublaslt', *sorted({m['test'] for m in mutants})])).returncode != 0:
        sys.exit(built.stdout[-3000:] + built.stderr)
    cases = sorted({(m['test'], m.get('only') or '') for m in mutants})
    for (test, only), (passed, how) in zip(cases, pool.map(lambda c: passes(BUILD / 'bin' / c[0], c[1]), cases)):
        if not passed:
            sys.exit(f'{test} {only} fails without a mutant: {how}')


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('--reduced', action='store_true')
    parser.add_argument('--only', nargs='*', default=[])
    parser.add_argument('--jobs', type=int, default=2)
    parser.add_argument('--control', action='store_true')
    arguments = parser.parse_args()
    mutants = [m for m in json.loads(MUTANTS.read_text())
               if (not arguments.reduced or m.get('reduced')) and
               (not arguments.only or any(text in m['name'] for text in arguments.only))]
    if arguments.control:
        ways = {(m.get('unit', m['file']), m['test'], m.get('only')): m | {'new': m['old']} for m in mutants}
        mutants = list(ways.values())
    results = {}
    with ThreadPoolExecutor(arguments.jobs) as pool:
        check_baseline(mutants, pool)
        for mutant, (result, how) in zip(mutants, pool.map(try_mutant, mutants)):
            results[mutant['name']] = result
            print(f'{result:8} {mutant["name"]} ({mutant["file"]}; {mutant["test"]}: {how})', flush=True)
    caught = sum(r == 'caught' for r in results.values())
    if arguments.control:
        print(f'control: {sum(r == "missed" for r in results.values())} of {len(results)} pass without a bug')
        return 0 if all(r == 'missed' for r in results.values()) else 1
    for name, result in results.items():
        if result != 'caught':
            print(f'not caught: {name}: {result}')
    print(f'caught {caught} of {len(results)}')
    return 0 if caught == len(results) else 1


if __name__ == '__main__':
    sys.exit(main())
