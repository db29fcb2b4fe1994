#!/usr/bin/env python3
"""Takes the pictures of the page: a dark one, a light one (README.md's) and one of a phone's width.

    page_pictures.py --bin build/bin --chromium /usr/bin/chromium-headless-shell --model build/models/smollm2 --out DIRECTORY
"""
import argparse
import contextlib
import json
import pathlib
import sys
import tempfile
import threading
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / 'tests' / 'bench'))
sys.path.insert(0, str(ROOT / 'tests' / 'e2e'))
from browser import Browser  # noqa: E402
from daemon import Daemon  # noqa: E402

QUESTIONS = [('mixed-hydralora', 'text', 'KING:\nSELECT the lords of England, and', 50),
             ('mixed-hydralora', 'chat', 'What is gravity?', 60)]


def choose(browser, field, value):
    browser.run(f'''(() => {{ const field = document.getElementById({json.dumps(field)});
        field.value = {json.dumps(str(value))}; field.dispatchEvent(new Event("change")); }})()''')


def talk(browser):
    choose(browser, 'temperature', 0)
    for adapter, mode, prompt, tokens in QUESTIONS:
        for field, value in (('adapter', adapter), ('mode', mode), ('tokens', tokens)):
            choose(browser, field, value)
        browser.run(f'''document.getElementById("prompt").value = {json.dumps(prompt)};
            document.getElementById("ask").requestSubmit()''')
        browser.wait('!document.querySelector(".busy")')


@contextlib.contextmanager
def others(daemon, names):
    """Keeps the daemon busy with requests of others, for the figures."""
    over = threading.Event()

    def ask(name):
        body = json.dumps({'model': name, 'prompt': 'Once', 'max_tokens': 60, 'ignore_eos': True}).encode()
        while not over.is_set():
            urllib.request.urlopen(urllib.request.Request(f'http://{daemon.http}/v1/completions', body)).read()

    threads = [threading.Thread(target=ask, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    yield
    over.set()
    for thread in threads:
        thread.join()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ('--bin', '--chromium', '--model', '--out'):
        parser.add_argument(name, type=pathlib.Path, required=True)
    options = parser.parse_args()
    adapters = ROOT / 'deploy/adapters' / options.model.name
    loads = [part for path in sorted(adapters.iterdir()) for part in ('--adapter', f'{path.name}={path.name}')]
    options.out.mkdir(exist_ok=True)
    with tempfile.TemporaryFile('w+') as log:
        daemon = Daemon(options.bin, options.model, adapters, log, *loads)
        browser = Browser(str(options.chromium))
        for name, scheme, width, height in (('dark', 'dark', 1200, 800), ('light', 'light', 1200, 800), ('phone', 'light', 390, 1700)):
            browser.prefer(scheme)
            browser.size(width, height, mobile=width < 500)
            browser.go(f'http://{daemon.http}/')
            browser.wait('document.querySelectorAll("#adapter option").length > 1')
            (options.out / f'{name}-empty.png').write_bytes(browser.picture())
            talk(browser)
            with others(daemon, ['shakespeare', 'sql', 'domains']):
                browser.run('new Promise((done) => setTimeout(done, 12000))')
                (options.out / f'{name}.png').write_bytes(browser.picture())
        print(*browser.complaints, sep='\n')
        browser.close()
        daemon.stop()


if __name__ == '__main__':
    main()
