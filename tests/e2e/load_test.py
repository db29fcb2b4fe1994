#!/usr/bin/env python3
"""Many streams over many adapters: no error, flat memory, every answer right; and what the adapters cost.

    load_test.py --bin build/bin --model build/models/smollm2 [--seconds 60] [--streams 64] [--adapters 16]

Starts hydrad with random rank-16 adapters on all seven projections, asks every (prompt, adapter) pair alone, then runs
all streams at once for --seconds and compares each answer with the one given alone, token by token. Prints one JSON
object. Exit code 0 only if there was no error, no answer differed and the memory stayed flat. The throughput ratio is
measured in turns of base and mixed load and compared with what the bytes read per step allow; it is printed, not judged.
"""
import argparse
import json
import pathlib
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import threading

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'bench'))
from random_adapters import module_shapes, write_adapter  # noqa: E402

# Greedy answers, so that the same tokens are right every time.
PROMPTS = ['Once upon a time', 'The history of the city begins', 'def fibonacci(n):', 'In physics, energy is']
TOKENS = 48
RANK = 16


class Daemon:
    """A hydrad process on free loopback ports."""

    def __init__(self, binaries, model, root, adapters, log):
        command = [binaries / 'hydrad', '--model', model, '--adapter-root', root, '--listen', '127.0.0.1:0',
                   '--admin-listen', '127.0.0.1:0', '--metrics-listen', '127.0.0.1:0',
                   '--http-listen', '127.0.0.1:0', '--adapter-device-memory', '4GiB',
                   '--adapter-host-memory', '4GiB']
        command += [part for name in adapters for part in ('--adapter', f'{name}={name}')]
        self.log = log
        self.process = subprocess.Popen(list(map(str, command)), stderr=subprocess.PIPE, text=True)
        self.address = self._ready()
        self.hydractl = binaries / 'hydractl'
        threading.Thread(target=lambda: self.log.writelines(self.process.stderr), daemon=True).start()

    def _ready(self):
        for line in self.process.stderr:
            self.log.write(line)
            if match := re.search(r'ready: .*?inference (\S+)', line):
                return match[1]
        raise SystemExit('hydrad did not start; see its log')

    def bench(self, *arguments):
        out = subprocess.run([self.hydractl, 'bench', '--server', self.address, '--temperature', '0', '--ignore-eos',
                              '--max-tokens', str(TOKENS), *map(str, arguments)], capture_output=True, text=True)
        if out.returncode != 0:
            raise SystemExit(f'hydractl bench failed: {out.stderr}{out.stdout}')
        return json.loads(out.stdout)

    def memory(self):
        status = pathlib.Path(f'/proc/{self.process.pid}/status').read_text()
        return int(re.search(r'VmRSS:\s+(\d+) kB', status)[1]) * 1024

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)


def transcript(path):
    """(prompt, adapter) -> the set of answers (token ids) that were given."""
    answers = {}
    for line in path.read_text().splitlines():
        answer = json.loads(line)
        answers.setdefault((answer['prompt'], answer['adapter']), set()).add(tuple(answer['token_ids']))
    return answers


def throughput(daemon, prompts, streams, names, rounds=3, requests=192):
    """Median tokens/s of the base and of all adapters, measured in turns."""
    rates = {'base': [], 'mixed': []}
    for i in range(rounds):
        for kind, adapters in (('base', '@base'), ('mixed', ','.join(names))):
            report = daemon.bench('--prompts', prompts, '--adapters', adapters, '--mix', 'round-robin',
                                  '--concurrency', streams, '--requests', requests, '--seed', i)
            rates[kind].append(report['generated_tokens_per_second'])
    return {kind: statistics.median(values) for kind, values in rates.items()}


def watch_memory(daemon, stop, samples):
    while not stop.wait(1):
        samples.append(daemon.memory())


def run_streams(daemon, prompts, out, options, names):
    """All streams for the given time. Returns the report and the memory samples, one a second."""
    stop, samples = threading.Event(), []
    watcher = threading.Thread(target=watch_memory, args=(daemon, stop, samples))
    watcher.start()
    report = daemon.bench('--prompts', prompts, '--adapters', ','.join(names), '--concurrency', options.streams,
                          '--duration', options.seconds, '--seed', 7, '--transcript', out)
    stop.set()
    watcher.join()
    return report, samples


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--bin', type=pathlib.Path, required=True)
    parser.add_argument('--model', type=pathlib.Path, required=True)
    parser.add_argument('--seconds', type=int, default=60)
    parser.add_argument('--streams', type=int, default=64)
    parser.add_argument('--adapters', type=int, default=16)
    options = parser.parse_args()

    work = pathlib.Path(tempfile.mkdtemp(prefix='hydrad-load-'))
    names = [f'random{i:02}' for i in range(options.adapters)]
    shapes = module_shapes(json.loads((options.model / 'config.json').read_text()))
    adapter_bytes = [write_adapter(work / 'adapters' / name, shapes, RANK, seed) for seed, name in enumerate(names)][0]
    base_bytes = (options.model / 'model.safetensors').stat().st_size  # a step reads it all
    prompts = work / 'prompts.txt'
    prompts.write_text('\n'.join(PROMPTS) + '\n')

    with open(work / 'hydrad.log', 'w') as log:
        daemon = Daemon(options.bin, options.model, work / 'adapters', names, log)
        alone = {}
        for name in names:
            daemon.bench('--prompts', prompts, '--adapters', name, '--concurrency', 1, '--transcript', work / 'alone')
            alone.update(transcript(work / 'alone'))
        report, memory = run_streams(daemon, prompts, work / 'together', options, names)
        rates = throughput(daemon, prompts, options.streams, names)
        code = daemon.stop()

    together = transcript(work / 'together')
    wrong = [key for key, answers in together.items() if answers != alone[key]]
    settled = memory[len(memory) // 3:]
    growth = (settled[-1] - settled[0]) / settled[0] if settled else 0
    allowed = base_bytes / (base_bytes + options.adapters * adapter_bytes)
    result = {
        'streams': options.streams, 'adapters': options.adapters, 'seconds': options.seconds,
        'requests': report['requests'], 'ok': report['ok'], 'errors': report['errors'],
        'pairs_compared': len(together), 'distinct_answers': len({a for s in alone.values() for a in s}),
        'wrong_answers': len(wrong), 'memory_first_bytes': settled[0] if settled else 0, 'memory_growth': growth,
        'exit_code': code, 'base_tokens_per_second': rates['base'], 'mixed_tokens_per_second': rates['mixed'],
        'mixed_over_base': rates['mixed'] / rates['base'], 'allowed_by_bytes': allowed,
        'share_of_allowed': rates['mixed'] / rates['base'] / allowed,
        'time_to_first_token_seconds': report['time_to_first_token_seconds'],
        'inter_token_seconds': report['inter_token_seconds']}
    print(json.dumps(result, indent=2))
    flat = growth < 0.02
    fine = not report['errors'] and report['ok'] > 0 and not wrong and flat and code == 0
    if fine:
        subprocess.run(['rm', '-rf', str(work)], check=True)
    else:
        print(f'failed; the log and transcripts are in {work}', file=sys.stderr)
    return 0 if fine else 1


if __name__ == '__main__':
    sys.exit(main())
