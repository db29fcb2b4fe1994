"""Every query of the dashboard and of the alert rules, answered by a real Prometheus that scrapes a real daemon.

Usage: metrics_e2e_test.py BIN_DIR. Starts hydrad with the tiny model and adapters made here, drives it with hydractl
(two tenants, several adapters, wrong keys, failing loads, a cancelled request), and asks.
"""
import contextlib
import hashlib
import json
import os
import pathlib
import random
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import threading
import time
import unittest
import urllib.error
import urllib.parse
import urllib.request

import dashboard as d

BIN = pathlib.Path(sys.argv.pop(1))
LIMIT = 60  # seconds for anything to come about; only a failure takes so long
KEYS = {'acme': 'acme-key', 'globex': 'globex-key'}
ROUTED = 'domains'  # of deploy/adapters/tiny: it has routers
ADAPTERS = ['pirate', 'sql', 'maths.v2', ROUTED]  # the dot: names are escaped in the dashboard's matchers
# Series that a healthy daemon need not have; on a CPU nobody tells of power.
MAY_BE_EMPTY = {'hydrad_adapter_evictions_total', 'hydrad_power_watts', 'hydrad_energy_joules_total'}
HTTP = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def write_adapter(folder, seed):
    """A PEFT LoRA of rank 2 on the tiny model's q_proj and v_proj, with small random weights."""
    config = json.loads((d.ROOT / 'deploy/models/tiny/config.json').read_text())
    hidden, heads = config['hidden_size'], config['num_attention_heads']
    head_dim = config.get('head_dim') or hidden // heads
    outs = {'q_proj': heads * head_dim, 'v_proj': config['num_key_value_heads'] * head_dim}
    rng = random.Random(seed)
    header, data = {}, b''
    for layer in range(config['num_hidden_layers']):
        for module, out in outs.items():
            for name, shape in (('lora_A', [2, hidden]), ('lora_B', [out, 2])):
                values = struct.pack(f'<{shape[0] * shape[1]}f', *(rng.gauss(0, .02) for _ in range(shape[0] * shape[1])))
                header[f'base_model.model.model.layers.{layer}.self_attn.{module}.{name}.weight'] = {
                    'dtype': 'F32', 'shape': shape, 'data_offsets': [len(data), len(data) + len(values)]}
                data += values
    folder.mkdir(parents=True)
    text = json.dumps(header).encode()
    (folder / 'adapter_model.safetensors').write_bytes(struct.pack('<Q', len(text)) + text + data)
    (folder / 'adapter_config.json').write_text(json.dumps({
        'peft_type': 'LORA', 'r': 2, 'lora_alpha': 4, 'target_modules': sorted(outs), 'bias': 'none'}))


class Process:
    """A program whose standard error is searched for a line, and which is gone when the scope ends."""

    def __init__(self, command, ready):
        self.lines, self._found, self._match = [], threading.Event(), None
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
                                        errors='replace')
        self._thread = threading.Thread(target=self._read, args=(re.compile(ready),))
        self._thread.start()

    def _read(self, ready):
        for line in self.process.stderr:
            self.lines.append(line)
            if self._match is None and (match := ready.search(line)):
                self._match = match
                self._found.set()
        self._found.set()

    def await_ready(self):
        self._found.wait(LIMIT)
        if self._match is None:
            raise AssertionError('not ready:\n' + ''.join(self.lines[-40:]))
        return self._match

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(LIMIT)
            except subprocess.TimeoutExpired:
                self.process.kill()
        self._thread.join()
        self.process.stderr.close()
        return self.process.wait()


