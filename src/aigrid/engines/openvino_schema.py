"""A JSON schema as a grammar whose lists and numbers end: for arguments of tools, which must be whole.

A schema sets no end to a list or to the digits of a number, and a small model that begins to repeat itself goes on
until its tokens are used up: the call is then cut off, and no JSON. So what has no limit in the schema gets one here,
from the tokens that the request allows, shared out among its parts. White space is written in one way, properties
come in the order of the schema. Strings stay without a limit: counting their characters makes XGrammar many times
slower; one that does not end is ended by `openvino_rest`. What the grammar cannot say (`$ref`, patterns, ranges,
lengths) gives None: XGrammar's own reading serves then.
"""

import json
from collections.abc import Callable
from typing import Any

SAID = {"title", "description", "default", "examples", "deprecated", "$schema", "$comment"}
_KNOWN: dict[str, set[str]] = {
    "object": {"properties", "required", "additionalProperties"},
    "array": {"items", "minItems", "maxItems"},
    "string": {"format", "minLength", "maxLength"},
    "integer": set(),
    "number": set(),
    "boolean": set(),
    "null": set(),
}
_COST = {"string": 16, "integer": 4, "number": 8, "boolean": 2, "null": 2}
"""Tokens that a value of a kind needs to be worth having."""

_MOST_ITEMS, _FEWEST_ITEMS = 512, 4
_DEPTH = 4
_CHARACTER = r'([^"\\\x00-\x1f] | "\\" (["\\/bfnrt] | "u" [0-9a-fA-F] [0-9a-fA-F] [0-9a-fA-F] [0-9a-fA-F]))'
_SHORT_STRING = r'string ::= "\"" [^"\\\x00-\x1f]{0,24} "\""'
_STRING = rf'string ::= "\"" {_CHARACTER}* "\""'
_RULES = r"""
integer ::= "-"? ("0" | [1-9] [0-9]{0,17})
number ::= integer ("." [0-9]{1,17})? ([eE] [+-]? [0-9]{1,2})?
boolean ::= "true" | "false"
null ::= "null"
date ::= [0-9] [0-9] [0-9] [0-9] "-" ("0" [1-9] | "1" [0-2]) "-" ("0" [1-9] | "1" [0-9] | "2" [0-9] | "3" [0-1])
time ::= ([0-1] [0-9] | "2" [0-3]) ":" [0-5] [0-9] ":" [0-5] [0-9] "Z"
"""
_FORMATS = {"date": r'"\"" date "\""', "time": r'"\"" time "\""', "date-time": r'"\"" date "T" time "\""'}
_SHORT = 24


class Unsaid(Exception):
    """The schema says what this grammar cannot."""


def bounded(schema: dict[str, Any], tokens: int) -> str | None:
    """Return the grammar of a schema for about `tokens` tokens, with XGrammar's `root`, or None if it cannot be said.

    A limit that the schema itself states stays as it is.
    """
    writer = Writer()
    try:
        return writer.grammar(writer.value(schema, max(tokens, 64)))
    except Unsaid:
        return None


