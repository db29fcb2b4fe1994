#!/usr/bin/env python3
"""Takes the pictures of the page: the one in README.md (dark), a light one and one of a phone's width.

    page_pictures.py --bin build/bin --chromium /usr/bin/chromium-headless-shell --model build/models/smollm2 --out DIRECTORY
"""
import argparse
import json
import pathlib
import sys
import tempfile

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
    browser.run('new Promise((done) => setTimeout(done, 4000))')  # for the figures


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
            (options.out / f'{name}.png').write_bytes(browser.picture())
        print(*browser.complaints, sep='\n')
        browser.close()
        daemon.stop()


if __name__ == '__main__':
    main()
