#!/usr/bin/env python3
"""What the prefix cache is worth: the first token of a second request, and the tokens/s of many chats with one beginning.

    prefix_cache.py --bin build/bin --model build/models/smollm2 [--system 512] [--streams 64] [--rounds 5]

Starts one daemon with the cache and one without, asks both the same in turns, and prints one JSON object of medians over
the rounds, each a ratio within its round. Nothing is judged.
"""
import argparse
import concurrent.futures
import http.client
import json
import pathlib
import random
import statistics
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from daemon import Daemon  # noqa: E402

QUESTION = 20  # tokens after the common ones


def ask(daemon, ids, max_tokens):
    """Seconds until the whole answer is there, and its usage."""
    host, port = daemon.http.rsplit(':', 1)
    connection = http.client.HTTPConnection(host, int(port), timeout=600)
    body = json.dumps({'prompt': ids, 'max_tokens': max_tokens, 'temperature': 0, 'ignore_eos': True})
    began = time.perf_counter()
    connection.request('POST', '/v1/completions', body, {'Content-Type': 'application/json'})
    answer = json.loads(connection.getresponse().read())
    seconds = time.perf_counter() - began
    connection.close()
    if 'usage' not in answer:
        raise SystemExit(answer)
    return seconds, answer['usage']


def some_tokens(rng, count):
    return [rng.randrange(300, 900) for _ in range(count)]


def first_and_second(daemon, rng, system):
    """Of two requests that begin alike: the time of the second over that of the first."""
    common = some_tokens(rng, system)
    first, _ = ask(daemon, common + some_tokens(rng, QUESTION), 1)
    second, usage = ask(daemon, common + some_tokens(rng, QUESTION), 1)
    return second / first, usage['prompt_tokens_details']['cached_tokens']


def rate(daemon, prompts, max_tokens):
    """Tokens/s of all prompts at once."""
    began = time.perf_counter()
    with concurrent.futures.ThreadPoolExecutor(len(prompts)) as pool:
        usages = [usage for _, usage in pool.map(lambda ids: ask(daemon, ids, max_tokens), prompts)]
    return sum(usage['completion_tokens'] for usage in usages) / (time.perf_counter() - began)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--bin', required=True, type=pathlib.Path)
    parser.add_argument('--model', required=True)
    parser.add_argument('--system', type=int, default=512, help='tokens that all prompts begin with')
    parser.add_argument('--streams', type=int, default=64)
    parser.add_argument('--max-tokens', type=int, default=32)
    parser.add_argument('--rounds', type=int, default=5)
    options = parser.parse_args()
    rng = random.Random(1)
    with tempfile.TemporaryDirectory() as root, tempfile.TemporaryFile('w') as log:
        cached = Daemon(options.bin, options.model, root, log)
        plain = Daemon(options.bin, options.model, root, log, '--prefix-cache', 'off')
        seconds, seconds_plain, rates, found = [], [], [], 0
        for _ in range(options.rounds):
            ratio, found = first_and_second(cached, rng, options.system)
            seconds.append(ratio)
            seconds_plain.append(first_and_second(plain, rng, options.system)[0])
            common = some_tokens(rng, options.system)
            prompts = [common + some_tokens(rng, QUESTION) for _ in range(options.streams)]
            rates.append(rate(cached, prompts, options.max_tokens) / rate(plain, prompts, options.max_tokens))
        cached.stop(), plain.stop()
    print(json.dumps({
        'system_tokens': options.system, 'cached_tokens': found,
        'second_over_first': statistics.median(seconds), 'second_over_first_without': statistics.median(seconds_plain),
        'streams': options.streams, 'max_tokens': options.max_tokens,
        'tokens_per_second_over_without': statistics.median(rates)}, indent=2))


if __name__ == '__main__':
    main()
