"""The responses wire: stateless input, typed events."""

import json
from typing import Any

import pytest

from aigrid.core.errors import BadRequest, EngineDied
from aigrid.engines.base import Chunk, Delta, TokenLogprob, ToolCall, Usage
from aigrid.gateway.wire import responses
from aigrid.ledger.base import Settlement

PAID = Settlement("rec_1", 3, 2, 0, 0, 50, 7, "estimate")
TOOL = {"type": "function", "name": "f", "parameters": {"type": "object"}}
CALL = {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}


def parsed(**fields: Any) -> Any:
    return responses.WIRE.parse({"model": "m", "input": "hi", **fields}, "req_1")


def events(chunks: list[Chunk], **fields: Any) -> list[Any]:
    encoder = responses.WIRE.encoder(parsed(stream=True, **fields), 99)
    data = encoder.start(Usage(3)) + b"".join(encoder.chunk(chunk) for chunk in chunks)
    data += encoder.finish(Usage(3, 2), PAID)
    found = []
    for frame in data.split(b"\n\n")[:-1]:
        name, value = frame.split(b"\ndata: ")
        found.append(json.loads(value))
        assert name.decode() == "event: " + found[-1]["type"]
    assert [event["sequence_number"] for event in found] == list(range(len(found)))
    return found


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"input": []}, "input"),
        ({"input": 5}, "input"),
        ({"input": [5]}, "input[0]"),
        ({"input": [{"role": "user"}]}, "input[0].content"),
        ({"input": [{"role": "robot", "content": "x"}]}, "input[0].role"),
        ({"input": [{"type": "smell"}]}, "input[0].type"),
        ({"input": [{"type": "item_reference", "id": "x"}]}, "input[0]"),
        ({"input": [{"role": "user", "content": [{"type": "input_text"}]}]}, "input[0].content[0].text"),
        ({"input": [{"type": "function_call_output", "call_id": "c", "output": "x"}]}, "input[0].call_id"),
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"conversation": "c"}, "conversation"),
        ({"background": True}, "background"),
        ({"prompt": {"id": "p"}}, "prompt"),
        ({"max_output_tokens": 0}, "max_output_tokens"),
        ({"temperature": 3}, "temperature"),
        ({"top_logprobs": 21}, "top_logprobs"),
        ({"text": {"format": {"type": "xml"}}}, "text.format.type"),
        ({"text": {"format": {"type": "json_schema", "name": "a", "schema": {"type": 1}}}}, "text.format.schema.type"),
        ({"tools": [{"type": "web_search"}]}, "tools[0].type"),
        ({"tools": [{"type": "function", "name": "f", "parameters": {"items": 1}}]}, "tools[0].parameters.items"),
        ({"tools": [TOOL], "tool_choice": {"type": "function", "name": "g"}}, "tool_choice"),
        ({"reasoning": {"effort": "enormous"}}, "reasoning.effort"),
        ({"service_tier": "gold"}, "service_tier"),
    ],
)
def test_a_bad_field_is_refused_by_name(change: dict[str, Any], param: str) -> None:
    with pytest.raises(BadRequest) as caught:
        parsed(**change)
    assert caught.value.param == param


def test_items_read_as_chat_messages() -> None:
    given = [
        {"role": "developer", "content": "short"},
        {"role": "user", "content": [{"type": "input_text", "text": "2+"}, {"type": "input_text", "text": "2"}]},
        {"type": "reasoning", "id": "r", "summary": [], "content": [{"type": "reasoning_text", "text": "hm"}]},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "let me see"}]},
        CALL,
        {"type": "function_call_output", "call_id": "c", "output": "4"},
        {"role": "user", "content": [{"type": "input_image", "image_url": "data:,"}]},
    ]
    messages = parsed(input=given, instructions="kind").generate.messages
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    assert messages == [
        {"role": "system", "content": "kind"},
        {"role": "system", "content": "short"},
        {"role": "user", "content": "2+2"},
        {"role": "assistant", "content": "let me see", "reasoning_content": "hm", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c", "content": "4"},
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:,"}}]},
    ]


def test_an_upstream_gets_the_same_as_a_chat_body() -> None:
    schema = {"type": "object"}
    generate = parsed(
        max_output_tokens=5, temperature=0.5, tools=[TOOL], tool_choice={"type": "function", "name": "f"},
        text={"format": {"type": "json_schema", "name": "a", "schema": schema, "strict": True}},
        reasoning={"effort": "low"}, stream=True, user="u", metadata={"a": "b"}, store=True,
    ).generate  # fmt: skip
    assert generate.body == {
        "model": "m",
        "messages": [{"role": "user", "content": "hi"}],
        "stream": True,
        "max_tokens": 5,
        "temperature": 0.5,
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}],
        "tool_choice": {"type": "function", "function": {"name": "f"}},
        "response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": schema, "strict": True}},
        "reasoning_effort": "low",
        "user": "u",
    }
    assert json.loads(generate.grammar.value) == schema


