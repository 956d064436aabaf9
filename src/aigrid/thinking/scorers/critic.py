"""A critic: a model that is asked how good an answer is.

Zheng et al. 2023, "Judging LLM-as-a-Judge with MT-Bench and Chatbot Arena", arXiv:2306.05685 (single-answer grading).
"""

import re

from aigrid.thinking.base import Candidate
from aigrid.thinking.search import Search, prompted, question_of

_SCORE = re.compile(r"\b(10|\d)(?:\.\d+)?(?:\s*/\s*10)?\b")
_ASK = (
    "You check answers. Question:\n{question}\n\nAnswer to check:\n{answer}\n\n"
    "How good is this answer, from 0 (wrong) to 10 (right and complete)? "
    "Write the number first, then one sentence that says why."
)


class Critic:
    """Asks a model, the candidate's own unless another is named."""

    name, exact, logprobs, calls = "critic", False, False, 1

    def __init__(self, model: str = "", max_tokens: int = 80) -> None:
        self.model = model
        self.max_tokens = max_tokens

    async def score(self, search: Search, candidate: Candidate) -> tuple[float, str]:
        """Return the critic's grade as a share of 10, and its words; 0 where it gives none."""
        text = _ASK.format(question=question_of(search.request), answer=candidate.text)
        ask = prompted(
            search.request, [{"role": "user", "content": text}], max_tokens=self.max_tokens, temperature=0.0,
            model=self.model,
        )  # fmt: skip
        said = await search.one(ask, role="critic")
        return grade(said.text if said is not None else "")


def grade(text: str) -> tuple[float, str]:
    """Return the first number from 0 to 10 as a share of 10, and the text."""
    found = _SCORE.search(text)
    return (int(found[1]) / 10 if found else 0.0), " ".join(text.split())[:300]
