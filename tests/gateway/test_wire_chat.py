"""The chat wire: what it accepts, what it names when it refuses, and its exact bytes."""

import json
from typing import Any

import msgspec
import pytest

from aigrid.core.errors import BadRequest, UpstreamError
from aigrid.engines.base import Chunk, Delta, TokenLogprob, ToolCall, Usage
from aigrid.gateway.wire import chat
from aigrid.ledger.base import Settlement

PAID = Settlement("rec_1", 3, 2, 0, 0, 50, 7, "estimate")
SAID = [{"role": "user", "content": "hi"}]
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}


def body(**fields: Any) -> dict[str, Any]:
    return {"model": "m", "messages": SAID, **fields}


def parse(**fields: Any) -> Any:
    return chat.WIRE.parse(body(**fields), "req_1").generate


def frames(data: bytes) -> list[Any]:
    assert data.endswith(b"\n\n")
    texts = [frame.removeprefix(b"data: ") for frame in data.split(b"\n\n")[:-1]]
    return [text if text == b"[DONE]" else json.loads(text) for text in texts]


def stream(chunks: list[Chunk], **fields: Any) -> list[Any]:
    encoder = chat.WIRE.encoder(chat.WIRE.parse(body(stream=True, **fields), "req_1"), 99)
    data = encoder.start(Usage(3)) + b"".join(encoder.chunk(chunk) for chunk in chunks)
    return frames(data + encoder.finish(Usage(3, 2), PAID))


def whole(chunks: list[Chunk], **fields: Any) -> Any:
    encoder = chat.WIRE.encoder(chat.WIRE.parse(body(**fields), "req_1"), 99)
    for chunk in chunks:
        encoder.add(chunk)
    return json.loads(encoder.whole(Usage(3, 2, 1, 1), PAID))


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"messages": []}, "messages"),
        ({"messages": None}, "messages"),
        ({"messages": "hi"}, "messages"),
        ({"messages": [1]}, "messages[0]"),
        ({"messages": [{}]}, "messages[0].role"),
        ({"messages": [*SAID, {"role": "robot", "content": ""}]}, "messages[1].role"),
        ({"messages": [{"role": "user"}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": None}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": []}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": [{"type": "smell"}]}]}, "messages[0].content[0].type"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages[0].content[0].text"),
        ({"messages": [{"role": "assistant"}]}, "messages[0].content"),
        ({"messages": [{"role": "tool", "content": "x", "tool_call_id": "c"}]}, "messages[0].tool_call_id"),
        ({"model": None}, "model"),
        ({"model": ""}, "model"),
        ({"temperature": 2.1}, "temperature"),
        ({"temperature": -1}, "temperature"),
        ({"temperature": "hot"}, "temperature"),
        ({"temperature": True}, "temperature"),
        ({"top_p": 1.5}, "top_p"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": 10**30}, "max_tokens"),
        ({"max_tokens": 1.5}, "max_tokens"),
        ({"max_completion_tokens": 0}, "max_completion_tokens"),
        ({"max_tokens": 1, "max_completion_tokens": 1}, "max_tokens"),
        ({"presence_penalty": 3}, "presence_penalty"),
        ({"frequency_penalty": -3}, "frequency_penalty"),
        ({"n": 0}, "n"),
        ({"n": 129}, "n"),
        ({"stop": ["a"] * 5}, "stop"),
        ({"stop": ""}, "stop"),
        ({"stop": [1]}, "stop[0]"),
        ({"seed": 2**70}, "seed"),
        ({"seed": "1"}, "seed"),
        ({"logprobs": 1}, "logprobs"),
        ({"top_logprobs": 21, "logprobs": True}, "top_logprobs"),
        ({"top_logprobs": 2}, "top_logprobs"),
        ({"logit_bias": {"5": 101}}, "logit_bias[...]"),
        ({"stream": "yes"}, "stream"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
        ({"response_format": {"type": "xml"}}, "response_format.type"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "a b"}}},
            "response_format.json_schema.name",
        ),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "text"}}}},
            "response_format.json_schema.schema.type",
        ),
        ({"tools": [{"type": "web"}]}, "tools[0].type"),
        ({"tools": [{"type": "function"}]}, "tools[0].function"),
        ({"tools": [{"type": "function", "function": {"name": "a b"}}]}, "tools[0].function.name"),
        (
            {"tools": [{"type": "function", "function": {"name": "a", "parameters": {"properties": []}}}]},
            "tools[0].function.parameters.properties",
        ),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tools": [TOOL], "tool_choice": "maybe"}, "tool_choice"),
        ({"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "g"}}}, "tool_choice"),
        ({"functions": [{"name": "f"}]}, "functions"),
        ({"modalities": ["text", "audio"]}, "modalities"),
        ({"reasoning_effort": "enormous"}, "reasoning_effort"),
        ({"service_tier": "gold"}, "service_tier"),
        ({"metadata": {str(i): "" for i in range(17)}}, "metadata"),
        ({"user": 5}, "user"),
    ],
)
def test_a_bad_field_is_refused_by_name(change: dict[str, Any], param: str) -> None:
    fields = {name: value for name, value in body(**change).items() if value is not None}
    with pytest.raises(BadRequest) as caught:
        chat.WIRE.parse(fields, "req_1")
    assert caught.value.param == param
    assert caught.value.message


