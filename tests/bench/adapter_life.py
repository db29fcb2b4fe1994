#!/usr/bin/env python3
"""What loading, replacing and evicting adapters costs everybody else, on the real daemon.

    adapter_life.py --bin build/bin --model build/models/smollm2 [--only NAME] [--seconds 10]

Prints one JSON object: for each scenario the figures, the ratio that counts, and the bar it is held to. Exit code 0 only
if every bar is met. Ratios are of runs of the same daemon binary in turns, so that a busy machine spoils both sides alike.
"""
import argparse
import json
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from daemon import Daemon  # noqa: E402
import random_adapters as make  # noqa: E402

PROMPTS = ['Once upon a time', 'The history of the city begins', 'def fibonacci(n):', 'In physics, energy is']


class Bench:
    """A folder of adapters, and daemons over it."""

    def __init__(self, options, work):
        self.options, self.work = options, work
        self.shapes = make.module_shapes(json.loads((options.model / 'config.json').read_text()))
        self.root = work / 'adapters'
        self.root.mkdir()
        self.prompts = work / 'prompts.txt'
        self.prompts.write_text('\n'.join(PROMPTS) + '\n')
        self.log = open(work / 'hydrad.log', 'w')  # pylint: disable=consider-using-with
        self.bytes = 0  # of a rank-8 adapter
        self.names = [f'a{i:02}' for i in range(64)]
        for i, name in enumerate(self.names):
            self.bytes = make.write_adapter(self.root / name, self.shapes, 8, i)

    def daemon(self, *arguments):
        return Daemon(self.options.bin, self.options.model, self.root, self.log, *arguments)

    def load(self, daemon, names):
        wanted = {'adapters': [{'name': n, 'path': n} for n in names]}
        (self.work / 'wanted.json').write_text(json.dumps(wanted))
        daemon.hydractl('adapter', 'apply', self.work / 'wanted.json')

    def traffic(self, daemon, adapters, streams, tokens=32, **more):
        arguments = ['--prompts', self.prompts, '--adapters', ','.join(adapters), '--max-tokens', tokens,
                     '--concurrency', streams]
        for key, value in more.items():
            arguments += ['--' + key.replace('_', '-'), value]
        if 'requests' not in more:
            arguments += ['--duration', self.options.seconds]
        return daemon.bench(*arguments)


def in_background(function, *arguments, **more):
    """Runs it on a thread; call the result to wait for it."""
    out = []
    thread = threading.Thread(target=lambda: out.append(function(*arguments, **more)))
    thread.start()

    def wait():
        thread.join()
        return out[0]
    return wait


def bad_loads(bench):
    """25 loads that fail, during traffic."""
    bad = make.write_bad_adapters(bench.root, bench.shapes, 25)
    daemon = bench.daemon()
    bench.load(daemon, bench.names[:4])
    wait = in_background(bench.traffic, daemon, bench.names[:4], 8)
    refused = sum(daemon.hydractl('adapter', 'load', name, '--path', name, check=False).returncode != 0
                  for name in bad)
    report = wait()
    daemon.stop()
    return {'bad_loads': len(bad), 'refused': refused, 'requests_ok': report['ok'], 'errors': report['errors'],
            'met': refused == len(bad) and not report['errors'] and report['ok'] > 0}


def ten_loads(bench):
    """10 loads at once with room for 2 on the device."""
    daemon = bench.daemon('--adapter-device-memory', int(2.5 * bench.bytes))
    names = bench.names[:10]
    waits = [in_background(daemon.hydractl, 'adapter', 'load', n, '--path', n, check=False) for n in names]
    loaded = sum(wait().returncode == 0 for wait in waits)
    on_device = sum(a['tier'] == 'DEVICE' for a in daemon.adapters())
    report = bench.traffic(daemon, names, 4, tokens=8, requests=40)
    daemon.stop()
    return {'loads': 10, 'loaded': loaded, 'on_device': on_device, 'requests_ok': report['ok'],
            'errors': report['errors'], 'met': loaded == 10 and on_device <= 2 and report['ok'] == 40}


def over_commit(bench):
    """32 adapters over room for 16, against 16 over 16, at a load that the room can carry."""
    daemon = bench.daemon('--adapter-device-memory', int(16.5 * bench.bytes))
    bench.load(daemon, bench.names[:32])
    medians = {16: [], 32: []}
    busy = {}
    for turn in range(3):
        for count in (16, 32):
            report = bench.traffic(daemon, bench.names[:count], 12, seed=turn)
            medians[count].append(report['time_to_first_token_seconds']['p50'])
    for count in (16, 32):  # beyond it: printed, not judged
        report = bench.traffic(daemon, bench.names[:count], 48, seed=9)
        busy[count] = {'ttft_p50': report['time_to_first_token_seconds']['p50'],
                       'ttft_max': report['time_to_first_token_seconds']['max'],
                       'tokens_per_second': report['generated_tokens_per_second'], 'errors': report['errors']}
    daemon.stop()
    ratio = statistics.median(medians[32]) / statistics.median(medians[16])
    return {'ttft_p50_16_over_16': medians[16], 'ttft_p50_32_over_16': medians[32], 'ratio': ratio, 'bar': 2.0,
            'with_48_streams': busy, 'met': ratio <= 2.0}


