#!/usr/bin/env python3
"""TLS on the HTTP listener of a running daemon: Python's own ssl, OpenAI's client, and strangers.

    http_tls_test.py --bin build/bin
"""
import argparse
import contextlib
import http.client
import json
import os
import pathlib
import re
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
import unittest
import urllib.request

import httpx
import openai

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / 'tests' / 'bench'))
from daemon import Daemon  # noqa: E402

OPTIONS = argparse.Namespace(bin=None)
BODY = {'model': 'tiny', 'prompt': 'Once upon a time', 'temperature': 0, 'max_tokens': 8, 'ignore_eos': True}


class Authority:
    """Vouches for certificates, which it puts into its directory."""

    def __init__(self, directory, name):
        self.directory, self.name = directory, name
        self.certificate, self.key = directory / f'{name}.crt', directory / f'{name}.key'
        self._openssl('-subj', f'/CN={name}', '-addext', 'basicConstraints=critical,CA:TRUE', out=name)

    def make(self, name):
        """Paths of a certificate for 127.0.0.1 and its key."""
        self._openssl('-subj', f'/CN={name}', '-addext', 'subjectAltName=IP:127.0.0.1,DNS:localhost',
                      '-addext', 'basicConstraints=critical,CA:FALSE',
                      '-CA', self.certificate, '-CAkey', self.key, out=name)
        return self.directory / f'{name}.crt', self.directory / f'{name}.key'

    def _openssl(self, *arguments, out):
        subprocess.run(['openssl', 'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes',
                        '-days', '2', *map(str, arguments), '-keyout', self.directory / f'{out}.key',
                        '-out', self.directory / f'{out}.crt'], check=True, capture_output=True)


class Served(unittest.TestCase):
    MORE = ()

    @classmethod
    def setUpClass(cls):
        cls.work = tempfile.TemporaryDirectory(prefix='hydrad-http-tls-')
        cls.directory = pathlib.Path(cls.work.name)
        cls.authority, cls.stranger = Authority(cls.directory, 'ca'), Authority(cls.directory, 'stranger')
        cls.show(*cls.authority.make('own'))
        cls.mine = cls.authority.make('mine')
        cls.log = open(cls.directory / 'hydrad.log', 'w+')
        model = ROOT / 'deploy' / 'models' / 'tiny'
        cls.daemon = Daemon(OPTIONS.bin, model, ROOT / 'deploy' / 'adapters' / 'tiny', cls.log, '--threads', '1',
                            '--tls-cert', cls.directory / 'shown.crt', '--tls-key', cls.directory / 'shown.key', *cls.more())
        cls.host, port = cls.daemon.http.rsplit(':', 1)
        cls.host, cls.port = '127.0.0.1', int(port)

    @classmethod
    def more(cls):
        return ()

    @classmethod
    def tearDownClass(cls):
        code = cls.daemon.stop()
        cls.log.close()
        cls.work.cleanup()
        assert code == 0, code

    @classmethod
    def show(cls, certificate, key):
        """Puts these where the daemon looks for its own."""
        (cls.directory / 'shown.crt').write_bytes(certificate.read_bytes())
        (cls.directory / 'shown.key').write_bytes(key.read_bytes())

    def trusting(self, authority=None, mine=None):
        context = ssl.create_default_context(cafile=(authority or self.authority).certificate)
        if mine:
            context.load_cert_chain(*mine)
        return context

    def connect(self, context=None):
        return http.client.HTTPSConnection(self.host, self.port, context=context or self.trusting(), timeout=60)

    def get(self, path='/health', connection=None, context=None):
        """The status, on a connection of its own if none is given."""
        own = connection or self.connect(context)
        try:
            own.request('GET', path)
            answer = own.getresponse()
            answer.read()
            return answer.status
        finally:
            if connection is None:
                own.close()

    def await_log(self, text, begin=0):
        while text not in (log := pathlib.Path(self.log.name).read_text()[begin:]):
            time.sleep(0.01)
            self.log.flush()
        return log

    def hang_up(self, until):
        """Lets the daemon read its files again; what it says of that holds `until`."""
        self.log.flush()
        begin = len(pathlib.Path(self.log.name).read_text())
        self.daemon.process.send_signal(signal.SIGHUP)
        self.await_log(until, begin)

    def refused_as_not_tls(self):
        text = urllib.request.urlopen(f'http://{self.daemon.metrics}/metrics', timeout=60).read().decode()
        found = re.search(r'hydrad_connections_refused_total\{listener="http",reason="not_tls"\} (\d+)', text)
        return int(found[1]) if found else 0


