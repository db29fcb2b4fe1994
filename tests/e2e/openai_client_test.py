#!/usr/bin/env python3
"""The official client of OpenAI's API, as people have it, against a running daemon with the bundled model. All that it
sends and gets is held against the API's definitions (openai_api.yaml).

    openai_client_test.py --bin build/bin
"""
import argparse
import asyncio
import hashlib
import json
import math
import pathlib
import re
import sys
import tempfile
import time
import typing
import unittest

import httpx
import openai
import openai_api
import pydantic

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


# What the bundled model has none of.
TEMPLATE = """{% for m in messages %}{{ m.role }}: {{ m.content }}
{% endfor %}{% for t in tools or [] %}{{ t.function.name }}
{% endfor %}{% if add_generation_prompt %}{{ 'assistant' if think is not defined else think }}:{% endif %}"""


class Served(unittest.TestCase):
    """One daemon for all tests of a class, with one adapter, two tenants and a chat template."""

    @classmethod
    def setUpClass(cls):
        cls.work = tempfile.TemporaryDirectory(prefix='hydrad-openai-')
        work = pathlib.Path(cls.work.name)
        (work / 'tenants.json').write_text(TENANTS % (sha256('key-acme'), sha256('key-slow')))
        cls.log = open(work / 'hydrad.log', 'w+')
        adapters = ROOT / 'deploy' / 'adapters' / 'tiny'
        model = work / 'tiny'
        model.mkdir()
        for file in (ROOT / 'deploy' / 'models' / 'tiny').iterdir():
            (model / file.name).symlink_to(file)
        (model / 'chat_template.jinja').unlink(missing_ok=True)
        (model / 'chat_template.jinja').write_text(TEMPLATE)
        cls.daemon = Daemon(OPTIONS.bin, model, adapters, cls.log, '--threads', '1',
                            '--adapter', 'shakespeare=shakespeare', '--tenants', work / 'tenants.json',
                            '--log-level', 'debug')
        cls.client = cls.as_tenant('key-acme')

    @classmethod
    def tearDownClass(cls):
        code = cls.daemon.stop()
        cls.log.close()
        cls.work.cleanup()
        assert code == 0, code

    @classmethod
    def as_tenant(cls, key, **options):
        client = openai.OpenAI(base_url=f'http://{cls.daemon.http}/v1', api_key=key, max_retries=0, timeout=60,
                               http_client=httpx.Client(transport=openai_api.Checked()), **options)
        cls.addClassCleanup(client.close)
        return client


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
        for prompt in ('a ' * 600, [1] * 600):
            with self.assertRaises(openai.BadRequestError) as error:
                ask(prompt=prompt)
            self.assertEqual((error.exception.code, error.exception.param), ('context_length_exceeded', 'prompt'))
        with self.assertRaises(openai.BadRequestError) as error:
            ask(logit_bias={'no id': 1})
        self.assertIn("'no id'", str(error.exception))
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
    MESSAGES = [{'role': 'system', 'content': 'Be brief.'}, {'role': 'user', 'content': 'What is gravity?'}]
    PROMPT = 'system: Be brief.\nuser: What is gravity?\nassistant:'

    def ask(self, **options):
        return self.client.chat.completions.create(**{
            'model': 'tiny', 'messages': self.MESSAGES, 'temperature': 0, 'max_completion_tokens': 8,
            'extra_body': {'ignore_eos': True}, **options})

    def test_a_chat_is_the_completion_of_what_the_template_writes(self):
        chat = self.ask()
        completion = self.client.completions.create(model='tiny', prompt=self.PROMPT, **GREEDY)
        self.assertEqual(chat.choices[0].message.content, completion.choices[0].text)
        self.assertEqual(chat.choices[0].message.role, 'assistant')
        self.assertEqual(chat.choices[0].finish_reason, 'length')
        self.assertEqual(chat.usage.prompt_tokens, completion.usage.prompt_tokens)

    def test_a_stream_says_the_same_and_who_speaks_first(self):
        whole = self.ask().choices[0].message.content
        events = list(self.ask(stream=True, stream_options={'include_usage': True}))
        self.assertEqual(events[0].choices[0].delta.role, 'assistant')
        deltas = [e.choices[0].delta.content or '' for e in events if e.choices]
        self.assertEqual(''.join(deltas), whole)
        self.assertEqual(events[-1].usage.completion_tokens, 8)
        self.assertEqual([e.choices[0].finish_reason for e in events if e.choices][-1], 'length')

    def test_the_clients_own_accumulator_takes_the_stream(self):
        with self.client.chat.completions.stream(model='tiny', messages=self.MESSAGES, temperature=0,
                                                 max_completion_tokens=8) as stream:
            events = list(stream)
            snapshot = stream.current_completion_snapshot
        self.assertEqual(snapshot.choices[0].message.content, self.ask(extra_body={}).choices[0].message.content)
        self.assertTrue(any(event.type == 'content.delta' for event in events))

    def test_an_adapter_chats_otherwise(self):
        self.assertNotEqual(self.ask(model='shakespeare').choices[0].message.content,
                            self.ask().choices[0].message.content)

    def test_log_probabilities(self):
        content = self.ask(logprobs=True, top_logprobs=2).choices[0].logprobs.content
        self.assertEqual(len(content), 8)
        for token in content:
            self.assertEqual(len(token.top_logprobs), 2)
            self.assertLessEqual(token.logprob, 0)
            self.assertEqual(token.token, bytes(token.bytes).decode(errors='replace')
                             if not token.token.startswith('bytes:') else token.token)

    def test_tools_and_arguments_reach_the_template(self):
        tool = {'type': 'function', 'function': {'name': 'weather', 'parameters': {'type': 'object', 'properties': {}}}}
        plain = self.ask().usage.prompt_tokens
        self.assertGreater(self.ask(tools=[tool]).usage.prompt_tokens, plain)
        self.assertEqual(self.ask(tools=[tool], tool_choice='none').usage.prompt_tokens, plain)
        other = self.ask(extra_body={'chat_template_kwargs': {'think': 'a longer word than that'}})
        self.assertNotEqual(other.usage.prompt_tokens, plain)

    def test_refusals_name_the_field(self):
        image = [{'role': 'user', 'content': [{'type': 'image_url', 'image_url': {'url': 'http://x/y.png'}}]}]
        for options, param in (({'messages': image}, 'messages[0].content[0]'), ({'messages': []}, 'messages'),
                               ({'tool_choice': 'required'}, 'tool_choice'), ({'top_p': 7}, 'top_p'),
                               ({'reasoning_effort': 'low'}, 'reasoning_effort')):
            with self.assertRaises(openai.BadRequestError) as error:
                self.ask(**options)
            self.assertEqual(error.exception.param, param)


