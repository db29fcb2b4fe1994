"""Makes templates and contexts at random, for comparing with jinja2.

Expressions are made for a wanted type, so that most templates render; now and then one of another type is put in, so
that both sides must refuse alike.
"""

import random

STRINGS = ["", " ", "a", "Ab c", " x\n", "a-b-c", "<T>", "'", '"', "\\", "éß", "日本", "Σας ΑΣ", "ǆ", "🎉x", "\u00a0y ", "0", "42",
           "-7", "3.5", "1_000", "x.y", "{}", "%s", "\t", "A\r\nB\x0bC", "\x7f\x01", "user", "assistant", "ﬁx", "İi"]
KEYS = ["role", "content", "name", "k", "items", "get", "a b", "é", "0"]
ROUNDS = ["", "1", "2", "0", "1, method='ceil'", "2, 'floor'"]
JSONS = ["", "", "(indent=2)", "(indent=0)", "(ensure_ascii=true)", "(sort_keys=true)", "(separators=(',', ':'))",
         "(indent=4, sort_keys=true)"]
NAMES = ["x", "y", "z", "s", "n", "l", "d", "messages", "missing", "ns"]


class Grammar:
    def __init__(self, seed):
        self.random = random.Random(seed)
        self.depth = 0
        self.loops = 0  # open around the current place

    def pick(self, *options):
        return self.random.choice(options)

    def chance(self, share):
        return self.random.random() < share

    # The context

    def value(self, depth=0):
        kind = self.pick("str", "str", "int", "float", "bool", "none", *(["list", "dict"] if depth < 3 else []))
        if kind == "str":
            return self.random.choice(STRINGS)
        if kind == "int":
            return self.pick(0, 1, -1, 2, 7, -13, 100, 2**40)
        if kind == "float":
            return self.pick(0.0, 0.5, -1.5, 1e16, 1e-5, 123456.789, 3.0, 1e22, -0.0)
        if kind == "bool":
            return self.chance(0.5)
        if kind == "none":
            return None
        if kind == "list":
            return [self.value(depth + 1) for _ in range(self.random.randrange(4))]
        return {self.random.choice(KEYS): self.value(depth + 1) for _ in range(self.random.randrange(4))}

    def context(self):
        messages = []
        for _ in range(self.pick(0, 1, 2, 3, 2)):
            message = {"role": self.pick("user", "assistant", "system"), "content": self.random.choice(STRINGS)}
            if self.chance(0.3):
                message[self.random.choice(KEYS)] = self.value()
            messages.append(message)
        return {
            "s": self.random.choice(STRINGS),
            "n": self.pick(0, 1, 2, 3, -1, 5),
            "l": [self.value(1) for _ in range(self.random.randrange(5))],
            "d": {key: self.value(1) for key in self.random.sample(KEYS, self.random.randrange(4))},
            "messages": messages,
            "x": self.value(),
            "y": self.value(),
            "bos_token": "<s>",
        }

    # Expressions

    def quoted(self, text):
        quote = self.pick("'", '"')
        out = text.replace("\\", "\\\\").replace(quote, "\\" + quote)
        return quote + out.replace("\n", self.pick("\\n", "\n")) + quote

    def expression(self, kind="any"):
        self.depth += 1
        if self.depth > 4 or self.chance(0.3):
            out = self.leaf(kind)
        else:
            if self.chance(0.02):
                kind = self.pick("str", "int", "list", "bool", "any", "dict")
            out = getattr(self, "make_" + kind)()
        self.depth -= 1
        if "loop." in out and self.loops == 0 and self.chance(0.9):
            out = "1"
        return "(" + out + ")" if self.chance(0.25) else out

    def leaf(self, kind):
        if kind == "str":
            return self.pick("s", "bos_token", "messages[0].content", "messages[-1]['role']",
                             self.quoted(self.random.choice(STRINGS)), self.quoted(self.random.choice(STRINGS)))
        if kind == "int":
            return self.pick("n", "0", "1", "2", "-3", "10", "l|length", "messages|length", "true", "0x1F", "1_0")
        if kind == "list":
            return self.pick("l", "messages", "[]", "[1, 2, 3]", "['b', 'a', 'C']", "range(n)", "(1, 'a')", "d.keys()",
                             "d.items()", "[[1, 2], [3]]", "range(5, 0, -2)", "d|items")
        if kind == "bool":
            return self.pick("true", "false", "n > 1", "s", "x is defined", "missing is defined", "loop.first", "l")
        if kind == "dict":
            return self.pick("d", "{}", "{'a': 1, 'b': s}", "messages[0]", "dict(a=n)", "dict(d, q=s)")
        return self.pick(*NAMES, "none", "1.5", "loop.index", "x", "y", "d.k", "d['content']", "messages[0].k", "2.0",
                         "1e3", self.leaf("str"), self.leaf("int"))

    def make_any(self):
        return self.pick(self.make_str, self.make_int, self.make_list, self.make_bool, self.make_dict, self.make_access,
                         self.make_choice, self.make_number)()

    def make_choice(self):
        out = f"{self.expression()} if {self.expression('bool')}"
        return "(" + out + (f" else {self.expression()}" if self.chance(0.8) else "") + ")"

    def make_access(self):
        e = self.expression
        return self.pick(
            lambda: f"{self.postfix('list')}[{e('int')}]",
            lambda: f"{self.postfix('dict')}.{self.pick('role', 'content', 'k', 'items', 'zz')}",
            lambda: f"{self.postfix('dict')}[{e('str')}]",
            lambda: f"{self.postfix('dict')}.get({e('str')}{self.pick('', ', ' + e())})",
            lambda: f"{self.postfix('list')}|{self.pick('first', 'last', 'max', 'min', 'sum')}",
            lambda: f"x|default({e()}{self.pick('', ', true', ', boolean=false')})",
            lambda: f"d|attr({self.quoted(self.random.choice(KEYS))})",
            lambda: f"{self.postfix('any')}.{self.pick('role', 'x', '0', 'upper')}",
        )()

    def postfix(self, kind):
        return "(" + self.expression(kind) + ")"

    def make_number(self):
        e = self.expression
        return self.pick(
            lambda: f"{e('int')} / {e('int')}",
            lambda: f"{e('str')}|float{self.pick('', '(2.5)')}",
            lambda: f"{self.pick('2.5', '1.25', '7.0', '1e16', '0.1')} {self.pick('+', '-', '*', '/', '//', '%', '**')} {e('int')}",
            lambda: f"({e('int')} / 3)|round({self.pick(*ROUNDS)})",
            lambda: f"-{self.pick('1.5', 'n', '(n)', '0.0')}",
        )()

    def make_int(self):
        e = self.expression
        return self.pick(
            lambda: f"{e('int')} {self.pick('+', '-', '*', '//', '%')} {e('int')}",
            lambda: f"{e('int')} ** {self.pick('2', '0', '3')}",
            lambda: f"{self.postfix('str')}|length",
            lambda: f"{self.postfix('list')}|{self.pick('length', 'count')}",
            lambda: f"{self.postfix('str')}|int{self.pick('', '(7)', '(default=3)', '(0, 16)', '(base=0)')}",
            lambda: f"{self.postfix('str')}.{self.pick('find', 'count', 'rfind', 'index')}({e('str')})",
            lambda: f"{self.postfix('list')}|sum",
            lambda: f"{self.postfix('int')}|abs",
            lambda: f"{self.postfix('str')}|wordcount",
            lambda: f"l.{self.pick('count', 'index')}({e()})",
            lambda: f"loop.{self.pick('index', 'index0', 'revindex', 'revindex0', 'length', 'depth', 'depth0')}",
        )()

    def make_bool(self):
        e = self.expression
        return self.pick(
            lambda: f"{e()} {self.pick('==', '!=')} {e()}",
            lambda: f"{e('int')} {self.pick('<', '<=', '>', '>=', '==')} {e('int')}",
            lambda: f"{e('str')} {self.pick('<', '<=', '>', '>=')} {e('str')}",
            lambda: f"{e('int')} < {e('int')} <= {e('int')}",
            lambda: f"{e('str')} {self.pick('in', 'not in')} {e('str')}",
            lambda: f"{e()} {self.pick('in', 'not in')} {e('list')}",
            lambda: f"{e('str')} in {e('dict')}",
            lambda: f"not {e('bool')}",
            lambda: f"{e('bool')} {self.pick('and', 'or')} {e()}",
            lambda: f"{self.postfix('any')} is {self.pick('', 'not ')}{self.test()}",
            lambda: f"{self.postfix('str')}.{self.pick('startswith', 'endswith')}({e('str')})",
            lambda: f"{self.postfix('str')}.{self.pick('isdigit', 'isalpha', 'isspace', 'isupper', 'islower', 'istitle', 'isdecimal', 'isascii', 'isprintable')}()",
            lambda: f"loop.{self.pick('first', 'last')}",
            lambda: f"loop.changed({e()})",
        )()

    def test(self):
        return self.pick("defined", "undefined", "none", "string", "number", "mapping", "sequence", "iterable", "boolean",
                         "integer", "float", "true", "false", "odd", "even", "lower", "upper", "callable",
                         "divisibleby(2)", "divisibleby 3", "eq(1)", "equalto('a')", "in [1, 'a', s]", "ne none", "gt 1",
                         "lessthan(2)", "ge(0)", "sameas(true)", "sameas none")

    def make_str(self):
        e = self.expression
        return self.pick(
            lambda: f"{e('str')} + {e('str')}",
            lambda: f"{e('str')} ~ {e()}",
            lambda: f"{e()} ~ {e()} ~ {e('int')}",
            lambda: f"{e('str')} * {self.pick('0', '1', '2', '-1', 'n')}",
            lambda: f"{self.postfix('str')}.{self.method()}",
            lambda: f"{self.postfix('str')}|{self.text_filter()}",
            lambda: f"{self.postfix('str')}[{self.slice()}]",
            lambda: f"{self.postfix('any')}|string",
            lambda: f"{self.postfix('any')}|tojson{self.pick(*JSONS)}",
            lambda: f"{self.postfix('list')}|join{self.pick('', '(s)', f'({self.quoted(chr(44))})')}",
            lambda: f"{self.quoted(self.pick('-', '', ', '))}.join(({e('list')})|map('string'))",
            lambda: f"{self.quoted(self.pick('%s', '%r|%s', '%d', '%5s|', '%-4s|', '%05.1f', '%x', '%%', '%+d', '%s %s'))} % {self.pick(e(), f'({e()}, {e()})', f'({e()},)')}",
            lambda: f"{self.quoted(self.pick('{}', '{0}-{0}', '{a}', '{:>5}|', '{:<4}|', '{:^7}', '{:.2f}', '{:05d}', '{{}}', '{!r}', '{:,}', '{0[0]}'))}.format({e()}, a={e()})",
            lambda: f"{self.quoted(self.pick('%s', '%s-%s', '%d'))}|format({e()}{self.pick('', ', ' + e())})",
        )()

    def method(self):
        e = self.expression
        return self.pick("strip()", "lstrip()", "rstrip()", f"strip({e('str')})", "upper()", "lower()", "capitalize()", "title()",
                         f"replace({e('str')}, {e('str')})", f"replace({e('str')}, {e('str')}, 1)", "casefold()", "swapcase()",
                         f"split()[{e('int')}]", f"removeprefix({e('str')})", f"removesuffix({e('str')})", "center(7)", "ljust(5, '*')",
                         "rjust(6)", "zfill(4)", "expandtabs(4)", f"partition({e('str')})[0]", f"rpartition({e('str')})[2]",
                         f"split({e('str')})|last", f"rsplit({e('str')}, 1)|first", "splitlines()|join('|')")

    def text_filter(self):
        e = self.expression
        return self.pick("trim", "upper", "lower", "capitalize", "title", f"replace({e('str')}, {e('str')})", "string", "reverse",
                         "indent", "indent(2, true)", "indent(width='> ', blank=true)", "center(9)", "truncate(5)",
                         "truncate(4, true, '')", "truncate(5, leeway=0)", f"trim({e('str')})", f"default({e('str')})", "list|join('.')")

    def slice(self):
        e = lambda: self.pick("", "", "1", "-1", "n", "2", "-3", self.expression("int"))
        return e() + ":" + e() + self.pick("", "", ":" + self.pick("1", "-1", "2", "-2", "n"))

    def make_list(self):
        e = self.expression
        return self.pick(
            lambda: "[" + ", ".join(e() for _ in range(self.random.randrange(4))) + "]",
            lambda: "(" + "".join(e() + ", " for _ in range(self.random.randrange(1, 3))) + ")",
            lambda: f"{self.postfix('list')}[{self.slice()}]",
            lambda: f"{self.postfix('list')} + {self.postfix('list')}",
            lambda: f"{self.postfix('list')}|list",
            lambda: f"{self.postfix('list')}|{self.pick('sort', 'sort(reverse=true)', 'sort(case_sensitive=true)', 'unique|list', 'reverse|list', 'batch(2)|list', 'slice(2)|list', 'batch(3, 0)|list')}",
            lambda: f"{self.postfix('list')}|map({self.pick(repr('upper'), repr('string'), repr('length'), 'attribute=' + repr('role'), repr('default') + ', 1', 'attribute=' + repr('k') + ', default=' + e())})|list",
            lambda: f"{self.postfix('list')}|{self.pick('select', 'reject')}({self.pick('', repr('string'), repr('defined'), repr('equalto') + ', ' + e(), repr('number'), repr('in') + ', l')})|list",
            lambda: f"messages|{self.pick('selectattr', 'rejectattr')}({self.pick(repr('role'), repr('role') + ', ' + repr('equalto') + ', ' + repr('user'), repr('k') + ', ' + repr('defined'))})|list",
            lambda: f"messages|{self.pick('sort(attribute=' + repr('role') + ')', 'groupby(' + repr('role') + ')', 'map(attribute=' + repr('content') + ')|list')}",
            lambda: f"{self.postfix('str')}|list",
            lambda: f"{self.postfix('str')}.{self.pick('split()', 'splitlines()', 'split(s)', 'rsplit(none, 1)', 'split(maxsplit=1)', 'splitlines(true)', 'partition(' + repr('-') + ')')}",
            lambda: f"d|{self.pick('dictsort', 'dictsort(true)', 'dictsort(reverse=true)', 'dictsort(by=' + repr('value') + ')', 'list', 'items|list')}",
            lambda: f"d.{self.pick('keys', 'values', 'items')}()|list",
            lambda: f"range({self.pick('n', '3', 'n, 5', '5, n, -1', e('int'))})|list",
        )()

    def make_dict(self):
        e = self.expression
        return self.pick(
            lambda: "{" + ", ".join(f"{self.pick(self.quoted(self.random.choice(KEYS)), e('str'), e('int'))}: {e()}" for _ in range(self.random.randrange(3))) + "}",
            lambda: f"dict({self.pick('d, ', '')}a={e()})",
            lambda: f"{self.postfix('list')}[0]",
        )()

    # Statements

    def body(self, depth):
        return "".join(self.statement(depth) for _ in range(self.random.randrange(1, 4)))

    def tag(self, inside):
        return "{%" + self.pick("", "", "-", "+") + " " + inside + " " + self.pick("", "", "-", "") + "%}" + self.pick("", "", "\n", "\n  ", " ")

    def output(self, kind="any"):
        return "{{" + self.pick("", "-", "") + " " + self.expression(kind) + " " + self.pick("", "-", "") + "}}"

    def text(self):
        return self.pick("", " ", "\n", "\n\n", "  \n  ", "text", " a ", "\t", "{", "}", "é\n", "\r\n", "% }", "#")

    def statement(self, depth):
        if depth > 3:
            return self.text() + self.output()
        tag, body, e = self.tag, lambda: self.body(depth + 1), self.expression
        return self.text() + self.pick(
            lambda: self.output(), lambda: self.output(), lambda: self.output("str"), lambda: self.output("list"),
            lambda: tag(f"if {e('bool')}") + body() + self.pick("", tag("else") + body(), tag(f"elif {e('bool')}") + body()) + tag("endif"),
            lambda: self.loop(depth), lambda: self.loop(depth),
            lambda: tag(f"set {self.pick(*NAMES[:7])} = {e()}"),
            lambda: tag(f"set {self.pick('x', 'y')}, {self.pick('z', 's')} = {e()}, {e()}"),
            lambda: tag(f"set {self.pick('x', 'y')}{self.pick('', ' | upper', ' | trim | length')}") + body() + tag("endset"),
            lambda: tag(f"set ns = namespace({self.pick('', 'a=1', 'a=' + e(), 'd')})") + tag(f"set ns.{self.pick('a', 'b')} = {e()}") + "{{ ns.a }}{{ ns.b }}",
            lambda: self.macro(depth),
            lambda: tag(f"with {self.pick('x', 'q')} = {e()}") + body() + tag("endwith"),
            lambda: tag(f"filter {self.text_filter()}") + body() + tag("endfilter"),
            lambda: tag("generation") + body() + tag("endgeneration"),
            lambda: "{#" + self.pick("", "-", "") + " note " + self.pick("", "-", "") + "#}" + self.text(),
            lambda: tag("raw") + "{{ x }} {% if %}" + tag("endraw"),
        )()

    def loop(self, depth):
        target = self.pick("x", "y", "m", "k, v", "loop_item")
        items = self.pick(self.expression("list"), "messages", "l", "d.items()", "range(n)", "d|dictsort", "messages[1:]", "messages[::-1]")
        condition = self.pick("", "", "", f" if {self.expression('bool')}")
        self.loops += 1
        inside = self.body(depth + 1)
        if self.chance(0.25):
            inside += self.tag(f"if {self.expression('bool')}") + self.tag(self.pick("break", "continue")) + self.tag("endif") + self.body(3)
        if self.chance(0.3):
            inside += "{{ loop." + self.pick("index", "last", "first", "length", "revindex", "previtem", "nextitem", "cycle('a', 'b')", "changed(x)") + " }}"
        self.loops -= 1
        otherwise = self.tag("else") + self.body(depth + 1) if self.chance(0.2) else ""
        return self.tag(f"for {target} in {items}{condition}") + inside + otherwise + self.tag("endfor")

    def macro(self, depth):
        name = self.pick("f", "g")
        parameters = self.pick("", "a", "a, b=1", "a=none, b=s", "a, b=a")
        arguments = self.pick("", self.expression(), f"{self.expression()}, {self.expression()}", f"a={self.expression()}", f"b={self.expression()}", "*l", "**d")
        inside = self.body(depth + 1) + self.pick("", "{{ a }}{{ b }}", "{{ caller() }}", "{{ varargs }}{{ kwargs }}")
        use = self.pick(lambda: "{{ " + name + "(" + arguments + ") }}",
                        lambda: self.tag(f"call {name}({arguments})") + self.body(3) + self.tag("endcall"))()
        return self.tag(f"macro {name}({parameters})") + inside + self.tag("endmacro") + use

    def template(self):
        return self.body(0)
