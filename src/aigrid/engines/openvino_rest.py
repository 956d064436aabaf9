"""The shortest end of a call that is about to run out of tokens: what must still follow, and how many tokens it takes.

A string in a schema has no limit, and a small model that repeats itself in one goes on until its tokens are used up;
a list of long numbers may take more than was thought. The call would then be cut off, and no JSON. So when hardly more
tokens are left than the shortest end takes, string and list end there and the model writes only what is required. The cost falls on such calls alone: their sequence starts again
behind what it has written, which the prefix cache remembers, with the grammar of the end.
"""

import json
import re
from typing import Any

from aigrid.engines.base import GenerateRequest
from aigrid.engines.openvino_schema import SAID, Unsaid, Writer, literal, quoted
from aigrid.engines.openvino_text import CALL_END

_TOKENS = {"string": 24, "integer": 18, "number": 24, "boolean": 3, "null": 2}
"""Tokens that a short value may take."""
_CLOSING = 12
_STRING = re.compile(r'"(?:[^"\\]|\\.)*(?P<end>")?', re.DOTALL)
_HALF_ESCAPE = re.compile(r"(?<!\\)(\\\\)*\\u[0-9a-fA-F]{0,3}$")
_BLANK = re.compile(r"[\s,:]*")
_read = json.JSONDecoder(strict=False).raw_decode


def ending(request: GenerateRequest, name: str, text: str, left: int) -> str | None:
    """Return the grammar of the end of a call if it is time: `left` tokens are left for arguments that begin so.

    None while there is room, between values, and where the end cannot be said.
    """
    if left > max(request.max_tokens // 2, _CLOSING) or not may_end(text):
        return None
    found = rest(_schema(request, name), text)
    return found[0] if found and left <= found[1] else None


def _schema(request: GenerateRequest, name: str) -> Any:
    for tool in request.tools:
        function = tool.get("function", tool)
        if function.get("name") == name:
            loose = function.get("strict") is False
            return {"type": "object"} if loose else function.get("parameters") or {"type": "object"}
    return {"type": "object"}


def may_end(text: str) -> bool:
    """Whether a beginning of JSON ends with a value, or within a string, though not within an escape."""
    found = list(_STRING.finditer(text))
    if not found or found[-1]["end"]:
        return text[-1:] in set('0123456789]"')
    return found[-1].end() == len(text) and not _HALF_ESCAPE.search(text)


def rest(schema: Any, text: str) -> tuple[str, int] | None:
    """Return the grammar of the shortest end of a call whose arguments begin with `text`, and the tokens it takes.

    `text` ends as `may_end` says. None where the schema, in what is left of it, says what the grammar cannot.
    """
    end = _End()
    try:
        root = end.value(schema, text.lstrip())
    except Unsaid:
        return None
    closing = "}\\n" + CALL_END
    return end.writer.grammar(f'{root} "{closing}"'), end.tokens + _CLOSING


class _End:
    """Walks down to where the text ends, and collects on the way back what must follow."""

    def __init__(self) -> None:
        self.writer = Writer(short=True)
        self.tokens = 0

    def value(self, schema: Any, text: str) -> str:
        """Return what must follow the beginning of a value."""
        schema = {} if schema is True else schema
        if not text or not isinstance(schema, dict):  # no text: the name before it has just ended
            raise Unsaid
        if choices := _choices(schema):
            for one in choices:
                try:
                    return self.value(one, text)
                except Unsaid:
                    continue
            raise Unsaid
        if "const" in schema or "enum" in schema:
            texts = [json.dumps(one, ensure_ascii=False) for one in schema.get("enum", [schema.get("const")])]
            ends = [quoted(one[len(text) :]) for one in texts if one.startswith(text)]
            self.tokens += max((len(one) for one in ends), default=0)
            return self.writer.one_of(ends)
        kind = {'"': "string", "{": "object", "[": "array"}.get(text[:1])
        if kind is None or schema.get("type", kind) != kind:
            raise Unsaid
        if kind == "string":
            if set(schema) - SAID - {"type", "maxLength"}:
                raise Unsaid
            return r'"\""'
        return self._object(schema, text) if kind == "object" else self._array(schema, text)

    def _object(self, schema: dict[str, Any], text: str) -> str:
        properties, more = schema.get("properties") or {}, schema.get("additionalProperties")
        others = more if isinstance(more, dict) else {}
        seen, at = set(), 1
        while True:
            try:
                name, at = _after(text, at)
            except ValueError:  # within a name, which only an object of any names has open
                if properties:
                    raise Unsaid from None
                parts = [r'"\": "', self._new(others)]
                break
            seen.add(name)
            begin = _blank(text, at)
            try:
                _, at = _after(text, begin)
            except ValueError:
                parts = [self.value(properties.get(name, others), text[begin:])]
                break
            if at == len(text):
                parts = []
                break
        for name in schema.get("required") or []:
            if name not in seen:
                self.tokens += len(name) // 2 + 4
        # In the order of the schema, as everywhere.
        for name in properties:
            if name in (schema.get("required") or []) and name not in seen:
                parts += [f'", " {literal(name)} ": "', self._new(properties[name])]
        if set(schema.get("required") or []) - set(properties) - seen:
            raise Unsaid
        return " ".join([*parts, '"}"'])

    def _array(self, schema: dict[str, Any], text: str) -> str:
        items, count, at = schema.get("items", True), 0, 1
        while True:
            begin = _blank(text, at)
            try:
                _, at = _after(text, begin)
            except ValueError:
                parts = [self.value(items, text[begin:])]
                break
            if at == len(text):
                parts = []
                break
            count += 1
        for _ in range(schema.get("minItems", 0) - count - 1):
            parts += ['", "', self._new(items)]
        return " ".join([*parts, '"]"'])

    def _new(self, schema: Any) -> str:
        """Return a whole value, as short as can be."""
        self.tokens += _shortest(schema)
        return self.writer.value(schema, 1)


def _after(text: str, at: int) -> tuple[Any, int]:
    """Return the JSON value at a place and where it ends; raises ValueError where it does not end."""
    value, end = _read(text, _blank(text, at))
    return value, end


def _blank(text: str, at: int) -> int:
    found = _BLANK.match(text, at)
    return found.end() if found else at


def _choices(schema: dict[str, Any]) -> list[Any]:
    kinds = schema.get("type")
    if isinstance(kinds, list):
        return [{**schema, "type": kind} for kind in kinds]
    return list(schema.get("anyOf") or schema.get("oneOf") or [])


def _shortest(schema: Any) -> int:
    """Return the tokens that the shortest value of a schema may take."""
    if not isinstance(schema, dict):
        return _TOKENS["string"]
    if "enum" in schema:
        return max((len(json.dumps(one)) for one in schema["enum"]), default=1)
    if choices := _choices(schema):
        return max(map(_shortest, choices))
    if schema.get("type") == "object":
        needed = schema.get("required") or []
        properties = schema.get("properties") or {}
        return 4 + sum(len(name) // 2 + 4 + _shortest(properties.get(name)) for name in needed)
    if schema.get("type") == "array":
        return 4 + int(schema.get("minItems", 0)) * (2 + _shortest(schema.get("items")))
    return _TOKENS.get(str(schema.get("type")), _TOKENS["string"])