class ScoreTest(Served):
    LABELS = [' no', ' not at all, my dear friend', ' yes']
    PROMPT = 'Is it so? The answer is'

    def score(self, **body):
        return self.client.post('/score', body={'model': 'tiny', 'labels': self.LABELS, **body}, cast_to=object)

    def logprobs(self, model, prompt, label):
        """Of the label's tokens, as a completion tells them that repeats its prompt."""
        tokenize = lambda text: self.client.post('../tokenize', body={'prompt': text}, cast_to=object)['tokens']
        whole, before = tokenize(prompt + label), tokenize(prompt)
        self.assertEqual(whole[:len(before)], before)
        answer = self.client.completions.create(model=model, prompt=whole, max_tokens=1, echo=True, logprobs=0)
        return answer.choices[0].logprobs.token_logprobs[len(before):len(whole)]

    def test_a_label_scores_as_its_text_would(self):
        for model in ('tiny', 'shakespeare'):
            choices = self.score(model=model, prompt=self.PROMPT)['choices']
            self.assertEqual({c['index']: c['label'] for c in choices}, dict(enumerate(self.LABELS)))
            for choice in choices:
                self.assertEqual(choice['token_logprobs'], self.logprobs(model, self.PROMPT, choice['label']))
                self.assertAlmostEqual(choice['logprob'], sum(choice['token_logprobs']), 4)
                self.assertAlmostEqual(choice['mean_logprob'], choice['logprob'] / len(choice['token_logprobs']), 4)
            self.assertEqual(choices, sorted(choices, key=lambda c: -c['logprob']))
            self.assertAlmostEqual(sum(c['probability'] for c in choices), 1)
            ratio = choices[0]['probability'] / choices[1]['probability']
            self.assertAlmostEqual(math.log(ratio), choices[0]['logprob'] - choices[1]['logprob'], 3)

    def test_a_label_scores_the_same_whatever_is_beside_it(self):
        of = lambda answer: {c['label']: c['logprob'] for c in answer['choices']}
        together = of(self.score(prompt=self.PROMPT))
        for label in self.LABELS:
            self.assertEqual(of(self.score(prompt=self.PROMPT, labels=[label])), {label: together[label]})
        many = of(self.score(prompt=self.PROMPT, labels=self.LABELS + [f' {i}' for i in range(61)]))
        self.assertEqual({label: many[label] for label in self.LABELS}, together)

    def test_ids_and_conversations(self):
        ids = self.client.post('../tokenize', body={'prompt': self.PROMPT}, cast_to=object)['tokens']
        scores = self.score(prompt=self.PROMPT)['choices']
        self.assertEqual(self.score(prompt=ids)['choices'], scores)
        chat = self.score(messages=ChatTest.MESSAGES)
        self.assertEqual(chat['choices'], self.score(prompt=ChatTest.PROMPT)['choices'])
        self.assertNotEqual(chat['choices'], scores)

    def test_what_only_hydrad_has(self):
        answer = self.score(prompt=self.PROMPT, hydrad={'adapters': [{'name': 'shakespeare', 'weight': 0}]})
        self.assertEqual(answer['hydrad']['adapters'][0]['name'], 'shakespeare')
        self.assertEqual(answer['choices'], self.score(prompt=self.PROMPT)['choices'])

    def test_refusals_name_the_field(self):
        for body, param in (({'labels': None}, 'labels'), ({'labels': []}, 'labels'), ({'labels': 'yes'}, 'labels'),
                            ({'labels': ['a', 'a']}, 'labels[1]'), ({'labels': ['a', '']}, 'labels[1]'),
                            ({'labels': [str(i) for i in range(65)]}, 'labels'), ({'prompt': ['a', 'b']}, 'prompt'),
                            ({'prompt': ' a' * 511, 'labels': ['b', ' c d']}, 'labels[1]'),
                            ({'messages': []}, 'prompt'), ({'max_tokens': 3}, 'max_tokens'), ({'query': 'x'}, 'query')):
            with self.subTest(body=body), self.assertRaises(openai.BadRequestError) as error:
                self.score(**{'prompt': self.PROMPT, **body})
            self.assertEqual(error.exception.param, param, body)


