#!/usr/bin/env python3
"""What the CUDA kernels may cost: registers and static shared memory by ptxas; traffic, launches and the shared memory
that launches ask for by tests/ptxsim.

  budgets.py                       compare with budgets.json and the counts of cuda_budget_test; exit code 1 beyond them
  budgets.py --architectures 90    only these (default: all that are shipped)
  budgets.py --update              write what ptxas says now into budgets.json instead of comparing
"""
import argparse
import json
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor

ROOT = pathlib.Path(__file__).resolve().parents[2]
TABLE = pathlib.Path(__file__).with_name('budgets.json')
FLAGS = ['-std=c++20', '-O3', '--expt-relaxed-constexpr', '-diag-suppress', '554', '-I', str(ROOT), '-Xptxas', '-v']


def nvcc():
    return shutil.which('nvcc') or '/usr/local/cuda/bin/nvcc'


def short_name(text):
    """The kernel's own name with its template arguments, out of a demangled signature."""
    text = text.replace('(anonymous namespace)::', '').replace('hydrad::cuda::', '').replace('hydrad::', '')
    text = re.sub(r'\((?:bool|int)\)', '', text)
    depth, end = 0, len(text)
    for i, c in enumerate(text):
        depth += (c == '<') - (c == '>')
        if c == '(' and depth == 0:
            end = i
            break
    return text[:end].removeprefix('void ')


def demangled(name):
    return subprocess.run(['c++filt', name], capture_output=True, text=True, check=True).stdout.strip()


def measure(source, architecture):
    """{kernel: {registers, shared, spills}} of one file for one architecture."""
    with tempfile.TemporaryDirectory() as directory:
        run = subprocess.run([nvcc(), *FLAGS, '-cubin', f'-arch=sm_{architecture}', str(source), '-o', f'{directory}/out'],
                             capture_output=True, text=True)
    if run.returncode != 0:
        sys.exit(f'{source.name} for sm_{architecture}:\n{run.stderr}')
    kernels, name = {}, None
    for line in run.stderr.splitlines():
        if match := re.search(r"Compiling entry function '(\w+)'", line):
            name = short_name(demangled(match[1]))
            kernels[name] = {'registers': 0, 'shared': 0, 'spills': 0}
        elif name and (match := re.search(r'(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads', line)):
            kernels[name]['spills'] = int(match[2]) + int(match[3])
        elif name and (match := re.search(r'Used (\d+) registers', line)):
            kernels[name]['registers'] = int(match[1])
            if match := re.search(r'(\d+) bytes smem', line):
                kernels[name]['shared'] = int(match[1])
            name = None
    return kernels


def ptxas(architectures):
    """{kernel: {architecture: numbers}} of all of kernels/cuda."""
    jobs = [(s, a) for s in sorted((ROOT / 'kernels/cuda').glob('*.cu')) for a in architectures]
    found = {}
    with ThreadPoolExecutor(2) as pool:
        for (_, architecture), kernels in zip(jobs, pool.map(lambda job: measure(*job), jobs)):
            for name, numbers in kernels.items():
                found.setdefault(name, {})[architecture] = numbers
    return found


def compare(found, table):
    """Prints the table; the number of kernels that are beyond it or not in it."""
    bad = 0
    print(f'{"kernel":44} {"allowed":>14}   registers by architecture')
    for name, by_architecture in sorted(found.items()):
        allowed = table.get(name)
        faults = [] if allowed else ['not in budgets.json']
        for architecture, numbers in by_architecture.items():
            if numbers['spills']:
                faults.append(f'sm_{architecture} spills {numbers["spills"]} bytes')
            for what in ('registers', 'shared') if allowed else ():
                if numbers[what] > allowed[what]:
                    faults.append(f'sm_{architecture} {what} {numbers[what]}')
        limits = f'{allowed["registers"]} + {allowed["shared"]} B' if allowed else '-'
        registers = ' '.join(f'{a}: {n["registers"]}' for a, n in by_architecture.items())
        print(f'{name:44} {limits:>14}   {registers}' + (f'   OVER: {"; ".join(faults)}' if faults else ''))
        bad += bool(faults)
    return bad


def updated(found):
    """The most that any architecture takes, registers rounded up to the eight that hardware gives at a time."""
    return {name: {'registers': -(-max(n['registers'] for n in by.values()) // 8) * 8,
                   'shared': max(n['shared'] for n in by.values())} for name, by in sorted(found.items())}


def counted():
    """Whether cuda_budget_test holds, and {kernel: shared memory of its largest launch}; prints the test's lines."""
    binary = ROOT / 'build/bin/cuda_budget_test'
    run = subprocess.run([ROOT / 'tests/cuda_emulation/on_device', binary], cwd=ROOT, capture_output=True, text=True,
                         env={'HYDRAD_NO_GPU': '1', 'PATH': '/usr/bin:/bin'})
    print(*(line for line in run.stdout.splitlines() if line.startswith('budget ')), sep='\n')
    if run.returncode != 0:
        print(run.stdout, run.stderr, sep='\n')
    shared = {}
    for size, name in re.findall(r'^shared (\d+) (.*)$', run.stdout, re.MULTILINE):
        shared[short_name(name)] = max(int(size), shared.get(short_name(name), 0))
    return run.returncode == 0, shared


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('--architectures', default='80,90,100,120')
    parser.add_argument('--update', action='store_true')
    arguments = parser.parse_args()
    found = ptxas(arguments.architectures.split(','))
    held, shared = counted()
    for name, by_architecture in found.items():
        for numbers in by_architecture.values():
            numbers['shared'] = max(numbers['shared'], shared.get(name, 0))
    if arguments.update:
        TABLE.write_text(json.dumps(updated(found), indent=2) + '\n')
        return 0
    bad = compare(found, json.loads(TABLE.read_text()))
    print(f'budgets: {len(found) - bad} of {len(found)} kernels within, traffic and launches {"within" if held else "BEYOND"}')
    return 0 if bad == 0 and held else 1


if __name__ == '__main__':
    sys.exit(main())
