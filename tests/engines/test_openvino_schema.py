"""Grammars of arguments: every sentence ends, and says what the schema says."""

import json
import re

import pytest

from aigrid.engines.openvino_schema import bounded


def test_what_has_no_limit_gets_one_from_the_tokens_and_a_stated_limit_stays():
    schema = {
        "type": "object",
        "properties": {"free": {"type": "string"}, "set": {"type": "string", "minLength": 2, "maxLength": 7}},
    }
    small, large = bounded(schema, 256), bounded(schema, 4096)
    assert small is not None
    assert large is not None
    limits = [int(re.search(r"character\{0,(\d+)\}", text)[1]) for text in (small, large)]
    assert 128 < limits[0] < 512 < 2048 < limits[1] <= 8192
    assert "character{2,7}" in small
    assert "character{2,7}" in large


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "string", "pattern": "a+"},
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
