"""Who is chosen for a task: by what was measured, with few observations counting for little."""

import pytest
from fakes import ScriptedMind
from hypothesis import given
from hypothesis import strategies as st

from aigrid.agents import catalogue, feedback, scores
from aigrid.agents.catalogue import lower_bound, rank, similarities
from aigrid.agents.scores import Seen
from aigrid.core.errors import ConfigError

REFUND = "refund the order of a customer"


def seen(agent, value, task=REFUND, times=1, **more):
    return [Seen(agent, task, value, 1.0, **more)] * times


def test_the_one_that_did_well_at_tasks_like_this_one_is_first():
    known = seen("poet", 1.0, "write a poem on spring", 50) + seen("clerk", 1.0, times=5) + seen("idler", 0.0, times=5)
    ranked = rank("refund this customer", ["poet", "idler", "clerk"], known)
    assert [each.agent for each in ranked] == ["clerk", "poet", "idler"]
    assert ranked[1].observations == 0  # poems say nothing about refunds
    assert ranked[0].observations < 5  # and a task that is only like this one not everything


def test_many_good_results_count_for_more_than_one():
    ranked = rank(REFUND, ["lucky", "proven"], seen("lucky", 1.0) + seen("proven", 1.0, times=9) + seen("proven", 0.0))
    assert [each.agent for each in ranked] == ["proven", "lucky"]


def test_of_equals_the_cheaper_faster_and_better_behaved_is_first():
    def run(agent, **more):
        return seen(agent, 1.0, times=4, **{"cost_nusd": 100, "seconds": 1.0, "calls": 5, **more})

    for worse in ({"cost_nusd": 200}, {"seconds": 2.0}, {"refused": 3}):
        assert [each.agent for each in rank(REFUND, ["b", "a"], run("a") + run("b", **worse))] == ["a", "b"]


def test_the_parts_make_the_score():
    one = rank(REFUND, ["a"], seen("a", 1.0, times=3, cost_nusd=7, seconds=1.5, calls=10, refused=10))[0]
    assert one.score == pytest.approx(
        one.skill - catalogue.REFUSED * one.refused - catalogue.DEAR * one.dear - catalogue.SLOW * one.slow,
        abs=1e-6,
    )
    assert (one.refused, one.dear, one.slow, one.cost_nusd, one.seconds) == (0.75, 1.0, 1.0, 7, 1.5)


def test_equals_stay_in_the_order_of_the_file():
    assert [each.agent for each in rank(REFUND, ["b", "a"], [])] == ["b", "a"]


@given(st.floats(0, 1000), st.floats(0, 1))
def test_the_bound_lies_below_the_mean_and_within_its_range(n, p):
    assert 0 <= lower_bound(n * p, n) < (n * p + 1) / (n + 2)


def test_likeness_is_of_stems_and_leaves_common_words_out():
    same, like, other = similarities(
        "refund the orders", ["refund the orders", "refunding an order", "the weather of an"]
    )
    assert (same, other) == (pytest.approx(1.0), 0.0)
    assert 0.5 < like <= 1.0


async def test_runs_ratings_and_evaluations_are_seen_each_tenant_its_own(bench):
    outcome = await bench.start(bench.agent(), ScriptedMind("done"), REFUND)
    [one] = scores.seen("acme")
    assert (one.agent, one.task, one.value, one.weight) == ("worker", REFUND, 1.0, scores.ENDED)
    feedback.give(feedback.Feedback(outcome.run, rating=-1), by="ann")
    [one] = scores.seen("acme")
    assert (one.value, one.weight) == (0.0, scores.RATED)
    assert scores.seen("globex") == []
    assert scores.add([b'{"agent":"worker","task":"t","score":0.5}', b""]) == 1
    assert [each.value for each in scores.seen("globex")] == [0.5]
    with pytest.raises(ConfigError, match="line 2"):
        scores.add([b'{"agent":"worker","task":"t","score":0.5}', b'{"agent":"worker","task":"t","score":2}'])
    assert len(scores.path().read_bytes().splitlines()) == 1
