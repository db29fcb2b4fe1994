#!/usr/bin/env python3
"""cmake --install into a prefix runs from there: the daemon serves, hydractl asks it, and a program that finds the client
library in the prefix gets the same answer.

    install_test.py --build build
"""
import argparse
import pathlib
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / 'tests/bench'))
from daemon import Daemon  # noqa: E402

BUILD = None


class Install(unittest.TestCase):
    def setUp(self):
        place = tempfile.TemporaryDirectory()
        self.addCleanup(place.cleanup)
        self.place = pathlib.Path(place.name)
        self.prefix = self.place / 'prefix'
        self.run_(['cmake', '--install', BUILD, '--prefix', self.prefix])
        log = open(self.place / 'log', 'w')
        self.addCleanup(log.close)
        self.daemon = Daemon(self.prefix / 'bin', ROOT / 'deploy/models/tiny', ROOT / 'deploy/adapters/tiny', log,
                             '--adapter', 'sql=sql')

    def run_(self, command):
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, f'{command}: {done.stdout}{done.stderr}')
        return done.stdout

    def test_another_program_gets_what_hydractl_gets(self):
        program = self.place / 'program'
        self.run_(['cmake', '-S', ROOT / 'tests/e2e/installed', '-B', program, f'-DCMAKE_PREFIX_PATH={self.prefix}'])
        self.run_(['cmake', '--build', program])
        told = self.daemon.hydractl('generate', '--adapter', 'sql', '--max-tokens', 8, '--temperature', 0, 'SELECT').stdout
        asked = self.run_([program / 'asks_hydrad', self.daemon.server, 'sql', 'SELECT'])
        self.assertNotEqual(asked.strip(), '')
        self.assertEqual(told.rstrip('\n'), asked.rstrip('\n'))
        self.assertEqual(self.daemon.stop(), 0)

    def tearDown(self):
        if self.daemon.process.poll() is None:
            self.daemon.kill()


if __name__ == '__main__':
    parser = argparse.ArgumentParser()
    parser.add_argument('--build', required=True)
    options, rest = parser.parse_known_args()
    BUILD = pathlib.Path(options.build).resolve()
    unittest.main(argv=[sys.argv[0], *rest])
