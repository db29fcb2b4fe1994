#!/usr/bin/env python3
"""What loading, replacing and evicting adapters costs everybody else, on the real daemon.

    adapter_life.py --bin build/bin [--model build/models/smollm2 --model deploy/models/tiny] [--only NAME] [--seconds 4]

Takes a few minutes. Prints a table, and with --json the figures behind it: for each scenario the ratio that counts and the
bar it is held to. Exit code 0 only if every bar is met. Ratios are of runs of one daemon in turns, so that a busy machine
spoils both sides alike; what is far from a bar on one is far from it on all, what is near it needs a quiet one. --ahead puts
the bench into a scheduling group that other sessions' work stands back for (Linux's autogroups; root), which is as near to
a quiet machine as a shared one comes.
"""
import argparse
import json
import os
import pathlib
import shutil
import statistics
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

    def __init__(self, options, model, work):
        self.options, self.model, self.work = options, model, work
        self.daemons = []
        work.mkdir()
        self.shapes = make.module_shapes(json.loads((model / 'config.json').read_text()))
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
        self.daemons.append(Daemon(self.options.bin, self.model, self.root, self.log, *arguments))
        return self.daemons[-1]

    def close(self):
        for daemon in self.daemons:
            if daemon.process.poll() is None:
                daemon.kill()

    def load(self, daemon, names, paths=None):
        wanted = {'adapters': [{'name': n, 'path': p} for n, p in zip(names, paths or names)]}
        (self.work / 'wanted.json').write_text(json.dumps(wanted))
        daemon.hydractl('adapter', 'apply', self.work / 'wanted.json')

    def device_bytes(self):
        """Of one of the adapters."""
        daemon = self.daemon()
        self.load(daemon, self.names[:1])
        found = daemon.adapters()[0]['device_bytes']
        daemon.stop()
        return found

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
    daemon = bench.daemon('--adapter-device-memory', int(2.5 * bench.device_bytes()))
    names = bench.names[:10]
    waits = [in_background(daemon.hydractl, 'adapter', 'load', n, '--path', n, check=False) for n in names]
    loaded = sum(wait().returncode == 0 for wait in waits)
    on_device = sum(a['tier'] == 'DEVICE' for a in daemon.adapters())
    report = bench.traffic(daemon, names, 4, tokens=8, requests=40)
    daemon.stop()
    return {'loads': 10, 'loaded': loaded, 'on_device': on_device, 'requests_ok': report['ok'],
            'errors': report['errors'], 'met': loaded == 10 and on_device <= 2 and report['ok'] == 40}


def over_commit(bench):
    """32 adapters over room for 16: median time to the first token over that of 16, at a load that the room carries."""
    daemon = bench.daemon('--adapter-device-memory', int(16.5 * bench.device_bytes()))
    bench.load(daemon, bench.names[:32])
    medians = {16: [], 32: []}
    busy = {}
    for turn in range(3):
        for count in (16, 32):
            report = bench.traffic(daemon, bench.names[:count], 12, seed=turn)
            medians[count].append(report['time_to_first_token_seconds']['p50'])
    for count in (16, 32):  # beyond it: told, not judged
        report = bench.traffic(daemon, bench.names[:count], 48, seed=9)
        busy[count] = {'ttft_p50': report['time_to_first_token_seconds']['p50'],
                       'ttft_max': report['time_to_first_token_seconds']['max'],
                       'tokens_per_second': report['generated_tokens_per_second'], 'errors': report['errors']}
    daemon.stop()
    ratio = statistics.median(medians[32]) / statistics.median(medians[16])
    return {'ttft_p50_16_over_16': medians[16], 'ttft_p50_32_over_16': medians[32], 'ratio': ratio, 'bar': '<= 2',
            'with_48_streams': busy, 'met': ratio <= 2.0}


def large_load(bench):
    """p99 of the time between tokens of others, while adapters of about 100 MB are loaded, over that of quiet."""
    rank = make.rank_for(bench.shapes, 100e6)
    for i in range(2):
        size = make.write_adapter(bench.root / f'large{i}', bench.shapes, rank, 500 + i)
    daemon = bench.daemon()
    bench.traffic(daemon, ['@base'], 4, tokens=64)  # warms up
    p99 = {'quiet': [], 'loading': []}
    loads = []
    for _ in range(6):
        p99['quiet'].append(bench.traffic(daemon, ['@base'], 4, tokens=64)['inter_token_seconds']['p99'])
        wait = in_background(bench.traffic, daemon, ['@base'], 4, tokens=64)
        until = time.monotonic() + bench.options.seconds
        while time.monotonic() < until:  # the operator's own machine is another one: hydractl stands back
            begin = time.monotonic()
            daemon.hydractl('adapter', 'load', 'large', '--path', f'large{len(loads) % 2}', nice=19)
            loads.append(time.monotonic() - begin)
        p99['loading'].append(wait()['inter_token_seconds']['p99'])
    daemon.stop()
    for i in range(2):
        shutil.rmtree(bench.root / f'large{i}')
    ratio = statistics.median(p99['loading']) / statistics.median(p99['quiet'])
    return {'adapter_bytes': size, 'loads': len(loads), 'seconds_of_a_load': statistics.median(loads),
            'p99_quiet': p99['quiet'], 'p99_loading': p99['loading'], 'ratio': ratio, 'bar': '<= 1.1',
            'met': ratio <= 1.1}


