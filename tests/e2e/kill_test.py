#!/usr/bin/env python3
"""kill -9 at any moment loses no change that was acknowledged.

    kill_test.py --bin build/bin [--rounds 15]

Each round starts the daemon with the state directory of the round before, sees that every change that was acknowledged
is there, makes random changes from two clients, and kills the daemon in the middle of them. A change without an answer may
have been made or not; asked again under its request id it is made once.
"""
import argparse
import json
import pathlib
import random
import shutil
import sys
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / 'tests/bench'))
from daemon import Daemon  # noqa: E402
import random_adapters as make  # noqa: E402

ADAPTERS = [f'p{i}' for i in range(3)]


class Client:
    """Changes adapters of its own, one at a time, until the daemon is gone."""

    def __init__(self, number, seed):
        self.names = [f'c{number}-{i}' for i in range(3)]
        self.random = random.Random(seed)
        self.known = {}     # name -> (path, generation, pinned), as acknowledged
        self.open = None    # the change without an answer: (name, arguments)
        self.acknowledged = 0
        self.daemon = None
        self.error = ''     # what ended the round

    def run(self):
        while self.change():
            pass

    def change(self):
        name = self.random.choice(self.names)
        kind = self.random.choice(['load', 'load', 'unload', 'pin', 'unpin'] if name in self.known else ['load'])
        arguments = ['adapter', kind, name, '--json', '--request-id', f'{name}-{self.random.getrandbits(60)}']
        if kind == 'load':
            arguments += ['--path', self.random.choice(ADAPTERS)]
        self.open = (name, arguments)
        return self.ask()

    def ask(self):
        name, arguments = self.open
        done = self.daemon.hydractl(*arguments, check=False)
        if done.returncode != 0:
            self.error = done.stderr + done.stdout  # where --json tells errors
            return False
        answer = json.loads(done.stdout)
        self.acknowledged += 1
        self.open = None
        if answer['state'] == 'UNLOADED':
            self.known.pop(name, None)
        else:
            self.known[name] = (answer['path'], answer['generation'], answer['pinned'])
        return True

    def check(self, present):
        """Everything acknowledged is as it was; then the open change is asked again."""
        for name in self.names:
            if self.open and self.open[0] == name:
                continue
            there = present.get(name)
            seen = there and (there['path'], there['generation'], there['pinned'])
            assert seen == self.known.get(name), f'{name}: acknowledged {self.known.get(name)}, found {seen}'
        if self.open:
            assert self.ask(), f'a change that was asked again was refused: {self.error}'


def run_round(options, work, log, clients, rng):
    daemon = Daemon(options.bin, ROOT / 'deploy/models/tiny', work / 'adapters', log, '--state-dir', work / 'state',
                    '--threads', '1')
    present = {a['name']: a for a in daemon.adapters()}
    running = []
    for client in clients:
        client.daemon = daemon
        client.check(present)
        thread = threading.Thread(target=client.run)
        thread.start()
        running.append(thread)
    time.sleep(rng.uniform(0.05, 0.8))
    daemon.kill()
    for client, thread in zip(clients, running):
        thread.join()
        assert 'UNAVAILABLE' in client.error, client.error


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--bin', type=pathlib.Path, required=True)
    parser.add_argument('--rounds', type=int, default=15)
    parser.add_argument('--seed', type=int, default=1)
    options = parser.parse_args()
    rng = random.Random(options.seed)
    work = pathlib.Path(tempfile.mkdtemp(prefix='hydrad-kill-'))
    shapes = make.module_shapes(json.loads((ROOT / 'deploy/models/tiny/config.json').read_text()))
    for i, name in enumerate(ADAPTERS):
        make.write_adapter(work / 'adapters' / name, shapes, 4, i)
    clients = [Client(i, options.seed * 100 + i) for i in range(2)]
    with open(work / 'hydrad.log', 'w') as log:
        for _ in range(options.rounds):
            run_round(options, work, log, clients, rng)
    acknowledged = sum(client.acknowledged for client in clients)
    size = (work / 'state/adapters.journal').stat().st_size
    print(f'{options.rounds} kills, {acknowledged} acknowledged changes, none lost; the journal has {size} bytes')
    assert acknowledged > options.rounds
    shutil.rmtree(work)
    return 0


if __name__ == '__main__':
    sys.exit(main())
