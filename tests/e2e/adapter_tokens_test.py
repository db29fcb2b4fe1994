#!/usr/bin/env python3
"""Adapters that bring tokens of their own, on the path of a user: loaded while the daemon serves, asked by text, ids and
messages over gRPC and HTTP, alone and beside others, and answered with the tokens that PEFT draws
(tests/golden/added_tokens.py).

    adapter_tokens_test.py --bin build/bin
"""
import argparse
import concurrent.futures
import importlib
import json
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest
import urllib.error
import urllib.request

import grpc
import numpy
import tokenizers

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / 'tests/bench'), str(ROOT / 'client/python')]
from daemon import Daemon  # noqa: E402
from hydrad_tools.safetensors_io import StoredTensor, read_safetensors, write_safetensors  # noqa: E402
import random_adapters as make  # noqa: E402

MODEL = ROOT / 'deploy/models/tiny'
ADAPTER = ROOT / 'tests/golden/adapters/tiny_added_tokens'
BINARIES = None
EMBEDDING, HEAD = 'base_model.model.model.embed_tokens', 'base_model.model.lm_head'
ROWS = f'{EMBEDDING}.token_adapter.trainable_tokens_delta'
BASE_TOKENS, TOOL, NOTE, DONE = 1024, 1024, 1025, 1026
# One rounding of float32 may move a logit by so much; a token may differ where the reference's lead is smaller.
BOUND = 1e-3


def copy_of(directory, tensors=None, config=None, tokenizer=None):
    """The golden adapter with other tensors, fields of its config, or tokenizer.json."""
    shutil.copytree(ADAPTER, directory)
    if tensors is not None:
        write_safetensors(directory / 'adapter_model.safetensors', tensors)
    path = directory / 'adapter_config.json'
    path.write_text(json.dumps(json.loads(path.read_text()) | (config or {})))
    if tokenizer is not None:
        (directory / 'tokenizer.json').write_text(json.dumps(tokenizer))


def enlarged(tensors):
    """The base's embedding with the adapter's rows behind it."""
    base = read_safetensors(MODEL / 'model.safetensors')['model.embed_tokens.weight']
    return StoredTensor('BF16', numpy.concatenate([base.data, tensors[ROWS].data]))


def write_adapters(root):
    """The same adapter in the forms in which PEFT saves it, one that adds nothing, and broken ones."""
    tensors = read_safetensors(ADAPTER / 'adapter_model.safetensors')
    plain = {name: tensor for name, tensor in tensors.items() if name != ROWS}
    tokenizer = json.loads((ADAPTER / 'tokenizer.json').read_text())
    matrix = enlarged(tensors)
    copy_of(root / 'added')
    untrained = StoredTensor('BF16', matrix.data.copy())
    untrained.data[BASE_TOKENS:] = matrix.data[:3]  # PEFT keeps what the rows were before they were trained
    copy_of(root / 'resized', tensors | {f'{EMBEDDING}.token_adapter.base_layer.weight': untrained,
                                         f'{HEAD}.token_adapter.base_layer.weight': untrained,
                                         f'{HEAD}.token_adapter.trainable_tokens_delta': tensors[ROWS]})
    copy_of(root / 'whole', plain | {f'{module}.{part}weight': untrained if 'original' in part else matrix
                                     for module in (EMBEDDING, HEAD)
                                     for part in ('', 'modules_to_save.', 'original_module.')},
            {'trainable_token_indices': None, 'modules_to_save': ['embed_tokens', 'lm_head']})
    shapes = [shape for shape in make.module_shapes(json.loads((MODEL / 'config.json').read_text()))
              if shape[0].endswith(('q_proj', 'v_proj'))]
    make.write_adapter(root / 'plain', shapes, 4, 1)

    copy_of(root / 'no_tokenizer')
    (root / 'no_tokenizer/tokenizer.json').unlink()
    renamed, unnamed = (json.loads(json.dumps(tokenizer)) for _ in range(2))
    renamed['added_tokens'][1]['content'] = '<|fin|>'
    copy_of(root / 'renamed', tokenizer=renamed)
    unnamed['added_tokens'].append(unnamed['added_tokens'][-1] | {'id': 1027, 'content': '<more>'})
    copy_of(root / 'no_row', tokenizer=unnamed)
    copy_of(root / 'gap', config={'trainable_token_indices': [1024, 1026, 1027]})
    (root / 'plain_tokenizer').mkdir()
    for file in (root / 'plain').iterdir():
        shutil.copy(file, root / 'plain_tokenizer')
    (root / 'plain_tokenizer/tokenizer.json').write_text(json.dumps(tokenizer))  # tokens that nobody has rows for


