"""Every strategy gives what its naive reference gives on the same texts, and says why."""

import asyncio
import random

import pytest
from fakes_thinking import ScriptedModels, request, saying
from hypothesis import given, settings
from hypothesis import strategies as st

from aigrid.thinking import reference
from aigrid.thinking.adaptive import Adaptive
from aigrid.thinking.beam import BeamSearch
from aigrid.thinking.best_of_n import BestOfN
from aigrid.thinking.budget import Budget, Caps
from aigrid.thinking.consistency import SelfConsistency
from aigrid.thinking.debate import Debate
from aigrid.thinking.refine import Refine
from aigrid.thinking.scorers.critic import Critic
from aigrid.thinking.scorers.exact import Verifier
from aigrid.thinking.scorers.likelihood import Likelihood
from aigrid.thinking.weighted import WeightedVote

answers = st.lists(st.sampled_from("abcd"), min_size=1, max_size=32)


def run(strategy, models, caps=None):
    async def go():
        with Budget(caps or Caps()) as budget:
            return await strategy.run(request(), budget, models)

    return asyncio.run(go())


class Table:
    """A scorer that looks scores up by text; it does not know, so that it ends nothing early."""

    name, exact, logprobs, calls = "table", False, False, 0

    def __init__(self, scores):
        self.scores = scores

    async def score(self, search, candidate):
        return self.scores(candidate.text), ""


@settings(max_examples=60, deadline=None)
@given(answers)
def test_votes_are_those_of_the_reference(said):
    full = run(SelfConsistency(len(said)), ScriptedModels(saying(*said)))
    if full.trace.why.endswith("agree"):
        assert full.trace.votes[full.winner.answer] == max(full.trace.votes.values())
        assert full.trace.votes[full.winner.answer] == said.count(reference.majority(said))


@settings(max_examples=60, deadline=None)
@given(answers)
def test_adaptive_looks_at_as_many_as_the_reference(said):
    got = run(Adaptive(len(said)), ScriptedModels(saying(*said)))
    answer, seen = reference.adaptive(said)
    assert sum(each.complete for each in got.trace.candidates) == seen
    if got.trace.votes[got.winner.answer] > 1:
        assert got.winner.answer == answer


@settings(max_examples=40, deadline=None)
@given(answers, st.integers(0, 99))
def test_weights_are_added_up_as_in_the_reference(said, seed):
    luck = random.Random(seed)
    said = [f"{luck.random():.3f} answer: {each}" for each in said]
    weight = lambda text: float(text.split()[0])  # noqa: E731
    got = run(WeightedVote(len(said), Table(weight)), ScriptedModels(saying(*said)))
    assert got.winner.answer == reference.weighted_vote([each[-1] for each in said], [weight(each) for each in said])
    best = run(BestOfN(len(said), Table(weight)), ScriptedModels(saying(*said)))
    assert best.winner.text == reference.best_of_n(said, weight)


def test_a_scorer_that_knows_ends_the_search_and_cancels_the_others():
    models = ScriptedModels(saying("no", "yes", "well " * 50 + "no", "no " * 50))
    got = run(BestOfN(4, Verifier(lambda text, answer: text == "yes")), models)
    assert got.winner.text == "yes"
    assert models.cancelled == 2


def test_the_likelihood_of_a_candidate_comes_with_its_tokens():
    got = run(BestOfN(2, Likelihood()), ScriptedModels(saying("one two")))
    assert got.winner.score == pytest.approx(0.9048, abs=1e-3)
    assert "likelihood gave it 0.90" in got.trace.why


def is_critic(request):
    return "Grade this" in request.messages[-1]["content"] or "You check answers" in request.messages[-1]["content"]


def test_the_critic_decides_which_candidate_is_best():
    def script(request, number):
        if is_critic(request):
            return "9 it is right" if "42" in request.messages[-1]["content"] else "2 it is wrong"
        return "42" if number == 2 else "41"

    got = run(BestOfN(4, Critic()), ScriptedModels(script))
    assert got.winner.text == "42"
    assert got.winner.note == "9 it is right"
    assert [each.role for each in got.trace.candidates].count("critic") == 4


@pytest.mark.parametrize("grades", [[3, 9], [3, 2, 1], [5, 5, 5], [9], [1, 4, 2]])
def test_refinement_keeps_the_version_that_the_reference_keeps(grades):
    count = {"draft": 0, "grade": 0}

    def script(request, number):
        kind = "grade" if is_critic(request) else "draft"
        count[kind] += 1
        return f"{grades[count['grade'] - 1]} say more" if kind == "grade" else f"version {count['draft']}"

    got = run(Refine(rounds=2), ScriptedModels(script))
    drafts = iter(range(1, 9))
    marks = iter(grades)
    expected = reference.refine(
        "q", lambda messages: f"version {next(drafts)}", lambda text: (next(marks) / 10, "more"), rounds=2
    )
    assert got.winner.text == expected


def test_beam_search_follows_the_steps_that_the_scorer_likes():
    steps = {0: ["good start", "bad start"], 1: ["good step", "bad step"], 2: ["Answer: 42", "Answer: 7"]}
    score = lambda text: text.count("good") + text.count("42")  # noqa: E731

    def script(request, number):
        sofar = request.messages[-1]["content"].partition("Steps so far:\n")[2].partition("\nWrite only")[0]
        return steps[min(len(sofar.splitlines()), 2)][number % 2]

    got = run(BeamSearch(Table(score), width=2, branch=2), ScriptedModels(script))
    expected = reference.beam_search(
        lambda beam: steps[min(len(beam.splitlines()), 2)], score, lambda chain: "Answer:" in chain, 2, 8
    )
    assert got.winner.text == expected == "good start\ngood step\nAnswer: 42"
    assert got.winner.answer == "42"


def test_debaters_who_agree_need_no_judge():
    models = ScriptedModels(saying("41", "42", "42", "42"))
    got = run(Debate(["one", "two"]), models)
    assert got.winner.answer == "42"
    assert got.trace.why == "all 2 agree after round 2"
    assert [each.model for each in models.requests] == ["one", "two", "one", "two"]


def test_the_judge_decides_where_they_still_differ():
    def script(request, number):
        if "Which answer is best" in request.messages[-1]["content"]:
            return "2 because it is right"
        return "41" if request.model == "one" else "42"

    got = run(Debate(["one", "two"], judge="judge"), ScriptedModels(script))
    expected = reference.debate("q", [lambda m: "41", lambda m: "42"], lambda said: 1, 2)
    assert got.winner.text == expected == "42"
    assert got.winner.note == "2 because it is right"


STRATEGIES = [
    lambda: SelfConsistency(8),
    lambda: Adaptive(16),
    lambda: BestOfN(4, Critic()),
    lambda: WeightedVote(4, Critic()),
    lambda: Refine(),
    lambda: BeamSearch(Critic()),
    lambda: Debate(),
]


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(STRATEGIES), st.integers(60, 3000), st.integers(0, 999))
def test_no_strategy_overruns_its_budget(make, tokens, seed):
    luck = random.Random(seed)

    def script(request, number):
        return f"{luck.randint(0, 10)} " + "well " * luck.randint(0, 80) + luck.choice(["\nanswer: 1", "\nanswer: 2"])

    async def go():
        with Budget(Caps(tokens=tokens, nusd=tokens)) as budget:
            answer = await make().run(request(), budget, ScriptedModels(script))
            assert answer.winner.text
            return budget.spent

    spent = asyncio.run(go())
    assert spent.tokens <= tokens
    assert spent.nusd <= tokens
