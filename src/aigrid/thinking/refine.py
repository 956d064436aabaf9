"""Sequential refinement: answer, criticise, answer better.

Madaan et al. 2023, "Self-Refine: Iterative Refinement with Self-Feedback", arXiv:2303.17651.
"""

from aigrid.engines.base import GenerateRequest
from aigrid.thinking.base import Answer, Candidate, Models
from aigrid.thinking.budget import Budget
from aigrid.thinking.extract import Rule
from aigrid.thinking.scorers.critic import grade
from aigrid.thinking.search import Search, prompted, question_of

GOOD = 0.9
_CRITIC = (
    "Question:\n{question}\n\nAnswer:\n{answer}\n\nGrade this answer from 0 (wrong) to 10 (right and complete): "
    "the number first. Then say in one or two sentences what must be corrected."
)
_AGAIN = "A reviewer says of your answer:\n{critique}\n\nAnswer the question again, better. Give the whole answer."
_CRITIC_TOKENS = 160


class Refine:
    """Writes a draft and up to `rounds` revisions; a grade of 9 of 10 is good enough."""

    name = "refine"

    def __init__(self, rounds: int = 2, critic: str = "", rule: Rule | None = None) -> None:
        self.rounds = rounds
        self.critic = critic
        self.rule = rule
        self.most = 2 * (rounds + 1)

    async def run(self, request: GenerateRequest, budget: Budget, models: Models) -> Answer:
        """Return the version with the best grade; of equals the latest."""
        search = Search(self.name, request, budget, models, self.rule)
        search.varied = False
        draft = await search.one()
        versions: list[Candidate] = []
        for left in range(self.rounds, -1, -1):
            if draft is None:
                break
            versions.append(draft)
            critique = await search.one(self._criticise(search, draft), role="critic")
            if critique is None:
                break
            draft.score, draft.note = grade(critique.text)
            if draft.score >= GOOD or not left:
                break
            draft = await search.one(self._again(search, draft, critique))
        if not versions:
            return search.fallback()
        best = max(reversed(versions), key=lambda each: each.score or 0.0)
        at = versions.index(best) + 1
        return search.answer(best, f"version {at} of {len(versions)}; the critic gave it {best.score or 0.0:.1f}")

    def _criticise(self, search: Search, draft: Candidate) -> GenerateRequest:
        text = _CRITIC.format(question=question_of(search.request), answer=draft.text)
        messages = [{"role": "user", "content": text}]
        return prompted(search.request, messages, max_tokens=_CRITIC_TOKENS, temperature=0.0, model=self.critic)

    def _again(self, search: Search, draft: Candidate, critique: Candidate) -> GenerateRequest:
        asked = search.request.messages or [{"role": "user", "content": question_of(search.request)}]
        messages = [
            *asked,
            {"role": "assistant", "content": draft.text},
            {"role": "user", "content": _AGAIN.format(critique=critique.text)},
        ]
        return prompted(
            search.request, messages, max_tokens=0, temperature=search.request.sampling.temperature,
            grammar=search.request.grammar,
        )  # fmt: skip
