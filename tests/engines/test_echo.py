import time

import pytest

from aigrid.core.errors import BadRequest, UpstreamError
from aigrid.engines.base import Engine, GenerateRequest, Grammar
from aigrid.engines.echo import EchoEngine
from aigrid.engines.echo_schema import instance


def ask(text: str, max_tokens: int = 8, **more: object) -> GenerateRequest:
    return GenerateRequest("req_1", "echo", max_tokens, messages=[{"role": "user", "content": text}], **more)


async def answer(engine: EchoEngine, request: GenerateRequest):
    return [chunk async for chunk in engine.generate(request)]


def test_echo_is_an_engine():
    assert isinstance(EchoEngine(), Engine)


async def test_same_prompt_same_tokens_and_the_count_is_exact():
    first = await answer(EchoEngine(), ask("one two three"))
    again = await answer(EchoEngine(), ask("one two three"))
    assert first == again
    tokens = sum(delta.tokens for chunk in first for delta in chunk.deltas)
    assert tokens == 8 == first[-1].usage.completion_tokens
    assert first[-1].usage.prompt_tokens == 3
    assert "".join(d.text for c in first for d in c.deltas) == "one two three one two three one two "


async def test_no_particular_length_gets_the_default():
    chunks = await answer(EchoEngine(), ask("hi", 4096))
    assert chunks[-1].usage.completion_tokens == 64
    assert chunks[-1].deltas[0].finish_reason == "stop"


async def test_pace_is_kept():
    start = time.perf_counter()
    await answer(EchoEngine(rate=100.0), ask("hi", 10))
    assert time.perf_counter() - start >= 0.1


async def test_directives_fail_after_so_many_tokens():
    seen = 0
    with pytest.raises(UpstreamError):
        async for chunk in EchoEngine().generate(ask("[echo tokens=8 fail=503 after=3]")):
            seen += sum(delta.tokens for delta in chunk.deltas)
    assert seen == 3


async def test_a_bad_directive_is_the_callers_mistake():
    with pytest.raises(BadRequest, match="bad echo directive"):
        await answer(EchoEngine(), ask("[echo tokens=many]"))


async def test_a_schema_is_answered_in_its_shape():
    request = ask("x", 100, grammar=Grammar("json_schema", '{"type":"object","properties":{"a":{"enum":["z"]}}}'))
    chunks = await answer(EchoEngine(), request)
    assert "".join(d.text for c in chunks for d in c.deltas) == '{"a":"z"}'


async def test_a_forced_tool_is_called():
    tool = {"type": "function", "function": {"name": "f", "parameters": {"properties": {"n": {"type": "integer"}}}}}
    chunks = await answer(EchoEngine(), ask("x", 100, tools=[tool], tool_choice="required"))
    calls = [call for c in chunks for d in c.deltas for call in d.tool_calls or []]
    assert calls[0].name == "f"
    assert "".join(call.arguments for call in calls) == '{"n":1}'
    assert chunks[-1].deltas[0].finish_reason == "tool_calls"


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"type": "string", "minLength": 6}, "echooo"),
        ({"$defs": {"x": {"const": 3}}, "type": "array", "items": {"$ref": "#/$defs/x"}}, [3]),
        ({"anyOf": [{"type": "null"}, {"type": "string"}]}, None),
        ({"type": ["integer", "null"], "minimum": 7}, 7),
    ],
)
def test_smallest_instance(schema: dict, value: object):
    assert instance(schema) == value


def test_a_schema_that_contains_itself_ends():
    endless = {
        "type": "object",
        "required": ["a"],
        "properties": {"a": {"$ref": "#/properties/b"}, "b": {"$ref": "#/properties/a"}},
    }
    assert set(instance(endless)) == {"a"}
