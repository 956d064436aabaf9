"""`response_format` and schemas: what the output must look like."""

from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from aigrid.core.errors import BadRequest
from aigrid.engines.base import Grammar

MAX_DEPTH = 64
_TYPES = {"string", "number", "integer", "boolean", "object", "array", "null"}
_SCHEMAS = ("items", "additionalProperties", "not", "if", "then", "else", "contains", "propertyNames")
_SCHEMA_LISTS = ("anyOf", "oneOf", "allOf", "prefixItems")
_SCHEMA_MAPS = ("properties", "$defs", "definitions", "patternProperties")


class JsonSchema(Struct):
    """A named schema."""

    name: Annotated[str, Meta(pattern="^[a-zA-Z0-9_-]{1,64}$")]
    schema: dict[str, Any] | None = None
    description: str | None = None
    strict: bool | None = None


class TextFormat(Struct, tag_field="type", tag="text"):
    """No constraint."""


class JsonObjectFormat(Struct, tag_field="type", tag="json_object"):
    """Any JSON object."""


class JsonSchemaFormat(Struct, tag_field="type", tag="json_schema"):
    """JSON of one schema."""

    json_schema: JsonSchema


ResponseFormat = TextFormat | JsonObjectFormat | JsonSchemaFormat


def grammar_of(wanted: ResponseFormat | None, param: str = "response_format") -> Grammar | None:
    """Return the constraint for a response format; raises `BadRequest` for a schema that cannot be one."""
    if wanted is None or isinstance(wanted, TextFormat):
        return None
    if isinstance(wanted, JsonObjectFormat) or wanted.json_schema.schema is None:
        return Grammar("json")
    return schema_grammar(wanted.json_schema.schema, f"{param}.json_schema.schema")


def schema_grammar(schema: dict[str, Any], param: str) -> Grammar:
    """Return the constraint for a JSON schema; raises `BadRequest`."""
    check_schema(schema, param)
    return Grammar("json_schema", msgspec.json.encode(schema).decode())


def check_schema(schema: Any, param: str, depth: int = 0) -> None:
    """Raise `BadRequest` where `schema` cannot be a JSON schema or is nested beyond `MAX_DEPTH`."""
    if isinstance(schema, bool):
        return
    if not isinstance(schema, dict):
        raise BadRequest(f"a JSON schema must be an object (at `{param}`)", param=param)
    if depth > MAX_DEPTH:
        raise BadRequest(f"the JSON schema is nested more than {MAX_DEPTH} deep", param=param)
    kinds = schema.get("type", ())
    for kind in [kinds] if isinstance(kinds, str) else kinds if isinstance(kinds, list | tuple) else [kinds]:
        if not isinstance(kind, str) or kind not in _TYPES:
            raise BadRequest(
                f"'{kind}' is not a JSON schema type; use one of {', '.join(sorted(_TYPES))} (at `{param}.type`)",
                param=f"{param}.type",
            )
    for key in _SCHEMAS:
        if key in schema and not isinstance(schema[key], list):
            check_schema(schema[key], f"{param}.{key}", depth + 1)
    for key in _SCHEMA_LISTS:
        for i, item in enumerate(_of(schema, key, list, param)):
            check_schema(item, f"{param}.{key}[{i}]", depth + 1)
    for key in _SCHEMA_MAPS:
        for name, item in _of(schema, key, dict, param).items():
            check_schema(item, f"{param}.{key}.{name}", depth + 1)


def _of(schema: dict[str, Any], key: str, kind: type, param: str) -> Any:
    value = schema.get(key)
    if value is None:
        return kind()
    if not isinstance(value, kind):
        word = "an array" if kind is list else "an object"
        raise BadRequest(f"`{key}` must be {word} (at `{param}.{key}`)", param=f"{param}.{key}")
    return value