class Stack:
    """hydrad, the traffic on it, and a Prometheus that scrapes it every second."""

    def __init__(self, folder):
        self.folder = folder
        self.down = contextlib.ExitStack()

    def start(self):
        self._start_daemon()
        for i, name in enumerate(ADAPTERS):
            if name == ROUTED:
                shutil.copytree(d.ROOT / 'deploy/adapters/tiny' / name, self.folder / 'adapters' / name)
            else:
                write_adapter(self.folder / 'adapters' / name, seed=i)
            self.hydractl('adapter', 'load', name, '--path', name)
        write_adapter(self.folder / 'adapters/passing', seed=9)
        self.hydractl('adapter', 'load', 'passing', '--path', 'passing')
        self.fail_a_load()
        self._start_traffic()
        self._start_prometheus()

    def _start_daemon(self):
        tenants = [{'name': name, 'key_sha256': [hashlib.sha256(key.encode()).hexdigest()], 'adapters': ['*']}
                   for name, key in KEYS.items()]
        (self.folder / 'tenants.json').write_text(json.dumps({'tenants': tenants}))
        (self.folder / 'adapters').mkdir()
        self.daemon = Process(
            [BIN / 'hydrad', '--model', d.ROOT / 'deploy/models/tiny', '--adapter-root', self.folder / 'adapters',
             '--tenants', self.folder / 'tenants.json', '--listen', '127.0.0.1:0', '--admin-listen', '127.0.0.1:0',
             '--metrics-listen', '127.0.0.1:0', '--http-listen', '127.0.0.1:0',
             '--threads', '1', '--lame-duck', '0'],
            r'ready: inference (\S+) admin (\S+) metrics (\S+)')
        self.down.callback(self.daemon.stop)
        self.server, self.admin, self.metrics = self.daemon.await_ready().groups()

    def hydractl(self, *args, key='acme-key', code=0, stdin=''):
        env = {**os.environ, 'HYDRAD_SERVER': self.server, 'HYDRAD_ADMIN': self.admin, 'HYDRAD_TENANT_KEY': key}
        done = subprocess.run([BIN / 'hydractl', *args], input=stdin, capture_output=True, text=True, env=env,
                              timeout=LIMIT, check=False)
        if done.returncode != code:
            raise AssertionError(f'hydractl {args}: exit code {done.returncode}\n{done.stdout}{done.stderr}')
        return done.stdout

    def fail_a_load(self):
        self.hydractl('adapter', 'load', 'broken', '--path', 'no-such-folder', code=1)

    def _start_traffic(self):
        """Both tenants, over the base model and every adapter, until the end of the test."""
        self._enough = threading.Event()
        self.traffic_errors = []
        for tenant, key in KEYS.items():
            thread = threading.Thread(target=self._traffic, args=(tenant, key))
            thread.start()
            self.down.callback(thread.join)
        self.down.callback(self._enough.set)

    def _traffic(self, tenant, key):
        while not self._enough.is_set():
            try:
                report = json.loads(self.hydractl(
                    'bench', '--prompts', '-', '--adapters', ','.join(['@base', *ADAPTERS]), '--mix', 'round-robin',
                    '--concurrency', '4', '--requests', '16', '--max-tokens', '12', key=key,
                    stdin='ROMEO:\nOnce upon a time\nSELECT\n'))
                if report['errors']:
                    raise AssertionError(f'{tenant}: {report["errors"]}')
                self.hydractl('generate', 'a', key='wrong', code=1)
                self.hydractl('generate', '--ignore-eos', '--max-tokens', '400', '--timeout', '0.05', 'a', key=key,
                              code=1)
            except (AssertionError, subprocess.TimeoutExpired) as error:
                self.traffic_errors.append(str(error))
                return

    def _start_prometheus(self):
        config = (d.ROOT / 'deploy/prometheus/prometheus.yml').read_text()
        config = config.replace('hydrad:9471', self.metrics).replace('interval: 5s', 'interval: 1s')
        (self.folder / 'prometheus.yml').write_text(config)
        shutil.copy(d.ROOT / 'deploy/prometheus/rules.yml', self.folder)
        prometheus = Process(
            ['prometheus', f'--config.file={self.folder}/prometheus.yml', f'--storage.tsdb.path={self.folder}/tsdb',
             '--web.listen-address=127.0.0.1:0', '--log.format=logfmt'], r'Server is ready to receive')
        self.down.callback(prometheus.stop)
        prometheus.await_ready()
        listening = re.search(r'msg="Listening on" address=(\S+)', ''.join(prometheus.lines))
        self.prometheus = 'http://' + listening.group(1)

    def get(self, path, **query):
        """The data of an answer of Prometheus' API; an error of its is an AssertionError."""
        url = f'{self.prometheus}/api/v1/{path}?{urllib.parse.urlencode(query, doseq=True)}'
        try:
            with HTTP.open(url, timeout=LIMIT) as answer:
                return json.load(answer)['data']
        except urllib.error.HTTPError as error:
            raise AssertionError(f'{path} {query}: {error.read().decode()}') from error

    def query(self, expr):
        return self.get('query', query=expr)['result']

    def scrape(self):
        with HTTP.open(f'http://{self.metrics}/metrics', timeout=LIMIT) as answer:
            return answer.read().decode()


