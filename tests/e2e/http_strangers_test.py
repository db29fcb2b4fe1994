#!/usr/bin/env python3
"""What clients of HTTP that mean ill, or do not read, can do to a running daemon and to its other clients: little.

    http_strangers_test.py --bin build/bin
"""
import argparse
import contextlib
import gzip
import hashlib
import http.client
import json
import os
import pathlib
import random
import re
import socket
import sys
import tempfile
import time
import unittest
import urllib.request

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


    def connect(self, said=b''):
        """A connection on which this has been said, of which the caller must dispose."""
        host, port = self.daemon.http.rsplit(':', 1)
        connection = socket.create_connection((host, int(port)), timeout=60)
        self.addCleanup(connection.close)
        connection.sendall(said)
        return connection

    def metric(self, name):
        """The sum over labels."""
        text = urllib.request.urlopen(f'http://{self.daemon.metrics}/metrics', timeout=60).read().decode()
        return sum(float(value) for value in re.findall(rf'^{name}(?:{{.*}})? (\S+)$', text, re.M))

    def peak(self):
        """The most memory that the daemon has had, in bytes."""
        status = pathlib.Path(f'/proc/{self.daemon.process.pid}/status').read_text()
        return int(re.search(r'VmHWM:\s+(\d+) kB', status)[1]) * 1024

    def descriptors(self):
        return len(os.listdir(f'/proc/{self.daemon.process.pid}/fd'))


def head(path='/v1/completions', key='key-acme', **fields):
    lines = [f'POST {path} HTTP/1.1', 'Host: x', f'Authorization: Bearer {key}',
             *(f'{name.replace("_", "-")}: {value}' for name, value in fields.items())]
    return '\r\n'.join([*lines, '', '']).encode()


def read_all(connection):
    said = b''
    with contextlib.suppress(ConnectionError):
        while more := connection.recv(1 << 16):
            said += more
    return said


class StrangersTest(Served):
    MORE = ('--max-connections', '40', '--max-connections-per-peer', '40', '--reader-stall-timeout', '1',
            '--unread-per-tenant', '4MiB')

    def setUp(self):
        self.assertEqual(self.ask().status, 200)
        before = self.descriptors()
        self.addCleanup(lambda: self.await_descriptors(before))  # the last to be done: all connections are closed

    def await_descriptors(self, before):
        while self.descriptors() > before + 2:
            time.sleep(0.01)

    def test_slow_heads_and_silence_keep_nobody_out(self):
        refused = self.metric('hydrad_connections_refused_total')
        for i in range(150):
            self.connect((b'', b'G', b'GET /v1/models HTT', head()[:-2])[i % 4])
        self.assertEqual(self.ask().status, 200)
        self.assertGreater(self.metric('hydrad_connections_refused_total'), refused)

    def test_slow_bodies_keep_nobody_out(self):
        slow = [self.connect(head(Content_Length=1000) + b'{"prompt"') for _ in range(30)]
        self.assertEqual(self.ask('POST', '/v1/completions', {'prompt': 'x', 'max_tokens': 1}).status, 200)
        slow[0].sendall(b': "x", "max_tokens": 1}' + b' ' * (1000 - 32))
        self.assertIn(b'200 OK', slow[0].recv(4096), 'who goes on is served')

    def test_streams_that_nobody_reads_are_bounded_and_end_and_others_are_served(self):
        # More than the sockets on both sides hold.
        body = json.dumps({'prompt': 'Once upon a time', 'max_tokens': 480, 'ignore_eos': True, 'stream': True, 'logprobs': 20,
                           'n': 8, 'temperature': 0.5}).encode()
        before = self.peak()
        unread = []
        for _ in range(4):
            unread.append(self.connect())
            unread[-1].setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            unread[-1].sendall(head(Content_Length=len(body)) + body)
        for connection in unread:
            self.assertEqual(connection.recv(15), b'HTTP/1.1 200 OK')
        self.assertEqual(self.ask('POST', '/v1/completions', {'prompt': 'x', 'max_tokens': 1}).status, 200)
        while self.metric('hydrad_unread_output_bytes') > 0 or self.metric('hydrad_requests_running') > 0:
            self.assertLess(self.metric('hydrad_unread_output_bytes'), 6 << 20)
            time.sleep(0.05)
        self.assertLess(self.peak() - before, 64 << 20)

    def test_bodies_that_are_too_large_or_of_strangers_are_not_kept(self):
        before = self.peak()
        for key, field, status in (('key-acme', {'Content_Length': 1 << 40}, b'413'), ('wrong', {'Content_Length': 4000000}, b'401'),
                                   ('wrong', {'Transfer_Encoding': 'chunked'}, b'401')):
            for _ in range(8):
                connection = self.connect(head(key=key, **field))
                with contextlib.suppress(OSError):  # it is cut off
                    connection.sendall(b'10000\r\n' + b'x' * (1 << 20))
                with contextlib.suppress(ConnectionError):
                    self.assertIn(connection.recv(4096)[9:12], (status, b'429'))
        endless = self.connect(head(Transfer_Encoding='chunked'))
        with contextlib.suppress(OSError):
            for _ in range(1000):
                endless.sendall(b'10000\r\n' + b'x' * 0x10000 + b'\r\n')
            self.fail('it was read for ever')
        self.assertLess(self.peak() - before, 32 << 20)
        self.assertEqual(self.ask().status, 200)

    def test_what_is_compressed_is_not_inflated(self):
        before = self.peak()
        bomb = gzip.compress(b'{"prompt": "' + b'a' * (64 << 20) + b'"}')
        connection = self.connect(head(Content_Length=len(bomb), Content_Encoding='gzip') + bomb)
        self.assertIn(b'HTTP/1.1 400', connection.recv(4096))
        self.assertLess(self.peak() - before, 32 << 20)

    def test_a_flood_of_wrong_keys_is_slowed_and_right_ones_are_not(self):
        flood = self.connect(b'GET /v1/models HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer wrong\r\n\r\n' * 300 +
                             b'GET /v1/models HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n')
        statuses = re.findall(rb'HTTP/1.1 (\d+) ', read_all(flood))
        self.assertEqual(len(statuses), 301)
        self.assertEqual(set(statuses), {b'401', b'429'})
        self.assertEqual(self.ask().status, 200)

    def test_bytes_that_are_no_request_harm_nobody(self):
        chance = random.Random(7)
        for i in range(200):
            said = chance.randbytes(chance.randrange(1, 3000))
            if i % 2:
                said = b'POST /v1/completions HTTP/1.1\r\n' + said + b'\r\n\r\n' + said
            connection = self.connect()
            with contextlib.suppress(OSError):
                connection.sendall(said)
                connection.shutdown(socket.SHUT_WR)
                heard = read_all(connection)
                self.assertTrue(heard == b'' or heard.startswith(b'HTTP/1.1 4'), heard[:100])
            connection.close()
        self.assertEqual(self.ask().status, 200)


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
