"""What the tests know of the Grafana dashboard: its panels and its queries, with the variables filled in."""
import json
import pathlib

ROOT = pathlib.Path(__file__).resolve().parents[2]
DASHBOARD = ROOT / 'deploy/grafana/dashboards/hydrad.json'


def load():
    return json.loads(DASHBOARD.read_text(encoding='utf-8'))


def panels(dashboard):
    """Every panel that draws something, those inside of collapsed rows too."""
    for panel in dashboard['panels']:
        if panel['type'] == 'row':
            yield from panel['panels']
        else:
            yield panel


def fill(expr, values):
    """`expr` with each $name replaced, longest names first, as Grafana would."""
    for name in sorted(values, key=len, reverse=True):
        expr = expr.replace('${' + name + '}', values[name]).replace('$' + name, values[name])
    return expr