def thousand(bench):
    """64 hot of 1,000 adapters: throughput over what the adapter bytes that a step reads leave of the base's."""
    base_bytes = sum(f.stat().st_size for f in bench.model.glob('*.safetensors'))
    each = bench.device_bytes()
    budget = (int(64.5 * each), int(80 * bench.bytes))  # of both tiers
    daemon = bench.daemon('--adapter-device-memory', budget[0], '--adapter-host-memory', budget[1])

    def measure(adapters):
        return bench.traffic(daemon, adapters, 64, mix='round-robin')['generated_tokens_per_second']
    measure(['@base'])  # warms up
    none = [measure(['@base']) for _ in range(3)]
    begin = time.monotonic()
    wanted = [f'{bench.names[i % 64]}-{i:03}' for i in range(1000)]
    bench.load(daemon, wanted, paths=[name.split('-')[0] for name in wanted])
    registering = time.monotonic() - begin
    measure(wanted[:64])  # brings them to the device
    registered, hot = [], []
    for _ in range(3):
        registered.append(measure(['@base']))
        hot.append(measure(wanted[:64]))
    daemon.stop()
    allowed = base_bytes / (base_bytes + 64 * each)
    share = statistics.median(hot) / statistics.median(registered) / allowed
    return {'registered': 1000, 'hot': 64, 'seconds_to_register': registering, 'ratio': share, 'bar': '>= 0.9',
            'tokens_per_second': {'none_registered': none, 'base': registered, 'hot': hot}, 'allowed_by_bytes': allowed,
            'idle_over_none': statistics.median(registered) / statistics.median(none), 'met': share >= 0.9}


def memory(bench):
    """1,000 adapters, hot in turn: what the daemon grew by over both tiers' budgets and 4 KiB a name."""
    budget = (int(64.5 * bench.device_bytes()), int(80 * bench.bytes))
    daemon = bench.daemon('--adapter-device-memory', budget[0], '--adapter-host-memory', budget[1])
    bench.traffic(daemon, ['@base'], 64)  # what streams take
    before = daemon.memory()
    wanted = [f'{bench.names[i % 64]}-{i:03}' for i in range(1000)]
    bench.load(daemon, wanted, paths=[name.split('-')[0] for name in wanted])
    growth = []
    for first in (0, 64, 128, 0):
        bench.traffic(daemon, wanted[first:first + 64], 64, mix='round-robin')
        growth.append(daemon.memory() - before)
    daemon.stop()
    ratio = max(growth) / (sum(budget) + 1000 * 4096)
    return {'budgets': budget, 'growth': growth, 'ratio': ratio, 'bar': '<= 1.1', 'met': ratio <= 1.1}


def idle(bench):
    """1,000 registered adapters that nobody uses: throughput of the base in turns with a daemon that has none."""
    rate = {'none': [], 'registered': []}
    daemons = {'none': bench.daemon(), 'registered': bench.daemon('--adapter-device-memory', 4 * bench.bytes,
                                                                  '--adapter-host-memory', 8 * bench.bytes)}
    names = [f'{bench.names[i % 64]}-{i:03}' for i in range(1000)]
    bench.load(daemons['registered'], names, paths=[name.split('-')[0] for name in names])
    for turn in range(5):
        for kind in sorted(daemons, reverse=turn % 2 == 1):
            rate[kind].append(bench.traffic(daemons[kind], ['@base'], 16)['generated_tokens_per_second'])
    for daemon in daemons.values():
        daemon.stop()
    median = {kind: statistics.median(values[1:]) for kind, values in rate.items()}  # the first ones warm up
    ratio = median['registered'] / median['none']
    spread = (max(rate['none'][1:]) - min(rate['none'][1:])) / median['none']
    return {'tokens_per_second': rate, 'ratio': ratio, 'spread_of_none': spread, 'bar': '>= 0.97', 'met': ratio >= 0.97}


SCENARIOS = {f.__name__: f for f in (bad_loads, ten_loads, over_commit, large_load, idle, thousand, memory)}


def stand_ahead():
    """Of other sessions' work, by the nice value of this session's group."""
    os.setsid()
    pathlib.Path('/proc/self/autogroup').write_text('-19')


def print_table(results):
    print('| model | scenario | measured | bar | |')
    print('|---|---|---|---|---|')
    for model, scenarios in results.items():
        for name, result in scenarios.items():
            what = SCENARIOS[name].__doc__.rstrip('.')
            measured = f"{result['ratio']:.2f}" if 'ratio' in result else f"{result['requests_ok']} requests, no error"
            print(f"| {model} | {what} | {measured} | {result.get('bar', '')} | {'met' if result['met'] else 'MISSED'} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--bin', type=pathlib.Path, required=True)
    parser.add_argument('--model', type=pathlib.Path, action='append')
    parser.add_argument('--seconds', type=int, default=4)
    parser.add_argument('--only', choices=SCENARIOS, action='append')
    parser.add_argument('--ahead', action='store_true')
    parser.add_argument('--json', action='store_true')
    options = parser.parse_args()
    if options.ahead and os.fork() > 0:  # only a child may have a session of its own
        return os.waitstatus_to_exitcode(os.wait()[1])
    if options.ahead:
        stand_ahead()
    models = options.model or [pathlib.Path('build/models/smollm2'), pathlib.Path('deploy/models/tiny')]
    work = pathlib.Path(tempfile.mkdtemp(prefix='hydrad-life-'))
    results = {}
    try:
        for model in models:
            bench = Bench(options, model, work / model.name)
            try:
                results[model.name] = {name: SCENARIOS[name](bench) for name in options.only or SCENARIOS}
            finally:
                bench.close()
    except BaseException:
        for log in work.glob('*/hydrad.log'):
            sys.stderr.writelines(log.read_text().splitlines(keepends=True)[-5:])
        raise
    finally:
        shutil.rmtree(work)
    print_table(results)
    if options.json:
        print(json.dumps(results, indent=2))
    return 0 if all(r['met'] for scenarios in results.values() for r in scenarios.values()) else 1


if __name__ == '__main__':
    sys.exit(main())
