#!/usr/bin/env python3
"""Administration over HTTP of a running daemon: what the operators of AIBrix and of vLLM's production stack send, and
hydrad.v1.Admin in JSON.

    http_admin_test.py --bin build/bin
"""
import argparse
import hashlib
import http.client
import json
import pathlib
import re
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / 'tests' / 'bench'))
from daemon import Daemon  # noqa: E402

OPTIONS = argparse.Namespace(bin=None)
ADAPTERS = ROOT / 'deploy' / 'adapters' / 'tiny'
LOAD, UNLOAD, MODELS = '/v1/load_lora_adapter', '/v1/unload_lora_adapter', '/v1/models'


def sha256(text):
    return hashlib.sha256(text.encode()).hexdigest()


class Served(unittest.TestCase):
    """One daemon for all tests of a class, with a tenant and an administrator. Each test takes away what it loads."""

    @classmethod
    def setUpClass(cls):
        cls.work = tempfile.TemporaryDirectory(prefix='hydrad-admin-')
        work = pathlib.Path(cls.work.name)
        (work / 'tenants.json').write_text(
            json.dumps({'tenants': [{'name': 'acme', 'key_sha256': [sha256('key-acme')], 'adapters': ['sql']}]}))
        cls.audit = work / 'audit.log'
        cls.log = open(work / 'hydrad.log', 'w+')
        cls.daemon = Daemon(OPTIONS.bin, ROOT / 'deploy' / 'models' / 'tiny', ADAPTERS, cls.log, '--threads', '1',
                            '--tenants', work / 'tenants.json', '--admin-key-sha256', sha256('key-admin'),
                            '--audit-log', cls.audit, '--http-cors-origin', 'https://page', '--http-admin-listen', cls.LISTEN)
        cls.admin = cls.daemon.http_admin or cls.daemon.http

    @classmethod
    def tearDownClass(cls):
        code = cls.daemon.stop()
        cls.log.close()
        cls.work.cleanup()
        assert code == 0, code

    def ask(self, method, path, body=None, key='key-admin', address=None, **fields):
        """The status and the body: what JSON holds, or the text."""
        connection = http.client.HTTPConnection(address or self.admin, timeout=60)
        headers = {'Content-Type': 'application/json', **fields}
        if key:
            headers['Authorization'] = f'Bearer {key}'
        connection.request(method, path, None if body is None else json.dumps(body), headers)
        answer = connection.getresponse()
        text = answer.read().decode()
        is_json = answer.headers['Content-Type'] == 'application/json'
        connection.close()
        return answer.status, json.loads(text) if is_json else text

    def call(self, method, **message):
        status, answer = self.ask('POST', f'/hydrad.v1.Admin/{method}', message)
        self.assertEqual(status, 200, answer)
        return answer

    def models(self, **options):
        status, answer = self.ask('GET', MODELS, **options)
        self.assertEqual(status, 200, answer)
        return {model['id']: model for model in answer['data']}

    def refused(self, path, body, status, param=None, **options):
        got, answer = self.ask('POST', path, body, **options)
        self.assertEqual(got, status, answer)
        self.assertEqual(answer['error']['param'], param)
        return answer['error']

    def completion(self, model):
        status, answer = self.ask('POST', '/v1/completions', {'model': model, 'prompt': 'SELECT', 'max_tokens': 4,
                                                              'temperature': 0, 'ignore_eos': True},
                                  key='key-acme', address=self.daemon.http)
        return status, answer


