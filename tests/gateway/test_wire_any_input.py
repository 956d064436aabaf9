"""Whatever JSON a client sends, a wire understands it or refuses it with `BadRequest`; nothing else."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aigrid.core.errors import BadRequest
from aigrid.gateway import openapi
from aigrid.gateway.http import MAX_DEPTH, decode_object
from aigrid.gateway.wire import chat, completions, embeddings, messages, responses

GOOD: dict[str, dict[str, Any]] = {
    "chat": {
        "model": "m",
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "a"}]},
            {"role": "assistant", "tool_calls": [{"id": "c", "function": {"name": "f", "arguments": ""}}]},
            {"role": "tool", "tool_call_id": "c", "content": "x"},
        ],
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {"properties": {"a": {}}}}}],
        "tool_choice": {"type": "function", "function": {"name": "f"}},
        "response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": {"items": {}}}},
        "stop": ["a"],
        "stream": True,
        "stream_options": {"include_usage": True},
        "logit_bias": {"1": 1},
    },
    "completions": {"model": "m", "prompt": [[1, 2]], "logprobs": 1, "stop": "x"},
    "responses": {
        "model": "m",
        "input": [
            {"role": "user", "content": [{"type": "input_text", "text": "a"}]},
            {"type": "function_call", "call_id": "c", "name": "f", "arguments": ""},
            {"type": "function_call_output", "call_id": "c", "output": "x"},
        ],
        "text": {"format": {"type": "json_schema", "name": "a", "schema": {"anyOf": [{}]}}},
        "tools": [{"type": "function", "name": "f", "parameters": {}}],
        "tool_choice": "required",
        "reasoning": {"effort": "low"},
    },
    "messages": {
        "model": "m",
        "max_tokens": 5,
        "system": [{"type": "text", "text": "a"}],
        "messages": [
            {"role": "user", "content": "a"},
            {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "f", "input": {}}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": "x"}]},
        ],
        "tools": [{"name": "f", "input_schema": {}}],
        "tool_choice": {"type": "tool", "name": "f"},
        "thinking": {"type": "disabled"},
    },
    "embeddings": {"model": "m", "input": [[1]], "encoding_format": "base64", "dimensions": 3},
}
PARSE = {
    "chat": chat.WIRE.parse,
    "completions": completions.WIRE.parse,
    "responses": responses.WIRE.parse,
    "messages": messages.WIRE.parse,
    "embeddings": embeddings.parse,
}
leaves = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=5),
    st.sampled_from(["user", "tool", "text", "function", "json_schema", 10**30, -(2**63), 2**64]),
)
anything = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


def places(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the path of every value inside `value`."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [at, *(path for key, item in inner for path in places(item, (*at, key)))]


def with_change(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    if not path:
        return new
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = with_change(value[path[0]], path[1:], new)
    return copy


def refusal(name: str, body: dict[str, Any]) -> BadRequest | None:
    """Return how a wire refuses `body`, or None where it understands it; nothing else may come of it."""
    try:
        msgspec.json.encode(PARSE[name](body, "req_1"))
    except BadRequest as error:
        return error
    return None


@pytest.mark.parametrize("name", GOOD)
def test_the_good_example_is_understood(name: str) -> None:
    assert refusal(name, GOOD[name]) is None


@pytest.mark.parametrize("name", GOOD)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)
@given(data=st.data())
def test_any_value_at_any_place_is_understood_or_refused(name: str, data: st.DataObject) -> None:
    path = data.draw(st.sampled_from(places(GOOD[name])[1:]))
    body = with_change(GOOD[name], path, data.draw(anything))
    try:
        decoded = decode_object(json.dumps(body).encode())
    except BadRequest:
        return
    error = refusal(name, decoded)
    if error is not None:
        assert error.param, error.message
        assert error.param.split(".")[0].split("[")[0] in {path[0], "tools", "tool_choice", "messages", "input"}


@pytest.mark.parametrize("name", GOOD)
@settings(max_examples=60, deadline=None, derandomize=True)
@given(body=st.dictionaries(st.sampled_from(["model", "messages", "input", "prompt", "n"]) | st.text(), anything))
def test_any_object_is_understood_or_refused(name: str, body: dict[str, Any]) -> None:
    error = refusal(name, body)
    assert error is None or error.param


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'"text"',
        b'{"model": NaN}',
        b'{"model": 1e999}',
        b'{"model": "\xff"}',
        b'{"model": "\\ud800"}',
        b'{"model": "\\ud800 x"}',
        b"\xef\xbb\xbf{}",
        b"[" * 1_000_000,
        b'{"a":' * 1_000_000,
        b'{"a":' * (MAX_DEPTH + 1) + b"1" + b"}" * (MAX_DEPTH + 1),
        b'{"a":' + b"[" * 900 + b"]" * 900 + b"}",
    ],
    ids=lambda data: repr(data[:20]),
)
def test_what_is_no_object_is_refused_with_a_sentence(data: bytes) -> None:
    with pytest.raises(BadRequest, match="request body"):
        decode_object(data)


def test_an_integer_beyond_64_bits_is_refused_by_name() -> None:
    with pytest.raises(BadRequest) as caught:
        decode_object(b'{"tools": [{}, {"x": [1, %s]}]}' % (b"9" * 30))
    assert caught.value.param == "tools[1].x[1]"
    assert decode_object(b'{"a": [%d, %d]}' % (2**64 - 1, -(2**63)))["a"] == [2**64 - 1, -(2**63)]


def test_many_brackets_side_by_side_are_no_nesting() -> None:
    assert len(decode_object(b'{"a":[' + b"{}," * 5000 + b"{}]}")["a"]) == 5001


def test_a_schema_of_great_depth_is_refused() -> None:
    schema: dict[str, Any] = {}
    for _ in range(70):
        schema = {"items": schema}
    for body, name in (
        ({**GOOD["chat"], "tools": [{"type": "function", "function": {"name": "f", "parameters": schema}}]}, "chat"),
        ({**GOOD["messages"], "tools": [{"name": "f", "input_schema": schema}]}, "messages"),
    ):
        with pytest.raises(BadRequest, match="nested"):
            PARSE[name](body, "req_1")


def test_the_published_document_describes_every_endpoint_with_its_errors() -> None:
    document = json.loads(openapi.document())
    for path in ("chat/completions", "completions", "responses", "messages", "messages/count_tokens", "embeddings"):
        operation = document["paths"][f"/v1/{path}"]["post"]
        assert {"200", "400", "401", "403", "404", "405", "413", "429", "500", "503"} <= set(operation["responses"])
        reference = operation["requestBody"]["content"]["application/json"]["schema"]["$ref"]
        assert reference.rpartition("/")[2] in document["components"]["schemas"]
    assert document["openapi"].startswith("3.1")
    assert set(document["components"]["securitySchemes"]) == {"bearer", "apiKey"}


def test_every_reference_in_the_document_leads_somewhere() -> None:
    text = openapi.document().decode()
    document = json.loads(text)
    names = {part.split('"')[0] for part in text.split('"#/components/schemas/')[1:]}
    assert names <= set(document["components"]["schemas"])
