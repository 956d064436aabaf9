"""Grammars of arguments: every sentence ends, and says what the schema says."""

import json
import re

import pytest

from aigrid.engines.openvino_schema import bounded


def test_what_has_no_limit_gets_one_from_the_tokens_and_a_stated_limit_stays():
    numbers = {"type": "array", "items": {"type": "number"}}
    schema = {"type": "object", "properties": {"free": numbers, "set": {**numbers, "minItems": 2, "maxItems": 7}}}
    limits = []
    for tokens in (256, 4096):
        grammar = bounded(schema, tokens)
        assert grammar is not None
        stated, free = (int(most) for most in re.findall(r"\){\d,(\d+)\}", grammar))
        assert stated == 6
        limits.append(free)
    assert 8 < limits[0] < 32 < 128 < limits[1] < 512


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "string", "pattern": "a+"},
        {"type": "string", "maxLength": 7},
        {"type": "integer", "minimum": 3},
        {"$ref": "#/$defs/x"},
        {"type": "object", "properties": {"a": {}}, "additionalProperties": True},
        {"type": "object", "properties": {"a": {}}, "required": ["b"]},
        {"type": "object", "properties": {"a": {"type": "array", "uniqueItems": True}}},
        {"allOf": [{"type": "string"}]},
    ],
)
def test_what_it_cannot_say_is_left_to_the_other_reading(schema):
    assert bounded(schema, 256) is None


def test_the_order_of_properties_and_the_commas_are_right_for_every_subset():
    schema = {
        "type": "object",
        "properties": {name: {"const": name} for name in "abcd"},
        "required": ["b"],
    }
    made = sentences(bounded(schema, 256))
    wanted = {
        json.dumps({name: name for name in "abcd" if name in chosen})
        for chosen in ({*"b", *(n for at, n in enumerate("acd") if bits >> at & 1)} for bits in range(8))
    }
    assert made == wanted


def sentences(grammar: str) -> set[str]:
    """Return all sentences of a grammar of terminals, references and alternatives."""
    rules = dict(line.split(" ::= ", 1) for line in grammar.splitlines() if " ::= " in line)

    def of(name: str) -> set[str]:
        found = set()
        for choice in re.split(r' \| (?=(?:[^"]|"(?:\\.|[^"\\])*")*$)', rules[name]):
            ends = {""}
            for part in re.findall(r'"(?:\\.|[^"\\])*"|\w+', choice):
                grown = {json.loads(part)} if part.startswith('"') else of(part)
                ends = {left + right for left in ends for right in grown}
            found |= ends
        return found

    return of("root")