def large_load(bench):
    """p99 of the time between tokens of others, while adapters of about 100 MB are loaded."""
    rank = make.rank_for(bench.shapes, 100e6)
    for i in range(2):
        if not (bench.root / f'large{i}').exists():
            size = make.write_adapter(bench.root / f'large{i}', bench.shapes, rank, 500 + i)
    daemon = bench.daemon()
    p99 = {'quiet': [], 'loading': []}
    loads = 0
    for turn in range(4):
        p99['quiet'].append(bench.traffic(daemon, ['@base'], 4, tokens=64)['inter_token_seconds']['p99'])
        wait = in_background(bench.traffic, daemon, ['@base'], 4, tokens=64)
        until = time.monotonic() + bench.options.seconds
        while time.monotonic() < until:
            daemon.hydractl('adapter', 'load', 'large', '--path', f'large{loads % 2}')
            loads += 1
        p99['loading'].append(wait()['inter_token_seconds']['p99'])
    daemon.stop()
    ratio = statistics.median(p99['loading']) / statistics.median(p99['quiet'])
    return {'adapter_bytes': size, 'loads': loads, 'p99_quiet': p99['quiet'], 'p99_loading': p99['loading'],
            'ratio': ratio, 'bar': 1.1, 'met': ratio <= 1.1}


def thousand(bench):
    """1,000 registered adapters: what the idle ones cost, and 64 hot ones against the bytes that a step reads."""
    base_bytes = sum(f.stat().st_size for f in bench.options.model.glob('*.safetensors'))
    daemon = bench.daemon('--adapter-device-memory', int(64.5 * bench.bytes), '--adapter-host-memory',
                          int(80 * bench.bytes))
    rate = {'none': [], 'registered': [], 'hot': []}

    def measure(kind, adapters):
        report = bench.traffic(daemon, adapters, 64, mix='round-robin')
        rate[kind].append(report['generated_tokens_per_second'])
    measure('none', ['@base'])
    measure('none', ['@base'])
    before = daemon.memory()
    begin = time.monotonic()
    wanted = [{'name': f'{bench.names[i % 64]}-{i:03}', 'path': bench.names[i % 64]} for i in range(1000)]
    (bench.work / 'wanted.json').write_text(json.dumps({'adapters': wanted}))
    daemon.hydractl('adapter', 'apply', bench.work / 'wanted.json')
    registering = time.monotonic() - begin
    hot = [w['name'] for w in wanted[:64]]
    measure('hot', hot)  # brings them to the device
    rate['hot'].clear()
    after = daemon.memory()
    for _ in range(3):
        measure('registered', ['@base'])
        measure('hot', hot)
    daemon.stop()
    median = {kind: statistics.median(values) for kind, values in rate.items()}
    allowed = base_bytes / (base_bytes + 64 * bench.bytes)
    share = median['hot'] / median['registered'] / allowed
    idle = median['registered'] / median['none']
    budget = int(144.5 * bench.bytes)  # both tiers
    return {'registered': 1000, 'hot': 64, 'seconds_to_register': registering, 'tokens_per_second': median,
            'allowed_by_bytes': allowed, 'share_of_allowed': share, 'bar': 0.9, 'idle_over_none': idle,
            'idle_bar': 0.95, 'memory_growth_over_tiers': (after - before) / budget,
            'met': share >= 0.9 and idle >= 0.95 and after - before <= 1.1 * budget}


SCENARIOS = {f.__name__: f for f in (bad_loads, ten_loads, over_commit, large_load, thousand)}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--bin', type=pathlib.Path, required=True)
    parser.add_argument('--model', type=pathlib.Path, required=True)
    parser.add_argument('--seconds', type=int, default=10)
    parser.add_argument('--only', choices=SCENARIOS, action='append')
    options = parser.parse_args()
    work = pathlib.Path(tempfile.mkdtemp(prefix='hydrad-life-'))
    try:
        bench = Bench(options, work)
        results = {name: SCENARIOS[name](bench) for name in options.only or SCENARIOS}
    finally:
        subprocess.run(['tail', '-5', str(work / 'hydrad.log')], stdout=sys.stderr, check=False)
        shutil.rmtree(work)
    print(json.dumps(results, indent=2))
    return 0 if all(r['met'] for r in results.values()) else 1


if __name__ == '__main__':
    sys.exit(main())
