"""Votes: what counts as the same answer, when a vote is decided, and that the adaptive way agrees with the plain one."""

import asyncio
import random

import pytest
from fakes_thinking import ScriptedModels, request, saying

from aigrid.core.clock import SECOND
from aigrid.core.errors import EngineDied
from aigrid.thinking.adaptive import Adaptive
from aigrid.thinking.base import Candidate
from aigrid.thinking.budget import Budget, BudgetSpent, Caps
from aigrid.thinking.consistency import SelfConsistency
from aigrid.thinking.extract import Rule, answer_of


def run(strategy, models, caps=None, asked=None):
    async def go():
        with Budget(caps or Caps()) as budget:
            answer = await strategy.run(asked or request(), budget, models)
            return answer, budget.spent

    return asyncio.run(go())


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("6 * 7 = 42, so the answer is 42.", "42"),
        ("Answer: **1,042.50**", "1042.5"),
        ("thus \\boxed{\\frac{1}{2}}", "frac 1 2"),
        ("first #### 17\nlater #### 18", "18"),
        ("I think\nThe Cat.", "cat"),
        ('{"b": 1, "a": [1, 2]}', '{"a":[1,2],"b":1}'),
        ("42 apples", "42"),
        ("7 * 8 = 56", "56"),
        ("Let us see.\nIn all that makes 1,200.", "1200"),
        ("A", "a"),
        ("", ""),
    ],
)
def test_the_answer_of_a_text_is_found_and_made_plain(text, answer):
    assert answer_of(Candidate(1, text=text)) == answer


def test_a_number_is_the_last_one_there_where_the_rule_says_so():
    rule = Rule(kind="number")
    assert answer_of(Candidate(1, text="6 + 36 makes 42 in all"), rule) == "42"
    assert answer_of(Candidate(1, text="I do not know"), rule) == ""


def test_a_pattern_finds_the_answer():
    assert answer_of(Candidate(1, text="x=1 y=7"), Rule(r"y=(?P<answer>\d+)")) == "7"


def test_the_majority_wins_and_the_trace_says_why():
    models = ScriptedModels(saying("answer: 41", "answer: 42", "answer: 42.0", "answer: 40", "Answer: 42"))
    answer, spent = run(SelfConsistency(5), models)
    assert answer.winner.answer == "42"
    assert answer.trace.votes == {"42": 3, "41": 1, "40": 1}
    assert answer.trace.winner == 2
    assert "3 of 5" in answer.trace.why
    assert len(models.requests) == 1
    assert models.requests[0].n == 5
    assert spent.tokens == 10 + 5 * 2


def test_where_none_agree_the_most_central_wins():
    models = ScriptedModels(saying("red fox runs home", "red fox runs away", "blue whale sings", "red fox sleeps"))
    answer, _ = run(SelfConsistency(4), models)
    assert answer.winner.text in ("red fox runs home", "red fox runs away")
    assert "in common" in answer.trace.why


def test_an_easy_vote_stops_early_and_cancels_who_still_talks():
    models = ScriptedModels(saying("it is 42", "it is 42", "it is 42", "well " * 40 + "\n43"))
    answer, spent = run(Adaptive(32), models)
    assert answer.winner.answer == "42"
    assert models.made == 4
    assert models.cancelled == 1
    assert answer.trace.candidates[3].state == "cancelled"
    assert spent.tokens < 10 + 3 * 3 + 10


def test_a_leader_that_cannot_be_caught_ends_the_vote():
    script = ["1", "2", "1", "2", "1", "1", "1", "3"]
    answer, _ = run(Adaptive(8), ScriptedModels(saying(*script)))
    assert answer.winner.answer == "1"
    assert sum(each.complete for each in answer.trace.candidates) <= 7


@pytest.mark.parametrize("seed", range(20))
def test_adaptive_agrees_with_the_full_vote_of_the_same_samples_where_it_does_not_stop_on_luck(seed):
    luck = random.Random(seed)
    said = [luck.choices(["a", "b", "c"], [0.7, 0.2, 0.1])[0] for _ in range(64)]
    full, _ = run(SelfConsistency(64), ScriptedModels(saying(*said)))
    some, _ = run(Adaptive(64, first=16), ScriptedModels(saying(*said)))
    assert some.winner.answer == full.winner.answer
    assert len(some.trace.candidates) <= 64


def test_a_small_budget_means_fewer_candidates_not_none():
    answer, spent = run(SelfConsistency(16), ScriptedModels(saying("42")), Caps(tokens=400))
    assert answer.winner.answer == "42"
    assert spent.tokens <= 400
    assert 1 <= len(answer.trace.candidates) < 16


def test_a_budget_for_nothing_says_what_is_missing():
    with pytest.raises(BudgetSpent) as caught:
        run(SelfConsistency(4), ScriptedModels(saying("42")), Caps(tokens=10))
    assert (caught.value.kind, caught.value.limit) == ("tokens", 10)


def test_time_that_is_over_gives_what_there_is(monkeypatch):
    now = 0
    monkeypatch.setattr("aigrid.thinking.budget.mono_ns", lambda: now)

    class Slow(ScriptedModels):
        def told(self, candidate):
            nonlocal now
            now += 200 * SECOND

    models = Slow(saying("42", "a very long answer that takes its time to come"))
    answer, _ = run(SelfConsistency(2), models, Caps(ns=150 * SECOND))
    assert models.cancelled == 1
    assert answer.winner.answer == "42"
    assert "s left" in answer.trace.ended


def test_an_engine_that_dies_later_leaves_what_was_made():
    def script(request, number):
        return str(number % 4) if number < 4 else EngineDied("the engine died")

    answer, _ = run(Adaptive(16), ScriptedModels(script))
    assert answer.winner.complete
    assert answer.trace.ended == "the engine died"
    with pytest.raises(EngineDied):
        run(Adaptive(16), ScriptedModels(lambda *_: EngineDied("dead")))
