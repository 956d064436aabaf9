import asyncio

import pytest

from aigrid.core.config import UpstreamConfig
from aigrid.core.errors import EngineDied, UpstreamError
from aigrid.engines.base import Chunk, Delta, Usage
from aigrid.engines.echo import EchoEngine
from aigrid.engines.openai import OpenAIEngine
from aigrid.ledger.base import Limits


class Broken(EchoEngine):
    """Fails before its first token."""

    async def generate(self, request):
        raise UpstreamError("broken on purpose")
        yield


class Chatty(EchoEngine):
    """Does not know when to stop."""

    async def generate(self, request):
        for _ in range(1000):
            yield Chunk([Delta(text="more ", tokens=1)])
            await asyncio.sleep(0)


class Dying(EchoEngine):
    """Dies after three tokens."""

    async def generate(self, request):
        yield Chunk([Delta(text="a b c", tokens=3)], Usage(prompt_tokens=2))
        raise EngineDied("the engine process died")


class Paced(EchoEngine):
    """Counts what it has made, a token in 10 ms, or none before it may `go`."""

    def __init__(self, rate=100):
        super().__init__(rate=rate)
        self.made = 0
        self.go = asyncio.Event()
        self.go.set()

    async def generate(self, request):
        await self.go.wait()
        async for chunk in super().generate(request):
            self.made += sum(delta.tokens for delta in chunk.deltas)
            yield chunk


class Buggy(EchoEngine):
    """Has a bug."""

    async def generate(self, request):
        raise KeyError("bug")
        yield


async def test_what_an_answer_cost_is_in_its_headers_and_on_the_ledger(door):
    async with door([EchoEngine()]) as here:
        status, headers, body = await here.chat(max_tokens=5)
        assert status == 200
        assert body["usage"]["completion_tokens"] == 5
        [record] = await here.records()
        assert headers["x-request-id"] == record.id
        assert int(headers["x-aigrid-cost-nusd"]) == record.revenue_nusd == 3 * 50 + 5 * 200
        assert int(headers["x-aigrid-gateway-us"]) >= 0
        assert (record.prompt_tokens, record.completion_tokens, record.outcome) == (3, 5, "finished")
        assert await here.ledger.check() == []


async def test_a_stream_is_settled_as_it_was_sent(door):
    async with door([EchoEngine()]) as here:
        status, _, raw = await here.chat(max_tokens=7, stream=True)
        assert status == 200
        assert raw.endswith(b"data: [DONE]\n\n")
        [record] = await here.records()
        assert record.completion_tokens == 7
        assert record.first_token_ns > 0


async def test_a_client_that_leaves_pays_for_what_was_made_and_the_engine_stops(door):
    engine = EchoEngine(rate=200)
    async with door([engine]) as here:
        body = b'{"model":"echo","messages":[{"role":"user","content":"a"}],"max_tokens":2000,"stream":true}'
        async with await here.client().request("POST", "/v1/chat/completions", body) as answer:
            got = b""
            while got.count(b'"content":"a') < 5:
                got += await answer.read(5)
        async with asyncio.timeout(60):
            while here.gateway.running:
                await asyncio.sleep(0.01)
        assert engine.load().running == 0
        [record] = await here.records()
        assert record.outcome == "client_gone"
        assert 5 <= record.completion_tokens < 2000


async def test_who_leaves_before_a_whole_answer_comes_pays_for_what_was_made(door):
    engine = Paced()
    async with door([engine]) as here:
        asking = asyncio.create_task(here.chat("a b", max_tokens=2000))
        while engine.made < 5:
            await asyncio.sleep(0.01)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        while here.gateway.running:
            await asyncio.sleep(0.01)
        [record] = await here.records()
        assert record.outcome == "client_gone"
        assert record.prompt_tokens == 2
        assert 5 <= record.completion_tokens <= engine.made < 2000


async def test_before_the_first_byte_the_next_engine_is_tried(door):
    async with door([Broken("first"), EchoEngine("second")]) as here:
        for stream in (False, True):
            status, headers, _ = await here.chat(max_tokens=2, stream=stream)
            assert (status, headers["x-aigrid-site"]) == (200, "second")
        newest, oldest = await here.records()
        assert oldest.site == "second"
        assert "broken on purpose" in oldest.note
        assert newest.note == ""  # the broken one is at the end of the line now


async def test_a_failure_before_the_first_byte_costs_nothing(door):
    async with door([Broken()]) as here:
        status, _, body = await here.chat(max_tokens=2)
        assert (status, body["error"]["message"]) == (502, "broken on purpose")
        [record] = await here.records()
        assert (record.outcome, record.revenue_nusd, record.prompt_tokens) == ("failed", 0, 0)


async def test_a_stream_that_breaks_says_so_and_is_charged_as_far_as_it_went(door):
    async with door([Dying()]) as here:
        status, _, raw = await here.chat(max_tokens=9, stream=True)
        assert status == 200
        assert b"the engine process died" in raw
        assert b"[DONE]" not in raw
        [record] = await here.records()
        assert (record.outcome, record.prompt_tokens, record.completion_tokens) == ("failed", 2, 3)


async def test_an_answer_that_is_not_streamed_and_breaks_costs_nothing(door):
    async with door([Dying()]) as here:
        status, _, _ = await here.chat(max_tokens=9)
        assert status == 503
        [record] = await here.records()
        assert record.revenue_nusd == 0


async def test_an_engine_that_does_not_stop_is_stopped_at_what_was_held(door):
    async with door([Chatty()]) as here:
        status, _, raw = await here.chat(max_tokens=10, stream=True)
        assert status == 200
        assert b'"finish_reason":"length"' in raw
        [record] = await here.records()
        assert record.revenue_nusd <= record.held_nusd


