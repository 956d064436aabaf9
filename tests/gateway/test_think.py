"""Thinking at the door: tiers and efforts on every endpoint, exact ledgers, caps, traces."""

import itertools

import pytest

from aigrid.engines.base import Chunk, Delta, ModelInfo, Usage
from aigrid.engines.echo import EchoEngine


class Mind(EchoEngine):
    """Answers each candidate with the next of some texts, a word a token."""

    def __init__(self, *texts):
        super().__init__("local")
        self.texts = itertools.cycle(texts)
        self.requests = []

    def models(self):
        return [ModelInfo("echo")]

    async def generate(self, request):
        self.requests.append(request)
        yield Chunk(usage=Usage(7))
        said = [next(self.texts).split(" ") for _ in range(request.n)]
        for at in range(max(map(len, said)) + 1):
            deltas = []
            for index, words in enumerate(said):
                if at < len(words):
                    deltas.append(Delta(index, words[at] + " " * (at + 1 < len(words)), tokens=1))
                elif at == len(words):
                    deltas.append(Delta(index, finish_reason="stop"))
            yield Chunk(deltas)
        yield Chunk(usage=Usage(7, sum(map(len, said))))


MOST = ("it is 41", "it is 42", "well, it is 42", "40")


async def test_the_think_tier_votes_and_says_what_was_reasoning(door):
    async with door([Mind("a: 1", "answer: 42", "so, the answer is 42", "answer: 42")]) as at:
        status, headers, body = await at.chat(service_tier="think", aigrid={"trace": True})
        assert status == 200, body
        assert body["choices"][0]["message"]["content"] == "answer: 42"
        assert body["service_tier"] == "think"
        assert len(body["choices"]) == 1
        usage = body["usage"]
        assert usage["completion_tokens_details"]["reasoning_tokens"] == usage["completion_tokens"] - 2
        trace = body["aigrid"]["thinking"]
        assert trace["strategy"] == "adaptive"
        assert trace["votes"]["42"] == 3
        assert "3 of 4" in trace["why"]
        records = await at.records()
        parent = next(each for each in records if each.parent is None)
        children = [each for each in records if each.parent == parent.id]
        assert [each.tier for each in records] == ["think"] * len(records)
        assert int(headers["x-aigrid-cost-nusd"]) == sum(each.revenue_nusd for each in children) + parent.revenue_nusd
        assert usage["completion_tokens"] == sum(each.completion_tokens for each in children)
        assert usage["prompt_tokens"] == sum(each.prompt_tokens for each in children)
        assert parent.completion_tokens == 0
        assert await at.ledger.check() == []


async def test_an_effort_alone_thinks_and_says_how_many(door):
    mind = Mind("1", "2", "3", "4", "5")
    async with door([mind]) as at:
        for effort, most in (("none", 1), ("minimal", 1), ("low", 4), ("high", 16)):
            mind.requests.clear()
            status, _, _ = await at.chat(reasoning_effort=effort)
            assert status == 200
            assert sum(each.n for each in mind.requests) == most, effort


@pytest.mark.parametrize("tier", ["fast", "default", "priority", "scale", "flex", "overnight"])
async def test_a_tier_that_does_not_think_asks_once_whatever_the_effort(door, tier):
    mind = Mind("1", "2")
    async with door([mind]) as at:
        assert (await at.chat(service_tier=tier, reasoning_effort="high"))[0] == 200
        assert [each.n for each in mind.requests] == [1]
        wanted = "overnight" if tier in ("flex", "overnight") else "fast"
        assert [each.tier for each in await at.records()] == [wanted]


async def test_a_request_that_does_not_think_has_a_trace_for_who_asks(door):
    async with door([Mind("it is 42")]) as at:
        status, _, body = await at.chat(aigrid={"trace": True})
        assert status == 200, body
        assert body["usage"]["completion_tokens_details"]["reasoning_tokens"] == 0
        trace = body["aigrid"]["thinking"]
        assert (trace["strategy"], trace["winner"], trace["calls"]) == ("plain", 1, 1)
        assert [each["text"] for each in trace["candidates"]] == ["it is 42"]


async def test_every_endpoint_thinks(door):
    async with door([Mind("answer: 42")]) as at:
        ask = {"model": "echo", "service_tier": "think", "max_tokens": 2000, "aigrid": {"trace": True}}
        say = [{"role": "user", "content": "6 times 7?"}]
        _, _, body = await at.ask("POST", "/v1/completions", {**ask, "prompt": "6 times 7?"})
        assert body["choices"][0]["text"] == "answer: 42"
        assert body["aigrid"]["thinking"]["votes"] == {"42": 3}
        _, _, body = await at.ask("POST", "/v1/messages", {**ask, "messages": say})
        assert body["content"] == [{"type": "text", "text": "answer: 42"}]
        assert body["usage"]["output_tokens_details"]["thinking_tokens"] == body["usage"]["output_tokens"] - 2
        think = {
            "model": "echo",
            "max_tokens": 5000,
            "messages": say,
            "thinking": {"type": "enabled", "budget_tokens": 1024},
        }
        _, _, body = await at.ask("POST", "/v1/messages", think)
        assert body["usage"]["output_tokens_details"]["thinking_tokens"] > 0
        del ask["max_tokens"]
        _, _, body = await at.ask(
            "POST", "/v1/responses", {**ask, "input": "6 times 7?", "reasoning": {"effort": "low"}}
        )
        assert body["output"][-1]["content"][0]["text"] == "answer: 42"
        details = body["usage"]["output_tokens_details"]
        assert details["reasoning_tokens"] == body["usage"]["output_tokens"] - 2


async def test_a_stream_shows_the_candidates_to_who_asks(door):
    async with door([Mind("answer: 42")]) as at:
        _, _, raw = await at.chat(
            service_tier="think", stream=True, stream_options={"include_usage": True}, aigrid={"trace": True}
        )
        text = raw.decode()
        assert '"reasoning_content":"candidate 1: answer: 42\\n"' in text
        assert '"content":"answer: 42"' in text
        assert '"thinking":{' in text
        assert text.endswith("data: [DONE]\n\n")


async def test_a_cap_on_cost_holds_and_names_itself(door):
    async with door([Mind("answer: 1", "answer: 2", "answer: 3")]) as at:
        _, headers, _ = await at.chat(reasoning_effort="max", max_tokens=8, aigrid={"max_cost_usd": 0.00002})
        assert 0 < int(headers["x-aigrid-cost-nusd"]) <= 20_000
        status, _, body = await at.chat(service_tier="think", aigrid={"max_tokens": 3})
        assert status == 429
        assert body["error"]["code"] == "thinking_budget_spent"
        status, _, body = await at.chat(service_tier="fast", max_tokens=5, aigrid={"max_cost_usd": 0.000000001})
        assert status == 429
        assert await at.ledger.check() == []


async def test_many_choices_and_thought_exclude_each_other(door):
    async with door([Mind("1")]) as at:
        status, _, body = await at.chat(service_tier="think", n=2)
        assert status == 400
        assert body["error"]["param"] == "n"
        status, _, body = await at.chat(aigrid={"strategi": "debate"})
        assert status == 400
        assert body["error"]["param"] == "aigrid"