def until(condition, what):
    """Asks again and again: what a foreign program has got round to can only be asked."""
    end = time.monotonic() + LIMIT
    while not (result := condition()):
        if time.monotonic() > end:
            raise AssertionError(f'waited in vain for {what}')
        time.sleep(0.2)
    return result


class MetricsTest(unittest.TestCase):

    @classmethod
    def setUpClass(cls):
        folder = pathlib.Path(cls.enterClassContext(tempfile.TemporaryDirectory()))
        cls.stack = Stack(folder)
        cls.addClassCleanup(cls.stack.down.close)
        cls.stack.start()
        # Rates need two scrapes of a series: the last kind to come is the request that was given up.
        until(lambda: cls.stack.query('count(rate(hydrad_requests_total{outcome!="ok"}[10s]) > 0)') and
              cls.stack.query('count(rate(hydrad_rejected_total[10s]) > 0)'), 'rates')

    def tearDown(self):
        self.assertEqual(self.stack.traffic_errors, [])

    def test_scrape_is_clean(self):
        done = subprocess.run(['promtool', 'check', 'metrics'], input=self.stack.scrape(), capture_output=True,
                              text=True, check=False)
        self.assertEqual((done.returncode, done.stdout + done.stderr), (0, ''))

    def test_every_series_has_our_prefix(self):
        names = set(re.findall(r'^# TYPE (\S+)', self.stack.scrape(), re.M))
        self.assertGreater(len(names), 20)
        for name in names:
            self.assertRegex(name, '^(hydrad|exposer)_')

    def test_every_query_of_the_dashboard_has_data(self):
        values = {'instance': '.*', 'tenant': '.*', '__rate_interval': '10s'}
        for panel in d.panels(d.load()):
            for target in panel['targets']:
                for adapter in ADAPTERS if '$adapter' in target['expr'] else ['']:
                    expr = d.fill(target['expr'], {**values, 'adapter': adapter.replace('.', '\\\\.')})
                    with self.subTest(panel=panel['title'], expr=expr):
                        result = self.stack.query(expr)
                        if not MAY_BE_EMPTY & set(re.findall(r'hydrad_\w+', expr)):
                            self.assertTrue(result)
                            self.assertTrue(any(s['value'][1] != 'NaN' for s in result), result)

    def test_the_variables_find_their_values(self):
        def values(label, match):
            return set(self.stack.get(f'label/{label}/values', **{'match[]': match}))

        self.assertEqual(values('instance', 'hydrad_build_info'), {self.stack.metrics})
        self.assertEqual(values('tenant', 'hydrad_requests_total'), set(KEYS))
        self.assertGreaterEqual(values('adapter', 'hydrad_requests_total'), set(ADAPTERS))

    def test_rules_evaluate_and_know_their_series(self):
        def rules():
            found = [r for g in self.stack.get('rules')['groups'] for r in g['rules']]
            return found if found and all(r['health'] != 'unknown' for r in found) else None

        for rule in until(rules, 'the first evaluation of the rules'):
            with self.subTest(rule['name']):
                self.assertEqual((rule['health'], rule.get('lastError', '')), ('ok', ''))
                for series in set(re.findall(r'(hydrad_\w+|\bup\b)', rule['query'])):
                    self.assertTrue(self.stack.query(f'count({series})'), series)

    def test_only_the_failed_load_raises_an_alert(self):
        self.stack.fail_a_load()  # the second: an increase needs a value before it
        firing = until(lambda: [a for a in self.stack.get('alerts')['alerts'] if a['state'] == 'firing'], 'an alert')
        self.assertEqual({a['labels']['alertname'] for a in firing}, {'HydradAdapterLoadFails'})

    def test_series_of_an_unloaded_adapter_go(self):
        self.stack.hydractl('generate', '--adapter', 'passing', '--max-tokens', '2', 'a')
        self.assertIn('adapter="passing"', self.stack.scrape())
        self.stack.hydractl('adapter', 'unload', 'passing')
        self.assertNotIn('adapter="passing"', self.stack.scrape())

    def test_what_was_sent_is_what_is_counted(self):
        def requests():
            result = self.stack.query('hydrad_requests_total{outcome="ok", adapter="sql", tenant="globex"}')
            return float(result[0]['value'][1])

        before = requests()
        until(lambda: requests() > before, 'more requests')
        self.assertTrue(self.stack.query('hydrad_generated_tokens_total{adapter="sql"} > 0'))


if __name__ == '__main__':
    unittest.main()