def test_null_is_the_same_as_absent() -> None:
    optional = [f for f in chat.ChatBody.__struct_fields__ if f not in ("model", "messages")]
    assert parse(**dict.fromkeys(optional)).sampling == parse().sampling
    assert parse(**dict.fromkeys(optional)).max_tokens == 0


def test_everything_a_client_can_ask_arrives_at_the_engine() -> None:
    schema = {"type": "object", "properties": {"a": {"type": ["string", "null"]}}}
    asked = parse(
        temperature=1, top_p=0.5, top_k=3, min_p=0.1, seed=-5, n=2, stop="END", max_completion_tokens=7, stream=True,
        stream_options={"include_usage": True}, logprobs=True, top_logprobs=4, tools=[TOOL], tool_choice="required",
        response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": schema}},
        presence_penalty=-2, frequency_penalty=2, repetition_penalty=1.1,
    )  # fmt: skip
    assert (asked.max_tokens, asked.n, asked.stop, asked.stream, asked.include_usage) == (7, 2, ["END"], True, True)
    assert asked.sampling == msgspec.structs.replace(
        asked.sampling, temperature=1.0, top_p=0.5, top_k=3, min_p=0.1, seed=-5, logprobs=True, top_logprobs=4,
        presence_penalty=-2.0, frequency_penalty=2.0, repetition_penalty=1.1,
    )  # fmt: skip
    assert json.loads(asked.grammar.value) == schema
    assert (asked.tools, asked.tool_choice) == ([TOOL], "required")


def test_the_body_is_forwarded_as_it_came() -> None:
    given = body(unknown={"kept": 1})
    assert chat.WIRE.parse(given, "req_1").generate.body is given


def test_engines_see_joined_text_and_system_while_upstreams_see_the_original() -> None:
    said = [
        {"role": "developer", "content": [{"type": "text", "text": "be "}, {"type": "text", "text": "kind"}]},
        {"role": "user", "content": [{"type": "text", "text": "hi"}]},
    ]
    given = body(messages=said)
    asked = chat.WIRE.parse(given, "req_1").generate
    assert asked.messages == [{"role": "system", "content": "be kind"}, {"role": "user", "content": "hi"}]
    assert given["messages"][0]["role"] == "developer"
    assert isinstance(said[0]["content"], list)


def test_an_image_stays_for_engines_that_see() -> None:
    parts = [{"type": "text", "text": "?"}, {"type": "image_url", "image_url": {"url": "data:,"}}]
    assert parse(messages=[{"role": "user", "content": parts}]).messages[0]["content"] == parts


def test_allowed_tools_narrow_the_list() -> None:
    other = {"type": "function", "function": {"name": "g"}}
    allowed = {"mode": "required", "tools": [{"type": "function", "function": {"name": "g"}}]}
    asked = parse(tools=[TOOL, other], tool_choice={"type": "allowed_tools", "allowed_tools": allowed})
    assert (asked.tools, asked.tool_choice) == ([other], "required")


def test_a_tool_answer_must_have_been_asked_for() -> None:
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    told = [*SAID, {"role": "assistant", "tool_calls": [call]}, {"role": "tool", "content": "4", "tool_call_id": "c"}]
    assert parse(messages=told).messages == told


def test_tiers_are_understood_by_our_names_and_by_openais() -> None:
    tiers = {"think": "think", "flex": "overnight", "overnight": "overnight", "auto": "fast", "priority": "fast"}
    for asked, tier in tiers.items():
        assert chat.WIRE.parse(body(service_tier=asked), "req_1").tier == tier


def test_a_stream_has_openais_frames() -> None:
    chunks = [
        Chunk([Delta(text="Hé", tokens=1)]),
        Chunk([Delta(text='"\n', tokens=1)]),
        Chunk([Delta(finish_reason="stop")]),
    ]
    got = stream(chunks, service_tier="auto")
    envelope = {k: v for k, v in got[0].items() if k != "choices"}
    assert envelope == {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 99,
        "model": "m",
        "service_tier": "default",
        "system_fingerprint": envelope["system_fingerprint"],
    }
    assert envelope["system_fingerprint"].startswith("fp_")
    choices = [frame["choices"][0] for frame in got[:-1]]
    assert [choice["delta"] for choice in choices] == [
        {"role": "assistant", "content": "", "refusal": None},
        {"content": "Hé"},
        {"content": '"\n'},
        {},
    ]
    assert [choice["finish_reason"] for choice in choices] == [None, None, None, "stop"]
    assert all(choice["logprobs"] is None and choice["index"] == 0 for choice in choices)
    assert got[-1] == b"[DONE]"


