"""Beam search over steps: write several next steps, keep the best beginnings, until one has an answer.

Snell et al. 2024, "Scaling LLM Test-Time Compute Optimally", arXiv:2408.03314 (search against a process scorer);
Yao et al. 2023, "Tree of Thoughts", arXiv:2305.10601.
"""

from contextlib import aclosing

import msgspec

from aigrid.engines.base import GenerateRequest
from aigrid.thinking.base import Answer, Candidate, Models
from aigrid.thinking.budget import Budget
from aigrid.thinking.extract import Rule, answer_of
from aigrid.thinking.scorers.base import Scorer
from aigrid.thinking.search import Search, prompted, question_of

_ASK = (
    "{question}\n\nSolve this step by step, one short step a line.{sofar}\n"
    "Write only the next line. When nothing is left to do, write `Answer:` and the answer."
)
_STEP_TOKENS = 120
_DEPTH = 8


class BeamSearch:
    """Keeps `width` beginnings and grows each by `branch` steps a round, up to `depth` rounds."""

    name = "beam_search"

    def __init__(
        self, scorer: Scorer, width: int = 2, branch: int = 4, depth: int = _DEPTH, rule: Rule | None = None
    ) -> None:
        self.scorer = scorer
        self.width = width
        self.branch = branch
        self.depth = depth
        self.rule = rule or Rule()
        self.most = width * branch * depth * (1 + scorer.calls)

    async def run(self, request: GenerateRequest, budget: Budget, models: Models) -> Answer:
        """Return the best-scored chain of steps that has an answer; else the best there is."""
        search = Search(self.name, request, budget, models, self.rule)
        beams: list[Candidate] = []
        for _ in range(self.depth):
            starts: list[Candidate | None] = [*beams] or [None]
            grown = [each for start in starts for each in await self._grow(search, start)]
            if not grown:
                break
            grown.sort(key=lambda each: -(each.score or 0.0))
            finished = [each for each in grown if _ended(each)]
            if finished:
                best = finished[0]
                best.answer = answer_of(best, self.rule)
                return search.answer(
                    best, f"of {len(finished)} chains with an answer, {self.scorer.name} gave it the most"
                )
            beams = grown[: self.width]
        if not beams:
            return search.fallback()
        return search.answer(beams[0], f"no chain came to an answer; {self.scorer.name} gave this one the most")

    async def _grow(self, search: Search, beam: Candidate | None) -> list[Candidate]:
        """Return what a beginning becomes with each of its next steps."""
        before = beam.text + "\n" if beam is not None else ""
        sofar = f"\nSteps so far:\n{beam.text}" if beam is not None else ""
        text = _ASK.format(question=question_of(search.request), sofar=sofar)
        warm = search.request.sampling.temperature
        ask = prompted(
            search.request, [{"role": "user", "content": text}], max_tokens=_STEP_TOKENS, stop=["\n"],
            temperature=0.7 if warm is None else warm,
        )  # fmt: skip
        if self.scorer.logprobs:
            ask.sampling = msgspec.structs.replace(ask.sampling, logprobs=True)
            ask.body["logprobs"] = True
        steps: dict[str, Candidate] = {}
        async with aclosing(search.sample(self.branch, ask)) as found:
            async for step in found:
                if step.text.strip():
                    steps.setdefault(step.text.strip(), step)
        for line, step in steps.items():
            step.text, step.finish_reason = before + line, "stop"
            if search.error is None:
                step.score, step.note = await self.scorer.score(search, step)
        return list(steps.values())


def _ended(candidate: Candidate) -> bool:
    return "answer:" in candidate.text.rpartition("\n")[2].casefold()
