"""The Anthropic wire."""

import json
from typing import Any

import pytest

from aigrid.core.errors import AigridError, BadRequest, NotFound, RateLimited, Unauthorized, UpstreamError
from aigrid.engines.base import Chunk, Delta, ToolCall, Usage
from aigrid.gateway.wire import messages
from aigrid.ledger.base import Settlement

PAID = Settlement("rec_1", 3, 2, 0, 0, 50, 7, "estimate")
SAID = [{"role": "user", "content": "hi"}]
TOOL = {"name": "f", "input_schema": {"type": "object"}}


def parsed(**fields: Any) -> Any:
    return messages.WIRE.parse({"model": "m", "max_tokens": 9, "messages": SAID, **fields}, "req_1")


def events(chunks: list[Chunk], **fields: Any) -> list[Any]:
    encoder = messages.WIRE.encoder(parsed(stream=True, **fields), 99)
    data = encoder.start(Usage(5, cached_tokens=2)) + b"".join(encoder.chunk(chunk) for chunk in chunks)
    data += encoder.finish(Usage(5, 2, cached_tokens=2), PAID)
    found = []
    for frame in data.split(b"\n\n")[:-1]:
        name, value = frame.split(b"\ndata: ")
        found.append(json.loads(value))
        assert name.decode() == "event: " + found[-1]["type"]
    return found


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "user", "content": []}]}, "messages[0].content"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": [{"type": "smell"}]}]}, "messages[0].content[0].type"),
        (
            {"messages": [{"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t"}]}]},
            "messages[0].content[0].tool_use_id",
        ),
        ({"max_tokens": None}, "max_tokens"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"temperature": 1.1}, "temperature"),
        ({"top_k": -1}, "top_k"),
        ({"stop_sequences": [""]}, "stop_sequences[0]"),
        ({"system": 5}, "system"),
        ({"tools": [{"name": "f"}]}, "tools[0].input_schema"),
        ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "tools[0].type"),
        ({"tools": [{"name": "f", "input_schema": {"type": "x"}}]}, "tools[0].input_schema.type"),
        ({"tools": [TOOL], "tool_choice": {"type": "tool", "name": "g"}}, "tool_choice"),
        ({"tool_choice": {"type": "any"}}, "tool_choice"),
        ({"thinking": {"type": "enabled", "budget_tokens": 5}}, "thinking.budget_tokens"),
        ({"thinking": {"type": "enabled", "budget_tokens": 2000}}, "thinking.budget_tokens"),
        ({"container": "c"}, "container"),
        ({"service_tier": "gold"}, "service_tier"),
    ],
)
def test_a_bad_field_is_refused_by_name(change: dict[str, Any], param: str) -> None:
    body = {"model": "m", "max_tokens": 9, "messages": SAID, **change}
    with pytest.raises(BadRequest) as caught:
        messages.WIRE.parse({name: value for name, value in body.items() if value is not None}, "req_1")
    assert caught.value.param == param


def test_turns_read_as_chat_messages() -> None:
    turns = [
        {"role": "user", "content": [{"type": "text", "text": "2+2?"}]},
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "hm", "signature": "s"},
                {"type": "text", "text": "let me see"},
                {"type": "tool_use", "id": "t", "name": "f", "input": {"a": 1}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "go on"},
                {"type": "tool_result", "tool_use_id": "t", "is_error": True, "content": "no"},
            ],
        },
        {"role": "assistant", "content": "The answer is"},
    ]
    system = [{"type": "text", "text": "a"}, {"type": "text", "text": "b", "cache_control": {"type": "ephemeral"}}]
    generate = parsed(messages=turns, system=system).generate
    call = {"id": "t", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}
    assert generate.messages == [
        {"role": "system", "content": "a\n\nb"},
        {"role": "user", "content": "2+2?"},
        {"role": "assistant", "content": "let me see", "reasoning_content": "hm", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "t", "content": "Error: no"},
        {"role": "user", "content": "go on"},
        {"role": "assistant", "content": "The answer is"},
    ]
    assert generate.body["messages"] is generate.messages


def test_an_image_reads_as_a_data_url() -> None:
    source = {"type": "base64", "media_type": "image/png", "data": "AAAA"}
    content = [{"type": "image", "source": source}, {"type": "text", "text": "?"}]
    got = parsed(messages=[{"role": "user", "content": content}]).generate.messages[0]["content"]
    assert got == [
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
        {"type": "text", "text": "?"},
    ]


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ({"type": "auto"}, "auto"),
        ({"type": "any"}, "required"),
        ({"type": "none"}, "none"),
        ({"type": "tool", "name": "f"}, {"type": "function", "function": {"name": "f"}}),
    ],
)
def test_tools_and_choices_translate(choice: dict[str, Any], expected: Any) -> None:
    generate = parsed(tools=[TOOL], tool_choice=choice).generate
    assert generate.tools == [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]
    assert generate.tool_choice == expected