async def test_a_bug_is_a_500_in_one_shape_and_leaves_nothing_open(door):
    async with door([Buggy()]) as here:
        status, _, body = await here.chat(max_tokens=2)
        assert status == 500
        assert set(body["error"]) == {"message", "type", "param", "code"}
        assert (await here.ledger.report(0)).open_holds == 0
        assert here.gateway.running == 0


async def test_without_a_limit_of_its_own_a_request_takes_what_the_budget_allows(door):
    async with door([EchoEngine()]) as here:
        _, secret = await here.ledger.create_key("small", limits=Limits(total_nusd=20_000))
        status, _, body = await here.chat("hello", secret)
        assert status == 200
        assert 0 < body["usage"]["completion_tokens"] <= 100  # 20,000 n$ at 200 n$ a token
        status, _, body = await here.chat("hello", secret, max_tokens=4000)
        assert (status, body["error"]["code"]) == (429, "insufficient_quota")
        assert len(await here.records()) == 1


async def test_a_full_queue_is_a_429_with_retry_after(door):
    engine = Paced(rate=0)
    engine.go.clear()
    async with door([engine], max_running=1, max_waiting=0) as here:
        first = asyncio.create_task(here.chat(max_tokens=20))
        while not here.gateway.running:
            await asyncio.sleep(0.01)
        status, headers, body = await here.chat(max_tokens=1)
        assert (status, body["error"]["code"]) == (429, "queue_full")
        assert int(headers["retry-after"]) >= 1
        engine.go.set()
        assert (await first)[0] == 200


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/chat/completions", 405),
        ("POST", "/v1/models", 405),
        ("GET", "/nowhere", 404),
        ("GET", "/v1/models/none", 404),
        ("GET", "/health/live", 200),
        ("GET", "/health/ready", 200),
        ("GET", "/openapi.json", 200),
        ("GET", "/metrics", 200),
    ],
)
async def test_paths_and_methods(door, method: str, path: str, status: int):
    async with door([EchoEngine()]) as here:
        assert (await here.ask(method, path))[0] == status


async def test_bad_keys_are_401_and_missing_ones_say_how_to_make_one(door):
    async with door([EchoEngine()]) as here:
        status, _, body = await here.chat(secret="sk-aigrid-nothing-like-it")
        assert (status, body["error"]["code"]) == (401, "invalid_api_key")
        await here.ledger.revoke_key(here.key.id)
        status, _, body = await here.chat()
        assert status == 401


async def test_too_large_a_body_is_413(door):
    async with door([EchoEngine()], max_body_mb=1) as here:
        status, _, body = await here.ask("POST", "/v1/chat/completions", b" " * (2 << 20))
        assert (status, body["error"]["code"]) == (413, "request_too_large")


async def test_counting_tokens_is_free_so_its_body_is_small(door):
    async with door([EchoEngine()]) as here:
        for size, status in ((1 << 20, 200), (2 << 20, 413)):
            body = {"model": "echo", "messages": [{"role": "user", "content": "a" * size}]}
            assert (await here.ask("POST", "/v1/messages/count_tokens", body))[0] == status


async def test_a_gateway_whose_ledger_refuses_every_hold_is_not_ready(door, monkeypatch):
    async with door([EchoEngine()]) as here:
        assert (await here.ask("GET", "/health/ready"))[0] == 200
        monkeypatch.setattr(here.ledger._till, "_max_waiting", 0)
        assert (await here.chat())[0] == 503
        status, _, body = await here.ask("GET", "/health/ready")
        assert (status, body["status"], body["ledger"]["refuses_holds"]) == (503, "not ready", True)


async def test_metrics_add_up_with_the_ledger(door):
    async with door([EchoEngine()]) as here:
        await here.chat(max_tokens=5)
        await here.chat(max_tokens=6, stream=True)
        _, _, text = await here.ask("GET", "/metrics")
        label = b'gen_ai_request_model="echo",gen_ai_token_type="output"'
        [line] = [
            row for row in text.splitlines() if row.startswith(b"gen_ai_client_token_usage_total") and label in row
        ]
        assert float(line.split()[-1]) == 11


async def test_embeddings_are_settled(door):
    async with door([EchoEngine()]) as here:
        asked = {"model": "echo", "input": ["a b", "c"], "service_tier": "overnight"}
        status, _, body = await here.ask("POST", "/v1/embeddings", asked)
        assert status == 200
        assert len(body["data"]) == 2
        [record] = await here.records()
        assert record.tier == "overnight"
        assert b'aigrid_requests_total{outcome="finished"} 1' in (await here.ask("GET", "/metrics"))[2]
        assert (record.prompt_tokens, record.completion_tokens, record.revenue_nusd) == (3, 0, 150)


async def test_a_gateway_that_is_its_own_upstream_notices(door):
    async with door([EchoEngine()]) as here:
        loop = OpenAIEngine(UpstreamConfig("loop", here.url, models=["round"]))
        loop._client._head += f"authorization: Bearer {here.secret}\r\n"
        here.gateway.router.engines.append(loop)
        body = {"model": "round", "messages": [{"role": "user", "content": "a"}], "max_tokens": 3}
        status, _, answer = await here.ask("POST", "/v1/chat/completions", body)
        assert status == 508
        assert "passed 4 gateways" in answer["error"]["message"]
        assert len(await here.records()) <= 4
        await loop.stop()


async def test_a_body_of_nothing_but_brackets_is_refused_before_it_takes_memory(door):
    async with door([EchoEngine()]) as here:
        body = b'{"model":"echo","messages":[{"role":"user","content":"a"}],"x":[' + b"{}," * 300_000 + b"{}]}"
        status, _, answer = await here.ask("POST", "/v1/chat/completions", body)
        assert (status, answer["error"]["code"]) == (400, "invalid_json")
