#!/usr/bin/env python3
"""The page of a running daemon in Chromium without a window.

    page_test.py --bin build/bin --chromium /usr/bin/chromium-headless-shell
"""
import argparse
import contextlib
import faulthandler
import hashlib
import json
import pathlib
import shutil
import sys
import tempfile
import unittest
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / 'tests' / 'bench'))
sys.path.insert(0, str(ROOT / 'tests' / 'e2e'))
from browser import Browser  # noqa: E402
from daemon import Daemon  # noqa: E402

OPTIONS = argparse.Namespace(bin=None, chromium=None)
ADAPTERS = ['domains', 'mixed-moa', 'shakespeare', 'sql']
LAYERS, HEADS = 4, 4  # of the tiny model, and of its adapter "domains"
TENANTS = json.dumps({'tenants': [
    {'name': 'acme', 'key_sha256': [hashlib.sha256(b'key-acme').hexdigest()], 'adapters': ['sql']},
    {'name': 'globex', 'key_sha256': [hashlib.sha256(b'key-globex').hexdigest()], 'adapters': ['*']}]})


class PageCase(unittest.TestCase):
    """One daemon and one browser for all tests of a class; each test loads the page anew."""
    tenants = None
    template = True  # the model has a chat template

    @classmethod
    def setUpClass(cls):
        cls.work = tempfile.TemporaryDirectory(prefix='hydrad-page-')
        cls.addClassCleanup(cls.work.cleanup)
        work = pathlib.Path(cls.work.name)
        cls.log = open(work / 'hydrad.log', 'w+')
        cls.addClassCleanup(cls.log.close)
        arguments = [part for name in ADAPTERS for part in ('--adapter', f'{name}={name}')]
        if cls.tenants:
            (work / 'tenants.json').write_text(cls.tenants)
            arguments += ['--tenants', work / 'tenants.json']
        model = ROOT / 'deploy/models/tiny'
        if not cls.template:
            model = work / 'tiny'
            shutil.copytree(ROOT / 'deploy/models/tiny', model)
            settings = json.loads((model / 'tokenizer_config.json').read_text())
            del settings['chat_template']
            (model / 'tokenizer_config.json').write_text(json.dumps(settings))
        cls.daemon = Daemon(OPTIONS.bin, model, ROOT / 'deploy/adapters/tiny', cls.log, '--threads', '1',
                            *arguments)
        cls.addClassCleanup(cls.daemon.stop)
        cls.url = f'http://{cls.daemon.http}/'
        cls.browser = Browser(OPTIONS.chromium)
        cls.addClassCleanup(cls.browser.close)

    def setUp(self):
        self.browser.size(1280, 900)
        self.browser.complaints.clear()
        self.browser.go(self.url)
        self.run_script('sessionStorage.clear(); localStorage.clear()')
        self.browser.go(self.url)

    def tearDown(self):
        self.assertEqual(self.browser.complaints, [], 'the console is empty: no error, and no breach of the policy')

    def run_script(self, script):
        return self.browser.run(script)

    def ready(self):
        self.browser.wait('document.querySelectorAll("#adapter option").length > 1')

    def choose(self, field, value):
        self.run_script(f'''(() => {{ const field = document.getElementById({json.dumps(field)});
            field.value = {json.dumps(value)}; field.dispatchEvent(new Event('change')); }})()''')

    def ask(self, prompt, adapter=None, mode='text', tokens=12):
        """Asks by the keyboard, greedily, and returns the answer's text once it is whole."""
        if adapter:
            self.choose('adapter', adapter)
        self.choose('mode', mode)
        self.choose('temperature', '0')
        self.choose('tokens', str(tokens))
        before = self.run_script('document.querySelectorAll(".answer").length')
        self.run_script('document.getElementById("prompt").focus()')
        self.browser.type(prompt)
        self.browser.press('Enter')
        self.browser.wait(f'document.querySelectorAll(".answer:not(.busy) .meta").length > {before}')
        return self.run_script('[...document.querySelectorAll(".answer .text")].at(-1).textContent')

    def api(self, path, key='', **body):
        """What the API answers itself, as one answer; without a body, to a GET."""
        data = json.dumps({'temperature': 0, 'max_tokens': 12, 'hydrad': {}, **body}).encode() if body else None
        request = urllib.request.Request(self.url + path, data, {'Authorization': f'Bearer {key}'} if key else {})
        with urllib.request.urlopen(request) as answer:
            return json.load(answer)

    @contextlib.contextmanager
    def holding(self):
        """Questions are held until the test answers them. The page is loaded anew: one that is there might send one past it."""
        self.browser.hold('*/v1/*')
        try:
            self.browser.go(self.url)
            self.ready()
            self.choose('mode', 'chat')
            self.run_script('document.getElementById("prompt").focus()')
            yield
        finally:
            self.browser.hold(None)

    def question(self):
        """The next one that is held, and what it asks."""
        held = self.browser.held_request()
        return held, json.loads(held['request']['postData'])

    def say(self, held, **delta):
        """Answers a held question."""
        event = {'choices': [{'index': 0, 'delta': delta}]}
        self.browser.answer(held, f'data: {json.dumps(event)}\n\ndata: [DONE]\n\n'.encode(), 'text/event-stream')
        self.browser.wait('!document.querySelector(".busy")')

    def last(self, script):
        """Of the last answer, as `answer` in the script."""
        return self.run_script(f'((answer) => {script})([...document.querySelectorAll(".answer")].at(-1))')