class TlsTest(Served):
    def test_a_completion_and_its_stream_by_openais_client(self):
        with httpx.Client(verify=self.trusting(), timeout=60) as transport:
            client = openai.OpenAI(base_url=f'https://{self.host}:{self.port}/v1', api_key='none', max_retries=0,
                                   http_client=transport)
            body = {**BODY, 'extra_body': {'ignore_eos': True}}
            del body['ignore_eos']
            whole = client.completions.create(**body).choices[0].text
            stream = client.completions.create(**body, stream=True)
            self.assertEqual(''.join(event.choices[0].text for event in stream), whole)
            self.assertEqual({model.id for model in client.models.list()}, {'tiny'})

    def test_who_does_not_know_the_authority_is_not_served(self):
        with self.assertRaises(ssl.SSLCertVerificationError):
            self.get(context=self.trusting(self.stranger))

    def test_versions_and_protocols(self):
        offers = self.trusting()
        offers.set_alpn_protocols(['h2', 'http/1.1'])
        with socket.create_connection((self.host, self.port)) as plain, \
                offers.wrap_socket(plain, server_hostname='localhost') as secret:
            self.assertEqual(secret.selected_alpn_protocol(), 'http/1.1')
            self.assertEqual(secret.version(), 'TLSv1.3')
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            only = self.trusting()
            only.minimum_version = only.maximum_version = version
            self.assertEqual(self.get(context=only), 200)
        old = self.trusting()
        old.set_ciphers('ALL:@SECLEVEL=0')
        old.minimum_version = ssl.TLSVersion.TLSv1
        old.maximum_version = ssl.TLSVersion.TLSv1_1
        with self.assertRaises(ssl.SSLError):
            self.get(context=old)
        other = self.trusting()
        other.set_alpn_protocols(['h2'])
        with socket.create_connection((self.host, self.port)) as plain, self.assertRaises(ssl.SSLError):
            other.wrap_socket(plain, server_hostname='localhost')

    def test_bodies_and_answers_of_many_records(self):
        body = json.dumps({'tokens': [70] * 20000}) + ' ' * 1000000  # more than a record, and than a socket takes
        connection = self.connect()
        for _ in range(2):
            connection.request('POST', '/detokenize', body)
            answer = connection.getresponse()
            text = json.loads(answer.read())
            self.assertEqual(answer.status, 200, text)
            self.assertGreater(len(text['prompt']), 16384)
        connection.close()

    def test_pipelined_requests_in_one_record(self):
        with socket.create_connection((self.host, self.port)) as plain, \
                self.trusting().wrap_socket(plain, server_hostname='localhost') as secret:
            secret.sendall(b'GET /version HTTP/1.1\r\nHost: x\r\n\r\n' * 50 +
                           b'GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n')
            said = b''
            while more := secret.recv(1 << 16):
                said += more
        self.assertEqual(said.count(b'HTTP/1.1 200 OK'), 51, 'the end is told, so nothing was cut off')

    def test_plain_bytes_and_garbage_harm_nobody(self):
        before = self.refused_as_not_tls()
        connection = self.connect()
        self.assertEqual(self.get(connection=connection), 200)
        garbage = [b'GET /health HTTP/1.1\r\nHost: x\r\n\r\n', b'\x00' * 100, os.urandom(4096).replace(b'\x16', b'\x17')]
        hellos = [b'\x16\x03\x01\x40\x01' + os.urandom(5000), b'\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00', b'\x16' * 3000]
        for said in garbage + hellos:
            with socket.create_connection((self.host, self.port)) as stranger:
                stranger.settimeout(60)
                heard = b''
                with contextlib.suppress(OSError):  # the daemon may be faster
                    stranger.sendall(said)
                    stranger.shutdown(socket.SHUT_WR)
                    while more := stranger.recv(4096):
                        heard += more
                self.assertNotIn(b'HTTP/1.1', heard)
                self.assertLess(len(heard), 100, 'at most an alert')
        self.assertEqual(self.refused_as_not_tls() - before, len(garbage))
        self.assertEqual(self.get(connection=connection), 200)

    def test_half_open_handshakes_keep_nobody_out(self):
        def descriptors():
            return len(os.listdir(f'/proc/{self.daemon.process.pid}/fd'))
        hello = self.client_hello()
        self.assertEqual(self.get(), 200)
        before = descriptors()
        with contextlib.ExitStack() as open_ones:
            for i in range(200):
                half = open_ones.enter_context(socket.create_connection((self.host, self.port)))
                half.sendall(hello[:i % len(hello)] if i % 2 else hello)  # and what the server answers is not read
            for _ in range(3):
                self.assertEqual(self.get(), 200)
            self.assertLessEqual(descriptors(), before + 200 + 20)
        while descriptors() > before + 5:  # each is closed as its client goes
            time.sleep(0.01)

    def client_hello(self):
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        with contextlib.suppress(ssl.SSLWantReadError):
            self.trusting().wrap_bio(incoming, outgoing, server_hostname='localhost').do_handshake()
        return outgoing.read()

    def test_a_renewed_certificate_is_for_new_connections(self):
        before = self.connect()
        self.assertEqual(self.get(connection=before), 200)
        self.show(*self.stranger.make('renewed'))
        self.hang_up('reloaded: ')
        self.assertEqual(self.get(context=self.trusting(self.stranger)), 200)
        with self.assertRaises(ssl.SSLCertVerificationError):
            self.get()
        self.assertEqual(self.get(connection=before), 200, 'an open connection goes on')
        (self.directory / 'shown.key').write_text('no key')
        self.hang_up('not reloaded')
        self.assertEqual(self.get(context=self.trusting(self.stranger)), 200, 'a mistake changes nothing')
        self.show(*self.authority.make('own'))
        self.hang_up('reloaded: ')
        self.assertEqual(self.get(), 200)


