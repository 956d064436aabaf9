"""Answers from documents: quotes found first, a model that puts them into words, and nothing shown that is not in them.

The documents are data. What is quoted is chosen before a model sees anything; the model sees those quotes and no
more; each sentence that it writes is let through only where a quote bears it out (`support`). Where none is, the
answer is the best quote itself. So a weak model costs elegance and no more, and what a document tells it to do ends
there.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Protocol

import msgspec

from aigrid.engines.base import Usage
from aigrid.knowledge.abstain import Verdict, judge
from aigrid.knowledge.base import Embedder, Hit
from aigrid.knowledge.cite import Citation, Plain, cite
from aigrid.knowledge.evidence import Rarity, Reading, read
from aigrid.knowledge.prompt import messages_for
from aigrid.knowledge.support import Speech, supported

QUOTES = 4
"""How many quotes an answer may rest on."""
WORTH = 0.85
"""A quote counts from this share of the best one's score."""
MAX_TOKENS = 160
UNKNOWN = "The documents do not say."


class Complete(Protocol):
    """Calls a chat model: yields its answer piece by piece, and perhaps what it used at the end."""

    def __call__(self, messages: list[dict[str, str]], **options: object) -> AsyncIterator[str | Usage]:
        """Answer OpenAI chat messages; `options` are fields of a chat completion request, such as `max_tokens`."""


class Status(msgspec.Struct, frozen=True, tag_field="type", tag="status"):
    """What is going on: `reading` the chunks found, or `writing`."""

    status: str


class Sources(msgspec.Struct, frozen=True, tag_field="type", tag="sources"):
    """What the answer will rest on, before its text; where nothing answers, the nearest there is."""

    known: bool
    citations: list[Citation]


class Text(msgspec.Struct, frozen=True, tag_field="type", tag="text"):
    """A piece of the answer, whole sentences with their markers."""

    text: str


class Answer(msgspec.Struct, frozen=True, tag_field="type", tag="answer"):
    """The whole answer: `text` with markers such as [1], which are numbers of `citations`.

    `known` is false where the documents do not say; then `citations` is empty and `nearest` is what came closest.
    `confidence` is that of this decision, from 0.5 to 1. `written` says who wrote the text: a `model` (each sentence
    checked), or nobody: it is a `quote`. `usage` is None where no model was asked.
    """

    question: str
    text: str
    known: bool
    confidence: float
    citations: list[Citation]
    nearest: list[Citation] = []
    written: str = "quote"
    usage: Usage | None = None


Event = Status | Sources | Text | Answer


async def answer(
    question: str,
    hits: Sequence[Hit],
    plain: Plain,
    embedder: Embedder | None,
    *,
    rarity: Rarity | None = None,
    complete: Complete | None = None,
    max_tokens: int = MAX_TOKENS,
) -> AsyncIterator[Event]:
    """Answer a question from what a search found: yields status, sources, text and at last the whole `Answer`.

    `plain` returns a source's text to this reader and `rarity` says how rare terms are for them (see `rarity_in`).
    Without `complete` the answer is the best quote. Errors of `complete` are raised.
    """
    yield Status("reading")
    reading, verdict = await asyncio.to_thread(_consider, question, hits, embedder, rarity)
    quotes = await asyncio.to_thread(citations_of, reading, plain)
    known = verdict.known and bool(quotes)
    yield Sources(known, quotes)
    if not known:
        yield Text(UNKNOWN)
        yield Answer(question, UNKNOWN, False, verdict.confidence, [], quotes)
        return
    speech = Speech(question, [quote.quote for quote in quotes], embedder)
    usage: Usage | None = None
    if complete is not None:
        yield Status("writing")
        asked = complete(messages_for(question, quotes), max_tokens=max_tokens, temperature=0.0)
        async for piece in asked:
            if isinstance(piece, Usage):
                usage = piece
            else:
                for sentence in await asyncio.to_thread(supported, speech, piece):
                    yield Text(sentence)
        for sentence in await asyncio.to_thread(supported, speech, None):
            yield Text(sentence)
    written = "model" if speech.said else "quote"
    if not speech.said:
        yield Text(speech.quote(0))
    used = [quote for quote in quotes if quote.number in speech.numbers]
    yield Answer(question, speech.text, True, verdict.confidence, used, written=written, usage=usage)


def _consider(
    question: str, hits: Sequence[Hit], embedder: Embedder | None, rarity: Rarity | None
) -> tuple[Reading, Verdict]:
    reading = read(question, [hit for hit in hits if hit.chunk.text], embedder, rarity)
    return reading, judge(reading)


def citations_of(reading: Reading, plain: Plain) -> list[Citation]:
    """Return the best quotes as citations, best first, each checked against its source; what fails is left out."""
    texts: dict[str, str | None] = {}
    found: list[Citation] = []
    ranked = reading.passages()
    for passage in ranked:
        if len(found) == QUOTES or passage.score < WORTH * ranked[0].score:
            break
        if passage.chunk.source_id not in texts:
            texts[passage.chunk.source_id] = plain(passage.chunk.source_id)
        made = cite(
            len(found) + 1, passage.chunk, passage.text, texts[passage.chunk.source_id], (passage.start, passage.end)
        )
        if made is not None and not any(_same(made, other) for other in found):
            found.append(made)
    return found


def _same(one: Citation, other: Citation) -> bool:
    """Whether two citations quote the same words, or overlapping places."""
    overlap = one.source_id == other.source_id and one.start < other.end and other.start < one.end
    return overlap or one.quote.split() == other.quote.split()
