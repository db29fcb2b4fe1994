"""A transport for the openai client that holds what goes in and out against openai_api.yaml."""
import json
import pathlib
import re

import httpx
import jsonschema
import yaml

API = yaml.safe_load(pathlib.Path(__file__).with_name('openai_api.yaml').read_text())


def resolved(node):
    while '$ref' in node:
        target = API
        for key in node['$ref'].removeprefix('#/').split('/'):
            target = target[key]
        node = target
    return node


def complaint(schema, value):
    """What is wrong with a value; None if nothing is."""
    validator = jsonschema.Draft202012Validator({**schema, 'components': API['components']})
    return jsonschema.exceptions.best_match(validator.iter_errors(value))


def operation(method, path):
    for template, methods in API['paths'].items():
        if method in methods and re.fullmatch(re.sub(r'\{\w+\}', '.+', template), path):
            return methods[method]
    return None  # not of OpenAI's API


ERROR = {'$ref': '#/components/schemas/Error'}


class Events(httpx.SyncByteStream):
    """The events of a stream, each looked at as it passes."""

    def __init__(self, stream, schema):
        self.stream, self.schema = stream, schema

    def __iter__(self):
        held = b''
        for piece in self.stream:
            *events, held = (held + piece).split(b'\n\n')
            for event in events:
                assert event.startswith(b'data: '), event
                if event == b'data: [DONE]':
                    continue
                wrong = complaint(self.schema, json.loads(event[6:]))
                assert wrong is None, (event, wrong)
            yield piece
        assert held == b'', held

    def close(self):
        self.stream.close()


class Checked(httpx.HTTPTransport):
    """Fails where an answer is not as the API says, or where a request that is not is answered all the same."""

    def handle_request(self, request):
        answer = super().handle_request(request)
        asked = operation(request.method.lower(), request.url.path)
        if asked is None:
            return answer
        if answer.status_code != 200:
            self.check(ERROR, answer)
            return answer
        if 'requestBody' in asked:
            body = json.loads(request.read())
            wrong = complaint(asked['requestBody']['content']['application/json']['schema'], body)
            assert wrong is None, (body, wrong)
        kind = answer.headers['content-type'].split(';')[0]
        schema = resolved(asked['responses']['200'])['content'][kind]['schema']
        if kind == 'text/event-stream':
            answer.stream = Events(answer.stream, schema)
        else:
            self.check(schema, answer)
        return answer

    @staticmethod
    def check(schema, answer):
        answer.read()
        wrong = complaint(schema, answer.json())
        assert wrong is None, (answer.text, wrong)
