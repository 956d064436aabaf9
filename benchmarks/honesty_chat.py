"""The chat model's part: what it does when told to say "I don't know", and what is left of it behind checked quotes."""

import asyncio
import re
from collections.abc import AsyncIterator, Sequence
from typing import Any

import aiohttp
import numpy as np

from aigrid.engines.base import Usage
from aigrid.knowledge.answer import Answer, answer
from aigrid.knowledge.evidence import rarity_in
from benchmarks.common import factory, log
from benchmarks.honesty_data import Case, Corpus, Remembering, corpus

PASSAGES = 3
PLAIN = (
    "Answer the question from the passages in one short sentence. If the passages do not hold the answer, say exactly: "
    "I don't know."
)
_DECLINED = re.compile(
    r"\b(do|does|did)(n't| not) (know|say|mention|contain|provide|hold|specify|give)"
    r"|\bnot (known|mentioned|stated|given)|\bno (information|answer|mention)\b|\bunknown\b"
    r"|\bcannot (answer|be determined)",
    re.IGNORECASE,
)


async def chat_figures(
    model: str, count: int, texts: Sequence[str], cases: Sequence[Case], embedder: Remembering
) -> dict[str, Any]:
    """Ask a chat model some answerable questions and as many whose paragraph is gone; both ways each."""
    drawn = [cases[at] for at in np.random.default_rng(3).permutation(len(cases))[: 2 * count]]
    with factory("--model", model) as running, corpus(texts, embedder, range(len(texts))) as where:
        headers = {"authorization": f"Bearer {running.key}"}
        async with aiohttp.ClientSession(running.url, headers=headers) as http:
            chat = Chat(http, model)
            log(f"{model}: told to say so, {2 * count} questions")
            said = [
                await chat.plainly(where, case, () if at < count else (case.paragraph,))
                for at, case in enumerate(drawn)
            ]
            log(f"{model}: behind checked quotes, {count} questions")
            answers = [await chat.checked(where, case) for case in drawn[:count]]
    declined = np.array([bool(_DECLINED.search(text)) for text in said])
    told = [(case, each) for case, each in zip(drawn, answers, strict=False) if each.known]
    written = [(case, each) for case, each in told if each.written == "model"]
    right = sum(_has(each.text, case) for case, each in told)
    return {
        "model": model,
        "peer": {
            "answered": round(float(1 - declined[:count].mean()), 4),
            "declined": round(float(declined[count:].mean()), 4),
            "answers_with_the_gold_words": _share(sum(map(_has, said[:count], drawn)), count),
            "questions": 2 * count,
        },
        "checked": {
            "questions": count,
            "answered": _share(len(told), count),
            "written_by_the_model": _share(len(written), len(told)),
            "answers_with_the_gold_words": _share(right, len(told)),
            "written_with_the_gold_words": _share(sum(_has(each.text, case) for case, each in written), len(written)),
        },
    }


def _share(part: int, whole: int) -> float | None:
    return round(part / whole, 4) if whole else None


def _has(text: str, case: Case) -> bool:
    return " ".join(case.answer.lower().split()) in " ".join(text.lower().split())


class Chat:
    """The chat model behind a gateway."""

    def __init__(self, http: aiohttp.ClientSession, model: str) -> None:
        self._http = http
        self._model = model

    async def complete(self, messages: list[dict[str, str]], **options: object) -> AsyncIterator[str | Usage]:
        """Answer messages, all at once."""
        body = {"model": self._model, "messages": messages, **options}
        async with self._http.post("/v1/chat/completions", json=body) as response:
            said = await response.json()
            if response.status != 200:
                raise RuntimeError(f"the chat model failed: {said}")
            yield said["choices"][0]["message"]["content"]

    async def plainly(self, where: Corpus, case: Case, without: tuple[int, ...]) -> str:
        """Ask with the best passages and a plain instruction, as is usual."""
        passages = [hit.chunk.text for hit in where.hits(case.question, *without)[:PASSAGES]]
        told = "\n\n".join(f"Passage {at}: {text}" for at, text in enumerate(passages, 1))
        messages = [
            {"role": "system", "content": PLAIN},
            {"role": "user", "content": f"{told}\n\nQuestion: {case.question}"},
        ]
        return "".join([str(piece) async for piece in self.complete(messages, max_tokens=60, temperature=0.0)])

    async def checked(self, where: Corpus, case: Case) -> Answer:
        """Ask through `answer`."""
        hits = await asyncio.to_thread(where.hits, case.question)
        rarity = rarity_in(where.store, where.readers())
        events = answer(
            case.question, hits, where.plain.get, where.embedder, rarity=rarity, complete=self.complete, max_tokens=80
        )
        last = [event async for event in events][-1]
        assert isinstance(last, Answer)
        return last
