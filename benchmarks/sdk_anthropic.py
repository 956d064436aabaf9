"""Checks with the `anthropic` SDK."""

import asyncio
from typing import Any

import anthropic

from benchmarks.sdk_checks import Target, check, raises

SAID: list[Any] = [{"role": "user", "content": "Name the capital of France."}]
WEATHER: Any = {
    "name": "weather",
    "description": "Tell the weather of a city.",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}


def say(text: str) -> list[Any]:
    return [{"role": "user", "content": text}]


@check("anthropic", "messages.create answers with a text block, stop_reason and usage")
def create(target: Target) -> None:
    answer = target.anthropic().messages.create(model=target.model, max_tokens=8, messages=SAID)
    assert (answer.type, answer.role) == ("message", "assistant")
    block: Any = answer.content[0]
    assert block.type == "text"
    assert block.text
    assert answer.stop_reason in ("end_turn", "max_tokens")
    assert 0 < answer.usage.output_tokens <= 8
    assert answer.usage.input_tokens > 0


@check("anthropic", "max_tokens is a limit and stop_reason says so")
def limit(target: Target) -> None:
    answer = target.anthropic().messages.create(
        model=target.model, max_tokens=3, messages=say("Count from one to one hundred in words.")
    )
    assert answer.stop_reason == "max_tokens"
    assert answer.usage.output_tokens <= 3


@check("anthropic", "raw events come in Anthropic's order")
def stream_events(target: Target) -> None:
    events = list(target.anthropic().messages.create(model=target.model, max_tokens=6, messages=SAID, stream=True))
    kinds = [str(event.type) for event in events if str(event.type) != "ping"]
    assert kinds[:2] == ["message_start", "content_block_start"]
    assert set(kinds[2:-3]) == {"content_block_delta"}
    assert kinds[-3:] == ["content_block_stop", "message_delta", "message_stop"]


@check("anthropic", "message_start knows the prompt's tokens, message_delta all that were made")
def stream_usage(target: Target) -> None:
    events: Any = list(target.anthropic().messages.create(model=target.model, max_tokens=6, messages=SAID, stream=True))
    assert events[0].message.usage.input_tokens > 0
    (delta,) = [event for event in events if event.type == "message_delta"]
    assert 0 < delta.usage.output_tokens <= 6
    assert delta.delta.stop_reason in ("end_turn", "max_tokens")


@check("anthropic", "the SDK's stream helper gives text and the final message")
def stream_helper(target: Target) -> None:
    with target.anthropic().messages.stream(model=target.model, max_tokens=8, messages=SAID) as stream:
        text = "".join(stream.text_stream)
        final: Any = stream.get_final_message()
    assert final.content[0].text == text
    assert text


@check("anthropic", "system as a string and as blocks is taken")
def system(target: Target) -> None:
    blocks: Any = [{"type": "text", "text": "Be short.", "cache_control": {"type": "ephemeral"}}]
    for given in ("Be short.", blocks):
        answer = target.anthropic().messages.create(model=target.model, max_tokens=4, system=given, messages=SAID)
        assert answer.content


@check("anthropic", "multi-turn conversations with blocks and a prefilled answer are taken")
def turns(target: Target) -> None:
    said: Any = [
        {"role": "user", "content": [{"type": "text", "text": "Hello"}]},
        {"role": "assistant", "content": [{"type": "text", "text": "Hi!"}]},
        {"role": "user", "content": "How are you?"},
        {"role": "assistant", "content": "I am"},
    ]
    assert target.anthropic().messages.create(model=target.model, max_tokens=4, messages=said).content


@check("anthropic", "a stop sequence ends the answer and is not part of it", echo=True)
def stop(target: Target) -> None:
    answer: Any = target.anthropic().messages.create(
        model=target.model, max_tokens=9, messages=say("alpha beta gamma"), stop_sequences=["gamma"]
    )
    assert answer.content[0].text.strip() == "alpha beta"
    assert (answer.stop_reason, answer.stop_sequence) == ("stop_sequence", "gamma")


@check("anthropic", "a forced tool gives a tool_use block with an input of its schema")
def tool(target: Target) -> None:
    answer = target.anthropic().messages.create(
        model=target.model, max_tokens=60, messages=say("Weather in Paris?"), tools=[WEATHER],
        tool_choice={"type": "tool", "name": "weather"}, extra_body={"temperature": 0},
    )  # fmt: skip
    block: Any = answer.content[-1]
    assert (block.type, block.name) == ("tool_use", "weather")
    assert isinstance(block.input["city"], str)
    assert answer.stop_reason == "tool_use"


