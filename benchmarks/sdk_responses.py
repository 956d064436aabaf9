"""Checks with the `openai` SDK: the Responses API."""

import json
from typing import Any

import openai

from benchmarks.sdk_checks import Target, check, raises
from benchmarks.sdk_openai import City

TOOL: Any = {
    "type": "function",
    "name": "weather",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
        "additionalProperties": False,
    },
    "strict": True,
}


@check("openai", "responses.create answers with output_text and usage")
def create(target: Target) -> None:
    answer = target.openai().responses.create(model=target.model, input="Say hello.", max_output_tokens=16)
    assert answer.object == "response"
    assert answer.output_text
    assert answer.status in ("completed", "incomplete")
    assert answer.usage is not None
    assert answer.usage.total_tokens == answer.usage.input_tokens + answer.usage.output_tokens


@check("openai", "a response that was cut is incomplete, with the reason")
def incomplete(target: Target) -> None:
    answer = target.openai().responses.create(
        model=target.model, input="Count from one to one hundred in words.", max_output_tokens=3
    )
    assert answer.status == "incomplete"
    assert answer.incomplete_details is not None
    assert answer.incomplete_details.reason == "max_output_tokens"


@check("openai", "responses stream the whole sequence of typed events, numbered without gaps")
def stream(target: Target) -> None:
    events = list(
        target.openai().responses.create(model=target.model, input="Say hello.", max_output_tokens=8, stream=True)
    )
    kinds = [event.type for event in events]
    assert kinds[:4] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
    ]
    assert kinds[-4:-1] == ["response.output_text.done", "response.content_part.done", "response.output_item.done"]
    assert kinds[-1] in ("response.completed", "response.incomplete")
    assert set(kinds[4:-4]) == {"response.output_text.delta"}
    assert [event.sequence_number for event in events] == list(range(len(events)))


@check("openai", "the SDK's responses.stream helper gives the final response")
def stream_helper(target: Target) -> None:
    with target.openai().responses.stream(model=target.model, input="Say hello.", max_output_tokens=32) as events:
        text = "".join(event.delta for event in events if event.type == "response.output_text.delta")
        if events._state._completed_response is not None:
            assert events.get_final_response().output_text == text
    assert text


@check("openai", "responses take items, instructions, metadata, store and reasoning effort")
def items(target: Target) -> None:
    given: Any = [
        {"role": "developer", "content": "Be short."},
        {"role": "user", "content": [{"type": "input_text", "text": "Hello"}]},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Hi!"}]},
        {"role": "user", "content": "And now?"},
    ]
    answer = target.openai().responses.create(
        model=target.model, input=given, instructions="Be kind.", metadata={"a": "b"}, store=True,
        reasoning={"effort": "low"}, max_output_tokens=8, temperature=0.5,
    )  # fmt: skip
    assert answer.metadata == {"a": "b"}
    assert answer.instructions == "Be kind."


@check("openai", "the output of a response can be sent back as input")
def back(target: Target) -> None:
    client = target.openai()
    first = client.responses.create(model=target.model, input="Say hello.", max_output_tokens=8)
    given: Any = [{"role": "user", "content": "Say hello."}, *first.output, {"role": "user", "content": "Again."}]
    assert client.responses.create(model=target.model, input=given, max_output_tokens=8).output_text


@check("openai", "a forced function is a function_call item; its output can be sent back")
def function(target: Target) -> None:
    client = target.openai()
    answer = client.responses.create(
        model=target.model, input="Weather in Paris?", tools=[TOOL], max_output_tokens=60, temperature=0,
        tool_choice={"type": "function", "name": "weather"},
    )  # fmt: skip
    call: Any = answer.output[-1]
    assert call.type == "function_call"
    assert isinstance(json.loads(call.arguments)["city"], str)
    given: Any = [{"role": "user", "content": "Weather in Paris?"}, *answer.output]
    given.append({"type": "function_call_output", "call_id": call.call_id, "output": "sunny"})
    again = client.responses.create(model=target.model, input=given, tools=[TOOL], max_output_tokens=8)
    assert again.output


@check("openai", "function arguments stream as deltas that add up")
def function_stream(target: Target) -> None:
    stream = target.openai().responses.create(
        model=target.model, input="Weather?", tools=[TOOL], tool_choice="required", max_output_tokens=60,
        temperature=0, stream=True,
    )  # fmt: skip
    events: Any = list(stream)
    deltas = "".join(event.delta for event in events if event.type == "response.function_call_arguments.delta")
    (done,) = [event.arguments for event in events if event.type == "response.function_call_arguments.done"]
    assert deltas == done
    assert "city" in json.loads(done)


@check("openai", "responses.parse returns the pydantic object")
def parse(target: Target) -> None:
    answer = target.openai().responses.parse(
        model=target.model, input="Give me Paris as data.", text_format=City, max_output_tokens=80, temperature=0
    )
    assert isinstance(answer.output_parsed, City)


@check("openai", "previous_response_id is refused by name: nothing is stored")
def stateless(target: Target) -> None:
    client = target.openai()
    error = raises(
        openai.BadRequestError,
        lambda: client.responses.create(model=target.model, input="x", previous_response_id="resp_1"),
    )
    assert error.param == "previous_response_id"


@check("openai", "responses.retrieve raises NotFoundError")
def retrieve(target: Target) -> None:
    raises(openai.NotFoundError, lambda: target.openai().responses.retrieve("resp_1"))


@check("openai", "an engine that fails in the middle ends a response with response.failed", echo=True)
def failed(target: Target) -> None:
    events = list(
        target.openai().responses.create(model=target.model, input="[echo fail=500 after=3 tokens=9] x", stream=True)
    )
    last: Any = events[-1]
    assert last.type == "response.failed"
    assert last.response.error.message
