"""Whatever a call has written when its tokens run out, its shortest end makes it whole."""

import json
import re

import jsonschema_rs
import pytest

from aigrid.engines.base import GenerateRequest, Sampling
from aigrid.engines.openvino_rest import ending, may_end, rest

SCHEMA = {
    "type": "object",
    "properties": {
        "text": {"type": "string"},
        "note": {"type": "string"},
        "numbers": {"type": "array", "items": {"type": "number"}, "minItems": 2},
        "deep": {
            "type": "object",
            "properties": {"names": {"type": "array", "items": {"type": "string"}}, "kind": {"enum": ["a b", "c"]}},
            "required": ["kind"],
        },
        "free": {"type": "object"},
        "either": {"anyOf": [{"type": "boolean"}, {"type": "string"}]},
        "day": {"type": "string", "format": "date"},
    },
    "required": ["text", "numbers", "deep", "day"],
}
WHOLE = {
    "text": 'say "a\\b", é\n' * 3,
    "note": "so",
    "numbers": [0.5, 12, 3],
    "deep": {"names": ["x", "yy, ["], "kind": "a b"},
    "free": {"any": [{"x": "y"}, "z"]},
    "either": "well",
    "day": "2024-02-01",
}
SAMPLES = {"date": "2024-01-01", "string": '"s"', "integer": "7", "number": "1.5", "boolean": "true", "null": "null"}


def shortest(grammar: str) -> str:
    """Return one sentence of a grammar: the first choice of each, and the sample of each kind."""
    rules = dict(line.split(" ::= ", 1) for line in grammar.splitlines() if " ::= " in line)

    def of(name: str) -> str:
        first = re.split(r' \| (?=(?:[^"]|"(?:\\.|[^"\\])*")*$)', rules[name])[0]
        parts = re.findall(r'"(?:\\.|[^"\\])*"|\b[a-z]\w*', first)
        return "".join(json.loads(part) if part[0] == '"' else SAMPLES.get(part) or of(part) for part in parts)

    return of("root")


def test_every_beginning_that_may_end_becomes_a_whole_call():
    text = json.dumps(WHOLE, ensure_ascii=False)
    ended = 0
    for cut in range(1, len(text)):
        found = rest(SCHEMA, text[:cut]) if may_end(text[:cut]) else None
        if found is None:
            continue
        whole = text[:cut] + shortest(found[0])
        assert whole.endswith("}\n</tool_call>")
        arguments = json.loads(whole.removesuffix("}\n</tool_call>"))
        jsonschema_rs.validate(SCHEMA, arguments)
        ended += 1
    assert ended > len(text) // 3


@pytest.mark.parametrize(
    "text",
    ['{"a": "\\', '{"a": "\\u12', '{"a": "b", ', '{"a": ', '{"a": tr', "{"],
)
def test_between_values_and_within_escapes_is_no_place_to_end(text):
    assert not may_end(text)


@pytest.mark.parametrize(
    ("schema", "text"),
    [
        ({"type": "object", "properties": {"a": {"type": "string", "pattern": "b+c"}}}, '{"a": "bb'),
        ({"type": "object", "properties": {"a": {"type": "string", "minLength": 9}}}, '{"a": "bb'),
        (
            {"type": "object", "properties": {"a": {}, "b": {"type": "integer", "minimum": 3}}, "required": ["b"]},
            '{"a": "b',
        ),
        ({"type": "object", "properties": {"long": {"type": "string"}}}, '{"lo'),
    ],
)
def test_what_the_grammar_cannot_say_is_not_ended(schema, text):
    assert may_end(text)
    assert rest(schema, text) is None


def test_optional_properties_are_left_out_and_required_ones_need_room():
    schema = {"type": "object", "properties": {name: {"type": "string"} for name in "abc"}, "required": ["c"]}
    few, tokens = rest(schema, '{"a": "x')
    assert '\\"c\\"' in few
    assert '\\"b\\"' not in few
    schema["required"] = ["b", "c"]
    assert rest(schema, '{"a": "x')[1] > tokens


def test_a_call_ends_only_when_hardly_more_tokens_are_left_than_it_needs():
    tool = {"type": "function", "function": {"name": "f", "parameters": SCHEMA}}
    request = GenerateRequest(
        id="r", model="m", max_tokens=400, messages=[], sampling=Sampling(), tools=[tool], tool_choice="required"
    )
    text = '{"text": "la la la'
    needed = rest(SCHEMA, text)[1]
    assert ending(request, "f", text, needed + 1) is None
    assert ending(request, "f", text, needed) == rest(SCHEMA, text)[0]
    assert ending(request, "f", text + '"}', needed) is None
