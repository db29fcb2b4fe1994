"""A hydrad process on free loopback ports, and hydractl on it."""
import json
import os
import pathlib
import re
import signal
import subprocess
import threading


class Daemon:
    """One run. Its log goes to `log` (a file); everything else is read from it or asked of it."""

    def __init__(self, binaries, model, root, log, *arguments):
        self.binaries = pathlib.Path(binaries)
        command = [self.binaries / 'hydrad', '--model', model, '--adapter-root', root, '--listen', '127.0.0.1:0',
                   '--admin-listen', '127.0.0.1:0', '--metrics-listen', '127.0.0.1:0', '--http-listen', '127.0.0.1:0',
                   '--lame-duck', '0', *arguments]
        self.process = subprocess.Popen(list(map(str, command)), stderr=subprocess.PIPE, text=True)
        self.server = self.admin = self.metrics = self.http = self.http_admin = None
        for line in self.process.stderr:
            log.write(line)
            if match := re.search(r'ready: inference (\S+) admin (\S+) metrics (\S+) http (\S+)(?: http-admin (\S+))?', line):
                self.server, self.admin, self.metrics, self.http, self.http_admin = match.groups()
                break
        else:
            raise SystemExit(f'hydrad did not start; see {log.name}')
        threading.Thread(target=lambda: log.writelines(self.process.stderr), daemon=True).start()

    def hydractl(self, *arguments, check=True, nice=0):
        """Exit code 0, or (check=False) whatever it is, and the output."""
        env = {**os.environ, 'HYDRAD_SERVER': self.server, 'HYDRAD_ADMIN': self.admin}
        command = ['nice', '-n', str(nice), self.binaries / 'hydractl', *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True,
                              env=env, check=False)
        if check and done.returncode != 0:
            raise SystemExit(f'hydractl {arguments} failed: {done.stderr}{done.stdout}')
        return done

    def bench(self, *arguments):
        return json.loads(self.hydractl('bench', '--temperature', '0', '--ignore-eos', *arguments).stdout)

    def adapters(self):
        return json.loads(self.hydractl('adapter', 'list', '--json').stdout)

    def memory(self):
        status = pathlib.Path(f'/proc/{self.process.pid}/status').read_text()
        return int(re.search(r'VmRSS:\s+(\d+) kB', status)[1]) * 1024

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(60)

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(120)
