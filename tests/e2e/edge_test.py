#!/usr/bin/env python3
"""Two daemons behind Envoy with the committed deploy/edge/envoy.yaml.

    edge_test.py --bin build/bin

Streams come through TLS as they come without; what names the same adapter lands on the same daemon; strangers with endless
headers and rapid resets are cut, while neighbours are served and the daemons' memory stays flat; a daemon that is killed or
drains loses no request that may be asked again.
"""
import argparse
import contextlib
import importlib
import itertools
import json
import pathlib
import re
import shutil
import ssl
import subprocess
import sys
import tempfile
import threading
import urllib.request

import grpc

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / 'tests/bench'))
sys.path.insert(0, str(ROOT / 'tests/e2e'))
from daemon import Daemon  # noqa: E402
from edge import Edge  # noqa: E402
from http2_attack import endless_header, rapid_reset  # noqa: E402

ADAPTERS = ['shakespeare', 'sql', 'domains']
ATTACKERS = 20
STREAMS = 2000           # that each opens and resets, if it may
MOST_HEADER = 64 << 20   # that it sends, if it may: a head has at most 32 KiB
# A connection is cut at the 50th reset, so that no more of its streams reach a daemon.
MOST_REACHING = 50 * ATTACKERS
# Nothing of an endless header reaches a daemon. Each of those streams costs gRPC its arena, its header and its message
# until it is cancelled, under 16 KiB together. As if all of them were alive at once on one daemon:
MOST_GROWTH = MOST_REACHING * (16 << 10)


def load_stubs(directory):
    files = [str(f.relative_to(ROOT / 'proto')) for f in (ROOT / 'proto/hydrad/v1').glob('*.proto')]
    subprocess.run(['protoc', '-I', ROOT / 'proto', f'--python_out={directory}', *files], check=True)
    sys.path.insert(0, str(directory))
    return importlib.import_module('hydrad.v1.inference_pb2')


class Client:
    """Calls of the service Inference over one channel."""

    def __init__(self, channel, pb):
        self.pb = pb
        service = '/hydrad.v1.Inference/'
        self.stream = channel.unary_stream(service + 'Generate', pb.GenerateRequest.SerializeToString,
                                           pb.GenerateResponse.FromString)
        self.tokens = channel.unary_unary(service + 'Tokenize', pb.TokenizeRequest.SerializeToString,
                                          pb.TokenizeResponse.FromString)

    def generate(self, adapter, count=40, **call):
        request = self.pb.GenerateRequest(text='Once upon a time', adapter=adapter,
                                          sampling=self.pb.Sampling(temperature=0),
                                          stopping=self.pb.Stopping(max_tokens=count, ignore_eos=True))
        return ''.join(message.chunk.text for message in self.stream(request, timeout=120, **call))

    def tokenize(self, adapter, request_id, **call):
        self.tokens(self.pb.TokenizeRequest(text='one two'), timeout=60, **call,
                    metadata=[('x-hydrad-adapter', adapter), ('x-request-id', request_id)])


class Neighbours:
    """Ordinary clients: threads that stream until they are told to stop, each over a connection of its own."""

    def __init__(self, connect, pb, wanted):
        self.streams, self.errors = 0, []
        self._wanted, self._stopping = wanted, threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(connect, pb, a)) for a in wanted]
        for thread in self._threads:
            thread.start()

    def _run(self, connect, pb, adapter):
        with connect() as channel:
            client = Client(channel, pb)
            while not self._stopping.is_set():
                try:
                    text = client.generate(adapter, metadata=[('x-hydrad-adapter', adapter)])
                    if text != self._wanted[adapter]:
                        self.errors.append(f'{adapter}: {text!r}')
                except grpc.RpcError as error:
                    self.errors.append(f'{adapter}: {error}')
                self.streams += 1

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self._stopping.set()
        for thread in self._threads:
            thread.join()


def peak(daemon):
    """The most memory that was resident since `forget_peak`."""
    status = pathlib.Path(f'/proc/{daemon.process.pid}/status').read_text()
    return int(re.search(r'VmHWM:\s+(\d+) kB', status)[1]) * 1024


def forget_peak(daemon):
    pathlib.Path(f'/proc/{daemon.process.pid}/clear_refs').write_text('5')


