#!/usr/bin/env python3
"""What HTTP costs beside gRPC: tokens/s of many streams, the first token, processor time an event, idle connections.

    http_over_grpc.py --bin build/bin [--model deploy/models/tiny] [--streams 64] [--rounds 3]

Starts one daemon, lets hydractl (gRPC) and a raw client (HTTP, server-sent events) stream the same requests in turns, and
prints one JSON object. Nothing is judged: ratios within one run are what to compare.
"""
import argparse
import json
import os
import pathlib
import re
import selectors
import socket
import statistics
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
    """One connection that asks, reads to the end of the events, and asks again."""

    def __init__(self, address, request, requests):
        self.socket, self.request, self.left = connect(address), request, requests
        self.events = self.tokens = 0
        self.first = []
        self.ask()

    def ask(self):
        self.left -= 1
        self.tail, self.began, self.waits = b'', time.perf_counter(), True
        self.socket.sendall(self.request)

    def read(self):
        """Whether there is more to come."""
        data = self.socket.recv(1 << 18)
        if not data:
            raise SystemExit('the connection was closed')
        if self.waits and b'data: ' in data:
            self.first.append(time.perf_counter() - self.began)
            self.waits = False
        self.events += data.count(b'data: ')
        self.tail = (self.tail + data)[-2000:]
        if not self.tail.endswith(b'0\r\n\r\n'):
            return True
        self.tokens += int(re.search(rb'"completion_tokens":(\d+)', self.tail)[1])
        if self.left == 0:
            self.socket.close()
            return False
        self.ask()
        return True


def stream_over_http(daemon, options):
    """Tokens/s, the times to the first token, events."""
    body = json.dumps({'prompt': PROMPT, 'max_tokens': options.tokens, 'ignore_eos': True, 'temperature': 0, 'stream': True,
                       'stream_options': {'include_usage': True}}).encode()
    request = b'POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b' % (len(body), body)
    began = time.perf_counter()
    streams = [Stream(daemon.http, request, options.requests) for _ in range(options.streams)]
    with selectors.DefaultSelector() as selector:
        for stream in streams:
            selector.register(stream.socket, selectors.EVENT_READ, stream)
        left = len(streams)
        while left:
            for key, _ in selector.select():
                if not key.data.read():
                    selector.unregister(key.fileobj)
                    left -= 1
    seconds = time.perf_counter() - began
    return (sum(s.tokens for s in streams) / seconds, [t for s in streams for t in s.first],
            sum(s.events for s in streams))


def stream_over_grpc(daemon, options, prompts):
    report = daemon.bench('--prompts', prompts, '--concurrency', str(options.streams), '--requests',
                          str(options.streams * options.requests), '--max-tokens', str(options.tokens))
    return report['generated_tokens_per_second'], report['time_to_first_token_seconds']


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
    parser.add_argument('--requests', type=int, default=4, help='of each stream')
    parser.add_argument('--tokens', type=int, default=128)
    parser.add_argument('--rounds', type=int, default=3)
    parser.add_argument('--idle', type=int, default=1000)
    options = parser.parse_args()

    with tempfile.TemporaryDirectory(prefix='hydrad-http-') as work:
        prompts = pathlib.Path(work) / 'prompts.txt'
        prompts.write_text(PROMPT + '\n')
        with open(pathlib.Path(work) / 'hydrad.log', 'w') as log:
            daemon = Daemon(options.bin, options.model, ROOT / 'deploy' / 'adapters' / 'tiny', log, '--threads', '1',
                            '--max-connections-per-peer', str(2 * options.idle))
            http, grpc, first, first_grpc, events, processor = [], [], [], [], 0, 0.0
            for _ in range(options.rounds):
                rate, times = stream_over_grpc(daemon, options, prompts)
                grpc.append(rate)
                first_grpc.append(times['p50'])
                before = processor_seconds(daemon.process.pid, 'http', 'deliver')
                rate, times, seen = stream_over_http(daemon, options)
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