class OpenPageTest(PageCase):
    def test_it_loads_with_every_adapter(self):
        self.ready()
        options = self.run_script('[...document.querySelectorAll("#adapter option")].map((option) => option.value)')
        self.assertEqual(options, ['tiny', *ADAPTERS, '\n'])
        self.assertEqual(self.run_script('document.title'), 'hydrad')
        self.assertEqual(self.run_script('document.activeElement.id'), 'prompt')
        chips = self.run_script('[...document.querySelectorAll("#tiers button")].map((chip) => chip.firstChild.textContent.trim())')
        self.assertEqual(chips, ADAPTERS)

    def test_it_chats_and_keeps_the_conversation(self):
        self.ready()
        first = self.ask('Tell me a story.', mode='chat')
        messages = [{'role': 'user', 'content': 'Tell me a story.'}]
        self.assertEqual(first, self.api('v1/chat/completions', messages=messages)['choices'][0]['message']['content'])
        second = self.ask('And then?', mode='chat')
        messages += [{'role': 'assistant', 'content': first}, {'role': 'user', 'content': 'And then?'}]
        self.assertEqual(second, self.api('v1/chat/completions', messages=messages)['choices'][0]['message']['content'])
        self.run_script('document.getElementById("clear").click()')
        self.assertEqual(self.ask('Tell me a story.', mode='chat'), first)

    def test_another_adapter_answers_otherwise(self):
        self.ready()
        base, adapted = self.ask('SELECT', 'tiny'), self.ask('SELECT', 'sql')
        self.assertEqual(adapted, self.api('v1/completions', model='sql', prompt='SELECT')['choices'][0]['text'])
        self.assertNotEqual(base, adapted)
        self.assertEqual(self.last('answer.querySelector(".who").textContent'), 'sql')
        self.assertEqual(self.last('answer.querySelectorAll(".token").length'), 0, 'it has one head')

    def test_tokens_are_coloured_by_head_and_the_map_is_drawn(self):
        self.ready()
        text = self.ask('SELECT name', 'domains')
        whole = self.api('v1/completions', model='domains', prompt='SELECT name', logprobs=0, hydrad={'routing': True})
        self.assertEqual(text, whole['choices'][0]['text'])
        routing = whole['hydrad']['routing'][0]
        tokens = self.last('[...answer.querySelectorAll(".token")].map((token) => [token.textContent, Number(token.dataset.head)])')
        self.assertEqual(tokens, [list(pair) for pair in zip(whole['choices'][0]['logprobs']['tokens'], routing['choices'][0]['top'])])
        tints = self.last('[...answer.querySelectorAll(".token")].map((token) => getComputedStyle(token).borderBottomColor)')
        self.assertEqual(len(set(tints)), len({head for _, head in tokens}), 'each head has a colour of its own')
        titles = self.run_script('[...document.querySelectorAll("#routing td.cell")].map((cell) => cell.title)')
        self.assertEqual(len(titles), LAYERS * HEADS)
        mean = sum(router['mean'][1] for router in routing['routers'] if router['layer'] == 2) / 3
        self.assertIn(f'layer 2, head 1: {mean:.2f}', titles)
        one = next(router for router in routing['routers'] if (router['layer'], router['projection']) == (2, 'up_proj'))
        self.run_script('''(() => { const choice = document.querySelector("#routing select");
            choice.value = "up_proj"; choice.dispatchEvent(new Event("change")); })()''')
        titles = self.run_script('[...document.querySelectorAll("#routing td.cell")].map((cell) => cell.title)')
        self.assertIn(f'layer 2, head 1: {one["mean"][1]:.2f}', titles)
        head = tokens[0][1]
        self.run_script(f'document.querySelector("#routing button[data-head=\\"{head}\\"]").click()')
        bright = self.last('[...answer.querySelectorAll(".token:not(.dimmed)")].map((token) => Number(token.dataset.head))')
        self.assertEqual(bright, [each for _, each in tokens if each == head])

    def test_one_expert_for_the_whole_answer(self):
        self.ready()
        self.ask('SELECT', 'mixed-moa')
        route = self.api('v1/completions', model='mixed-moa', prompt='SELECT')['hydrad']['route']
        self.assertIn(f'expert {route["expert"]}', self.last('answer.querySelector(".meta").textContent'))
        voted = self.run_script('''[...document.querySelectorAll("#routing td.cell")]
            .filter((cell) => cell.textContent === "1.00").map((cell) => cell.title)''')
        self.assertEqual(sorted(voted), [f'layer {i}, {vote}: 1.00' for i, vote in enumerate(route['votes'])])
        self.choose('expert', 'maths')
        named = self.ask('SELECT', 'mixed-moa')
        self.assertEqual(named, self.api('v1/completions', model='mixed-moa', prompt='SELECT',
                                         hydrad={'expert': 'maths'})['choices'][0]['text'])
        self.assertIn('expert maths', self.last('answer.querySelector(".meta").textContent'))

    def test_weights_of_a_composition_are_sliders(self):
        self.ready()
        self.choose('adapter', '\n')
        self.run_script('''[["sql", 1.5], ["shakespeare", -0.25]].forEach(([name, weight], i) => {
            const row = document.querySelectorAll(".term")[i], slider = row.querySelector("input");
            row.querySelector("select").value = name;
            slider.value = weight; slider.dispatchEvent(new Event("input")); })''')
        text = self.ask('SELECT')
        weighed = [{'name': 'sql', 'weight': 1.5}, {'name': 'shakespeare', 'weight': -0.25}]
        self.assertEqual(text, self.api('v1/completions', prompt='SELECT', hydrad={'adapters': weighed})['choices'][0]['text'])
        self.assertEqual(self.last('answer.querySelector(".who").textContent'), '1.50 × sql + -0.25 × shakespeare')

    def test_the_keyboard_breaks_lines_and_stops_answers(self):
        with self.holding():
            self.browser.type('a')
            self.browser.press('Enter', shift=True)
            self.browser.type('b')
            self.assertEqual(self.run_script('document.getElementById("prompt").value'), 'a\nb')
            self.browser.press('Enter')
            self.question()
            self.assertEqual(self.run_script('document.getElementById("log").getAttribute("aria-busy")'), 'true')
            self.browser.press('Escape')
            self.browser.wait('!document.querySelector(".busy")')
            self.assertEqual(self.last('answer.querySelector(".meta").textContent'), 'stopped')
            self.browser.type('c')
            self.browser.press('Enter')
            self.say(self.question()[0], content='another answer')
            self.assertEqual(self.last('answer.querySelector(".text").textContent'), 'another answer')

    def test_a_new_conversation_knows_nothing_of_the_last(self):
        with self.holding():
            self.browser.type('first')
            self.browser.press('Enter')
            self.say(self.question()[0], content='an answer')
            self.browser.type('second')
            self.browser.press('Enter')
            _, asked = self.question()
            self.assertEqual([message['content'] for message in asked['messages']], ['first', 'an answer', 'second'])
            self.run_script('document.getElementById("clear").click()')  # which ends the one that is being written
            self.browser.wait('document.getElementById("stop").hidden')
            self.browser.type('third')
            self.browser.press('Enter')
            held, asked = self.question()
            self.assertEqual([message['content'] for message in asked['messages']], ['third'])
            self.say(held, content='x')

    def test_an_adapter_is_chosen_by_its_chip_and_keeps_the_focus(self):
        self.ready()
        chip = 'document.querySelector("#tiers button[data-name=sql]")'
        self.run_script(f'window.old = {chip}; old.focus()')
        self.daemon.hydractl('adapter', 'load', 'sql', '--path', 'sql')  # another generation: the chips are drawn anew
        self.browser.wait(f'{chip} !== old')
        self.assertEqual(self.run_script('document.activeElement.dataset.name'), 'sql')
        self.browser.press('Enter')
        self.assertEqual(self.run_script('document.getElementById("adapter").value'), 'sql')
        self.assertEqual(self.run_script('document.activeElement.id'), 'prompt')

    def test_nothing_that_a_model_writes_is_html(self):
        hostile = '<img src=x onerror="document.title=1"><script>document.title=2</script>&amp;'
        with self.holding():
            self.browser.type(hostile)
            self.browser.press('Enter')
            self.say(self.question()[0], content=hostile, reasoning_content=hostile)
            self.assertEqual(self.last('answer.querySelector(".text").textContent'), hostile * 2)
            self.assertEqual(self.run_script('document.querySelectorAll("#log img, #log script").length'), 0)
            self.assertEqual(self.run_script('document.title'), 'hydrad')

    def test_a_refusal_is_told(self):
        self.ready()
        self.ask('x ' * 2000)  # more than the context
        self.assertIn('prompt', self.last('answer.querySelector(".error").textContent'))
        self.assertIn('400', self.browser.complaints.pop())  # the browser tells of it, too

    def test_figures_are_live(self):
        self.ready()
        self.ask('x')
        generated = self.api('hydrad/status')['generated_tokens']
        self.assertGreaterEqual(generated, 12)
        self.browser.wait(f'document.getElementById("totals").textContent.includes("{generated} tokens")')
        self.assertEqual(self.run_script('document.getElementById("running").textContent'), '0')
        self.assertEqual(self.run_script('document.getElementById("waiting").textContent'), '0')

    def test_dark_and_light(self):
        paper = 'getComputedStyle(document.body).backgroundColor'
        self.browser.prefer('light')
        light = self.run_script(paper)
        self.browser.prefer('dark')
        dark = self.run_script(paper)
        self.assertNotEqual(light, dark)
        self.browser.go(self.url)
        self.run_script('document.getElementById("theme").click()')
        self.assertEqual(self.run_script(paper), light)
        self.browser.go(self.url)
        self.assertEqual(self.run_script(paper), light, 'the choice is kept')

    def test_a_phone_shows_all_of_it(self):
        self.browser.size(360, 700, mobile=True)
        self.browser.go(self.url)
        self.ready()
        width = 'document.documentElement.scrollWidth'
        self.choose('adapter', '\n')
        self.assertLessEqual(self.run_script(width), 360)
        self.ask('SELECT', 'domains')
        self.assertLessEqual(self.run_script(width), 360)

    def test_every_field_has_a_name(self):
        self.ready()
        self.choose('adapter', '\n')
        self.ask('SELECT', 'domains')
        nameless = self.run_script('''[...document.querySelectorAll("button, input, select, textarea")].filter((field) =>
            !(field.labels?.length || field.getAttribute("aria-label") || field.textContent.trim())).map((field) => field.outerHTML)''')
        self.assertEqual(nameless, [])

    def test_which_token_wrote_what(self):
        align = lambda text, tokens: self.run_script(
            f'import("/page/tokens.js").then(({{ align, bytesOf }}) => align({json.dumps(text)}, {json.dumps(tokens)}.map(bytesOf)))')
        part = lambda text, token: {'text': text, 'token': token}
        self.assertEqual(align('ab', ['a', 'b']), [part('a', 0), part('b', 1)])
        self.assertEqual(align('aé!', ['a', 'bytes:\\xc3', 'bytes:\\xa9', '!']), [part('a', 0), part('é', 1), part('!', 3)])
        self.assertEqual(align('a b', [' a', ' b', '<|end|>']), [part('a', 0), part(' b', 1)])
        self.assertEqual(align('yes', ['<think>', 'yes']), [part('yes', 1)])
        self.assertEqual(align('a\ufffd', ['a', 'bytes:\\xc3']), [part('a', 0), part('\ufffd', -1)])
        self.assertEqual(align('', ['x']), [])