class DefinitionsTest(Served):
    """That what the other tests rely on would see a difference."""

    def test_they_are_definitions(self):
        for name, schema in openai_api.API['components']['schemas'].items():
            with self.subTest(name):
                openai_api.jsonschema.Draft202012Validator.check_schema(schema)

    def test_a_field_more_anywhere_in_an_answer_is_seen(self):
        chat = self.client.chat.completions.create(model='tiny', messages=[{'role': 'user', 'content': 'x'}], n=2,
                                                   logprobs=True, top_logprobs=1, max_completion_tokens=2)
        completion = self.client.completions.create(model='tiny', prompt='x', logprobs=1, max_tokens=2)
        for name, answer in (('Chat', chat), ('Completion', completion), ('Models', self.client.models.list())):
            schema = {'$ref': f'#/components/schemas/{name}'}
            json_answer = json.loads(answer.to_json(exclude_unset=True))
            self.assertIsNone(openai_api.complaint(schema, json_answer))
            objects = list(self.objects_of(json_answer))
            self.assertGreater(len(objects), 2)
            for each in objects:
                each['surplus'] = 'x'
                self.assertIsNotNone(openai_api.complaint(schema, json_answer), each)
                del each['surplus']

    def objects_of(self, value):
        if isinstance(value, dict):
            yield value
        for key, each in value.items() if isinstance(value, dict) else enumerate(value):
            if isinstance(each, (dict, list)) and key != 'hydrad':  # which is no business of OpenAI's
                yield from self.objects_of(each)

    def test_requests_that_the_api_does_not_have_are_refused(self):
        user = {'role': 'user', 'content': 'x'}
        for path, body in (('completions', {'prompt': {}}), ('completions', {}), ('completions', {'prompt': 'x', 'n': 0}),
                           ('completions', {'prompt': 'x', 'logit_bias': {'a': 1}}),
                           ('completions', {'prompt': 'x', 'top_p': 1.5}),
                           ('completions', {'prompt': 'x', 'stop': 3}),
                           ('chat/completions', {'messages': []}), ('chat/completions', {'messages': [{'content': 'x'}]}),
                           ('chat/completions', {'messages': [{'role': 'user'}]}),
                           ('chat/completions', {'messages': [user], 'tools': [{'type': 'function'}]}),
                           ('chat/completions', {'messages': [user], 'tools': [{'function': {'name': 'f'}}]}),
                           ('chat/completions', {'messages': [user], 'stream': 'yes'}),
                           ('chat/completions', {'messages': [user], 'response_format': {'type': 'json_schema'}})):
            name = {'completions': 'CompletionRequest', 'chat/completions': 'ChatRequest'}[path]
            body = {'model': 'tiny', **body}
            self.assertIsNotNone(openai_api.complaint({'$ref': f'#/components/schemas/{name}'}, body), body)
            with self.subTest(body=body), self.assertRaises(openai.BadRequestError):
                self.client.post(path, body=body, cast_to=object)