class EdgeTest:
    def __init__(self, options, work):
        self.options, self.work = options, work
        self.log = open(work / 'hydrad.log', 'w')
        self.daemons = [self.start_daemon() for _ in range(2)]
        self.pb = load_stubs(work)
        self.edge = Edge(work, grpc=[d.server for d in self.daemons], http=[d.http for d in self.daemons])
        self.edge.await_hosts([d.server for d in self.daemons])
        self.edge.await_hosts([d.http for d in self.daemons], 'hydrad_http')

    def start_daemon(self, *more):
        adapters = [argument for a in ADAPTERS for argument in ('--adapter', f'{a}={a}')]
        return Daemon(self.options.bin, ROOT / 'deploy/models/tiny', ROOT / 'deploy/adapters/tiny', self.log,
                      '--threads', '1', '--lame-duck', '3', *adapters, *more)

    @contextlib.contextmanager
    def connect(self):
        """A channel of its own through the edge."""
        credentials = grpc.ssl_channel_credentials(self.edge.certificate.read_bytes())
        with grpc.secure_channel(self.edge.address, credentials, [('grpc.use_local_subchannel_pool', 1)]) as channel:
            yield channel

    def streams_as_without(self):
        wanted = {}
        with grpc.insecure_channel(self.daemons[0].server) as plain, self.connect() as channel:
            for adapter in ADAPTERS:
                wanted[adapter] = Client(plain, self.pb).generate(adapter)
                through = Client(channel, self.pb).generate(adapter, metadata=[('x-hydrad-adapter', adapter)])
                assert through == wanted[adapter] and len(through) > 20, (through, wanted[adapter])
            self.daemons[0].hydractl('generate', '--server', self.edge.address, '--ca-cert', self.edge.certificate,
                                     '--adapter', 'sql', '--max-tokens', '3', 'SELECT')
            with grpc.insecure_channel(self.edge.address) as no_tls:
                expect_error(grpc.StatusCode.UNAVAILABLE, lambda: Client(no_tls, self.pb).generate(''))
            admin = channel.unary_unary('/hydrad.v1.Admin/GetServerStatus')
            expect_error(grpc.StatusCode.UNIMPLEMENTED, lambda: admin(b'', timeout=60))
        by_name = self.edge.requests_of(lambda line: line['adapter'] == 'sql', 2)
        assert len({line['daemon'] for line in by_name}) == 1, by_name  # hydractl names its adapter, too
        return wanted

    def http_as_without(self, wanted):
        """OpenAI's API over HTTPS, streamed: the same texts, and each adapter on a daemon of its own."""
        context = ssl.create_default_context(cafile=self.edge.certificate)
        for adapter in ADAPTERS * 2:
            body = {'model': adapter, 'prompt': 'Once upon a time', 'max_tokens': 40, 'temperature': 0, 'ignore_eos': True,
                    'stream': True}
            request = urllib.request.Request(f'https://{self.edge.address}/v1/completions', json.dumps(body).encode(),
                                             {'content-type': 'application/json', 'x-hydrad-adapter': f'http-{adapter}'})
            with urllib.request.urlopen(request, context=context, timeout=120) as answer:
                events = [line[6:] for line in answer.read().decode().split('\n') if line.startswith('data: ')]
            assert events.pop() == '[DONE]'
            text = ''.join(choice['text'] for event in events for choice in json.loads(event)['choices'])
            assert text == wanted[adapter], (text, wanted[adapter])
        for adapter in ADAPTERS:
            lines = self.edge.requests_of(lambda line, a=adapter: line['adapter'] == f'http-{a}', 2)
            assert len({line['daemon'] for line in lines}) == 1, lines

    def land(self, client, names, round_name):
        """Where a request for each name lands: name -> address."""
        for name in names:
            client.tokenize(name, f'{round_name}-{name}')
        lines = self.edge.requests_of(lambda line: str(line['request_id']).startswith(f'{round_name}-'), len(names))
        return {line['adapter']: line['daemon'] for line in lines}

    def same_adapter_same_daemon(self):
        names = [f'name-{i}' for i in range(40)]  # the odds that all land on one of two: 2^-39
        with self.connect() as one, self.connect() as other:
            first = self.land(Client(one, self.pb), names, 'first')
            assert self.land(Client(other, self.pb), names, 'second') == first
        assert set(first.values()) == {d.server for d in self.daemons}, first
        return first

    def strangers_are_cut(self, wanted):
        message = self.pb.GenerateRequest(text='Once upon a time').SerializeToString()
        for daemon in self.daemons:
            daemon.before = daemon.memory()
            forget_peak(daemon)
        with Neighbours(self.connect, self.pb, wanted) as neighbours:
            for i in range(ATTACKERS):
                cut = rapid_reset(self.edge.port, self.edge.certificate, message, STREAMS, **{'x-hydrad-adapter': 'attack'})
                assert cut, 'resets went on'
                if i % 5 == 0:
                    assert endless_header(self.edge.port, self.edge.certificate, MOST_HEADER), 'a header had no end'
        assert not neighbours.errors, neighbours.errors[:3]
        assert neighbours.streams >= len(wanted)
        assert self.edge.stat('http.edge.downstream_rq_too_many_premature_resets') == ATTACKERS
        reaching = self.edge.requests_of(lambda line: line['adapter'] == 'attack' and line['daemon'])
        assert len(reaching) <= MOST_REACHING, len(reaching)
        grown = [peak(daemon) - daemon.before for daemon in self.daemons]
        assert max(grown) < MOST_GROWTH, grown
        return f'{ATTACKERS} attackers cut beside {neighbours.streams} streams, {len(reaching)} of their streams reached ' \
               f'a daemon, which grew by {max(grown) >> 10} KiB'

    def killed_daemon(self, homes):
        """Requests for the adapters of a daemon that is gone are served by the other, at once and without an error."""
        gone, other = self.daemons
        names = [name for name, home in homes.items() if home == gone.server]
        with self.connect() as channel:
            client = Client(channel, self.pb)
            gone.kill()
            # A request on a connection whose end Envoy has not read yet is one that a daemon may have seen.
            self.edge.await_condition(lambda: self.edge.hosts()[gone.server][1] == 0, 'connections to the killed daemon')
            asked = 0
            while self.edge.hosts()[gone.server][0] or asked == 0:
                assert set(self.land(client, names, f'killed-{asked}').values()) == {other.server}
                asked += 1
            assert set(self.land(client, names, 'later').values()) == {other.server}
            self.daemons[0] = self.start_daemon('--listen', gone.server, '--http-listen', gone.http)
            self.edge.await_hosts([gone.server, other.server])
            rounds = itertools.count()  # Envoy's threads hear of it one after the other
            self.edge.await_condition(lambda: self.land(client, homes, f'back-{next(rounds)}') == homes, 'its own adapters')
        return asked * len(names)

    def draining_daemon(self):
        """A daemon that is told to end is left out while it still serves: nobody notices."""
        going, other = self.daemons
        with self.connect() as channel:
            client = Client(channel, self.pb)
            ended = threading.Thread(target=going.stop)
            ended.start()
            asked = 0
            while ended.is_alive():
                client.tokenize(f'name-{asked % 40}', f'drain-{asked}')
                asked += 1
            ended.join()
        return asked

    def log_tells_nothing_private(self):
        text = self.edge.access_log.read_text()
        for private in ('Once upon', 'one two', 'Bearer'):
            assert private not in text, private

    def run(self):
        wanted = self.streams_as_without()
        self.http_as_without(wanted)
        homes = self.same_adapter_same_daemon()
        print(self.strangers_are_cut(wanted))
        print(f'no error among {self.killed_daemon(homes)} requests over a kill and {self.draining_daemon()} over a drain')
        self.log_tells_nothing_private()


def expect_error(code, call):
    try:
        call()
    except grpc.RpcError as error:
        assert error.code() == code, error
    else:
        raise AssertionError(f'no {code}')


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--bin', type=pathlib.Path, required=True)
    work = pathlib.Path(tempfile.mkdtemp(prefix='hydrad-edge-'))
    test = EdgeTest(parser.parse_args(), work)
    try:
        test.run()
    finally:
        test.edge.stop()
        for daemon in test.daemons:
            daemon.process.kill()
            daemon.process.wait()
    shutil.rmtree(work)
    return 0


if __name__ == '__main__':
    sys.exit(main())