def test_text_streams_as_the_full_sequence_of_events() -> None:
    token = TokenLogprob("Hé", -0.5, [])
    got = events([Chunk([Delta(text="Hé", logprobs=[token])]), Chunk([Delta(text="!", finish_reason="stop")])])
    assert [event["type"].removeprefix("response.") for event in got] == [
        "created",
        "in_progress",
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "completed",
    ]
    assert got[0]["response"]["status"] == "in_progress"
    assert got[4]["logprobs"][0]["token"] == "Hé"
    assert got[6]["text"] == "Hé!"
    assert {event["item_id"] for event in got if "item_id" in event} == {got[2]["item"]["id"]}
    final = got[-1]["response"]
    assert final["output"] == [got[8]["item"]]
    assert final["usage"] == {
        "input_tokens": 3,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": 2,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 5,
    }


def test_reasoning_text_and_calls_are_items_in_order() -> None:
    chunks = [
        Chunk([Delta(reasoning="hm")]),
        Chunk([Delta(text="so")]),
        Chunk([Delta(tool_calls=[ToolCall(0, "c0", "f", "{"), ToolCall(0, arguments="}")])]),
        Chunk([Delta(tool_calls=[ToolCall(1, "c1", "f", "[]")], finish_reason="tool_calls")]),
    ]
    output = events(chunks, tools=[TOOL])[-1]["response"]["output"]
    assert [item["type"] for item in output] == ["reasoning", "message", "function_call", "function_call"]
    assert [(item["call_id"], item["arguments"]) for item in output[2:]] == [("c0", "{}"), ("c1", "[]")]
    assert all(item["status"] == "completed" for item in output)


def test_a_whole_answer_is_the_last_event_of_a_stream() -> None:
    chunks = [Chunk([Delta(reasoning="hm")]), Chunk([Delta(text="so", finish_reason="stop")])]
    encoder = responses.WIRE.encoder(parsed(), 99)
    for chunk in chunks:
        encoder.add(chunk)
    whole = json.loads(encoder.whole(Usage(3, 2), PAID))
    streamed = events(chunks)[-1]["response"]
    whole["completed_at"] = streamed["completed_at"] = 0
    assert whole == streamed


def test_an_answer_that_was_cut_is_incomplete() -> None:
    last = events([Chunk([Delta(text="a", finish_reason="length")])])[-1]
    assert last["type"] == "response.incomplete"
    assert last["response"]["incomplete_details"] == {"reason": "max_output_tokens"}
    assert last["response"]["output"][0]["status"] == "incomplete"


def test_a_failure_is_an_event_that_names_it() -> None:
    encoder = responses.WIRE.encoder(parsed(stream=True), 1)
    encoder.start(Usage())
    data = json.loads(encoder.error(EngineDied("the engine died")).split(b"data: ")[1])
    assert (data["type"], data["response"]["status"]) == ("response.failed", "failed")
    assert data["response"]["error"] == {"code": "engine_died", "message": "the engine died"}


def test_nothing_is_said_to_be_stored() -> None:
    encoder = responses.WIRE.encoder(parsed(store=True), 1)
    assert json.loads(encoder.whole(Usage(), PAID))["store"] is False
