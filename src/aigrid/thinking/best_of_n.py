"""Best of N: sample several answers, take the one that a scorer likes best.

Cobbe et al. 2021, "Training Verifiers to Solve Math Word Problems", arXiv:2110.14168.
"""

import asyncio
from contextlib import aclosing

import msgspec

from aigrid.engines.base import GenerateRequest
from aigrid.thinking.base import Answer, Candidate, Models
from aigrid.thinking.budget import Budget
from aigrid.thinking.extract import Rule
from aigrid.thinking.scorers.base import Scorer
from aigrid.thinking.search import Search


class BestOfN:
    """Makes `n` candidates and scores them. A scorer that knows ends the search with the first right one."""

    name = "best_of_n"

    def __init__(self, n: int, scorer: Scorer, rule: Rule | None = None) -> None:
        self.n = n
        self.most = n * (1 + scorer.calls)
        self.scorer = scorer
        self.rule = rule

    async def run(self, request: GenerateRequest, budget: Budget, models: Models) -> Answer:
        """Return the candidate with the highest score; of equals the first to be complete."""
        search = Search(self.name, request, budget, models, self.rule)
        await scored(search, self.n, self.scorer)
        marked = [each for each in search.trace.candidates if each.score is not None]
        if not marked:
            return search.fallback()
        best = max(marked, key=lambda each: each.score or 0.0)
        return search.answer(best, f"the {self.scorer.name} gave it {best.score:.2f}, the most of {len(marked)}")


async def scored(search: Search, n: int, scorer: Scorer) -> list[Candidate]:
    """Make `n` candidates and score those that are complete; return them."""
    request = search.request
    if scorer.logprobs:
        body = {**request.body, "logprobs": True}
        sampling = msgspec.structs.replace(request.sampling, logprobs=True)
        request = msgspec.structs.replace(request, sampling=sampling, body=body)
    found: list[Candidate] = []
    async with aclosing(search.sample(n, request)) as candidates:
        async for candidate in candidates:
            found.append(candidate)
            if scorer.exact:
                candidate.score, candidate.note = await scorer.score(search, candidate)
                if candidate.score >= 1.0:
                    return found
    if not scorer.exact:
        async with asyncio.TaskGroup() as group:
            for candidate in found:
                group.create_task(_mark(search, scorer, candidate))
    return found


async def _mark(search: Search, scorer: Scorer, candidate: Candidate) -> None:
    if search.error is None:
        candidate.score, candidate.note = await scorer.score(search, candidate)
