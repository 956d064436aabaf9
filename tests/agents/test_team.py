"""Teams: recruits are runs of their own, paid by who recruits them, that a crash does not repeat."""

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from fakes import ScriptedMind

from aigrid.agents import catalogue, loop, scores, shelf, spec, views
from aigrid.agents.attach import attach
from aigrid.agents.desk import Desk
from aigrid.core.errors import ConfigError
from aigrid.engines.echo import EchoEngine
from tests.agents.conftest import TOOLS
from tests.gateway.conftest import open_door

BOSS = "team: {members: [anna, bert, boss]}\nbudget: {usd: 0.01}"
WRITE = "tools: {write: {kind: python, function: work.write}}"


class Cast(EchoEngine):
    """One model behind all agents: who speaks is told by the instructions."""

    def __init__(self, **scripts):
        super().__init__("local", "m")
        self.minds = {name: ScriptedMind(*script) for name, script in scripts.items()}

    async def generate(self, request):
        who = request.messages[0]["content"].split()[2].rstrip(".")
        async for chunk in self.minds[who].generate(request):
            yield chunk


def hire(**agents):
    """Write agents' files: what stands in each besides its name and instructions."""
    folder = spec.agents_folder()
    folder.mkdir(exist_ok=True)
    (folder / "work.py").write_text(TOOLS)
    for name, more in agents.items():
        (folder / f"{name}.yaml").write_text(f"name: {name}\ninstructions: You are {name}.\nmodel: m\n{more}\n")


@contextlib.asynccontextmanager
async def team(cast, **agents):
    hire(**agents)
    async with open_door([Cast(**cast)], attach=[attach]) as door:
        yield door


def runs():
    """Return the views of all runs by agent's name."""
    return {view.agent: view for view in views.runs()}


def steps(run, kind):
    return [step.body for step in shelf.read(run) if step.kind == kind]


DELEGATE = [("delegate", {"task": "add up the bill"})]


async def test_a_part_goes_to_the_agent_with_the_best_record_in_a_run_of_its_own_within_the_budget():
    cast = {"boss": (DELEGATE, "all is done"), "anna": ("never",), "bert": ("it is 7",)}
    async with team(cast, boss=BOSS, anna="about: the very best at bills", bert="") as door:
        scores.add([b'{"agent":"bert","task":"add up a bill","score":1}'] * 3)
        _, headers, body = await door.chat("the bill please", model="agent:boss", user="u1")
        assert body["choices"][0]["message"]["content"] == "all is done"
        run = headers["x-aigrid-run"]
        assert '"answer":"it is 7"' in steps(run, "tool")[0]
        [chosen] = steps(run, "recruited")
        assert [each["agent"] for each in chosen["ranking"]] == ["bert", "anna"]  # and never itself
        bert = runs()["bert"]
        assert (bert.parent, bert.tenant, bert.task, bert.state) == (run, "acme", "add up the bill", "done")
        assert steps(bert.run, "start")[0]["task"]["user"] == "u1"
        records = await door.records()
        whole = next(record for record in records if record.model == "agent:boss")
        part = next(record for record in records if record.model == "agent:bert")
        assert part.parent == whole.id
        assert part.held_nusd <= whole.held_nusd == 10_000_000
        cost = sum(record.revenue_nusd for record in records)
        assert int(headers["x-aigrid-cost-nusd"]) == cost == runs()["boss"].outcome.cost_nusd
        own = {name: sum(each["cost_nusd"] for each in steps(view.run, "model")) for name, view in runs().items()}
        assert sum(own.values()) == cost
        assert bert.outcome.cost_nusd == own["bert"]
        assert runs()["boss"].outcome.completion_tokens == body["usage"]["completion_tokens"]
        assert await door.ledger.check() == []
        assert (await loop.replay(shelf.find(run))).output == "all is done"


async def test_recruits_have_no_more_tokens_than_are_left_to_who_recruits_them():
    cast = {"boss": (DELEGATE, "ok"), "anna": ("7",)}
    async with team(cast, boss="team: {}\nbudget: {tokens: 1000, seconds: 9}", anna="budget: {tokens: 5000}") as door:
        await door.chat("go", model="agent:boss")
        [start] = steps(runs()["anna"].run, "start")
        boss = steps(runs()["boss"].run, "model")[0]["usage"]
        assert start["agent"]["budget"]["tokens"] == 1000 - boss["prompt_tokens"] - boss["completion_tokens"]
        assert start["agent"]["budget"]["seconds"] == 9


