#!/usr/bin/env python3
"""What people do to adapters, through the daemon's doors: names, paths and links as they are, pins that leave no room,
compositions that are too large, unloads that are asked for twice, files that are away for a moment.

    adapter_doors_test.py --bin build/bin
"""
import argparse
import hashlib
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import unittest
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / 'tests/bench'))
from daemon import Daemon  # noqa: E402
import random_adapters as make  # noqa: E402

MODEL = ROOT / 'deploy/models/tiny'
BINARIES = None
CONFIG = json.loads((MODEL / 'config.json').read_text())
# Of q and v of each layer alone, of rank 4.
SHAPES = [shape for shape in make.module_shapes(CONFIG) if shape[0].endswith(('q_proj', 'v_proj'))]
KEY = 'key-of-acme'


class Doors(unittest.TestCase):
    """A directory per test, with an adapter root of the adapters a to e."""

    def setUp(self):
        self.place = pathlib.Path(tempfile.mkdtemp())
        self.root = self.place / 'root'
        for seed, name in enumerate('abcde'):
            make.write_adapter(self.root / name, SHAPES, 4, seed)
        self.log = open(self.place / 'log', 'w+')
        self.daemon = None

    def tearDown(self):
        if self.daemon:
            self.assertEqual(self.daemon.stop(), 0)
        self.log.close()
        shutil.rmtree(self.place)

    def start(self, *arguments):
        self.daemon = Daemon(BINARIES, MODEL, self.root, self.log, '--threads', '1', '--audit-log', self.place / 'audit',
                             *arguments)

    def ask(self, *arguments):
        """'' when it has worked, or the error."""
        done = self.daemon.hydractl(*arguments, check=False)
        return '' if done.returncode == 0 else done.stderr

    def wait(self, condition):
        for _ in range(1000):
            if condition():
                return
        self.fail('it does not come true')

    def load(self, name, path):
        return self.ask('adapter', 'load', name, '--path', path)

    def generate(self, *arguments):
        return self.ask('generate', '--max-tokens', '2', *arguments, 'ROMEO:')

    def get(self, name):
        return json.loads(self.daemon.hydractl('adapter', 'get', name, '--json').stdout)

    def audit(self, action):
        return [line for line in map(json.loads, (self.place / 'audit').read_text().splitlines())
                if line['action'] == action]

    def rejected(self, reason):
        text = urllib.request.urlopen(f'http://{self.daemon.metrics}/metrics').read().decode()
        found = re.search(rf'hydrad_rejected_total{{reason="{reason}"}} (\d+)', text)
        return int(found[1]) if found else 0

    def test_names_are_those_of_models(self):
        (self.place / 'tenants').write_text(json.dumps({'tenants': [{
            'name': 'acme', 'key_sha256': [hashlib.sha256(KEY.encode()).hexdigest()], 'adapters': ['acme/*', 'llama:sql']}]}))
        self.start('--tenants', self.place / 'tenants')
        for name in ('acme/bot', 'acme/bot@v2', 'llama:sql', 'other/bot'):
            self.assertEqual(self.load(name, 'a'), '')
        for name in ('..', '/etc', 'a//b', 'a/../b', 'a b', 'x' * 257, ''):
            self.assertIn('name', self.load(name, 'a'))
        for name in ('acme/bot', 'acme/bot@v2', 'llama:sql'):
            self.assertEqual(self.generate('--tenant-key', KEY, '--adapter', name), '')
        self.assertIn('may not use', self.generate('--tenant-key', KEY, '--adapter', 'other/bot'))
        self.assertEqual(self.generate('--tenant-key', KEY, '--compose', 'acme/bot=0.5', '--compose', 'llama:sql'), '')
        self.assertEqual(self.audit('adapter.load')[1]['adapter'], 'acme/bot@v2')
        text = urllib.request.urlopen(f'http://{self.daemon.metrics}/metrics').read().decode()
        self.assertIn('adapter="acme/bot@v2"', text)

    def test_paths_are_taken_as_people_type_them(self):
        self.start()
        for path in ('a/', './a', 'a//', self.root / 'a', f'{self.root}/a/'):
            self.assertEqual(self.load('x', path), '')
            self.assertEqual(self.get('x')['path'], 'a')
        for path in ('../root/a', '/etc', self.root, f'{self.root}/../root/a'):
            self.assertNotEqual(self.load('x', path), '')
        self.assertEqual(self.audit('adapter.load')[0]['path'], 'a')
        wanted = self.place / 'wanted'
        wanted.write_text(json.dumps({'adapters': [{'name': 'x', 'path': './a/'}]}))
        applied = json.loads(self.daemon.hydractl('adapter', 'apply', wanted, '--json').stdout)
        self.assertEqual(applied, [{'name': 'x', 'action': 'UNCHANGED'}])

    def test_links_that_stay_beneath_the_root_are_followed(self):
        snapshot, blobs = self.root / 'hub/snapshots/0123', self.root / 'hub/blobs'
        snapshot.mkdir(parents=True)
        blobs.mkdir()
        for file in (self.root / 'a').iterdir():
            shutil.copy(file, blobs / f'{file.name}.sha')
            (snapshot / file.name).symlink_to(f'../../blobs/{file.name}.sha')
        (self.root / 'latest').symlink_to('b')
        (self.root / 'out').symlink_to('/etc')
        (self.root / 'evil').mkdir()
        (self.root / 'evil/adapter_config.json').symlink_to('/etc/passwd')
        self.start()
        self.assertEqual(self.load('x', 'hub/snapshots/0123'), '')
        self.assertEqual(self.load('y', 'latest'), '')
        self.assertEqual(self.get('x')['etag'], self.load('x', 'a') or self.get('x')['etag'], 'of the content')
        for path in ('out', 'evil'):
            self.assertIn('leads out of the adapter root', self.load('z', path))

    def test_what_cannot_fit_is_refused_and_nobody_waits(self):
        self.start('--adapter-device-memory', '64KiB', '--adapter-host-memory', '256KiB')  # room for three
        for name in 'abcde':
            self.assertEqual(self.load(name, name), '')
        too_large = [argument for name in 'abcd' for argument in ('--compose', name)]
        self.assertRegex(self.generate(*too_large), r'needs? \d+ bytes|\d+ bytes on the device')
        self.assertEqual(self.generate('--adapter', 'e'), '')
        for name in 'abc':
            self.assertEqual(self.ask('adapter', 'pin', name), '')
        error = self.generate('--adapter', 'e')
        self.assertRegex(error, r'RESOURCE_EXHAUSTED.*pinned', error)
        self.assertIn('pinned', self.ask('adapter', 'pin', 'd'))
        self.assertEqual(self.generate('--adapter', 'a'), '')
        self.assertEqual(self.rejected('no_room'), 2)
        self.assertEqual([line['reason'] for line in self.audit('refused')], ['NO_ROOM', 'NO_ROOM'])
        self.assertEqual(self.ask('adapter', 'unload', 'e'), '')
        self.assertEqual(self.ask('adapter', 'unpin', 'a'), '')
        self.assertEqual(self.generate('--adapter', 'd'), '')

    def test_an_unload_under_way_is_joined_and_forced(self):
        self.start()
        self.assertEqual(self.load('a', 'a'), '')
        env = {**os.environ, 'HYDRAD_SERVER': self.daemon.server, 'HYDRAD_ADMIN': self.daemon.admin}
        def begin(*arguments):
            return subprocess.Popen([BINARIES / 'hydractl', *arguments], env=env, stdout=subprocess.PIPE,
                                    stderr=subprocess.PIPE, text=True)
        long = [begin('generate', '--adapter', 'a', '--n', '16', '--ignore-eos', '--max-tokens', '480', 'ROMEO:')
                for _ in range(8)]
        self.wait(lambda: self.get('a')['requests'] > 0)
        first = begin('adapter', 'unload', 'a')
        self.wait(lambda: all(adapter['state'] != 'AVAILABLE' for adapter in self.daemon.adapters()))
        same, forced = begin('adapter', 'unload', 'a'), begin('adapter', 'unload', 'a', '--force')
        for unload in (forced, first, same):
            # One that came after the end of the others finds nothing: the machine was that fast.
            error = unload.communicate(timeout=60)[1]
            self.assertTrue(unload.returncode == 0 or 'is not loaded' in error, error)
        self.assertEqual(first.returncode, 0)
        for request in long:
            request.communicate(timeout=60)
        self.assertEqual(self.daemon.adapters(), [])

    def test_files_that_are_away_for_a_moment_come_back(self):
        self.start('--adapter-device-memory', '20KiB', '--adapter-host-memory', '40KiB')  # room for one
        for name in 'abc':
            self.assertEqual(self.load(name, name), '')
        self.assertEqual(self.get('a')['tier'], 'DISK')
        (self.root / 'a').rename(self.place / 'away')
        error = self.generate('--adapter', 'a')
        self.assertIn('UNAVAILABLE', error)
        self.assertEqual(self.get('a')['state'], 'AVAILABLE')
        self.assertEqual(self.audit('adapter.fetch')[0]['code'], 'NOT_FOUND')
        (self.place / 'away').rename(self.root / 'a')
        for _ in range(100):
            error = self.generate('--adapter', 'a')
            if not error:
                break
            self.assertIn('UNAVAILABLE', error)
        self.assertEqual(error, '')
        self.assertEqual(self.audit('adapter.fetch')[-1]['code'], 'OK', 'and that it is back')
        for name in 'bc':
            self.assertEqual(self.generate('--adapter', name), '')
        self.wait(lambda: self.get('a')['tier'] == 'DISK')
        shutil.rmtree(self.root / 'a')
        make.write_adapter(self.root / 'a', SHAPES, 4, 99)  # other content is final
        self.assertIn('FAILED_PRECONDITION', self.generate('--adapter', 'a'))
        self.assertEqual(self.get('a')['state'], 'FAILED')


if __name__ == '__main__':
    parser = argparse.ArgumentParser()
    parser.add_argument('--bin', required=True, type=pathlib.Path)
    options, rest = parser.parse_known_args()
    BINARIES = options.bin
    unittest.main(argv=[sys.argv[0], *rest])