class MutualTest(Served):
    @classmethod
    def more(cls):
        (cls.directory / 'clients.crt').write_bytes(cls.authority.certificate.read_bytes())
        return ('--tls-client-ca', cls.directory / 'clients.crt')

    def assert_turned_away(self, context):
        with self.assertRaises((ssl.SSLError, ConnectionError, http.client.RemoteDisconnected)):
            self.get(context=context)

    def test_clients_show_a_certificate_that_is_vouched_for(self):
        self.assert_turned_away(self.trusting())
        self.assert_turned_away(self.trusting(mine=self.stranger.make('other')))
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            mine = self.trusting(mine=self.mine)
            mine.minimum_version = mine.maximum_version = version
            self.assertEqual(self.get(context=mine), 200)

    def test_clients_of_before_are_strangers_when_others_vouch(self):
        mine = self.trusting(mine=self.mine)
        with socket.create_connection((self.host, self.port)) as plain, \
                mine.wrap_socket(plain, server_hostname='localhost') as secret:
            secret.sendall(b'GET /health HTTP/1.1\r\nHost: x\r\n\r\n')
            self.assertIn(b'200 OK', secret.recv(4096))
            session = secret.session
            (self.directory / 'clients.crt').write_bytes(self.stranger.certificate.read_bytes())
            self.hang_up('reloaded: ')
            secret.sendall(b'GET /health HTTP/1.1\r\nHost: x\r\n\r\n')
            self.assertIn(b'200 OK', secret.recv(4096), 'an open connection goes on')
        self.assert_turned_away(mine)
        with self.assertRaises((ssl.SSLError, ConnectionError)):  # nor does a session of before help
            with socket.create_connection((self.host, self.port)) as plain, \
                    mine.wrap_socket(plain, server_hostname='localhost', session=session) as secret:
                secret.sendall(b'GET /health HTTP/1.1\r\nHost: x\r\n\r\n')
                self.assertEqual(secret.recv(4096), b'')
                raise ConnectionError
        self.assertEqual(self.get(context=self.trusting(mine=self.stranger.make('next'))), 200)
        (self.directory / 'clients.crt').write_bytes(self.authority.certificate.read_bytes())
        self.hang_up('reloaded: ')


class PublicTest(Served):
    @classmethod
    def more(cls):
        return ('--http-listen', '0.0.0.0:0')

    def test_an_address_of_strangers_needs_no_leave_for_plain_text(self):
        self.assertEqual(self.get(), 200)


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--bin', type=pathlib.Path, required=True)
    OPTIONS, rest = parser.parse_known_args()
    unittest.main(argv=[sys.argv[0], *rest])
