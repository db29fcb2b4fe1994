#!/usr/bin/env python3
"""What HTTP costs beside gRPC: tokens/s of many streams, the first token, processor time an event, idle connections.

    http_over_grpc.py --bin build/bin [--model deploy/models/tiny] [--streams 64] [--rounds 3]

Starts one daemon and streams the same requests over HTTP (server-sent events) and over gRPC in turns, by one client that
reads raw sockets, a connection for each stream: all are connected, then all ask at once. Prints one JSON object. Nothing
is judged: ratios within one run are what to compare.
"""
import argparse
import json
import os
import pathlib
import selectors
import socket
import statistics
import struct
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from daemon import Daemon  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROMPT = 'Once upon a time'


def connect(address):
    host, port = address.rsplit(':', 1)
    return socket.create_connection((host, int(port)))


class Stream:
    """One connection that asks, reads to the end of the answer, and asks again."""

    def __init__(self, address, options):
        self.socket, self.options, self.left = connect(address), options, options.requests
        self.events, self.first = 0, []

    def ask(self):
        self.left -= 1
        self.began, self.waits = time.perf_counter(), True
        self.socket.sendall(self.request())

    def read(self):
        """Whether there is more to come."""
        data = self.socket.recv(1 << 18)
        if not data:
            raise SystemExit('the connection was closed')
        events, ended = self.take(data)
        if self.waits and events:
            self.first.append(time.perf_counter() - self.began)
            self.waits = False
        self.events += events
        if not ended:
            return True
        if self.left == 0:
            self.socket.close()
            return False
        self.ask()
        return True


class HttpStream(Stream):
    """HTTP/1.1 and server-sent events."""

    def __init__(self, daemon, options):
        super().__init__(daemon.http, options)
        self.tail = b''

    def request(self):
        body = json.dumps({'prompt': PROMPT, 'max_tokens': self.options.tokens, 'ignore_eos': True, 'temperature': 0,
                           'stream': True}).encode()
        self.tail = b''
        return b'POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b' % (len(body), body)

    def take(self, data):
        self.tail = (self.tail + data)[-5:]
        return data.count(b'data: '), self.tail == b'0\r\n\r\n'