class SameListener:
    """The tests of either way to listen."""

    def test_what_aibrix_sends(self):
        self.assertNotIn('sql', self.models())
        said = self.ask('POST', LOAD, {'lora_name': 'sql', 'lora_path': 'sql'})
        self.assertEqual(said, (200, "Success: LoRA adapter 'sql' added successfully."))
        self.assertEqual(self.models()['sql']['parent'], 'tiny')
        self.assertEqual(self.completion('sql')[0], 200)
        said = self.ask('POST', UNLOAD, {'lora_name': 'sql'})
        self.assertEqual(said, (200, "Success: LoRA adapter 'sql' removed successfully."))
        self.assertNotIn('sql', self.models())
        self.assertEqual(self.completion('sql')[0], 404)

    def test_what_the_production_stack_sends(self):
        path = str(ADAPTERS / 'shakespeare')  # as the pod sees it
        self.assertEqual(self.ask('POST', LOAD, {'lora_name': 'bard', 'lora_path': path})[0], 200)
        entry = self.models()['bard']
        self.assertEqual((entry['object'], entry['owned_by']), ('model', 'hydrad'))
        self.assertGreaterEqual(entry['created'], self.models()['tiny']['created'], 'when it was loaded')
        self.assertIsNotNone(entry['parent'], 'which tells an adapter from the base model')
        self.assertIsNone(self.models()['tiny']['parent'])
        again = self.ask('POST', LOAD, {'lora_name': 'bard', 'lora_path': path, 'load_inplace': True})
        self.assertEqual(again[0], 200)
        self.assertEqual(self.ask('POST', UNLOAD, {'lora_name': 'bard', 'lora_int_id': 1})[0], 200)

    def test_sources_are_refused_by_name(self):
        for source in ('s3://bucket/sql', 'hf://org/sql', 'huggingface://org/sql', 'https://host/sql'):
            error = self.refused(LOAD, {'lora_name': 'sql', 'lora_path': source}, 400, 'lora_path')
            self.assertIn(source.split(':')[0] + '://', error['message'])
            self.assertIn('--adapter-root', error['message'])
        self.assertNotIn('sql', self.models())

    def test_mistakes_are_named(self):
        self.refused(LOAD, {'lora_name': 'a b', 'lora_path': 'sql'}, 400, 'lora_name')
        self.refused(LOAD, {'lora_name': 'x'}, 400, 'lora_path')
        self.refused(LOAD, {'lora_name': 'x', 'lora_path': '../tiny'}, 400, 'lora_path')
        self.refused(LOAD, {'lora_name': 'x', 'lora_path': 'sql', 'what': 1}, 400, 'what')
        self.refused(LOAD, {'lora_name': 7, 'lora_path': 'sql'}, 400, 'lora_name')
        self.refused(LOAD, [], 400)
        self.assertEqual(self.refused(UNLOAD, {'lora_name': 'nobody'}, 404, 'model')['code'], 'model_not_found')
        self.assertEqual(self.refused('/hydrad.v1.Admin/LoadAdapter', {'nmae': 'x'}, 400)['code'], 'malformed_message')
        self.assertIn('nmae', self.refused('/hydrad.v1.Admin/LoadAdapter', {'nmae': 'x'}, 400)['message'])
        self.assertEqual(self.ask('GET', LOAD)[0], 405)
        self.assertEqual(self.ask('POST', '/hydrad.v1.Admin/Nothing', {})[0], 404)

    def test_only_administrators_and_no_pages(self):
        for key in (None, 'wrong', 'key-acme'):
            for path in (LOAD, UNLOAD, '/hydrad.v1.Admin/ListAdapters'):
                self.assertEqual(self.refused(path, {}, 401, key=key)['code'], 'invalid_api_key')
        for origin in ('https://page', 'https://other', f'http://{self.admin}'):
            self.assertEqual(self.refused(LOAD, {}, 403, Origin=origin)['code'], 'cross_origin')
            self.assertEqual(self.ask('OPTIONS', LOAD, Origin=origin, **{'Access-Control-Request-Method': 'POST'})[0], 403)

    def test_every_method_in_json(self):
        proto = (ROOT / 'proto/hydrad/v1/admin.proto').read_text()
        self.assertTrue(re.findall(r'^  rpc (\w+)\(', proto, re.M))
        for method in re.findall(r'^  rpc (\w+)\(\w+\) returns \(\w', proto, re.M):
            status, answer = self.ask('POST', f'/hydrad.v1.Admin/{method}')
            expected = 404 if method == 'WatchAdapters' else 200 if method[:4] in ('List', 'GetS', 'Appl') else 400
            self.assertEqual(status, expected, (method, answer))
        loaded = self.call('LoadAdapter', name='sql', path='sql', request_id='one')
        self.assertEqual((loaded['state'], loaded['family'], loaded['pinned']), ('AVAILABLE', 'lora', False))
        self.assertEqual(self.call('LoadAdapter', name='sql', path='sql', request_id='one')['generation'],
                         loaded['generation'], 'answered again, not made again')
        self.assertTrue(self.call('PinAdapter', name='sql')['pinned'])
        self.assertFalse(self.call('UnpinAdapter', name='sql')['pinned'])
        self.assertEqual(self.call('GetAdapter', name='sql')['etag'], loaded['etag'])
        self.assertEqual([a['name'] for a in self.call('ListAdapters', page_size=10)['adapters']], ['sql'])
        wanted = [{'name': 'bard', 'path': 'shakespeare'}]
        planned = self.call('ApplyAdapters', adapters=wanted, validate_only=True)['changes']
        self.assertEqual({c['name']: c['action'] for c in planned}, {'bard': 'CREATE', 'sql': 'UNLOAD'})
        self.assertEqual(self.call('ApplyAdapters', adapters=wanted)['changes'], planned)
        server = self.call('GetServerStatus')
        self.assertEqual((server['base_model'], server['adapters'], server['draining']), ('tiny', 1, False))
        self.assertEqual(self.call('UnloadAdapter', name='bard')['state'], 'UNLOADED')

    def test_what_was_done_is_in_the_audit_log(self):
        self.ask('POST', LOAD, {'lora_name': 'audited', 'lora_path': 'sql'})
        self.ask('POST', UNLOAD, {'lora_name': 'audited'})
        lines = []
        while len(lines) < 2:  # a thread writes it, sooner or later
            lines = [line for line in map(json.loads, self.audit.read_text().splitlines()) if line.get('adapter') == 'audited']
        self.assertEqual([line['action'] for line in lines], ['adapter.load', 'adapter.unload'])
        for line in lines:
            self.assertEqual(line['actor'], 'admin')
            self.assertTrue(line['peer'].startswith('ipv4:127.0.0.1:'), line)


