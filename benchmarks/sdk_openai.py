"""Checks with the `openai` SDK: models, chat, completions, embeddings, errors."""

import json
from typing import Any

import openai
from pydantic import BaseModel

from benchmarks.sdk_checks import Target, check, raises

SAID: list[Any] = [{"role": "user", "content": "Name the capital of France."}]
WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "Tell the weather of a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


class City(BaseModel):
    """A structured answer."""

    name: str
    people: int


def say(text: str) -> Any:
    return [{"role": "user", "content": text}]


@check("openai", "models.list names the model")
def models_list(target: Target) -> None:
    assert target.model in [model.id for model in target.openai().models.list()]


@check("openai", "models.retrieve describes the model")
def models_retrieve(target: Target) -> None:
    assert target.openai().models.retrieve(target.model).object == "model"


@check("openai", "models.retrieve of an unknown model raises NotFoundError")
def models_unknown(target: Target) -> None:
    models = target.openai().models
    plain = raises(openai.NotFoundError, lambda: models.retrieve("no-such-model"))
    slashed = raises(openai.NotFoundError, lambda: models.retrieve("no-such/model"))
    assert plain.code == slashed.code == "model_not_found"


@check("openai", "chat answers with content, finish_reason and usage that adds up")
def chat(target: Target) -> None:
    answer = target.openai().chat.completions.create(model=target.model, messages=SAID, max_tokens=8)
    assert answer.object == "chat.completion"
    assert answer.id.startswith("chatcmpl-")
    assert answer.choices[0].message.role == "assistant"
    assert answer.choices[0].message.content
    assert answer.choices[0].finish_reason in ("stop", "length")
    usage = answer.usage
    assert usage is not None
    assert 0 < usage.completion_tokens <= 8
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens
    assert usage.prompt_tokens > 0


@check("openai", "max_completion_tokens is a limit and finish_reason says so")
def chat_limit(target: Target) -> None:
    answer = target.openai().chat.completions.create(
        model=target.model, messages=say("Count from one to one hundred in words."), max_completion_tokens=3
    )
    assert answer.usage is not None
    assert answer.usage.completion_tokens <= 3
    assert answer.choices[0].finish_reason == "length"


@check("openai", "a stream gives role, text and finish_reason, in that order")
def chat_stream(target: Target) -> None:
    chunks = list(target.openai().chat.completions.create(model=target.model, messages=SAID, max_tokens=8, stream=True))
    assert {chunk.object for chunk in chunks} == {"chat.completion.chunk"}
    assert len({chunk.id for chunk in chunks}) == 1
    assert chunks[0].choices[0].delta.role == "assistant"
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    reasons = [chunk.choices[0].finish_reason for chunk in chunks]
    assert reasons[-1] in ("stop", "length")
    assert not any(reasons[:-1])
    assert all(chunk.usage is None for chunk in chunks)


@check("openai", "include_usage adds one last chunk with usage and no choices")
def chat_stream_usage(target: Target) -> None:
    stream = target.openai().chat.completions.create(
        model=target.model, messages=SAID, max_tokens=8, stream=True, stream_options={"include_usage": True}
    )
    *before, last = list(stream)
    assert all(chunk.usage is None for chunk in before)
    assert last.choices == []
    assert last.usage is not None
    assert 0 < last.usage.completion_tokens <= 8


@check("openai", "the SDK's stream helper puts the answer together")
def chat_stream_helper(target: Target) -> None:
    with target.openai().chat.completions.stream(model=target.model, messages=SAID, stop=["."]) as stream:
        deltas = [event.delta for event in stream if event.type == "content.delta"]
        final = stream.get_final_completion()
    assert final.choices[0].message.content == "".join(deltas)


@check("openai", "temperature 0 and a seed give the same answer streamed and whole")
def chat_stream_equals_whole(target: Target) -> None:
    client = target.openai()
    asked: Any = {"model": target.model, "messages": SAID, "max_tokens": 12, "temperature": 0, "seed": 7}
    whole = client.chat.completions.create(**asked).choices[0].message.content
    stream = client.chat.completions.create(**asked, stream=True)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in stream) == whole