class GrpcStream(Stream):
    """gRPC on HTTP/2, as far as one call at a time needs it."""

    DATA, HEADERS, SETTINGS, PING, WINDOW_UPDATE = 0, 1, 4, 6, 8
    WINDOW = 2**31 - 1

    def __init__(self, daemon, options):
        super().__init__(daemon.server, options)
        self.id, self.held = -1, b''
        self.socket.sendall(b'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'
                            + self.frame(self.SETTINGS, 0, 0, struct.pack('>HI', 4, self.WINDOW))
                            + self.frame(self.WINDOW_UPDATE, 0, 0, struct.pack('>I', self.WINDOW - 65535)))

    @staticmethod
    def frame(kind, flags, stream, payload):
        return struct.pack('>I', len(payload))[1:] + struct.pack('>BBI', kind, flags, stream) + payload

    def request(self):
        self.id += 2
        literal = lambda text: bytes([len(text)]) + text.encode()  # shorter than 127
        fields = {':method': 'POST', ':scheme': 'http', ':path': '/hydrad.v1.Inference/Generate', ':authority': 'x',
                  'content-type': 'application/grpc', 'te': 'trailers'}
        headers = b''.join(b'\0' + literal(name) + literal(value) for name, value in fields.items())
        tokens = self.options.tokens
        stopping = b'\x08' + (bytes([tokens]) if tokens < 128 else bytes([tokens % 128 + 128, tokens // 128])) + b'\x28\1'
        message = (b'\x0a' + literal(PROMPT) + b'\x22\5\x0d\0\0\0\0'  # text; sampling: temperature 0
                   + b'\x2a' + bytes([len(stopping)]) + stopping)         # stopping: max_tokens, ignore_eos
        return (self.frame(self.HEADERS, 4, self.id, headers)
                + self.frame(self.DATA, 1, self.id, b'\0' + struct.pack('>I', len(message)) + message))

    def take(self, data):
        self.held += data
        events, ended = 0, False
        while len(self.held) >= 9:
            size = int.from_bytes(self.held[:3], 'big')
            if len(self.held) < 9 + size:
                break
            kind, flags, payload = self.held[3], self.held[4], self.held[9:9 + size]
            self.held = self.held[9 + size:]
            events += kind == self.DATA
            ended |= kind == self.HEADERS and flags & 1 == 1
            if kind in (self.SETTINGS, self.PING) and flags & 1 == 0:
                self.socket.sendall(self.frame(kind, 1, 0, b'' if kind == self.SETTINGS else payload))
        return events, ended


def stream_over(kind, daemon, options):
    """Tokens/s, the times to the first token, events."""
    streams = [kind(daemon, options) for _ in range(options.streams)]
    with selectors.DefaultSelector() as selector:
        for stream in streams:
            selector.register(stream.socket, selectors.EVENT_READ, stream)
        began = time.perf_counter()
        for stream in streams:
            stream.ask()
        left = len(streams)
        while left:
            for key, _ in selector.select():
                if not key.data.read():
                    selector.unregister(key.fd)
                    left -= 1
    tokens = options.streams * options.requests * options.tokens
    return (tokens / (time.perf_counter() - began), [t for s in streams for t in s.first], sum(s.events for s in streams))


def processor_seconds(pid, *names):
    """Of the daemon's threads whose names begin so."""
    ticks = 0
    for task in pathlib.Path(f'/proc/{pid}/task').iterdir():
        name = (task / 'comm').read_text().strip()
        if any(name.startswith(n) for n in names):
            fields = (task / 'stat').read_text().rsplit(')', 1)[1].split()
            ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf('SC_CLK_TCK')


def idle_connections(daemon, count):
    """Bytes of memory that so many take, each of which has asked something."""
    before = daemon.memory()
    connections = [connect(daemon.http) for _ in range(count)]
    for connection in connections:
        connection.sendall(b'GET /health HTTP/1.1\r\nHost: x\r\n\r\n')
    for connection in connections:
        connection.recv(4096)
    after = daemon.memory()
    for connection in connections:
        connection.close()
    return after - before


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--bin', type=pathlib.Path, required=True)
    parser.add_argument('--model', type=pathlib.Path, default=ROOT / 'deploy' / 'models' / 'tiny')
    parser.add_argument('--streams', type=int, default=64)
    parser.add_argument('--requests', type=int, default=4, help='of each stream, one after the other')
    parser.add_argument('--tokens', type=int, default=128, help='of each answer, below 16384')
    parser.add_argument('--rounds', type=int, default=3)
    parser.add_argument('--idle', type=int, default=1000)
    options = parser.parse_args()

    with tempfile.TemporaryDirectory(prefix='hydrad-http-') as work:
        with open(pathlib.Path(work) / 'hydrad.log', 'w') as log:
            daemon = Daemon(options.bin, options.model, ROOT / 'deploy' / 'adapters' / 'tiny', log, '--threads', '1',
                            '--max-connections-per-peer', str(2 * max(options.idle, options.streams)))
            http, grpc, first, first_grpc, events, processor = [], [], [], [], 0, 0.0
            for _ in range(options.rounds):
                rate, times, _ = stream_over(GrpcStream, daemon, options)
                grpc.append(rate)
                first_grpc.append(statistics.median(times))
                before = processor_seconds(daemon.process.pid, 'http', 'deliver')
                rate, times, seen = stream_over(HttpStream, daemon, options)
                processor += processor_seconds(daemon.process.pid, 'http', 'deliver') - before
                http.append(rate)
                first.append(statistics.median(times))
                events += seen
            idle = idle_connections(daemon, options.idle)
            code = daemon.stop()
    print(json.dumps({
        'streams': options.streams, 'tokens_per_second_http': statistics.median(http),
        'tokens_per_second_grpc': statistics.median(grpc),
        'http_over_grpc': statistics.median(http) / statistics.median(grpc),
        'first_token_p50_seconds_http': statistics.median(first),
        'first_token_p50_seconds_grpc': statistics.median(first_grpc),
        'events': events, 'processor_microseconds_per_event': 1e6 * processor / events,
        'idle_connections': options.idle, 'idle_connections_bytes': idle, 'exit_code': code}, indent=2))


if __name__ == '__main__':
    main()
