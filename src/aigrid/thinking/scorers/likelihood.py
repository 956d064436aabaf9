"""How sure the model is of what it said: the geometric mean of its tokens' probabilities.

The length-normalised likelihood by which Wang et al. 2022 (arXiv:2203.11171, section 3.2) weigh votes.
"""

import math

from aigrid.core.errors import BadRequest
from aigrid.thinking.base import Candidate
from aigrid.thinking.search import Search


class Likelihood:
    """Scores by log-probabilities; costs nothing more."""

    name, exact, logprobs, calls = "likelihood", False, True, 0

    async def score(self, search: Search, candidate: Candidate) -> tuple[float, str]:
        """Return the mean probability of a token; raises `BadRequest` where the engine gives none."""
        if not candidate.logprobs:
            raise BadRequest(
                "the engine gives no log-probabilities; use another scorer, such as critic", param="aigrid.scorer"
            )
        mean = sum(token.logprob for token in candidate.logprobs) / len(candidate.logprobs)
        return math.exp(min(0.0, mean)), ""
