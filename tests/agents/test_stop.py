"""A run can be stopped: at work, waiting or with recruits; it is settled, says who stopped it, and stays stopped."""

import asyncio

import pytest
from fakes import ScriptedMind
from test_engine import ADD, PAY, served  # noqa: F401 - a fixture

from aigrid.agents import loop, shelf, views
from aigrid.agents.desk import Desk
from aigrid.cli.app import run as command
from aigrid.engines.base import Chunk, Delta, Usage
from tests.agents.test_a2a import call
from tests.agents.test_team import DELEGATE, Cast, team

STOP = {"action": "stop", "reason": "enough"}


class Slow(ScriptedMind):
    """Says some words, and then waits for ever; `heard` is how often its words were counted by who asked."""

    heard = 0

    async def generate(self, request):
        yield Chunk([Delta(text="one two", tokens=2)], Usage(prompt_tokens=10))
        self.heard += 1
        await asyncio.Event().wait()


async def until(holds):
    """Wait for what has to come."""
    async with asyncio.timeout(60):
        while not holds():
            await asyncio.sleep(0.01)


async def at_work(mind, agent="worker"):
    """Return the id of the run of an agent once this mind has spoken again."""
    heard = mind.heard
    await until(lambda: mind.heard > heard)
    return next(view.run for view in views.runs() if (view.agent, view.state) == (agent, "running"))


def slow(door):
    door.gateway.engines[0].mind = Slow()
    return door.gateway.engines[0].mind


async def test_a_run_at_work_is_stopped_settled_and_says_by_whom(served):  # noqa: F811
    async with served("x") as door:
        mind = slow(door)
        asked = asyncio.create_task(door.chat("go", model="agent:worker"))
        run = await at_work(mind)
        _, other = await door.ledger.create_key("globex")
        assert (await door.ask("POST", f"/v1/agents/runs/{run}", STOP, secret=other))[0] == 404
        assert (await door.ask("POST", f"/admin/agents/runs/{run}", STOP))[0] == 403
        status, _, seen = await door.ask("POST", f"/v1/agents/runs/{run}", STOP)
        assert (status, seen["state"]) == (200, "stopped")
        assert seen["outcome"]["stopped_by"] == f"key {door.key.id}"
        assert seen["outcome"]["reason"] == f"stopped by key {door.key.id}: enough"
        status, headers, body = await asked
        assert (status, body["choices"][0]["finish_reason"]) == (200, "stop")
        assert "[stopped: stopped by" in body["choices"][0]["message"]["content"]
        [part] = [record for record in await door.records() if record.parent]
        assert part.revenue_nusd == int(headers["x-aigrid-cost-nusd"]) == seen["cost_nusd"] > 0
        assert seen["outcome"]["cost_nusd"] == seen["cost_nusd"]
        assert await door.ledger.check() == []
        assert (await door.ask("POST", f"/v1/agents/runs/{run}", STOP))[2]["outcome"] == seen["outcome"]  # once
        _, _, again = await door.chat("go on", model="agent:worker", metadata={"run": run})
        assert "[stopped" in again["choices"][0]["message"]["content"]  # it does not go on
        assert (await loop.replay(shelf.find(run))).stopped_by == f"key {door.key.id}"


async def test_what_was_spent_on_an_answer_that_was_cut_off_counts_on_the_budget(served):  # noqa: F811
    async with served("x", more="budget: {usd: 0.000015}") as door:
        mind = slow(door)
        run = None
        for _ in range(30):
            more = {"metadata": {"run": run}} if run else {}
            heard = mind.heard
            asked = asyncio.create_task(door.chat("go", model="agent:worker", **more))
            await until(lambda: mind.heard > heard or asked.done())  # noqa: B023 - of this turn
            asked.cancel()
            await asyncio.wait([asked])
            await until(lambda: views.runs()[0].state != "running")
            view = views.runs()[0]
            run = view.run
            if view.state != "interrupted":
                break
        assert 0 < view.cost_nusd == sum(each.revenue_nusd for each in await door.records()) <= 15_000
        assert view.state in ("stopped", "done")  # what was left was too little for a step, or for a whole answer
        assert sum(step.kind == "cut" for step in shelf.read(run)) > 1


async def test_a_run_that_waits_is_stopped_and_nobody_is_asked_any_more(served):  # noqa: F811
    async with served([("pay", {"to": "bob", "amount": 5})], "paid", tools=PAY) as door:
        _, headers, _ = await door.chat("pay", model="agent:worker")
        run = headers["x-aigrid-run"]
        _, admin = await door.ledger.create_key("boss", scope="admin")
        assert (await door.ask("POST", f"/admin/agents/runs/{run}", STOP, secret=admin))[2]["state"] == "stopped"
        assert any(entry.act == "agents.stop" for entry in await door.ledger.audit_log())
        desk = Desk()
        assert desk.all("waiting") == []
        desk.close()
        for path in ("/v1/agents/runs/run_none", f"/v1/agents/runs/{run}x"):
            assert (await door.ask("POST", path, STOP))[0] == 404
        for wrong in ({}, {"action": "go"}, {"action": "stop", "more": 1}):
            assert (await door.ask("POST", f"/v1/agents/runs/{run}", wrong))[0] == 400


