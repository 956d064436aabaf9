"""Agents behind the gateway: served like any model, each token on the ledger as a part of the request, no overspend."""

import contextlib

import pytest
from fakes import ScriptedMind

from aigrid.agents import shelf, spec
from aigrid.agents.attach import attach
from aigrid.agents.desk import Desk
from aigrid.engines.echo import EchoEngine
from aigrid.ledger.base import Limits
from tests.gateway.conftest import open_door

ADD = "  add: {kind: python, function: work.add, safe_to_retry: true}\n"
PAY = "  pay: {kind: python, function: work.pay, approve: true}\n"


class ScriptedEngine(EchoEngine):
    def __init__(self, *script):
        super().__init__("local", "m")
        self.mind = ScriptedMind(*script)

    async def generate(self, request):
        async for chunk in self.mind.generate(request):
            yield chunk


@pytest.fixture
def served(bench):
    """`async with served(script…, tools=…) as door:`."""

    @contextlib.asynccontextmanager
    async def serve(*script, tools="", more=""):
        folder = spec.agents_folder()
        folder.mkdir()
        (folder / "work.py").write_text((bench.folder / "work.py").read_text())
        text = f"name: worker\ninstructions: Do the work.\n{more}\n" + (f"tools:\n{tools}" if tools else "")
        (folder / "worker.yaml").write_text(text)
        async with open_door([ScriptedEngine(*script)], attach=[attach]) as door:
            yield door

    return serve


async def test_an_agent_is_served_like_any_model_and_its_tokens_are_parts_of_the_request(served):
    async with served([("add", {"a": 1, "b": 2})], "the sum is 3", tools=ADD) as door:
        _, _, models = await door.ask("GET", "/v1/models")
        assert [row["id"] for row in models["data"]] == ["m", "agent:worker"]
        status, headers, body = await door.chat("add them", model="agent:worker")
        assert status == 200
        message = body["choices"][0]["message"]
        assert (message["content"], body["choices"][0]["finish_reason"]) == ("the sum is 3", "stop")
        assert "→ add" in message["reasoning_content"]
        assert body["usage"]["prompt_tokens"] == 20
        assert body["usage"]["completion_tokens"] == 6
        whole, *parts = sorted(await door.records(), key=lambda record: record.parent is not None)
        assert [(part.parent, part.model) for part in parts] == [(whole.id, "m")] * 2
        assert (whole.model, whole.completion_tokens, whole.revenue_nusd) == ("agent:worker", 0, 0)
        cost = sum(part.revenue_nusd for part in parts)
        assert cost > 0
        assert int(headers["x-aigrid-cost-nusd"]) == cost
        assert shelf.find(headers["x-aigrid-run"]).there()
        assert await door.ledger.check() == []


async def test_a_streamed_agent_says_the_same(served):
    async with served([("add", {"a": 1, "b": 2})], "the sum is 3", tools=ADD) as door:
        _, _, raw = await door.chat("add", model="agent:worker", stream=True, stream_options={"include_usage": True})
        text = raw.decode()
        assert '"content":"the "' in text
        assert '"prompt_tokens":20' in text
        assert text.endswith("data: [DONE]\n\n")


async def test_a_run_that_waits_goes_on_after_approval_for_its_own_tenant_only(served):
    async with served([("pay", {"to": "bob", "amount": 5})], "paid", tools=PAY) as door:
        _, headers, body = await door.chat("pay", model="agent:worker")
        run = headers["x-aigrid-run"]
        assert body["choices"][0]["message"]["content"].startswith("[waiting: a person has to approve pay")
        _, other = await door.ledger.create_key("globex")
        status, _, _ = await door.chat("go on", secret=other, model="agent:worker", metadata={"run": run})
        assert status == 404
        desk = Desk()
        desk.decide(desk.all("waiting")[0].id, True, approver="ann")
        desk.close()
        _, _, body = await door.chat("go on", model="agent:worker", metadata={"run": run})
        assert body["choices"][0]["message"]["content"] == "paid"
        assert len((spec.agents_folder() / "paid.txt").read_text().splitlines()) == 1


async def test_a_run_cannot_spend_more_than_its_budget_or_its_key_has(served):
    async with served(
        [("add", {"a": 1})], tools=ADD, more="budget: {usd: 0.00005, steps: 100, tool_calls: 100}"
    ) as door:
        _, headers, body = await door.chat("loop", model="agent:worker")
        assert body["choices"][0]["message"]["content"].startswith("[stopped: this step may cost up to")
        assert 0 < int(headers["x-aigrid-cost-nusd"]) <= 50_000
        _, poor = await door.ledger.create_key("poor", limits=Limits(total_nusd=30_000))
        spent = 0
        for _ in range(3):
            _, headers, _ = await door.chat("loop", secret=poor, model="agent:worker", max_tokens=10)
            spent += int(headers.get("x-aigrid-cost-nusd", 0))
        assert 0 < spent <= 30_000
        assert await door.ledger.check() == []


async def test_what_an_agent_cannot_do_is_refused_before_it_costs(served):
    tools = [{"type": "function", "function": {"name": "f"}}]
    async with served("hello") as door:
        for more in ({"tools": tools}, {"n": 2}, {"response_format": {"type": "json_object"}}):
            status, _, body = await door.chat("x", model="agent:worker", **more)
            assert (status, body["error"]["param"]) == (400, next(iter(more)))
        status, _, body = await door.chat("x", model="agent:nobody")
        assert status == 404
        assert sum(record.revenue_nusd for record in await door.records()) == 0
