"""Asking before acting: what a person decides is bound to the exact arguments, survives anything, and acts once."""

import msgspec
import pytest
from fakes import ScriptedMind

from aigrid.agents import desk as desks
from aigrid.agents import shelf
from aigrid.agents.desk import Desk
from aigrid.core.clock import SECOND, now_ns
from aigrid.core.errors import BadRequest, Conflict, NotFound

pytestmark = pytest.mark.usefixtures("keeping")

PAY = "  pay: {kind: python, function: work.pay, approve: true}\n"
ASKED = {"run": "run_1", "call": "c", "agent": "a", "tenant": "t", "tool": "pay", "why": "approve", "expires_s": 60.0}


def payer():
    return ScriptedMind([("pay", {"to": "bob", "amount": 5})], "done")


async def test_a_call_waits_is_approved_and_made_once(bench):
    outcome = await bench.start(bench.agent(PAY), payer())
    assert outcome.state == "waiting"
    again = await bench.resume(outcome.run, payer())
    assert (again.state, again.approval) == ("waiting", outcome.approval)
    assert bench.read("paid.txt") == []
    other = Desk()  # another process answers
    one = other.get(outcome.approval)
    assert one.arguments == {"to": "bob", "amount": 5}
    for _ in range(2):
        assert other.decide(one.id, True, approver="ann", reason="fine", bound=one.digest).state == "approved"
    other.close()
    done = await bench.resume(outcome.run, payer())
    assert (done.state, done.output) == ("done", "done")
    assert await bench.resume(outcome.run, payer()) == done
    assert await bench.replay(outcome.run) == done
    assert len(bench.read("paid.txt")) == 1
    with shelf.find(outcome.run).open() as journal:
        recorded = journal.find("answered", "approve:call_0_0").body
    assert (recorded["approver"], recorded["reason"], recorded["state"]) == ("ann", "fine", "approved")


@pytest.mark.parametrize("how", ["denied", "expired", "expired after approval"])
async def test_what_is_denied_or_expired_never_runs(bench, how, monkeypatch):
    expires = "approvals: {expires_s: 600}" if "expired" in how else ""
    outcome = await bench.start(bench.agent(PAY, expires), payer())
    if how == "denied":
        bench.desk.decide(outcome.approval, False, approver="ann", reason="too much")
    elif how == "expired after approval":
        bench.desk.decide(outcome.approval, True, approver="ann")
    if "expired" in how:
        monkeypatch.setattr(desks, "now_ns", lambda: now_ns() + 600 * SECOND)
    mind = payer()
    done = await bench.resume(outcome.run, mind)
    assert done.state == "done"
    assert bench.read("paid.txt") == []
    assert mind.requests[0].messages[-1]["content"].startswith("refused: ")
    with pytest.raises(Conflict):
        bench.desk.decide(outcome.approval, how == "denied", approver="bob")


async def test_changed_arguments_make_an_approval_stale(state_in_a_temporary_folder):
    desk = Desk()
    first = desk.ask(**ASKED, arguments={"amount": 5})
    desk.decide(first.id, True, approver="ann")
    assert desk.ask(**ASKED, arguments={"amount": 5}).state == "approved"
    second = desk.ask(**ASKED, arguments={"amount": 500})
    assert (second.state, desk.get(first.id).state) == ("waiting", "stale")
    with pytest.raises(BadRequest, match="digest"):
        desk.decide(second.id, True, approver="ann", bound=first.digest)
    with pytest.raises(Conflict, match="stale"):
        desk.decide(first.id, True, approver="ann", bound=first.digest) and desk.decide(first.id, False, approver="x")
    assert [each.id for each in desk.all("waiting")] == [second.id]
    desk.close()


async def test_an_answer_stands(state_in_a_temporary_folder):
    desk = Desk()
    one = desk.ask(**ASKED, arguments={})
    desk.decide(one.id, False, approver="ann", reason="no")
    with pytest.raises(Conflict, match="denied"):
        desk.decide(one.id, True, approver="bob")
    with pytest.raises(NotFound):
        desk.get("nothing")
    assert msgspec.to_builtins(desk.get(one.id))["reason"] == "no"
    desk.close()


async def test_an_approval_in_the_file_of_answers_is_not_enough_when_its_arguments_were_changed(bench):
    outcome = await bench.start(bench.agent(PAY), payer())
    bench.desk.decide(outcome.approval, True, approver="ann")
    bench.desk._database.execute("UPDATE approvals SET digest = ?", (desks.binding("pay", {"to": "eve"}),))
    again = await bench.resume(outcome.run, payer())
    assert again.state == "waiting"
    assert again.approval != outcome.approval
    assert bench.read("paid.txt") == []


async def test_small_amounts_go_without_asking_and_large_ones_do_not(bench):
    tools = "  pay: {kind: python, function: work.pay, approve_unless: {amount: {maximum: 10}}}\n"
    small = await bench.start(bench.agent(tools), payer())
    large = await bench.start(bench.agent(tools), ScriptedMind([("pay", {"to": "bob", "amount": 11})], "done"))
    assert (small.state, large.state) == ("done", "waiting")
    assert len(bench.read("paid.txt")) == 1
