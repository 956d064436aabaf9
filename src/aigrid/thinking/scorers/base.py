"""What a scorer is."""

from typing import Protocol

from aigrid.thinking.base import Candidate
from aigrid.thinking.search import Search


class Scorer(Protocol):
    """Says how good a candidate is, from 0 to 1. `exact` ones know: what has a 1 is right, and nothing is better.

    `logprobs` says that it needs the tokens' log-probabilities, `calls` how many calls of a model it makes each time.
    """

    name: str
    exact: bool
    logprobs: bool
    calls: int

    async def score(self, search: Search, candidate: Candidate) -> tuple[float, str]:
        """Return the score and the reason in words (may be empty)."""