class Person(pydantic.BaseModel):
    name: typing.Annotated[str, pydantic.Field(max_length=6)]
    age: typing.Annotated[int, pydantic.Field(ge=0, le=130)]
    tags: typing.Annotated[list[typing.Literal['a', 'bc']], pydantic.Field(max_length=2)]


class StructuredOutputTest(Served):
    MESSAGES = [{'role': 'user', 'content': 'Who was Ada Lovelace?'}]
    SCHEMA = {'type': 'json_schema', 'json_schema': {'name': 'person', 'strict': True,
                                                     'schema': Person.model_json_schema()}}

    def ask(self, **options):
        return self.client.chat.completions.create(
            **{'model': 'tiny', 'messages': self.MESSAGES, 'seed': 5, 'max_completion_tokens': 120, **options})

    def test_the_client_parses_its_own_models(self):
        for model in ('tiny', 'shakespeare'):
            parsed = self.client.chat.completions.parse(model=model, messages=self.MESSAGES, response_format=Person,
                                                        seed=3, n=2, max_completion_tokens=300)
            for choice in parsed.choices:
                self.assertEqual(choice.finish_reason, 'stop')
                self.assertIsInstance(choice.message.parsed, Person)
                self.assertIsNone(choice.message.refusal)

    def test_a_stream_says_the_same(self):
        whole = self.ask(response_format=self.SCHEMA).choices[0].message.content
        Person.model_validate_json(whole)
        events = self.ask(response_format=self.SCHEMA, stream=True)
        self.assertEqual(''.join(e.choices[0].delta.content or '' for e in events), whole)
        with self.client.chat.completions.stream(model='tiny', messages=self.MESSAGES, response_format=Person, seed=5,
                                                 max_completion_tokens=120) as stream:
            final = stream.get_final_completion()
        self.assertEqual(final.choices[0].message.content, whole)
        self.assertEqual(final.choices[0].message.parsed, Person.model_validate_json(whole))

    def test_an_answer_that_is_cut_is_told_as_the_client_expects(self):
        with self.assertRaises(openai.LengthFinishReasonError):
            self.client.chat.completions.parse(model='tiny', messages=self.MESSAGES, response_format=Person,
                                               max_completion_tokens=3)

    def test_what_looks_like_markup_is_content(self):
        answer = self.ask(extra_body={'structured_outputs': {'choice': ['<think>x</think>y']}}).choices[0].message
        self.assertEqual(answer.content, '<think>x</think>y')
        self.assertFalse(hasattr(answer, 'reasoning_content'))

    def test_forms_by_every_name(self):
        grammar = 'root ::= "<" [a-z]{1,4} ">"'
        any_object = lambda text: isinstance(json.loads(text), dict)
        schema = {'type': 'object', 'properties': {'a': {'type': 'boolean'}}, 'required': ['a']}
        has_a = lambda text: isinstance(json.loads(text)['a'], bool)
        cases = [({'response_format': {'type': 'json_object'}}, any_object),
                 ({'structured_outputs': {'json_object': True}}, any_object)]
        for key, value, fits in (('json', schema, has_a), ('json', json.dumps(schema), has_a),
                                 ('regex', '[a-c]{2,5}-[0-9]', re.compile('[a-c]{2,5}-[0-9]').fullmatch),
                                 ('choice', ['yes', 'no', 'né "\\"'], ['yes', 'no', 'né "\\"'].__contains__),
                                 ('grammar', grammar, re.compile('<[a-z]{1,4}>').fullmatch)):
            cases += [({'structured_outputs': {key: value}}, fits), ({'guided_' + key: value}, fits)]
        for body, fits in cases:
            ended = 0
            for seed in range(6):
                options = {'model': 'tiny', 'seed': seed, 'max_tokens': 120, 'extra_body': body}
                completion = self.client.completions.create(prompt='Once upon a time', **options).choices[0]
                chat = self.client.chat.completions.create(messages=self.MESSAGES, **options).choices[0]
                for finish, text in ((completion.finish_reason, completion.text),
                                     (chat.finish_reason, chat.message.content)):
                    if finish == 'stop':
                        self.assertTrue(fits(text), (body, text))
                        ended += 1
            self.assertGreater(ended, 0, body)

    def test_a_list_of_prompts(self):
        answer = self.client.completions.create(model='tiny', prompt=['a', 'b'], n=2,
                                                extra_body={'guided_choice': ['yes', 'no']})
        self.assertEqual(len(answer.choices), 4)
        for choice in answer.choices:
            self.assertIn(choice.text, ('yes', 'no'))

    def test_what_cannot_be_compiled_is_refused_by_its_field(self):
        cases = [({'response_format': {'type': 'json_schema', 'json_schema': {'name': 'n', 'schema': {
                      'type': 'sting'}}}}, 'response_format'),
                 ({'response_format': {'type': 'xml'}}, 'response_format.type'),
                 ({'guided_regex': '('}, 'guided_regex'), ({'guided_regex': ''}, 'guided_regex'),
                 ({'guided_json': '{'}, 'guided_json'),
                 ({'structured_outputs': {'grammar': 'rot ::= "a"'}}, 'structured_outputs.grammar'),
                 ({'structured_outputs': {'choice': ['a', '']}}, 'structured_outputs.choice[1]')]
        for body, param in cases:
            for ask in (lambda **body: self.client.completions.create(prompt='x', **body),
                        lambda **body: self.client.chat.completions.create(messages=self.MESSAGES, **body)):
                with self.assertRaises(openai.BadRequestError) as error:
                    ask(model='tiny', extra_body=body)
                self.assertEqual((error.exception.param, error.exception.type),
                                 (param, 'invalid_request_error'), body)


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--bin', type=pathlib.Path, required=True)
    OPTIONS, rest = parser.parse_known_args()
    unittest.main(argv=[sys.argv[0], *rest])
