"""Chromium without a window, told what to do by the DevTools protocol over a pair of pipes."""
import base64
import json
import os
import subprocess
import tempfile

# Names of keys: code, virtual key code, text.
KEYS = {'Enter': ('Enter', 13, '\r'), 'Escape': ('Escape', 27, ''), 'Tab': ('Tab', 9, '')}


class Browser:
    """One page in one browser. What the page complains of on the console is kept in `complaints`."""

    def __init__(self, binary):
        self.profile = tempfile.TemporaryDirectory(prefix='hydrad-browser-')
        reads, child_writes = os.pipe()
        child_reads, writes = os.pipe()

        def give_pipes():  # the protocol wants them as descriptors 3 and 4
            spare = os.dup(child_writes)
            os.dup2(child_reads, 3)
            os.dup2(spare, 4)

        sandbox = ['--no-sandbox'] if os.getuid() == 0 else []
        self.process = subprocess.Popen(
            [binary, '--headless', '--remote-debugging-pipe', f'--user-data-dir={self.profile.name}', '--disable-gpu',
             '--disable-dev-shm-usage', '--hide-scrollbars', '--no-first-run', '--lang=en', *sandbox, 'about:blank'],
            preexec_fn=give_pipes, close_fds=False, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        os.close(child_reads)
        os.close(child_writes)
        self.reads, self.writes = os.fdopen(reads, 'rb'), os.fdopen(writes, 'wb')
        self.held, self.number, self.session, self.paused, self.complaints = b'', 0, None, [], []
        target = self.tell('Target.createTarget', url='about:blank')['targetId']
        self.session = self.tell('Target.attachToTarget', targetId=target, flatten=True)['sessionId']
        for domain in ('Page', 'Runtime', 'Log', 'Network'):
            self.tell(f'{domain}.enable')

    def close(self):
        self.session = None
        self.tell('Browser.close')
        self.process.wait()
        self.reads.close()
        self.writes.close()
        self.profile.cleanup()

    def tell(self, method, **arguments):
        """Does what the protocol calls `method`, and returns what it gives."""
        self.number += 1
        message = {'id': self.number, 'method': method, 'params': arguments}
        if self.session:
            message['sessionId'] = self.session
        self.writes.write(json.dumps(message).encode() + b'\0')
        self.writes.flush()
        while True:
            answer = self.receive()
            if answer.get('id') == self.number:
                if 'error' in answer:
                    raise RuntimeError(f'{method}: {answer["error"]}')
                return answer['result']

    def receive(self):
        while b'\0' not in self.held:
            more = self.reads.read1(1 << 16)
            if not more:
                raise RuntimeError('the browser has ended')
            self.held += more
        text, self.held = self.held.split(b'\0', 1)
        message = json.loads(text)
        self.hear(message.get('method'), message.get('params', {}))
        return message

    def hear(self, event, told):
        if event == 'Runtime.exceptionThrown':
            self.complaints.append(json.dumps(told['exceptionDetails']))
        elif event == 'Runtime.consoleAPICalled' and told['type'] in ('error', 'assert', 'warning'):
            self.complaints.append(json.dumps(told['args']))
        elif event == 'Log.entryAdded' and told['entry']['level'] in ('error', 'warning'):
            self.complaints.append(f'{told["entry"]["source"]}: {told["entry"]["text"]} {told["entry"].get("url", "")}')
        elif event == 'Fetch.requestPaused':
            self.paused.append(told)

    def run(self, script):
        """The value of a script, of what it promises if that is a promise."""
        done = self.tell('Runtime.evaluate', expression=script, awaitPromise=True, returnByValue=True)
        if 'exceptionDetails' in done:
            raise RuntimeError(f'{script}: {done["exceptionDetails"]}')
        return done['result'].get('value')

    def wait(self, condition):
        """Returns once the script `condition` has a value that counts as true, with that value."""
        return self.run('new Promise((done) => { const look = () => { const value = (%s); '
                        'if (value) done(value); else setTimeout(look, 10); }; look(); })' % condition)

    def go(self, url):
        self.tell('Page.navigate', url=url)
        self.wait(f'location.href.startsWith({json.dumps(url)}) && document.readyState === "complete"')

    def type(self, text):
        self.tell('Input.insertText', text=text)

    def press(self, key, shift=False):
        code, number, text = KEYS[key]
        common = {'key': key, 'code': code, 'windowsVirtualKeyCode': number, 'modifiers': 8 if shift else 0}
        self.tell('Input.dispatchKeyEvent', type='keyDown' if text else 'rawKeyDown', text=text, **common)
        self.tell('Input.dispatchKeyEvent', type='keyUp', **common)

    def size(self, width, height, scale=1, mobile=False):
        self.tell('Emulation.setDeviceMetricsOverride', width=width, height=height, deviceScaleFactor=scale, mobile=mobile)

    def prefer(self, scheme):
        self.tell('Emulation.setEmulatedMedia', features=[{'name': 'prefers-color-scheme', 'value': scheme}])

    def hold(self, pattern):
        """Requests to addresses like `pattern` are held from now on; None: no more."""
        if pattern is None:
            self.tell('Fetch.disable')
        else:
            self.tell('Fetch.enable', patterns=[{'urlPattern': pattern}])

    def held_request(self):
        """Waits for the next request that is held."""
        while not self.paused:
            self.receive()
        return self.paused.pop(0)

    def answer(self, held, body, content_type):
        self.tell('Fetch.fulfillRequest', requestId=held['requestId'], responseCode=200,
                  responseHeaders=[{'name': 'Content-Type', 'value': content_type}], body=base64.b64encode(body).decode())

    def picture(self):
        return base64.b64decode(self.tell('Page.captureScreenshot', format='png')['data'])