async def test_what_is_done_is_not_stopped(served):  # noqa: F811
    async with served([("add", {"a": 1})], "3", tools=ADD) as door:
        _, headers, _ = await door.chat("add", model="agent:worker")
        status, _, body = await door.ask("POST", f"/v1/agents/runs/{headers['x-aigrid-run']}", STOP)
        assert (status, body["error"]["code"]) == (409, "conflict")
        assert views.runs()[0].state == "done"


async def test_recruits_stop_with_who_recruited_them_and_alone_they_tell_it():
    cast = {"boss": (DELEGATE, "ok"), "anna": ("x",)}
    async with team(cast, boss="team: {}", anna="") as door:
        cast_ = next(each for each in door.gateway.engines if isinstance(each, Cast))
        cast_.minds["anna"] = mind = Slow()
        asked = asyncio.create_task(door.chat("go", model="agent:boss"))
        await at_work(mind, "anna")
        boss = next(view.run for view in views.runs() if view.agent == "boss")
        assert (await door.ask("POST", f"/v1/agents/runs/{boss}", STOP))[2]["state"] == "stopped"
        await asked
        assert {view.agent: view.state for view in views.runs()} == {"boss": "stopped", "anna": "stopped"}
        anna = next(view for view in views.runs() if view.agent == "anna")
        assert f"with {boss}" in anna.outcome.reason
        asked = asyncio.create_task(door.chat("again", model="agent:boss"))
        run = await at_work(mind, "anna")
        await door.ask("POST", f"/v1/agents/runs/{run}", STOP)
        _, _, body = await asked
        assert body["choices"][0]["message"]["content"] == "ok"
        [told] = [step.body for step in shelf.read(views.runs()[1].run) if step.kind == "tool"]
        assert "stopped by" in told
        assert await door.ledger.check() == []


async def test_a_task_is_cancelled_over_a2a():
    async with team({"anna": ([("write", {"text": "a"})], "x")}, anna=ASKS) as door:
        params = {"message": {"messageId": "m", "role": "ROLE_USER", "parts": [{"text": "go"}]}}
        task = (await call(door, "SendMessage", params))["result"]["task"]
        gone = (await call(door, "CancelTask", {"id": task["id"]}))["result"]
        assert (gone["id"], gone["status"]["state"]) == (task["id"], "TASK_STATE_CANCELED")
        assert (await call(door, "CancelTask", {"id": task["id"]}))["error"]["code"] == -32002
        assert (await call(door, "GetTask", {"id": task["id"]}))["result"] == gone


ASKS = "tools: {write: {kind: python, function: work.write, approve: true}}"


async def test_a_call_that_had_begun_is_named_where_a_run_is_stopped(bench, keeping):
    run = await cut_off_in_a_call(bench)
    with shelf.find(run).open() as journal:
        outcome = await loop.stop(journal, "ann", "no")
    assert outcome.reason == "stopped by ann: no (begun, and not known whether done: call_0_0)"
    assert (await bench.resume(run, ScriptedMind("x"))) == outcome
    assert await bench.replay(run) == outcome


async def cut_off_in_a_call(bench):
    """Return a run whose tool was at work when its request was ended."""
    go = bench.folder / "go"
    (bench.folder / "work.py").write_text(
        f"import pathlib, time\ndef wait() -> str:\n    while not pathlib.Path({str(go)!r}).exists():\n"
        "        time.sleep(0.01)\n    return 'x'\n"
    )
    mind = ScriptedMind([("wait", {})], "done")
    task = asyncio.create_task(bench.start(bench.agent("  wait: {kind: python, function: work.wait}\n"), mind))
    try:
        await until(lambda: any(step.kind == "began" for place in shelf.places() for step in place.read()))
        task.cancel()
        await asyncio.wait([task])
    finally:
        go.touch()
    return next(shelf.places()).run


async def test_the_command_stops_a_run_that_no_factory_works_on(bench, capsys):
    tools = "  pay: {kind: python, function: work.pay, approve: true}\n"
    outcome = await bench.start(bench.agent(tools), ScriptedMind([("pay", {"to": "bob", "amount": 5})], "done"))

    def do(*args):
        import concurrent.futures

        with concurrent.futures.ThreadPoolExecutor() as pool:  # these commands have event loops of their own
            return pool.submit(command, ["agents", *args]).result()

    assert do("stop", outcome.run, "--reason", "not today") == 0
    assert "stopped by" in capsys.readouterr().out
    assert (await bench.resume(outcome.run, ScriptedMind("x"))).stopped_by.endswith("(command line)")
    assert bench.desk.all("waiting") == []
    assert bench.read("paid.txt") == []
    assert do("stop", "run_none") == 1


@pytest.mark.xdist_group("postgres")
async def test_a_run_that_another_gateway_works_on_is_not_stopped_from_here(served, postgres_url):  # noqa: F811
    shelf.use(postgres_url)
    try:
        async with served("x") as door:
            shelf.use(postgres_url)
            mind = slow(door)
            asked = asyncio.create_task(door.chat("go", model="agent:worker"))
            run = await at_work(mind)
            sittings = door.gateway.engines[-1]._sittings
            elsewhere = dict(sittings)
            sittings.clear()  # as if another process had it
            assert (await door.ask("POST", f"/v1/agents/runs/{run}", STOP))[0] == 409
            sittings.update(elsewhere)
            assert (await door.ask("POST", f"/v1/agents/runs/{run}", STOP))[2]["state"] == "stopped"
            await asked
    finally:
        shelf.use("sqlite")
