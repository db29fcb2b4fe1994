#!/usr/bin/env python3
"""What clients of HTTP that mean ill, or do not read, can do to a running daemon and to its other clients: little.

    http_strangers_test.py --bin build/bin
"""
import argparse
import hashlib
import http.client
import json
import pathlib
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / 'tests' / 'bench'))
from daemon import Daemon  # noqa: E402

OPTIONS = argparse.Namespace(bin=None)
PAGE = 'https://chat.example.com'


class Served(unittest.TestCase):
    """One daemon for all tests of a class, with one tenant."""
    MORE = ()

    @classmethod
    def setUpClass(cls):
        cls.work = tempfile.TemporaryDirectory(prefix='hydrad-strangers-')
        work = pathlib.Path(cls.work.name)
        key = hashlib.sha256(b'key-acme').hexdigest()
        (work / 'tenants.json').write_text(json.dumps({'tenants': [{'name': 'acme', 'key_sha256': [key]}]}))
        cls.log = open(work / 'hydrad.log', 'w+')
        cls.daemon = Daemon(OPTIONS.bin, ROOT / 'deploy' / 'models' / 'tiny', ROOT / 'deploy' / 'adapters' / 'tiny', cls.log,
                            '--threads', '1', '--tenants', work / 'tenants.json', '--audit-log', '/dev/null', *cls.MORE)

    @classmethod
    def tearDownClass(cls):
        code = cls.daemon.stop()
        cls.log.close()
        cls.work.cleanup()
        assert code == 0, code

    def ask(self, method='GET', path='/v1/models', body=None, key='key-acme', **fields):
        """The answer with its body, on a connection of its own."""
        connection = http.client.HTTPConnection(self.daemon.http, timeout=60)
        headers = {name.replace('_', '-'): value for name, value in fields.items()}
        if key:
            headers['Authorization'] = f'Bearer {key}'
        connection.request(method, path, None if body is None else json.dumps(body), headers)
        answer = connection.getresponse()
        answer.text = answer.read().decode()
        connection.close()
        return answer


class PagesTest(Served):
    MORE = ('--http-cors-origin', PAGE)

    def test_a_page_that_is_named_may_ask_and_read(self):
        asked = self.ask('OPTIONS', '/v1/completions', key=None, Origin=PAGE, Access_Control_Request_Method='POST',
                         Access_Control_Request_Headers='authorization,content-type,x-stainless-os')
        self.assertEqual(asked.status, 200)
        self.assertEqual(asked.headers['Access-Control-Allow-Headers'], 'authorization,content-type,x-stainless-os')
        body = {'prompt': 'Once', 'max_tokens': 2}
        answers = [self.ask('POST', '/v1/completions', body, Origin=PAGE),
                   self.ask('POST', '/v1/completions', {**body, 'stream': True}, Origin=PAGE),
                   self.ask('POST', '/v1/completions', {**body, 'top_p': 7}, Origin=PAGE),
                   self.ask('POST', '/v1/completions', body, Origin=PAGE, Content_Length=str(5 << 20)),
                   self.ask(key='wrong', Origin=PAGE), self.ask(path='/nowhere', Origin=PAGE)]
        self.assertEqual([answer.status for answer in answers], [200, 200, 400, 413, 401, 404])
        for answer in [asked, *answers]:
            self.assertEqual(answer.headers['Access-Control-Allow-Origin'], PAGE)
            self.assertEqual(answer.headers['Vary'], 'Origin')
            self.assertIsNone(answer.headers['Access-Control-Allow-Credentials'], 'keys are what lets somebody in')

    def test_other_pages_are_refused(self):
        for origin in ('https://evil.example.com', 'http://chat.example.com', 'null', PAGE + '.evil'):
            answer = self.ask(Origin=origin)
            self.assertEqual(answer.status, 403)
            self.assertIsNone(answer.headers['Access-Control-Allow-Origin'])
            asked = self.ask('OPTIONS', key=None, Origin=origin, Access_Control_Request_Method='POST')
            self.assertEqual(asked.status, 405)
            self.assertIsNone(asked.headers['Access-Control-Allow-Origin'])

    def test_who_is_no_page_is_served_as_ever(self):
        answer = self.ask()
        self.assertEqual(answer.status, 200)
        self.assertEqual(answer.headers['Vary'], 'Origin')
        self.assertIsNone(answer.headers['Access-Control-Allow-Origin'])


class NoPagesTest(Served):
    def test_by_default_no_page_of_another_site_is_let_in(self):
        answer = self.ask(Origin=PAGE)
        self.assertEqual(answer.status, 403)
        self.assertEqual(json.loads(answer.text)['error']['code'], 'cross_origin')
        self.assertIsNone(answer.headers['Vary'])


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--bin', type=pathlib.Path, required=True)
    OPTIONS, rest = parser.parse_known_args()
    unittest.main(argv=[sys.argv[0], *rest])