def test_usage_comes_in_a_last_frame_without_choices_only_when_asked_for() -> None:
    chunks = [Chunk([Delta(text="a", finish_reason="stop")])]
    assert all("usage" not in frame for frame in stream(chunks)[:-1])
    *before, last, done = stream(chunks, stream_options={"include_usage": True})
    assert all(frame["usage"] is None for frame in before)
    assert last["choices"] == []
    assert last["usage"]["prompt_tokens"] == 3
    assert last["usage"]["completion_tokens"] == 2
    assert last["usage"]["total_tokens"] == 5
    assert last["aigrid"]["cost_nusd"] == 50
    assert done == b"[DONE]"


def test_each_choice_opens_with_its_role() -> None:
    got = stream([Chunk([Delta(1, "b"), Delta(0, "a")]), Chunk([Delta(1, "b")])], n=2)[:-1]
    roles = [(f["choices"][0]["index"], f["choices"][0]["delta"].get("role")) for f in got]
    assert roles == [(1, "assistant"), (1, None), (0, "assistant"), (0, None), (1, None)]


def test_tool_calls_stream_with_index_and_name_once() -> None:
    chunks = [
        Chunk([Delta(tool_calls=[ToolCall(0, "call_1", "f", '{"a"')])]),
        Chunk([Delta(tool_calls=[ToolCall(0, arguments=":1}")], finish_reason="tool_calls")]),
    ]
    got = stream(chunks, tools=[TOOL])
    assert [frame["choices"][0]["delta"].get("tool_calls") for frame in got[1:3]] == [
        [{"index": 0, "id": "call_1", "type": "function", "function": {"name": "f", "arguments": '{"a"'}}],
        [{"index": 0, "function": {"arguments": ":1}"}}],
    ]
    assert got[3]["choices"][0]["finish_reason"] == "tool_calls"
    message = whole(chunks, tools=[TOOL])["choices"][0]["message"]
    assert message["content"] is None
    assert message["tool_calls"] == [
        {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}
    ]


def test_log_probabilities_carry_bytes_and_alternatives() -> None:
    chunks = [Chunk([Delta(text="é", logprobs=[TokenLogprob("é", -0.5, [("e", -1.0)])])])]
    expected = {
        "content": [
            {
                "token": "é",
                "logprob": -0.5,
                "bytes": [195, 169],
                "top_logprobs": [{"token": "e", "logprob": -1.0, "bytes": [101]}],
            }
        ],
        "refusal": None,
    }
    assert stream(chunks, logprobs=True)[1]["choices"][0]["logprobs"] == expected
    assert whole(chunks, logprobs=True)["choices"][0]["logprobs"] == expected


def test_reasoning_is_apart_from_content() -> None:
    chunks = [Chunk([Delta(reasoning="hm")]), Chunk([Delta(text="42", finish_reason="stop")])]
    assert stream(chunks)[1]["choices"][0]["delta"] == {"reasoning_content": "hm"}
    message = whole(chunks)["choices"][0]["message"]
    assert (message["reasoning_content"], message["content"]) == ("hm", "42")


def test_bytes_of_an_upstream_pass_through_untouched() -> None:
    raw = b'data: {"anything": 1}\n\n'
    encoder = chat.WIRE.encoder(chat.WIRE.parse(body(stream=True), "req_1"), 1)
    chunk = Chunk([Delta(text="counted, not encoded")], raw=raw)
    assert encoder.chunk(chunk) is raw
    assert encoder.finish(Usage(), PAID) == b"data: [DONE]\n\n"
    encoder = chat.WIRE.encoder(chat.WIRE.parse(body(), "req_1"), 1)
    encoder.add(Chunk([Delta(text="x")], raw=b"{}"))
    assert encoder.whole(Usage(), PAID) == b"{}"


def test_an_error_in_a_stream_is_a_frame_and_no_end_mark() -> None:
    encoder = chat.WIRE.encoder(chat.WIRE.parse(body(stream=True), "req_1"), 1)
    (frame,) = frames(encoder.error(UpstreamError("gone")))
    assert frame == {"error": {"message": "gone", "type": "upstream_error", "param": None, "code": "upstream_error"}}


def test_a_whole_answer_has_openais_shape() -> None:
    got = whole([Chunk([Delta(0, "a"), Delta(1, "b")]), Chunk([Delta(0, "c", finish_reason="length")])], n=2)
    assert got["object"] == "chat.completion"
    assert [choice["message"]["content"] for choice in got["choices"]] == ["ac", "b"]
    assert [choice["finish_reason"] for choice in got["choices"]] == ["length", "stop"]
    assert got["usage"]["prompt_tokens_details"]["cached_tokens"] == 1
    assert got["usage"]["completion_tokens_details"]["reasoning_tokens"] == 1