@check("openai", "n=3 gives three indexed choices")
def chat_choices(target: Target) -> None:
    answer = target.openai().chat.completions.create(model=target.model, messages=SAID, max_tokens=4, n=3)
    assert [choice.index for choice in answer.choices] == [0, 1, 2]
    assert answer.usage is not None
    assert answer.usage.completion_tokens <= 12


@check("openai", "a streamed n=2 interleaves choices by index")
def chat_choices_stream(target: Target) -> None:
    chunks = target.openai().chat.completions.create(model=target.model, messages=SAID, max_tokens=4, n=2, stream=True)
    assert {choice.index for chunk in chunks for choice in chunk.choices} == {0, 1}


@check("openai", "a stop string ends the answer and is not part of it", echo=True)
def chat_stop(target: Target) -> None:
    answer = target.openai().chat.completions.create(
        model=target.model, messages=say("alpha beta gamma"), max_tokens=9, stop=["gamma"]
    )
    assert answer.choices[0].finish_reason == "stop"
    assert (answer.choices[0].message.content or "").strip() == "alpha beta"


@check("openai", "logprobs come with tokens, values and bytes", own=True)
def chat_logprobs(target: Target) -> None:
    answer = target.openai().chat.completions.create(model=target.model, messages=SAID, max_tokens=4, logprobs=True)
    logprobs = answer.choices[0].logprobs
    assert logprobs is not None
    assert logprobs.content
    assert len(logprobs.content) == answer.usage.completion_tokens if answer.usage else False
    for token in logprobs.content:
        assert token.logprob <= 0
        assert bytes(token.bytes or []).decode(errors="replace") == token.token


@check("openai", "top_logprobs gives alternatives, or is refused by name where the engine knows none", own=True)
def chat_top_logprobs(target: Target) -> None:
    refused: Any = None
    try:
        answer = target.openai().chat.completions.create(
            model=target.model, messages=SAID, max_tokens=2, logprobs=True, top_logprobs=2
        )
    except openai.BadRequestError as error:
        refused = error
    assert refused.param == "top_logprobs" if refused else answer.choices[0].logprobs is not None


@check("openai", "system, developer, multi-part and assistant messages are taken")
def chat_messages(target: Target) -> None:
    said: Any = [
        {"role": "system", "content": "Be short."},
        {"role": "developer", "content": [{"type": "text", "text": "Be kind."}]},
        {"role": "user", "content": [{"type": "text", "text": "Hello"}, {"type": "text", "text": " there"}]},
        {"role": "assistant", "content": "Hi!"},
        {"role": "user", "content": "And now?", "name": "ada"},
    ]
    answer = target.openai().chat.completions.create(model=target.model, messages=said, max_tokens=4)
    assert answer.choices[0].message.content is not None


@check("openai", "a forced tool is called with arguments of its schema")
def tool_forced(target: Target) -> None:
    answer = target.openai().chat.completions.create(
        model=target.model, messages=say("Weather in Paris?"), tools=[WEATHER], max_tokens=60,
        tool_choice={"type": "function", "function": {"name": "weather"}}, temperature=0,
    )  # fmt: skip
    calls: Any = answer.choices[0].message.tool_calls
    assert calls
    assert calls[0].function.name == "weather"
    assert calls[0].id
    assert isinstance(json.loads(calls[0].function.arguments)["city"], str)


@check("openai", "tool_choice=required calls some tool and says so in finish_reason")
def tool_required(target: Target) -> None:
    answer = target.openai().chat.completions.create(
        model=target.model, messages=say("Weather in Paris?"), tools=[WEATHER], tool_choice="required", max_tokens=60,
        temperature=0,
    )  # fmt: skip
    assert answer.choices[0].finish_reason in ("tool_calls", "stop")
    assert answer.choices[0].message.tool_calls


@check("openai", "a tool call streams as deltas that the SDK puts together")
def tool_stream(target: Target) -> None:
    with target.openai().chat.completions.stream(
        model=target.model, messages=say("Weather in Paris?"), tools=[WEATHER], tool_choice="required", max_tokens=60,
        temperature=0,
    ) as stream:  # fmt: skip
        final = stream.get_final_completion()
    calls: Any = final.choices[0].message.tool_calls
    assert calls[0].function.name == "weather"
    assert isinstance(json.loads(calls[0].function.arguments)["city"], str)