async def test_a_team_cannot_spend_more_than_was_held_for_its_first_run():
    cast = {"boss": (DELEGATE,), "anna": (DELEGATE,), "bert": ("word " * 50,)}
    more = "team: {}\nbudget: {usd: 0.00006, steps: 50, tool_calls: 50}"
    async with team(cast, boss=more, anna="team: {}", bert="") as door:
        _, headers, body = await door.chat("go", model="agent:boss")
        assert body["choices"][0]["message"]["content"].startswith("[stopped: ")
        assert 0 < int(headers["x-aigrid-cost-nusd"]) <= 60_000
        assert await door.ledger.check() == []


async def test_there_are_no_loops_and_no_deeper_teams_than_the_first_allows():
    cast = dict.fromkeys(("boss", "anna", "bert", "carl"), (DELEGATE, "ok"))
    every = "team: {depth: 4}"
    async with team(cast, boss="team: {depth: 2}", anna=every, bert=every, carl=every) as door:
        await door.chat("go", model="agent:boss")
        found = runs()
        assert set(found) == {"boss", "anna", "bert"}  # two levels, and nobody twice
        assert found["bert"].parent == found["anna"].run
        [start] = steps(found["bert"].run, "start")
        assert start["parent"]["lineage"] == ["boss", "anna"]
        assert start["parent"]["root"] == found["boss"].run
        assert start["offers"] == []


async def test_nobody_is_recruited_beyond_the_members_that_the_file_names():
    cast = {"boss": (DELEGATE, "alone then"), "carl": ("never",)}
    async with team(cast, boss="team: {members: [anna]}", carl="") as door:
        _, headers, body = await door.chat("go", model="agent:boss")
        assert body["choices"][0]["message"]["content"] == "alone then"
        assert "needs 1 agents to recruit" in steps(headers["x-aigrid-run"], "tool")[0]
        assert set(runs()) == {"boss"}


async def test_a_debate_is_judged_without_knowing_who_said_what():
    asked = [("debate", {"task": "7 or 8?"})]
    cast = {"boss": (asked, "ok"), "anna": ("7",), "bert": ("8",), "jury": (prefers_8,)}
    more = "team: {members: [anna, bert], modes: [debate], judge: jury}"
    async with team(cast, boss=more, anna="", bert="", jury="") as door:
        await door.chat("go", model="agent:boss")
        [result] = steps(runs()["boss"].run, "tool")
        assert '"agent":"bert","answer":"8"' in result
        question = steps(runs()["jury"].run, "start")[0]["task"]["text"]
        first, second = (question.index(f"Answer {letter}:\n") for letter in "AB")
        assert first < second
        assert "anna" not in question
        assert "bert" not in question


def prefers_8(request):
    question = request.messages[-1]["content"]
    return f"{'A' if 'Answer A:' + chr(10) + '8' in question else 'B'}, since it is true"


async def test_a_verdict_counts_as_evidence_and_a_judge_that_names_none_gives_none():
    asked = [("debate", {"task": "7 or 8?"})]
    cast = {"boss": (asked, "ok"), "anna": ("7",), "bert": ("8",), "jury": (prefers_8,)}
    more = "team: {members: [anna, bert], modes: [debate], judge: jury}"
    async with team(cast, boss=more, anna="about: I am always right", bert="", jury="") as door:
        await door.chat("go", model="agent:boss")
        [verdict] = steps(runs()["boss"].run, "judged")
        assert verdict["values"] == {runs()["bert"].run: 1.0, runs()["anna"].run: 0.0}
        known = {each.agent: (each.value, each.weight) for each in scores.seen("acme")}
        assert (known["bert"], known["anna"]) == ((1.0, scores.JUDGED), (0.0, scores.JUDGED))
        assert scores.seen("globex") == []
        assert catalogue.rank("7 or 8?", ["anna", "bert"], scores.seen("acme"))[0].agent == "bert"
        rated = {"run": runs()["anna"].run, "rating": 1}
        assert (await door.ask("POST", "/v1/agents/feedback", rated))[0] == 201  # a person knows better
        known = {each.agent: (each.value, each.weight) for each in scores.seen("acme")}
        assert known["anna"] == (1.0, scores.RATED)
    cast["jury"] = ("Neither.",)
    async with team(cast, boss=more, anna="", bert="", jury="") as door:
        await door.chat("go", model="agent:boss")
        assert steps(next(view.run for view in views.runs() if view.agent == "boss"), "judged") == []


async def test_a_task_that_is_handed_over_is_answered_by_the_other():
    cast = {"boss": ([("hand_over", {"task": "all of it"})], "never said"), "anna": ("anna says so",)}
    async with team(cast, boss="team: {modes: [hand_over]}", anna="") as door:
        _, headers, body = await door.chat("go", model="agent:boss")
        assert body["choices"][0]["message"]["content"] == "anna says so"
        outcome = await loop.replay(shelf.find(headers["x-aigrid-run"]))
        assert (outcome.state, outcome.output, outcome.steps) == ("done", "anna says so", 1)