class PlainModelPageTest(PageCase):
    template = False

    def test_without_a_chat_template_texts_go_on(self):
        self.ready()
        self.assertEqual(self.run_script('document.getElementById("mode").value'), 'text')
        self.assertTrue(self.run_script('document.getElementById("mode").options[0].disabled'))
        self.assertEqual(self.ask('Once upon'), self.api('v1/completions', prompt='Once upon')['choices'][0]['text'])


class TenantsPageTest(PageCase):
    tenants = TENANTS

    def tearDown(self):  # the browser tells of each refusal
        self.browser.complaints[:] = [each for each in self.browser.complaints if '401' not in each]
        super().tearDown()

    def give(self, key):
        self.browser.wait('document.getElementById("ask-key").open')
        self.run_script('document.getElementById("key-text").focus()')
        self.browser.type(key)
        self.browser.press('Enter')

    def test_a_key_is_asked_for(self):
        self.browser.wait('document.getElementById("ask-key").open')
        self.assertEqual(self.run_script('document.querySelectorAll("#adapter option").length'), 0)
        self.give('wrong')
        self.browser.wait('document.getElementById("key-why").textContent.includes("not known")')
        self.give('key-acme')
        self.ready()
        options = self.run_script('[...document.querySelectorAll("#adapter option")].map((option) => option.value)')
        self.assertEqual(options, ['tiny', 'sql', '\n'], 'what the tenant may use')
        self.browser.wait('document.getElementById("totals").textContent.includes("tenant acme")')
        self.assertNotEqual(self.ask('SELECT', 'sql'), '')
        self.assertEqual(self.run_script('JSON.stringify([sessionStorage, localStorage])'), '[{"hydrad-key":"key-acme"},{}]')
        # What another tenant does is not told.
        before = self.api('hydrad/status', 'key-acme')
        self.api('v1/completions', 'key-globex', model='sql', prompt='x')
        self.assertEqual(self.api('hydrad/status', 'key-acme'), before)
        self.assertEqual(self.api('hydrad/status', 'key-globex')['requests']['ended'], 1)
        self.browser.go(self.url)
        self.ready()  # the tab still knows it
        self.assertFalse(self.run_script('document.getElementById("ask-key").open'))


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--bin', type=pathlib.Path, required=True)
    parser.add_argument('--chromium', required=True)
    OPTIONS, rest = parser.parse_known_args()
    faulthandler.dump_traceback_later(240, exit=True)  # what it waits for in vain, before ctest ends it
    unittest.main(argv=[sys.argv[0], *rest])
