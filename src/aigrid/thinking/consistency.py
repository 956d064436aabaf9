"""Self-consistency: sample several answers, take the one that most agree on.

Wang et al. 2022, "Self-Consistency Improves Chain of Thought Reasoning in Language Models", arXiv:2203.11171.
"""

from collections.abc import Sequence
from contextlib import aclosing

from aigrid.engines.base import GenerateRequest
from aigrid.thinking.base import Answer, Candidate, Models
from aigrid.thinking.budget import Budget
from aigrid.thinking.extract import Rule
from aigrid.thinking.search import Search


class SelfConsistency:
    """Makes `n` candidates and takes a majority vote."""

    name = "self_consistency"

    def __init__(self, n: int, rule: Rule | None = None) -> None:
        self.most = n
        self.rule = rule

    async def run(self, request: GenerateRequest, budget: Budget, models: Models) -> Answer:
        """Return an answer that most candidates agree on; the first of them to be complete."""
        search = Search(self.name, request, budget, models, self.rule)
        async with aclosing(search.sample(self.most)) as found:
            async for _ in found:
                pass
        return elect(search)


def tally(candidates: Sequence[Candidate]) -> dict[str, float]:
    """Return the votes of each answer, most first; an empty answer has no vote. Of equals the earlier is first."""
    votes: dict[str, float] = {}
    for each in candidates:
        if each.complete and each.answer:
            votes[each.answer] = votes.get(each.answer, 0) + 1
    return dict(sorted(votes.items(), key=lambda item: -item[1]))


def elect(search: Search) -> Answer:
    """Return the majority's answer. Where no two candidates agree, the one that has most in common with the others."""
    whole = [each for each in search.trace.candidates if each.complete]
    votes = search.trace.votes = tally(whole)
    if not votes:
        return search.fallback()
    answer, most = next(iter(votes.items()))
    if most == 1 and len(whole) > 2:
        return search.answer(central(whole), "no two candidates agree; it has most words in common with the others")
    winner = next(each for each in whole if each.answer == answer)
    return search.answer(winner, f"{most:g} of {len(whole)} candidates agree")


def central(candidates: Sequence[Candidate]) -> Candidate:
    """Return the candidate with the highest expected likeness to the others (minimum Bayes risk).

    Likeness is the share of words in common (Jaccard). Kumar and Byrne 2004, "Minimum Bayes-Risk Decoding".
    """
    bags = [frozenset(each.text.casefold().split()) for each in candidates]

    def likeness(at: int) -> float:
        return sum(len(bags[at] & bag) / len(bags[at] | bag) if bags[at] | bag else 1.0 for bag in bags)

    return candidates[max(range(len(candidates)), key=lambda at: (likeness(at), -at))]
