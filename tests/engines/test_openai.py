import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aigrid.core.config import UpstreamConfig
from aigrid.core.errors import BadRequest, NotFound, RateLimited, Unavailable, UpstreamError
from aigrid.engines.base import Delta, EmbedRequest, Engine, GenerateRequest
from aigrid.engines.openai import OpenAIEngine
from aigrid.engines.openai_wire import SaidUsage, Tally, payload_of

SSE = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n"


def engine(url: str, **more: object) -> OpenAIEngine:
    return OpenAIEngine(UpstreamConfig("up", url, models=["echo"], **more))


def ask(text: str, max_tokens: int = 8, stream: bool = True, **more: object) -> GenerateRequest:
    messages = [{"role": "user", "content": text}]
    return GenerateRequest(
        "req_1", "echo", max_tokens, messages=messages, stream=stream, body={"messages": messages}, **more
    )


async def run(url: str, request: GenerateRequest):
    up = engine(url)
    try:
        return [chunk async for chunk in up.generate(request)]
    finally:
        await up.stop()


def test_it_is_an_engine():
    assert isinstance(engine("http://x"), Engine)


@pytest.mark.parametrize("stream", [True, False])
async def test_text_usage_and_raw_bytes_come_through(echo: str, stream: bool):
    chunks = await run(echo, ask("one two", stream=stream))
    assert "".join(d.text for c in chunks for d in c.deltas) == "one two " * 4
    assert sum(d.tokens for c in chunks for d in c.deltas) == 8
    usage = chunks[-1].usage
    assert (usage.prompt_tokens, usage.completion_tokens, usage.source) == (2, 8, "upstream")
    raw = b"".join(c.raw or b"" for c in chunks)
    assert b"[DONE]" not in raw
    assert raw.count(b'"usage"') == (0 if stream else 1)


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("lie", ["lie", "zero", "none"])
async def test_a_lying_upstream_is_not_believed(echo: str, stream: bool, lie: str):
    chunks = await run(echo, ask(f"alpha beta [echo tokens=9 usage={lie}]", 1000, stream))
    usage = chunks[-1].usage
    assert usage.completion_tokens == 9
    assert usage.source == ("counted" if stream else "estimated")


async def test_a_lie_is_not_passed_on_in_the_raw_body(echo: str):
    chunks = await run(echo, ask("alpha [echo tokens=9 usage=lie]", 1000, stream=False))
    assert chunks[0].raw is None


async def test_a_dropped_stream_raises_after_what_came(echo: str):
    tokens = 0
    with pytest.raises(UpstreamError):
        async for chunk in engine(echo).generate(ask("x [echo tokens=8 disconnect=3]")):
            tokens += sum(delta.tokens for delta in chunk.deltas)
    assert tokens == 3


async def test_a_stream_without_done_is_not_taken_for_whole(raw_server):
    url = await raw_server(SSE, b'data: {"choices":[{"index":0,"delta":{"content":"a"}}]}\n\n')
    with pytest.raises(UpstreamError, match="without"):
        await run(url, ask("x"))


async def test_frames_cut_anywhere_are_put_together(raw_server):
    text = b'data: {"choices":[{"index":0,"delta":{"content":"\xc3\xa9"}}]}\r\n\r\n: hi\r\n\r\ndata: [DONE]\r\n\r\n'
    for at in range(1, len(text)):
        url = await raw_server(SSE, text[:at], text[at:], pause=0.002)
        chunks = await run(url, ask("x"))
        assert "".join(d.text for c in chunks for d in c.deltas) == "é"


async def test_an_error_frame_is_an_error(raw_server):
    url = await raw_server(SSE, b'data: {"error":{"message":"out of memory"}}\n\n')
    with pytest.raises(UpstreamError, match="out of memory"):
        await run(url, ask("x"))


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, BadRequest),
        (404, NotFound),
        (429, RateLimited),
        (500, UpstreamError),
        (503, Unavailable),
    ],
)
async def test_statuses_mean_what_they_say(echo: str, status: int, error: type):
    with pytest.raises(error, match="failed as asked"):
        await run(echo, ask(f"x [echo fail={status}]"))


async def test_an_upstreams_words_about_our_key_are_not_passed_on(raw_server):
    said = b'{"error":{"message":"Incorrect API key provided: sk-secret"}}'
    url = await raw_server(b"HTTP/1.1 401 No\r\ncontent-length: %d\r\n\r\n" % len(said) + said)
    with pytest.raises(UpstreamError, match="refuses our key") as refused:
        await run(url, ask("x"))
    assert "secret" not in refused.value.message


