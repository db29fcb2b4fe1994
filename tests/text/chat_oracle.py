"""Renders chat templates with jinja2, set up as transformers sets it up."""

import datetime
import functools
import json

import jinja2
import jinja2.ext
import jinja2.nodes
import jinja2.sandbox
import jinja2.utils


class Generation(jinja2.ext.Extension):
    """{% generation %} ... {% endgeneration %}: its body, rendered in a scope of its own."""

    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return jinja2.nodes.CallBlock(self.call_method("_render"), [], [], body).set_lineno(line)

    def _render(self, caller):
        return caller()


class PlainNamespace(jinja2.utils.Namespace):
    """A namespace whose attributes do not begin with an underscore."""

    def __init__(*args, **kwargs):
        attributes = dict(*args[1:], **kwargs)
        for name in attributes:
            PlainNamespace.check(name)
        jinja2.utils.Namespace.__init__(args[0], attributes)

    def __setitem__(self, name, value):
        PlainNamespace.check(name)
        jinja2.utils.Namespace.__setitem__(self, name, value)

    @staticmethod
    def check(name):
        if isinstance(name, str) and name.startswith("_"):
            raise jinja2.exceptions.SecurityError(f"{name} begins with an underscore")


class Oracle:
    """Renders templates as if it were `now`, a number of seconds since the epoch."""

    def __init__(self, now=0):
        self.environment = jinja2.sandbox.ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=[Generation, jinja2.ext.loopcontrols]
        )
        self.environment.filters["tojson"] = self.tojson
        self.environment.globals["raise_exception"] = self.raise_exception
        self.environment.globals["strftime_now"] = lambda form: datetime.datetime.fromtimestamp(now).strftime(form)
        self.environment.globals["namespace"] = PlainNamespace
        self.compiled = functools.lru_cache(maxsize=256)(self.environment.from_string)

    @staticmethod
    def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
        return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

    @staticmethod
    def raise_exception(message):
        raise jinja2.exceptions.TemplateError(message)

    def render(self, source, context):
        """The text, or None and why the template is refused."""
        try:
            text = self.compiled(source).render(**context)
            text.encode("utf-8")
            return text, None
        except Exception as error:  # whatever a template makes Python raise is a refusal
            return None, f"{type(error).__name__}: {error}"