class AdapterTokens(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.place = pathlib.Path(tempfile.mkdtemp())
        cls.addClassCleanup(shutil.rmtree, cls.place)
        subprocess.run(['protoc', '-I', ROOT / 'proto', f'--python_out={cls.place}', 'hydrad/v1/inference.proto'], check=True)
        sys.path.insert(0, str(cls.place))
        cls.v1 = importlib.import_module('hydrad.v1.inference_pb2')
        cls.golden = json.loads((ROOT / 'tests/golden/added_tokens.json').read_text())['prompts']
        cls.tokenizer = tokenizers.Tokenizer.from_file(str(ADAPTER / 'tokenizer.json'))
        write_adapters(cls.place / 'root')
        cls.log = open(cls.place / 'log', 'w+')
        cls.addClassCleanup(cls.log.close)
        cls.start()
        cls.addClassCleanup(lambda: cls.daemon.stop())
        for name in ('added', 'resized', 'whole', 'plain', 'plain_tokenizer'):
            cls.daemon.hydractl('adapter', 'load', name, '--path', name)

    @classmethod
    def start(cls):
        cls.daemon = Daemon(BINARIES, MODEL, cls.place / 'root', cls.log, '--weights', 'f32', '--state-dir',
                            cls.place / 'state')
        channel = grpc.insecure_channel(cls.daemon.server)

        def unary(method, request, answer):
            return channel.unary_unary(f'/hydrad.v1.Inference/{method}', request.SerializeToString, answer.FromString)
        cls.generate = staticmethod(unary('GenerateUnary', cls.v1.GenerateRequest, cls.v1.GenerateResult))
        cls.chat = staticmethod(unary('ChatUnary', cls.v1.ChatRequest, cls.v1.GenerateResult))
        cls.tokenize = staticmethod(unary('Tokenize', cls.v1.TokenizeRequest, cls.v1.TokenizeResponse))
        cls.detokenize = staticmethod(unary('Detokenize', cls.v1.DetokenizeRequest, cls.v1.DetokenizeResponse))

    def request(self, adapter, text=None, ids=None, tokens=24, sampling=None, **stopping):
        prompt = {'token_ids': {'ids': ids}} if text is None else {'text': text, 'parse_special': True}
        return self.v1.GenerateRequest(
            **prompt, adapter=adapter, sampling={'temperature': 0} | (sampling or {}),
            stopping={'max_tokens': tokens, 'ignore_eos': True} | stopping,
            output={'token_ids': True, 'logprobs': 3, 'keep_special_tokens': True, 'prompt_logprobs': 0})

    def refused(self, code, call, request):
        with self.assertRaises(grpc.RpcError) as refused:
            call(request)
        self.assertEqual(refused.exception.code(), code)
        return refused.exception.details()

    def check_as_peft(self, adapter):
        for prompt in self.golden:
            greedy = prompt['greedy']
            answer = self.generate(self.request(adapter, prompt['text']))
            self.assertEqual([entry.token.token for entry in answer.start.prompt_logprobs], prompt['ids'][1:])
            choice = answer.choices[0]
            self.assertGreater(min(greedy['margins']), 2 * BOUND)
            self.assertEqual(list(choice.token_ids), greedy['ids'])
            self.assertEqual(choice.text, greedy['text_with_special'])
            for logprob, token, expected in zip(choice.logprobs, greedy['ids'], greedy['logprobs']):
                self.assertEqual(logprob.token.token, token)
                self.assertAlmostEqual(logprob.token.logprob, expected, delta=2 * BOUND)
                self.assertEqual(logprob.token.bytes.decode(errors='replace'),
                                 {TOOL: '<|tool|>', NOTE: '<note>', DONE: '<|done|>'}.get(token, logprob.token.bytes.decode(errors='replace')))

    def test_every_form_answers_as_peft(self):
        for adapter in ('added', 'resized', 'whole'):
            with self.subTest(adapter):
                self.check_as_peft(adapter)

    def test_ids_answer_as_text(self):
        prompt = self.golden[1]
        answer = self.generate(self.request('added', ids=prompt['ids']))
        self.assertEqual(list(answer.choices[0].token_ids), prompt['greedy']['ids'])

    def test_a_copy_of_the_bases_matrix_takes_no_memory_on_the_device(self):
        adapters = {adapter['name']: adapter for adapter in self.daemon.adapters()}
        self.assertEqual(adapters['whole']['device_bytes'], adapters['added']['device_bytes'])
        self.assertEqual({name: adapter.get('added_tokens', 0) for name, adapter in adapters.items()},
                         {'added': 3, 'resized': 3, 'whole': 3, 'plain': 0, 'plain_tokenizer': 0})

    def test_together_as_alone(self):
        text = 'Once upon a time there was <note>'
        requests = [self.request(adapter, prompt) for prompt in (text, *(golden['text'] for golden in self.golden))
                    for adapter in ('', 'plain', 'added', 'whole')]
        requests += [self.request(adapter, text, sampling={'temperature': 1.0, 'seed': 5}) for adapter in ('', 'added')]
        alone = [self.generate(request) for request in requests]
        with concurrent.futures.ThreadPoolExecutor(len(requests)) as pool:
            together = list(pool.map(self.generate, requests))
        for one, other in zip(alone, together):
            self.assertEqual(one.choices, other.choices)  # log-probabilities too, bit for bit
            self.assertEqual(one.start.prompt_logprobs, other.start.prompt_logprobs)

    def test_others_never_see_the_tokens(self):
        base = tokenizers.Tokenizer.from_file(str(MODEL / 'tokenizer.json'))
        text = self.golden[0]['text']
        for adapter in ('', 'plain', 'plain_tokenizer'):
            answer = self.generate(self.request(adapter, text, sampling={'temperature': 100.0, 'seed': 1}, tokens=64))
            self.assertEqual([entry.token.token for entry in answer.start.prompt_logprobs], base.encode(text).ids[1:])
            self.assertLess(max(answer.choices[0].token_ids), BASE_TOKENS)
            details = self.refused(grpc.StatusCode.INVALID_ARGUMENT, self.generate, self.request(adapter, ids=[NOTE]))
            self.assertIn('token_ids.ids[0] is 1025: the vocabulary has ids 0 to 1023', details)
        details = self.refused(grpc.StatusCode.INVALID_ARGUMENT, self.generate, self.request('added', ids=[1027]))
        self.assertIn('the vocabulary has ids 0 to 1026', details)

    def test_the_adapters_end_token_and_stop_strings(self):
        greedy = self.golden[0]['greedy']['ids']
        answer = self.generate(self.request('added', self.golden[0]['text'], ignore_eos=False))
        self.assertEqual(list(answer.choices[0].token_ids), greedy[:greedy.index(DONE) + 1])
        self.assertEqual(answer.choices[0].finish_reason, self.v1.FINISH_REASON_STOP)
        favoured = {'temperature': 0, 'logit_bias': {NOTE: 100}}
        answer = self.generate(self.request('added', 'x', sampling=favoured, stop=['te><n']))
        self.assertEqual((answer.choices[0].text, answer.choices[0].stop), ('<no', 'te><n'))
        self.assertEqual(list(self.generate(self.request('added', 'x', stop_token_ids=[NOTE], sampling=favoured))
                              .choices[0].token_ids), [NOTE])

    def test_tokenize(self):
        text, ids = self.golden[0]['text'], self.golden[0]['ids']
        tokens = self.tokenize(self.v1.TokenizeRequest(text=text, parse_special=True, adapter='added'))
        self.assertEqual(list(tokens.token_ids), ids)
        self.assertEqual(tokens.tokens[0], '<|tool|>')
        back = self.detokenize(self.v1.DetokenizeRequest(token_ids=ids, keep_special_tokens=True, adapter='added'))
        self.assertEqual(back.text, text)
        self.refused(grpc.StatusCode.INVALID_ARGUMENT, self.detokenize, self.v1.DetokenizeRequest(token_ids=ids))
        self.refused(grpc.StatusCode.NOT_FOUND, self.tokenize, self.v1.TokenizeRequest(text='x', adapter='nobody'))
        for odd in ('a\0b', '../a', ' '):  # told back to nobody who could choke on it
            self.refused(grpc.StatusCode.INVALID_ARGUMENT, self.tokenize, self.v1.TokenizeRequest(text='x', adapter=odd))
            self.refused(grpc.StatusCode.INVALID_ARGUMENT, self.detokenize,
                         self.v1.DetokenizeRequest(token_ids=[1], adapter=odd))
        shown = self.daemon.hydractl('tokenize', '--adapter', 'added', '--json', '<note>')
        self.assertEqual(json.loads(shown.stdout)['token_ids'], [NOTE])
        self.assertEqual(self.http('/tokenize', prompt='<note>', model='added')['tokens'], [NOTE])
        self.assertNotIn(NOTE, self.http('/tokenize', prompt='<note>', model='plain')['tokens'])
        self.assertEqual(self.http('/detokenize', tokens=[NOTE], model='added')['prompt'], '<note>')

    def http(self, path, **body):
        request = urllib.request.Request(f'http://{self.daemon.http}{path}', json.dumps(body).encode() if body else None,
                                         {'Content-Type': 'application/json'})
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)

    def test_over_http(self):
        prompt = self.golden[1]
        answer = self.http('/v1/completions', model='added', prompt=prompt['ids'], temperature=0, max_tokens=24, logprobs=1,
                           stop_token_ids=[])
        count = prompt['greedy']['ids'].index(DONE) + 1
        self.assertEqual(answer['choices'][0]['logprobs']['tokens'][-1], '<|done|>')
        self.assertEqual(len(answer['choices'][0]['logprobs']['tokens']), count)
        models = {model['id']: model.get('hydrad', {}) for model in self.http('/v1/models')['data']}
        self.assertEqual(models['added']['added_tokens'], 3)
        self.assertNotIn('added_tokens', models['plain'])

    def test_chat(self):
        answer = self.chat(self.v1.ChatRequest(
            messages=[{'role': 'user', 'content': 'a<note>b<|tool|>'}], adapter='added', sampling={'temperature': 0},
            stopping={'max_tokens': 4}, output={'prompt_logprobs': 0}))
        ids = [entry.token.token for entry in answer.start.prompt_logprobs]
        self.assertIn(NOTE, ids)  # an ordinary token
        self.assertNotIn(TOOL, ids)  # a control token, which users' text never becomes

    def test_what_is_refused_and_why(self):
        for name, why in {'no_tokenizer': 'tokenizer.json: is missing', 'renamed': "added_tokens: id 1 is '', where it must be '<|end|>'",
                          'no_row': 'token "<more>" has the id 1027', 'gap': 'token 1025 has no row'}.items():
            done = self.daemon.hydractl('adapter', 'load', name, '--path', name, check=False)
            self.assertNotEqual(done.returncode, 0, name)
            self.assertIn(why, done.stderr)
        warnings = json.loads(self.daemon.hydractl('adapter', 'get', 'plain_tokenizer', '--json').stdout)['warnings']
        self.assertIn('neither the base model nor the adapter has its row', ''.join(warnings))
        details = self.refused(grpc.StatusCode.INVALID_ARGUMENT, self.generate, self.v1.GenerateRequest(
            text='x', adapters=[{'name': 'added'}, {'name': 'plain'}]))
        self.assertIn("adapter 'added' scales or replaces what the base model gives", details)
        with self.assertRaises(urllib.error.HTTPError) as refused:
            self.http('/v1/score', model='added', prompt='x', labels=['<note>', 'y'])
        self.assertIn("adapter 'added' brings tokens of its own", json.load(refused.exception)['error']['message'])

    def test_yy_replaced_and_unloaded_while_it_serves(self):
        prompt = self.golden[0]
        for _ in range(3):
            self.daemon.hydractl('adapter', 'load', 'turns', '--path', 'plain')
            self.refused(grpc.StatusCode.INVALID_ARGUMENT, self.generate, self.request('turns', ids=prompt['ids']))
            self.daemon.hydractl('adapter', 'load', 'turns', '--path', 'added')
            answer = self.generate(self.request('turns', ids=prompt['ids']))
            self.assertEqual(list(answer.choices[0].token_ids), prompt['greedy']['ids'])
        self.daemon.hydractl('adapter', 'unload', 'turns')
        self.refused(grpc.StatusCode.INVALID_ARGUMENT, self.generate, self.request('turns', ids=prompt['ids']))

    def test_zz_tokens_survive_a_restart(self):
        cls = type(self)
        self.assertEqual(self.daemon.stop(), 0)
        (self.place / 'root/added/tokenizer.json').unlink()  # it was loaded with one
        cls.start()
        self.check_as_peft('added')
        self.test_the_adapters_end_token_and_stop_strings()


if __name__ == '__main__':
    parser = argparse.ArgumentParser()
    parser.add_argument('--bin', required=True, type=pathlib.Path)
    options, rest = parser.parse_known_args()
    BINARIES = options.bin
    unittest.main(argv=[sys.argv[0], *rest])