def test_sampling_stops_and_format_arrive() -> None:
    schema = {"type": "object"}
    got = parsed(
        temperature=1, top_p=0.5, top_k=4, stop_sequences=["END"], metadata={"user_id": "u"}, stream=True,
        output_config={"effort": "high", "format": {"type": "json_schema", "schema": schema}},
    )  # fmt: skip
    generate = got.generate
    assert (generate.sampling.temperature, generate.sampling.top_k, generate.stop) == (1.0, 4, ["END"])
    assert (generate.body["user"], generate.max_tokens, generate.stream) == ("u", 9, True)
    assert json.loads(generate.grammar.value) == schema
    assert generate.body["reasoning_effort"] == "high"


def test_a_stream_has_anthropics_events() -> None:
    chunks = [
        Chunk([Delta(reasoning="hm")]),
        Chunk([Delta(text="so ")]),
        Chunk([Delta(text="be it")]),
        Chunk([Delta(tool_calls=[ToolCall(0, "t", "f", '{"a"')])]),
        Chunk([Delta(tool_calls=[ToolCall(0, arguments=":1}")], finish_reason="tool_calls")]),
    ]
    got = events(chunks, tools=[TOOL])
    assert [event["type"] for event in got] == [
        "message_start",
        "ping",
        *["content_block_start", "content_block_delta", "content_block_stop"],
        *["content_block_start", "content_block_delta", "content_block_delta", "content_block_stop"],
        *["content_block_start", "content_block_delta", "content_block_delta", "content_block_stop"],
        "message_delta",
        "message_stop",
    ]
    assert got[0]["message"]["usage"]["input_tokens"] == 3
    assert got[0]["message"]["usage"]["cache_read_input_tokens"] == 2
    starts = [event["content_block"] for event in got if event["type"] == "content_block_start"]
    assert starts == [
        {"type": "thinking", "thinking": "", "signature": ""},
        {"type": "text", "text": ""},
        {"type": "tool_use", "id": "t", "name": "f", "input": {}},
    ]
    assert [event["index"] for event in got if event["type"] == "content_block_stop"] == [0, 1, 2]
    assert got[-2]["delta"] == {"stop_reason": "tool_use", "stop_sequence": None}
    assert got[-2]["usage"]["output_tokens"] == 2


def test_a_whole_answer_has_the_blocks_of_a_stream() -> None:
    encoder = messages.WIRE.encoder(parsed(), 1)
    encoder.add(Chunk([Delta(text="a")]))
    encoder.add(Chunk([Delta(text="b"), Delta(tool_calls=[ToolCall(0, "t", "f", '{"a":1}')], finish_reason="length")]))
    got = json.loads(encoder.whole(Usage(5, 2), PAID))
    assert got["content"] == [
        {"type": "text", "text": "ab"},
        {"type": "tool_use", "id": "t", "name": "f", "input": {"a": 1}},
    ]
    assert (got["stop_reason"], got["type"], got["role"]) == ("max_tokens", "message", "assistant")


def test_a_stop_sequence_is_named() -> None:
    for stop, reason in (("END", "stop_sequence"), (None, "end_turn")):
        last = Chunk([Delta(text="a", finish_reason="stop", stop=stop)])
        encoder = messages.WIRE.encoder(parsed(), 1)
        encoder.add(last)
        got = json.loads(encoder.whole(Usage(5, 2), PAID))
        assert (got["stop_reason"], got["stop_sequence"]) == (reason, stop)
        got = events([last])
        assert got[-2]["delta"] == {"stop_reason": reason, "stop_sequence": stop}


def test_arguments_cut_short_stay_readable() -> None:
    encoder = messages.WIRE.encoder(parsed(), 1)
    encoder.add(Chunk([Delta(tool_calls=[ToolCall(0, "t", "f", '{"a":')], finish_reason="length")]))
    assert json.loads(encoder.whole(Usage(), PAID))["content"][0]["input"] == {"_raw": '{"a":'}


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (BadRequest("x", param="model"), "invalid_request_error"),
        (Unauthorized("x"), "authentication_error"),
        (NotFound("x"), "not_found_error"),
        (RateLimited("x"), "rate_limit_error"),
        (UpstreamError("x"), "api_error"),
    ],
)
def test_errors_have_anthropics_shape(error: AigridError, kind: str) -> None:
    body = messages.WIRE.error_body(error)
    assert (body["type"], body["error"]["type"], body["error"]["message"]) == ("error", kind, "x")
    assert body["error"].get("param") == error.param
    frame = messages.WIRE.encoder(parsed(stream=True), 1).error(error)
    assert frame == b"event: error\ndata: " + json.dumps(body, separators=(",", ":")).encode() + b"\n\n"


def test_counting_needs_no_limit() -> None:
    asked = messages.parse_count({"model": "m", "messages": SAID, "tools": [TOOL]})
    assert (asked.model, asked.messages, len(asked.tools)) == ("m", SAID, 1)
