"""A run that is killed: real processes, real kill -9, side effects counted in a file of their own."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from fakes import ScriptedMind
from test_journal import let_go

from aigrid.agents import shelf

pytestmark = pytest.mark.usefixtures("keeping")

HERE = Path(__file__).parent
CHILD = """
import asyncio, os, signal, sys
from pathlib import Path
sys.path[:0] = [sys.argv[1]]
from conftest import Bench
from fakes import ScriptedMind
from test_journal import let_go
from aigrid.agents import shelf
from aigrid.agents.journal import Journal

folder, at, tools = Path(sys.argv[2]), sys.argv[3], sys.argv[4]
add = Journal.add

def die_at(self, kind, key, *rest, **more):
    if at == f"before {kind} {key}":
        os.kill(os.getpid(), signal.SIGKILL)
    step = add(self, kind, key, *rest, **more)
    if at == f"after {kind} {key}":
        os.kill(os.getpid(), signal.SIGKILL)
    return step

Journal.add = die_at
shelf.use(os.environ["AIGRID_LEDGER_URL"])
bench = Bench(folder)
mind = ScriptedMind([("write", {"text": "a"})], [("pay", {"to": "bob", "amount": 1})], "done")
print(asyncio.run(bench.start(bench.agent(tools), mind)))
"""
WRITE = "  write: {kind: python, function: work.write}\n"
PAY = "  pay: {kind: python, function: work.pay}\n"


def killed(folder, at, tools, keeping):
    command = [sys.executable, "-c", CHILD, str(HERE), str(folder), at, tools]
    env = {**os.environ, "AIGRID_LEDGER_URL": keeping}
    done = subprocess.run(command, capture_output=True, text=True, env=env, timeout=300)
    assert done.returncode == -signal.SIGKILL, done.stderr[-2000:]
    run = next(shelf.places()).run
    let_go(run)
    return run


def mind():
    return ScriptedMind([("write", {"text": "a"})], [("pay", {"to": "bob", "amount": 1})], "done")


@pytest.mark.parametrize(
    "at", ["after start ", "after model 0", "before began call_0_0/0", "after tool call_0_0", "after model 2"]
)
async def test_a_run_killed_between_calls_goes_on_and_repeats_nothing(bench, at, keeping):
    run = killed(bench.folder, at, WRITE + PAY, keeping)
    outcome = await bench.resume(run, mind())
    assert (outcome.state, outcome.output) == ("done", "done")
    assert bench.read("out.txt") == ["a"]
    assert len(bench.read("paid.txt")) == 1
    assert await bench.replay(run) == outcome


async def test_a_call_of_unknown_outcome_is_not_made_again_unless_a_person_says_so(bench, keeping):
    run = killed(bench.folder, "before tool call_0_0", WRITE + PAY, keeping)
    assert bench.read("out.txt") == ["a"]  # it was done, but nobody wrote that down
    outcome = await bench.resume(run, mind())
    assert outcome.state == "unknown"
    assert bench.desk.get(outcome.approval).why == "unknown"
    assert bench.read("out.txt") == ["a"]
    bench.desk.decide(outcome.approval, False, approver="ann", reason="I see the line")
    steps = mind()
    done = await bench.resume(run, steps)
    assert done.state == "done"
    assert "not done again: I see the line" in steps.requests[0].messages[-1]["content"]
    assert bench.read("out.txt") == ["a"]


async def test_a_person_may_have_it_made_again(bench, keeping):
    run = killed(bench.folder, "after began call_0_0/0", WRITE + PAY, keeping)
    outcome = await bench.resume(run, mind())
    bench.desk.decide(outcome.approval, True, approver="ann", reason="no line there")
    assert (await bench.resume(run, mind())).state == "done"
    assert bench.read("out.txt") == ["a"]


async def test_a_tool_with_an_idempotency_key_gets_the_same_key_again(bench, keeping):
    run = killed(bench.folder, "before tool call_1_0", WRITE + PAY, keeping)
    assert (await bench.resume(run, mind())).state == "done"
    keys = [line.split()[0] for line in bench.read("paid.txt")]
    assert keys == [f"{run}:call_1_0"] * 2  # the tool can tell that it is the same


async def test_a_tool_that_is_safe_to_retry_is_called_again_without_asking(bench, keeping):
    run = killed(bench.folder, "before tool call_0_0", WRITE.replace("}", ", safe_to_retry: true}") + PAY, keeping)
    assert (await bench.resume(run, mind())).state == "done"


async def test_a_killed_run_lets_go_of_its_file(bench, keeping):
    run = killed(bench.folder, "after model 0", WRITE + PAY, keeping)
    with shelf.find(run).open():
        assert shelf.find(run).at_work()
    assert not shelf.find(run).at_work()