class OwnListenerTest(SameListener, Served):
    LISTEN = 'localhost:0'

    def test_it_serves_administrators_alone(self):
        self.assertEqual(self.ask('POST', '/v1/completions', {'prompt': 'x'})[0], 404)
        for path in ('/health', '/ready'):
            self.assertEqual(self.ask('GET', path, key=None)[0], 200)
        self.assertEqual(self.ask('GET', MODELS, key='key-acme')[0], 401)

    def test_the_other_listener_serves_tenants_alone(self):
        self.assertEqual(self.ask('POST', LOAD, {}, address=self.daemon.http)[0], 404)
        self.assertEqual(self.ask('GET', MODELS, address=self.daemon.http)[0], 401)


class SharedListenerTest(SameListener, Served):
    LISTEN = '127.0.0.1:0'  # as --http-listen

    def test_tenants_are_served_beside(self):
        self.ask('POST', LOAD, {'lora_name': 'hidden', 'lora_path': 'sql'})
        self.assertIn('hidden', self.models())
        self.assertEqual(set(self.models(key='key-acme')), {'tiny'})
        self.assertEqual(self.ask('GET', MODELS, key='wrong')[0], 401)
        self.assertEqual(self.ask('GET', MODELS, key='key-acme', Origin='https://page')[0], 200)
        self.assertEqual(self.completion('tiny')[0], 200)
        self.assertEqual(self.ask('GET', '/health', key=None)[0], 200)
        self.ask('POST', UNLOAD, {'lora_name': 'hidden'})


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--bin', type=pathlib.Path, required=True)
    OPTIONS, rest = parser.parse_known_args()
    unittest.main(argv=[sys.argv[0], *rest])