@check("openai", "tool_choice=none calls no tool")
def tool_none(target: Target) -> None:
    answer = target.openai().chat.completions.create(
        model=target.model, messages=SAID, tools=[WEATHER], tool_choice="none", max_tokens=6
    )
    assert not answer.choices[0].message.tool_calls


@check("openai", "a tool's answer can be sent back")
def tool_answer(target: Target) -> None:
    call = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Paris"}'}}
    said: Any = [
        *say("Weather in Paris?"),
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": "sunny"},
    ]
    answer = target.openai().chat.completions.create(model=target.model, messages=said, tools=[WEATHER], max_tokens=8)
    assert answer.choices[0].message is not None


@check("openai", "chat.completions.parse returns the pydantic object")
def parse(target: Target) -> None:
    answer = target.openai().chat.completions.parse(
        model=target.model, messages=say("Give me Paris as data."), response_format=City, max_tokens=80, temperature=0
    )
    city = answer.choices[0].message.parsed
    assert isinstance(city, City)


@check("openai", "response_format json_object gives JSON")
def json_object(target: Target) -> None:
    answer = target.openai().chat.completions.create(
        model=target.model, messages=say('Answer in JSON: {"ok": true}'), response_format={"type": "json_object"},
        max_tokens=200, temperature=0,
    )  # fmt: skip
    if answer.choices[0].finish_reason == "stop":
        assert isinstance(json.loads(answer.choices[0].message.content or ""), dict)


@check(
    "openai",
    "user, metadata, store, seed, service_tier and reasoning_effort are accepted",
    own=True,
)
def accepted_fields(target: Target) -> None:
    answer = target.openai().chat.completions.create(
        model=target.model, messages=SAID, max_tokens=2, user="u", metadata={"a": "b"}, store=False, seed=1,
        service_tier="auto", reasoning_effort="low", parallel_tool_calls=True, presence_penalty=0, top_p=0.9,
    )  # fmt: skip
    assert answer.service_tier == "default"
    assert answer.system_fingerprint


@check("openai", "with_raw_response shows request id and cost")
def raw_headers(target: Target) -> None:
    raw = target.openai().chat.completions.with_raw_response.create(model=target.model, messages=SAID, max_tokens=2)
    assert raw.headers["x-request-id"].startswith("req_")
    assert int(raw.headers["x-aigrid-cost-nusd"]) >= 0
    assert raw.parse().choices


@check("openai", "completions answer and stream the same text")
def completions(target: Target) -> None:
    client = target.openai()
    asked: Any = {"model": target.model, "prompt": "One two three", "max_tokens": 6, "temperature": 0, "seed": 1}
    whole = client.completions.create(**asked)
    assert whole.object == "text_completion"
    assert whole.usage is not None
    streamed = "".join(chunk.choices[0].text for chunk in client.completions.create(**asked, stream=True))
    assert streamed == whole.choices[0].text


@check("openai", "completions give logprobs in the old shape", own=True)
def completions_logprobs(target: Target) -> None:
    answer = target.openai().completions.create(model=target.model, prompt="One two", max_tokens=3, logprobs=1)
    logprobs = answer.choices[0].logprobs
    assert logprobs is not None
    assert len(logprobs.tokens or []) == len(logprobs.token_logprobs or []) > 0


@check("openai", "embeddings decode from base64 to vectors, one for each input", echo=True)
def embeddings(target: Target) -> None:
    answer = target.openai().embeddings.create(model=target.model, input=["a", "b"], dimensions=8)
    assert [row.index for row in answer.data] == [0, 1]
    assert all(abs(sum(x * x for x in row.embedding) - 1) < 1e-3 for row in answer.data)
    floats = target.openai().embeddings.create(model=target.model, input="a", dimensions=8, encoding_format="float")
    pairs = zip(floats.data[0].embedding, answer.data[0].embedding, strict=True)
    assert all(abs(a - b) < 1e-6 for a, b in pairs)