async def test_a_stream_that_does_not_know_our_limit_ends_where_the_hold_ends(raw_server):
    frame = b'data: {"choices":[{"index":0,"delta":{"content":"more "}}]}\n\n'
    url = await raw_server(SSE, frame * 500, close=False)
    chunks = await run(url, ask("x", 3))
    assert sum(d.tokens for c in chunks for d in c.deltas) == 3
    assert "".join(d.text for c in chunks for d in c.deltas) == "more " * 3
    assert chunks[-1].deltas[0].finish_reason == "length"
    assert chunks[-1].usage.completion_tokens == 3


async def test_a_whole_answer_far_beyond_the_limit_is_refused(raw_server):
    said = b'{"choices":[{"index":0,"message":{"content":"' + b"more " * 500 + b'"}}]}'
    url = await raw_server(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(said) + said)
    with pytest.raises(UpstreamError, match="limit_field"):
        await run(url, ask("x", 3, stream=False))


async def test_other_names_for_more_tokens_are_not_passed_on(echo: str):
    request = ask("a b", 4, stream=False)
    request.body = {**request.body, "n_predict": 4000, "max_completion_tokens": 4000}
    assert (await run(echo, request))[0].usage.completion_tokens == 4


@pytest.mark.parametrize(
    "frame",
    [
        b'data: {"choices":[{"index":0,"delta":{"content":"\xff\xfe"}}]}\n\n',
        b'data: {"choices":[{"index":7,"delta":{"content":"a"}}]}\n\n',
        b"data: [1,2]\n\n",
        b"data: " + b"x" * (5 << 20),
    ],
)
async def test_what_no_upstream_should_send_is_its_failure_and_not_ours(raw_server, frame: bytes):
    with pytest.raises(UpstreamError):
        await run(await raw_server(SSE, frame), ask("x"))


async def test_negative_figures_are_none(raw_server):
    frame = b'data: {"choices":[{"index":0,"delta":{"content":"a"}}],"usage":{"prompt_tokens":1,"completion_tokens":1'
    frame += b',"prompt_tokens_details":{"cached_tokens":-3}}}\n\ndata: [DONE]\n\n'
    chunks = await run(await raw_server(SSE, frame), ask("x"))
    assert chunks[-1].usage.cached_tokens == 0


async def test_hidden_reasoning_is_believed_as_far_as_it_was_asked_for(raw_server):
    frame = b'data: {"choices":[{"index":0,"delta":{"content":"a"}}],"usage":{"prompt_tokens":1,"completion_tokens":31'
    frame += b',"completion_tokens_details":{"reasoning_tokens":30}}}\n\ndata: [DONE]\n\n'
    chunks = await run(await raw_server(SSE, frame), ask("x", 100))
    assert (chunks[-1].usage.completion_tokens, chunks[-1].usage.source) == (31, "upstream")


async def test_closing_the_iterator_closes_the_connection(echo: str):
    up = engine(echo)
    chunks = up.generate(ask("x [echo tokens=1000 rate=50]", 1000))
    async for chunk in chunks:
        if chunk.deltas:
            break
    await chunks.aclose()
    assert up.load().running == 0
    assert not up._client._idle


async def test_models_are_asked_for_and_asked_again(echo: str):
    up = OpenAIEngine(UpstreamConfig("up", echo + "/v1"))
    await up.start()
    assert [model.id for model in up.models()] == ["echo"]
    assert up.load().state == "ready"
    await up.stop()
    gone = OpenAIEngine(UpstreamConfig("up", "http://127.0.0.1:1", models=["m"]))
    await gone.start()
    assert gone.load().state == "down"
    await gone.stop()


async def test_embeddings_come_in_order(echo: str):
    made = await engine(echo).embed(EmbedRequest("r", "echo", ["a", "b b"]))
    assert len(made.vectors) == 2
    assert made.usage.prompt_tokens == 3


async def test_many_streams_at_once_each_get_their_own(echo: str):
    up = engine(echo)

    async def one(at: int) -> str:
        chunks = [chunk async for chunk in up.generate(ask(f"w{at}", 5))]
        return "".join(d.text for c in chunks for d in c.deltas)

    assert await asyncio.gather(*(one(at) for at in range(100))) == [f"w{at} " * 5 for at in range(100)]


@given(st.integers(-10, 10_000), st.integers(-10, 10_000), st.lists(st.text(min_size=1, max_size=20), max_size=20))
def test_settled_usage_is_never_more_than_was_asked_for_nor_less_than_was_seen(prompt, completion, texts):
    tally = Tally(ask("some prompt", 50))
    for text in texts:
        tally.add(Delta(text=text))
    usage = tally.usage(SaidUsage(prompt, completion))
    assert len(texts) <= usage.completion_tokens <= max(50, len(texts))
    assert usage.prompt_tokens > 0


@pytest.mark.parametrize(
    ("frame", "payload"),
    [(b"data: x", b"x"), (b"data:x", b"x"), (b": c", None), (b"event: e\ndata: a\ndata: b", b"a\nb"), (b"", None)],
)
def test_event_payloads(frame: bytes, payload: bytes | None):
    assert payload_of(frame) == payload
