"""Adaptive consistency: grow the number of samples until the vote is decided.

Aggarwal et al. 2023, "Let's Sample Step by Step: Adaptive-Consistency for Efficient Reasoning and Coding with LLMs",
arXiv:2305.11860. Here the number doubles, and sampling stops at 75 % agreement, or when the leader cannot be caught.
"""

from contextlib import aclosing

from aigrid.engines.base import GenerateRequest
from aigrid.thinking.base import Answer, Models
from aigrid.thinking.budget import Budget
from aigrid.thinking.consistency import elect, tally
from aigrid.thinking.extract import Rule
from aigrid.thinking.search import Search

AGREEMENT = 0.75


class Adaptive:
    """Makes `first` candidates, then doubles up to `n`; stops as soon as the rest could not change the answer."""

    name = "adaptive"

    def __init__(self, n: int, rule: Rule | None = None, first: int = 4, agreement: float = AGREEMENT) -> None:
        self.most = n
        self.first = min(first, n)
        self.rule = rule
        self.agreement = agreement

    async def run(self, request: GenerateRequest, budget: Budget, models: Models) -> Answer:
        """Return the answer that the vote was decided for, or the leader where it never was."""
        search = Search(self.name, request, budget, models, self.rule)
        made, goal = 0, self.first
        while made < self.most and search.error is None:
            async with aclosing(search.sample(goal - made)) as found:
                async for _ in found:
                    if decided(search, goal, self.most, self.agreement):
                        break
            if decided(search, goal, self.most, self.agreement):
                break
            made = len(search.trace.candidates)
            goal = min(max(2 * goal, made + 1), self.most)
        answer = elect(search)
        if answer.trace.why.endswith("agree") and len(search.trace.candidates) < self.most:
            answer.trace.why += f"; the vote was decided before all {self.most} were asked"
        return answer


def decided(search: Search, goal: int, most: int, agreement: float) -> bool:
    """Return whether the leader has its share of the `goal` of this round, or cannot be caught within `most`."""
    votes = [*tally(search.trace.candidates).values(), 0, 0]
    leader, second = votes[0], votes[1]
    done = sum(each.state != "running" for each in search.trace.candidates)
    return leader >= agreement * goal or leader > second + most - done