@check("anthropic", "tool_choice any streams input_json deltas that the SDK puts together")
def tool_stream(target: Target) -> None:
    with target.anthropic().messages.stream(
        model=target.model, max_tokens=60, messages=say("Weather in Paris?"), tools=[WEATHER],
        tool_choice={"type": "any"}, extra_body={"temperature": 0},
    ) as stream:  # fmt: skip
        final = stream.get_final_message()
    block: Any = final.content[-1]
    assert block.type == "tool_use"
    assert isinstance(block.input["city"], str)


@check("anthropic", "a tool_result can be sent back, text, blocks and errors alike")
def tool_result(target: Target) -> None:
    for content in ("sunny", [{"type": "text", "text": "sunny"}]):
        said: Any = [
            *say("Weather in Paris?"),
            {"role": "assistant", "content": [{"type": "tool_use", "id": "t1", "name": "weather", "input": {}}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1", "content": content}]},
        ]
        answer = target.anthropic().messages.create(model=target.model, max_tokens=4, messages=said, tools=[WEATHER])
        assert answer.role == "assistant"


@check("anthropic", "count_tokens counts, and counts what create is charged for", own=True)
def count(target: Target) -> None:
    client = target.anthropic()
    counted = client.messages.count_tokens(model=target.model, messages=SAID).input_tokens
    usage = client.messages.create(model=target.model, messages=SAID, max_tokens=1).usage
    assert counted == usage.input_tokens + (usage.cache_read_input_tokens or 0)


@check("anthropic", "a bearer token works as well as x-api-key")
def bearer(target: Target) -> None:
    client = target.anthropic(api_key=None, auth_token=target.key)
    assert client.messages.create(model=target.model, max_tokens=2, messages=SAID).content


@check("anthropic", "models.list names the model")
def models(target: Target) -> None:
    assert target.model in [model.id for model in target.anthropic().models.list()]


@check("anthropic", "a wrong key raises AuthenticationError in Anthropic's shape")
def wrong_key(target: Target) -> None:
    client = target.anthropic(api_key="sk-wrong")
    error = raises(
        anthropic.AuthenticationError,
        lambda: client.messages.create(model=target.model, max_tokens=1, messages=SAID),
    )
    assert error.body["type"] == "error"
    assert error.body["error"]["type"] == "authentication_error"


@check("anthropic", "an unknown model raises NotFoundError")
def unknown_model(target: Target) -> None:
    client = target.anthropic()
    error = raises(
        anthropic.NotFoundError, lambda: client.messages.create(model="no-such", max_tokens=1, messages=SAID)
    )
    assert error.body["error"]["type"] == "not_found_error"


@check("anthropic", "a bad value raises BadRequestError that names the field")
def bad_value(target: Target) -> None:
    client = target.anthropic()
    error = raises(
        anthropic.BadRequestError,
        lambda: client.messages.create(model=target.model, max_tokens=0, messages=SAID),
    )
    assert "max_tokens" in error.body["error"]["message"]


@check("anthropic", "a bad value in count_tokens has Anthropic's shape too")
def bad_count(target: Target) -> None:
    client = target.anthropic()
    error = raises(anthropic.BadRequestError, lambda: client.messages.count_tokens(model=target.model, messages=[]))
    assert error.body["type"] == "error"


@check("anthropic", "a spent budget raises RateLimitError")
def spent(target: Target) -> None:
    client = target.anthropic(api_key=target.poor_key)
    raises(
        anthropic.RateLimitError,
        lambda: client.messages.create(model=target.model, max_tokens=64, messages=SAID),
    )


@check("anthropic", "an engine that fails in the middle of a stream raises APIStatusError", echo=True)
def fails_midway(target: Target) -> None:
    stream = target.anthropic().messages.create(
        model=target.model, max_tokens=9, messages=say("[echo fail=500 after=3 tokens=9] x"), stream=True
    )
    raises(anthropic.APIStatusError, lambda: list(stream))


@check("anthropic", "a timeout raises APITimeoutError", echo=True)
def timeout(target: Target) -> None:
    client = target.anthropic(timeout=0.5)
    said = say("[echo delay=20] slow")
    raises(
        anthropic.APITimeoutError,
        lambda: client.messages.create(model=target.model, max_tokens=4, messages=said),
    )


@check("anthropic", "the async client streams 20 answers at once")
def many_async(target: Target) -> None:
    async def one(client: anthropic.AsyncAnthropic) -> str:
        async with client.messages.stream(model=target.model, max_tokens=5, messages=SAID) as stream:
            return "".join([text async for text in stream.text_stream])

    async def many() -> list[str]:
        async with anthropic.AsyncAnthropic(base_url=target.url, api_key=target.key, max_retries=0) as client:
            return list(await asyncio.gather(*(one(client) for _ in range(20))))

    assert all(asyncio.run(many()))
