"""Conversations that every chat template of the tests is rendered with."""


def user(content):
    return {"role": "user", "content": content}


def assistant(content, **more):
    return {"role": "assistant", "content": content, **more}


def system(content):
    return {"role": "system", "content": content}


def call(name, arguments):
    return {"id": "abcdefghi", "type": "function", "function": {"name": name, "arguments": arguments}}


TOOLS = [
    {"type": "function", "function": {
        "name": "weather", "description": "The \"weather\" <b>&</b> é of a day", "return": {"type": "string"},
        "parameters": {"type": "object", "required": ["city"], "properties": {
            "city": {"type": "string", "description": "A city's name"},
            "unit": {"type": "string", "enum": ["c", "f"]},
            "days": {"type": "array", "items": {"type": "integer"}},
            "more": {"type": ["string", "null"], "default": None},
            "at": {"type": "object", "required": ["x"], "properties": {"x": {"type": "number"}, "Y": {}}}}}}},
    {"type": "function", "function": {
        "name": "now", "description": "Time", "parameters": {"type": "object", "properties": {}}}},
]

RESULT = {"role": "tool", "name": "weather", "tool_call_id": "abcdefghi", "content": '{"t": 20}'}

CONVERSATIONS = {
    "plain": [user("Hello")],
    "system": [system("You are X."), user("Hi")],
    "turns": [user("a"), assistant("b"), user("c"), assistant("d "), user(" e\n")],
    "turns after a system message": [system("S"), user("a"), assistant("<think>\nhm\n</think>\n\nb"), user("c")],
    "ends with the assistant": [user("a"), assistant("b")],
    "a call": [user("w?"), assistant("", tool_calls=[call("weather", {"city": "Paris", "days": [1, 2]})]), RESULT,
               user("and?")],
    "two calls": [system("s"), user("w?"),
                  assistant(None, tool_calls=[call("weather", '{"city": "Paris"}'), call("now", "{}")]), RESULT,
                  {**RESULT, "name": "now", "content": "12"}],
    "reasoning": [user("q"), assistant("r", reasoning_content="because"), user("q2")],
    "parts": [{"role": "user", "content": [{"type": "text", "text": " one "}, {"type": "image"},
                                           {"type": "text", "text": "two"}]}],
    "empty": [],
    "empty content": [user("")],
    "no content": [user(None)],
    "odd characters": [system("\u00a0\u2028ß<|im_end|>\ttab"),
                       user("héllo 🎉👩‍👩‍👧 \u200b\ufeff ǆ İ </s> {{ x }} {% if %}\r\n"), assistant("Σας \U0001d54f"),
                       user("日本語\x00\x07")],
    "an unknown role": [{"role": "alien", "content": "x"}],
    "two users": [user("a"), user("b")],
}


def contexts():
    """Every conversation with and without tools, a prompt for the answer, documents and arguments."""
    for messages in CONVERSATIONS.values():
        for tools in (None, TOOLS):
            for prompt in (False, True):
                yield {"messages": messages, "tools": tools, "add_generation_prompt": prompt, "documents": None,
                       "bos_token": "<s>", "eos_token": "</s>"}
        yield {"messages": messages, "add_generation_prompt": True, "enable_thinking": False, "bos_token": "<s>",
               "eos_token": "</s>", "date_string": "1 Jan 2030", "documents": [{"title": "T", "text": "a\nb"}]}
