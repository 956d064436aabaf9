"""Weighted vote: each candidate's vote counts as much as a scorer likes it.

Li et al. 2023, "Making Large Language Models Better Reasoners with Step-Aware Verifier" (voting verifier),
arXiv:2206.02336; Wang et al. 2022 weigh by likelihood.
"""

from aigrid.engines.base import GenerateRequest
from aigrid.thinking.base import Answer, Models
from aigrid.thinking.best_of_n import scored
from aigrid.thinking.budget import Budget
from aigrid.thinking.consistency import elect
from aigrid.thinking.extract import Rule
from aigrid.thinking.scorers.base import Scorer
from aigrid.thinking.search import Search


class WeightedVote:
    """Makes `n` candidates, adds up the scores of those that agree."""

    name = "weighted_vote"

    def __init__(self, n: int, scorer: Scorer, rule: Rule | None = None) -> None:
        self.n = n
        self.most = n * (1 + scorer.calls)
        self.scorer = scorer
        self.rule = rule

    async def run(self, request: GenerateRequest, budget: Budget, models: Models) -> Answer:
        """Return the best-scored candidate of the answer with the largest sum."""
        search = Search(self.name, request, budget, models, self.rule)
        found = await scored(search, self.n, self.scorer)
        marked = [each for each in found if each.score is not None and each.answer]
        if not marked:
            return elect(search)
        votes: dict[str, float] = {}
        for each in marked:
            votes[each.answer] = votes.get(each.answer, 0.0) + max(0.0, each.score or 0.0)
        search.trace.votes = dict(sorted(votes.items(), key=lambda item: -item[1]))
        answer, weight = next(iter(search.trace.votes.items()))
        best = max((each for each in marked if each.answer == answer), key=lambda each: each.score or 0.0)
        return search.answer(best, f"its answer weighs {weight:.2f} of {sum(votes.values()):.2f} by {self.scorer.name}")
