#!/usr/bin/env python3
"""The official client of OpenAI's API, as people have it, against a running daemon with the bundled model.

    openai_client_test.py --bin build/bin
"""
import argparse
import asyncio
import hashlib
import pathlib
import sys
import tempfile
import time
import unittest

import openai

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / 'tests' / 'bench'))
from daemon import Daemon  # noqa: E402

OPTIONS = argparse.Namespace(bin=None)
GREEDY = {'temperature': 0, 'max_tokens': 8, 'extra_body': {'ignore_eos': True}}
TENANTS = '''{"tenants": [
  {"name": "acme", "key_sha256": ["%s"], "adapters": ["shakespeare"]},
  {"name": "slow", "key_sha256": ["%s"], "requests_per_second": 0.001}]}'''


def sha256(text):
    return hashlib.sha256(text.encode()).hexdigest()


class Served(unittest.TestCase):
    """One daemon for all tests of a class, with one adapter and two tenants."""

    @classmethod
    def setUpClass(cls):
        cls.work = tempfile.TemporaryDirectory(prefix='hydrad-openai-')
        work = pathlib.Path(cls.work.name)
        (work / 'tenants.json').write_text(TENANTS % (sha256('key-acme'), sha256('key-slow')))
        cls.log = open(work / 'hydrad.log', 'w+')
        adapters = ROOT / 'deploy' / 'adapters' / 'tiny'
        cls.daemon = Daemon(OPTIONS.bin, ROOT / 'deploy' / 'models' / 'tiny', adapters, cls.log, '--threads', '1',
                            '--adapter', 'shakespeare=shakespeare', '--tenants', work / 'tenants.json',
                            '--log-level', 'debug')
        cls.client = cls.as_tenant('key-acme')

    @classmethod
    def tearDownClass(cls):
        cls.client.close()
        code = cls.daemon.stop()
        cls.log.close()
        cls.work.cleanup()
        assert code == 0, code

    @classmethod
    def as_tenant(cls, key, **options):
        return openai.OpenAI(base_url=f'http://{cls.daemon.http}/v1', api_key=key, max_retries=0, timeout=60, **options)