async def test_a_recruit_that_waits_for_a_person_has_the_whole_run_wait():
    cast = {"boss": (DELEGATE, "ok"), "anna": ([("write", {"text": "a"})], "written")}
    asks = "tools: {write: {kind: python, function: work.write, approve: true}}"
    async with team(cast, boss="team: {}", anna=asks) as door:
        _, headers, body = await door.chat("go", model="agent:boss")
        run = headers["x-aigrid-run"]
        assert body["choices"][0]["message"]["content"].startswith("[waiting: anna in run_")
        desk = Desk()
        [one] = desk.all("waiting")
        assert one.run == runs()["anna"].run
        desk.decide(one.id, True, approver="ann")
        desk.close()
        _, _, body = await door.chat("go on", model="agent:boss", metadata={"run": run})
        assert body["choices"][0]["message"]["content"] == "ok"
        assert len(journal_lines()) == 1
        assert len(list(shelf.places())) == 2


async def test_the_tier_of_an_agent_is_that_of_its_tokens():
    async with team({"boss": ("ok",)}, boss="tier: overnight") as door:
        await door.chat("go", model="agent:boss")
        tiers = {record.model: record.tier for record in await door.records()}
        assert tiers == {"agent:boss": "fast", "m": "overnight"}


def test_a_team_that_cannot_be_is_refused():
    hire(boss="team: {modes: [shout]}", chef="tem: {}")
    for name, said in (("boss", "shout"), ("chef", "did you mean `team`")):
        with pytest.raises(ConfigError, match=said):
            spec.find(name)


HERE = Path(__file__).parent
CHILD = """
import asyncio, os, signal, sys
sys.path[:0] = [sys.argv[1], sys.argv[2]]
from test_team import KILLED, cast_of, team
from aigrid.agents.journal import Journal

at = sys.argv[3]
add, count = Journal.add, {}

def die_at(self, kind, key, *rest, **more):
    who = self.steps[0].body["agent"]["name"] if self.steps else rest[1].agent.name
    here = f"{who} {kind}"
    if at == f"before {here}":
        os.kill(os.getpid(), signal.SIGKILL)
    step = add(self, kind, key, *rest, **more)
    if at == f"after {here}":
        os.kill(os.getpid(), signal.SIGKILL)
    return step

async def main():
    Journal.add = die_at
    async with team(cast_of(), **KILLED) as door:
        await door.chat("go", model="agent:boss")

asyncio.run(main())
"""
KILLED = {"boss": "team: {}", "anna": WRITE.replace("}}", ", idempotent: true}}").replace("work.write", "work.pay")}


def cast_of():
    return {"boss": (DELEGATE, "ok"), "anna": ([("write", {"to": "bob", "amount": 1})], "written")}


def journal_lines():
    paths = [spec.agents_folder() / name for name in ("out.txt", "paid.txt")]
    return [line for path in paths if path.exists() for line in path.read_text().splitlines()]


@pytest.mark.parametrize(
    "at",
    ["after boss recruited", "before anna start", "after anna start", "after anna model", "after anna tool",
     "after anna end", "before boss joined", "after boss joined", "before boss tool"],
)  # fmt: skip
async def test_a_team_killed_anywhere_goes_on_with_the_same_recruit_and_repeats_nothing(at):
    command = [sys.executable, "-c", CHILD, str(HERE), str(HERE.parents[1]), at]
    done = subprocess.run(command, capture_output=True, text=True, env=dict(os.environ), timeout=300)
    assert done.returncode == -signal.SIGKILL, done.stderr[-2000:]
    run = min(place.run for place in shelf.places())
    async with team(cast_of(), **KILLED) as door:
        _, _, body = await door.chat("go on", model="agent:boss", metadata={"run": run})
        assert body["choices"][0]["message"]["content"] == "ok"
        assert len(journal_lines()) == 1
        assert len(list(shelf.places())) == 2
        assert steps(run, "joined")[0]["state"] == "done"


async def test_a_client_cannot_make_its_run_another_ones_part():
    async with team({"boss": ("ok",)}, boss="team: {}") as door:
        told = {"parent": "run_x", "depth": "9", "tokens": "1000000000", "root": "run_y"}
        _, headers, _ = await door.chat("go", model="agent:boss", metadata=told)
        [start] = steps(headers["x-aigrid-run"], "start")
        assert start["parent"] is None
        assert "budget" not in start["agent"]  # that is, the one of the file
