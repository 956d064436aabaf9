"""Debate: several models answer, read one another, answer again; a judge decides where they still differ.

Du et al. 2023, "Improving Factuality and Reasoning in Language Models through Multiagent Debate", arXiv:2305.14325.
"""

import asyncio
import re
from collections.abc import Sequence

import msgspec

from aigrid.engines.base import GenerateRequest
from aigrid.thinking.base import Answer, Candidate, Models
from aigrid.thinking.budget import Budget
from aigrid.thinking.consistency import tally
from aigrid.thinking.extract import Rule
from aigrid.thinking.search import Search, prompted, question_of

_AGAIN = (
    "Others answer the same question like this:\n\n{others}\n\nWith their reasons in mind, correct or defend your "
    "answer. Give the whole answer."
)
_JUDGE = (
    "Question:\n{question}\n\n{answers}\n\nWhich answer is best? Write its number first, then one sentence that "
    "says why."
)
_JUDGE_TOKENS = 80
_NUMBER = re.compile(r"\d+")


class Debate:
    """Lets debaters speak for `rounds` rounds, or until they agree. Without names, the request's model debates itself."""

    name = "debate"

    def __init__(
        self, debaters: Sequence[str] = (), rounds: int = 2, judge: str = "", n: int = 2, rule: Rule | None = None
    ) -> None:
        self.debaters = list(debaters)
        self.n = max(2, min(3, len(self.debaters) or n))
        self.rounds = rounds
        self.judge = judge
        self.rule = rule
        self.most = self.n * rounds + 1

    async def run(self, request: GenerateRequest, budget: Budget, models: Models) -> Answer:
        """Return what all agree on, else the judge's choice, else the majority's."""
        search = Search(self.name, request, budget, models, self.rule)
        said: list[Candidate] = []
        for turn in range(self.rounds):
            spoken = await asyncio.gather(*(self._speak(search, at, said) for at in range(self.n)))
            now = [each for each in spoken if each is not None]
            if len(now) < self.n:
                said = now or said
                break
            said = now
            if said[0].answer and len({each.answer for each in said}) == 1:
                return self._won(search, said, said[0], f"all {self.n} agree after round {turn + 1}")
        if not said:
            return search.fallback()
        return await self._judged(search, said)

    async def _speak(self, search: Search, at: int, said: list[Candidate]) -> Candidate | None:
        request = search.request
        model = self.debaters[at % len(self.debaters)] if self.debaters else request.model
        warm = request.sampling.temperature
        messages = request.messages or [{"role": "user", "content": question_of(request)}]
        if said:
            others = "\n\n".join(f"- {each.text}" for each in said if each is not said[at])
            messages = [
                *messages,
                {"role": "assistant", "content": said[at].text},
                {"role": "user", "content": _AGAIN.format(others=others)},
            ]
        ask = prompted(
            request, messages, max_tokens=0, model=model, grammar=request.grammar,
            temperature=0.7 if warm is None else warm,
        )  # fmt: skip
        if ask.sampling.seed is not None:
            ask.body["seed"] = ask.sampling.seed + at
            ask.sampling = msgspec.structs.replace(ask.sampling, seed=ask.sampling.seed + at)
        return await search.one(ask)

    async def _judged(self, search: Search, said: list[Candidate]) -> Answer:
        answers = "\n\n".join(f"Answer {at}:\n{each.text}" for at, each in enumerate(said, 1))
        text = _JUDGE.format(question=question_of(search.request), answers=answers)
        ask = prompted(
            search.request, [{"role": "user", "content": text}], max_tokens=_JUDGE_TOKENS, temperature=0.0,
            model=self.judge,
        )  # fmt: skip
        verdict = await search.one(ask, role="judge") if search.error is None else None
        found = _NUMBER.search(verdict.text) if verdict is not None else None
        if verdict is not None and found and 1 <= int(found[0]) <= len(said):
            chosen = said[int(found[0]) - 1]
            chosen.note = " ".join(verdict.text.split())[:300]
            return self._won(search, said, chosen, "the judge chose it")
        votes = tally(said)
        leader = next((each for each in said if votes and each.answer == next(iter(votes))), said[0])
        return self._won(search, said, leader, "the judge named none; most of the last round say so")

    def _won(self, search: Search, said: list[Candidate], winner: Candidate, why: str) -> Answer:
        search.trace.votes = tally(said)
        return search.answer(winner, why)