class CompletionsTest(Served):
    def test_models(self):
        names = {model.id: model for model in self.client.models.list()}
        self.assertEqual(set(names), {'tiny', 'shakespeare'})
        self.assertEqual(names['shakespeare'].parent, 'tiny')
        self.assertEqual(self.client.models.retrieve('shakespeare').owned_by, 'hydrad')

    def test_a_completion_and_its_stream_say_the_same(self):
        whole = self.client.completions.create(model='tiny', prompt='Once upon a time', **GREEDY)
        self.assertEqual(whole.usage.completion_tokens, 8)
        self.assertEqual(whole.choices[0].finish_reason, 'length')
        stream = self.client.completions.create(model='tiny', prompt='Once upon a time', stream=True,
                                                stream_options={'include_usage': True}, **GREEDY)
        events = list(stream)
        self.assertEqual(''.join(e.choices[0].text for e in events if e.choices), whole.choices[0].text)
        self.assertEqual(events[-1].usage.total_tokens, whole.usage.total_tokens)

    def test_an_adapter_answers_otherwise_than_the_base(self):
        ask = lambda model: self.client.completions.create(model=model, prompt='Once upon', **GREEDY).choices[0].text
        self.assertNotEqual(ask('shakespeare'), ask('tiny'))
        self.assertEqual(ask('shakespeare'), ask('shakespeare'))

    def test_prompts_choices_and_log_probabilities(self):
        answer = self.client.completions.create(model='tiny', prompt=['a', 'b'], n=2, logprobs=2, echo=True, seed=7,
                                                max_tokens=3)
        self.assertEqual([choice.index for choice in answer.choices], [0, 1, 2, 3])
        for choice in answer.choices:
            self.assertTrue(choice.text.startswith('aabb'[choice.index]))
            self.assertIsNone(choice.logprobs.token_logprobs[0])
            self.assertEqual(len(choice.logprobs.tokens), len(choice.logprobs.text_offset))
            self.assertTrue(all(p <= 0 for p in choice.logprobs.token_logprobs[1:]))

    def test_ids_are_prompts_too(self):
        ids = self.client.post('../tokenize', body={'prompt': 'Once upon'}, cast_to=object)['tokens']
        by_ids = self.client.completions.create(model='tiny', prompt=ids, **GREEDY)
        by_text = self.client.completions.create(model='tiny', prompt='Once upon', **GREEDY)
        self.assertEqual(by_ids.choices[0].text, by_text.choices[0].text)

    def test_what_only_hydrad_has(self):
        answer = self.client.completions.create(
            model='tiny', prompt='Once', max_tokens=2,
            extra_body={'hydrad': {'adapters': [{'name': 'shakespeare', 'weight': 0.5}]}})
        self.assertEqual(answer.hydrad['adapters'][0]['weight'], 0.5)

    def test_several_at_once_from_the_asynchronous_client(self):
        async def ask():
            async with openai.AsyncOpenAI(base_url=f'http://{self.daemon.http}/v1', api_key='key-acme',
                                          timeout=60) as client:
                async def stream():
                    events = await client.completions.create(model='tiny', prompt='Once', stream=True, **GREEDY)
                    return ''.join([event.choices[0].text async for event in events])
                return await asyncio.gather(*(stream() for _ in range(16)))
        self.assertEqual(len(set(asyncio.run(ask()))), 1, 'what a request gets depends on nobody else')

    def test_a_stream_that_is_left_is_no_error(self):
        with self.client.completions.create(model='tiny', prompt='Once', max_tokens=400, stream=True,
                                            extra_body={'ignore_eos': True}) as stream:
            next(iter(stream))
        self.client.completions.create(model='tiny', prompt='Once', max_tokens=1)

    def test_refusals_are_the_clients_own_errors(self):
        ask = lambda client=self.client, **body: client.completions.create(**{'model': 'tiny', 'prompt': 'x', **body})
        with self.assertRaises(openai.AuthenticationError) as error:
            ask(client=self.as_tenant('wrong'))
        self.assertEqual(error.exception.code, 'invalid_api_key')
        with self.assertRaises(openai.PermissionDeniedError):
            ask(model='another')
        with self.assertRaises(openai.BadRequestError) as error:
            ask(top_p=2)
        self.assertEqual(error.exception.param, 'top_p')
        with self.assertRaises(openai.BadRequestError) as error:
            ask(extra_body={'no_such_field': 1})
        self.assertEqual(error.exception.param, 'no_such_field')
        slow = self.as_tenant('key-slow')
        slow.models.list()
        with self.assertRaises(openai.RateLimitError) as error:
            slow.models.list()
        self.assertGreater(int(error.exception.response.headers['retry-after']), 0)

    def test_a_request_is_found_in_the_log_by_its_name(self):
        answer = self.client.completions.with_raw_response.create(
            model='tiny', prompt='x', max_tokens=1, extra_headers={'x-request-id': 'find-me-7'})
        self.assertEqual(answer.headers['x-request-id'], 'find-me-7')
        while 'find-me-7' not in pathlib.Path(self.log.name).read_text():  # a thread writes it, sooner or later
            time.sleep(0.01)
            self.log.flush()


class ChatTest(Served):
    def ask(self, **options):
        return self.client.chat.completions.create(**{
            'model': 'tiny', 'messages': [{'role': 'user', 'content': 'What is gravity?'}], **options})

    def test_a_model_without_a_chat_template_says_so(self):
        for stream in (False, True):
            with self.assertRaises(openai.BadRequestError) as error:
                self.ask(stream=stream)
            self.assertEqual(error.exception.code, 'no_chat_template')

    def test_refusals_name_the_field(self):
        image = [{'role': 'user', 'content': [{'type': 'image_url', 'image_url': {'url': 'http://x/y.png'}}]}]
        for options, param in (({'messages': image}, 'messages[0].content[0]'), ({'messages': []}, 'messages'),
                               ({'tool_choice': 'required'}, 'tool_choice'), ({'top_p': 7}, 'top_p'),
                               ({'reasoning_effort': 'low'}, 'reasoning_effort')):
            with self.assertRaises(openai.BadRequestError) as error:
                self.ask(**options)
            self.assertEqual(error.exception.param, param)


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--bin', type=pathlib.Path, required=True)
    OPTIONS, rest = parser.parse_known_args()
    unittest.main(argv=[sys.argv[0], *rest])