class Writer:
    """Collects rules; each method returns the name or the text of what it wrote.

    A short one writes only what must be there: required properties, the fewest items, strings of a few words.
    """

    def __init__(self, short: bool = False) -> None:
        self.rules: list[str] = []
        self._short = short

    def grammar(self, root: str) -> str:
        """Return the whole grammar, with this root."""
        return "\n".join([f"root ::= {root}", *self.rules, _SHORT_STRING if self._short else _STRING]) + _RULES

    def value(self, schema: Any, tokens: int) -> str:
        """Write the value of a schema for about `tokens` tokens; raises `Unsaid`."""
        if schema is True or schema == {}:
            return self._anything(tokens, _DEPTH)
        if not isinstance(schema, dict):
            raise Unsaid
        if "const" in schema or "enum" in schema:
            return self.one_of([literal(one) for one in schema.get("enum", [schema.get("const")])])
        for choice in ("anyOf", "oneOf"):
            if choice in schema and not set(schema) - SAID - {choice}:
                return self.one_of([self.value(one, tokens) for one in schema[choice]])
        kinds = schema.get("type")
        if isinstance(kinds, list):
            rest = {key: value for key, value in schema.items() if key != "type"}
            common = [{**_only(rest, kind), "type": kind} for kind in kinds]
            if set(rest) - SAID - set().union(*(_KNOWN.get(kind, set()) for kind in kinds)):
                raise Unsaid
            return self.one_of([self.value(one, tokens) for one in common])
        if kinds not in _KNOWN or set(schema) - SAID - {"type"} - _KNOWN[kinds]:
            raise Unsaid
        written: dict[str, Callable[[dict[str, Any], int], str]] = {
            "object": self._object,
            "array": self._array,
            "string": self._string,
        }
        return written[kinds](schema, tokens) if kinds in written else str(kinds)

    def _string(self, schema: dict[str, Any], tokens: int) -> str:
        fewest, most = schema.get("minLength", 0), schema.get("maxLength", _SHORT)
        if "format" in schema:
            if schema["format"] not in _FORMATS or len(set(schema) - SAID) > 2:
                raise Unsaid
            return _FORMATS[schema["format"]]
        if {"minLength", "maxLength"} & set(schema):
            if not self._short:
                raise Unsaid
            return rf'"\"" [^"\\\x00-\x1f]{{{fewest},{max(fewest, min(most, _SHORT))}}} "\""'
        return "string"

    def _array(self, schema: dict[str, Any], tokens: int) -> str:
        items = schema.get("items", True)
        fewest = schema.get("minItems", 0)
        room = min(_MOST_ITEMS, max(_FEWEST_ITEMS, tokens // _cost(items)))
        most = fewest if self._short else schema.get("maxItems", max(fewest, room))
        if most == 0:
            return r'"[]"'
        item = self.value(items, max(tokens // max(most, 1), 1))
        some = rf'"[" {item} (", " {item}){{{max(fewest - 1, 0)},{most - 1}}} "]"'
        return self._rule(some if fewest else rf'"[]" | {some}')

    def _object(self, schema: dict[str, Any], tokens: int) -> str:
        properties = schema.get("properties") or {}
        more = schema.get("additionalProperties")
        required = set(schema.get("required") or [])
        if not isinstance(properties, dict) or required - set(properties):
            raise Unsaid
        if not properties:
            return '"{}"' if more is False or self._short else self._members(more, tokens, _DEPTH)
        if more not in (None, False):
            raise Unsaid
        if self._short:
            properties = {name: inner for name, inner in properties.items() if name in required}
        share = self._shares(properties, tokens)
        # From the last property to the first: what may follow where something stands before it, and where nothing does.
        after, first = '"}"', '"}"'
        for name, inner in reversed(properties.items()):
            member = f"{literal(name)} {quoted(': ')} {self.value(inner, share[name])}"
            follows, begins = f'", " {member} {after}', f"{member} {after}"
            if name not in required:
                follows, begins = f"{follows} | {after}", f"{begins} | {first}"
            after, first = self._rule(follows), self._rule(begins)
        return self._rule(f'"{{" {first}')

    def _shares(self, properties: dict[str, Any], tokens: int) -> dict[str, int]:
        """Share tokens out: what has a set size takes that, the rest is for strings, lists and objects in equal parts."""
        names = sum(len(name) // 2 + 4 for name in properties)
        fixed = {name: _cost(inner) for name, inner in properties.items() if _sized(inner)}
        left = tokens - names - sum(fixed.values())
        open_ended = len(properties) - len(fixed)
        return {name: fixed.get(name) or max(left // max(open_ended, 1), 1) for name in properties}

    def _members(self, schema: Any, tokens: int, depth: int) -> str:
        most = min(_MOST_ITEMS, max(_FEWEST_ITEMS, tokens // 2 // _COST["string"]))
        share = tokens // most // 2
        key = "string"
        free = schema in (None, True)
        inner = self._anything(share, depth - 1) if free else self.value(schema, share)
        member = f"{key} {quoted(': ')} {inner}"
        return self._rule(rf'"{{}}" | "{{" {member} (", " {member}){{0,{most - 1}}} "}}"')

    def _anything(self, tokens: int, depth: int) -> str:
        plain = ["string", "number", "boolean", "null"]
        if depth <= 0 or self._short:
            return self.one_of(plain)
        most = min(_MOST_ITEMS, max(_FEWEST_ITEMS, tokens // _COST["string"]))
        item = self._anything(tokens // most, depth - 1)
        listed = self._rule(rf'"[]" | "[" {item} (", " {item}){{0,{most - 1}}} "]"')
        return self.one_of([*plain, listed, self._members(None, tokens, depth)])

    def one_of(self, choices: list[str]) -> str:
        """Write a choice; raises `Unsaid` where there is nothing to choose."""
        if not choices:
            raise Unsaid
        return self._rule(" | ".join(choices)) if len(choices) > 1 else choices[0]

    def _rule(self, body: str) -> str:
        self.rules.append(f"r{len(self.rules)} ::= {body}")
        return f"r{len(self.rules) - 1}"


def _only(schema: dict[str, Any], kind: str) -> dict[str, Any]:
    return {key: value for key, value in schema.items() if key in _KNOWN.get(kind, set())}


def _sized(schema: Any) -> bool:
    return isinstance(schema, dict) and ("enum" in schema or schema.get("type") in ("integer", "number", "boolean"))


def _cost(schema: Any) -> int:
    """Return the tokens that a value of a schema needs to be worth having."""
    if not isinstance(schema, dict) or not isinstance(kind := schema.get("type"), str):
        return _COST["string"]
    if "enum" in schema:
        return max((len(json.dumps(one)) for one in schema["enum"]), default=1)
    if kind == "object":
        inner = schema.get("properties") or {"any": {}}
        return 4 + sum(len(name) // 2 + 4 + _cost(value) for name, value in inner.items())
    if kind == "array":
        return 4 + _FEWEST_ITEMS * _cost(schema.get("items"))
    return _COST.get(kind, _COST["string"])


def literal(value: Any) -> str:
    """Return a JSON value as a terminal of the grammar."""
    return quoted(json.dumps(value, ensure_ascii=False))


def quoted(text: str) -> str:
    """Return a text as a terminal of the grammar."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
