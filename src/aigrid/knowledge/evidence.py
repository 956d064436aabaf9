"""Evidence: the sentences of the chunks found, and how well each speaks to the question.

A sentence is compared with the question word by word: each word of the question looks for the word nearest to it in
meaning and context, so that one word without a match shows, where a single vector per sentence would hide it. This
needs an embedder that tells its words apart (`WordEmbedder`); with any other, sentences are compared as wholes.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from aigrid.knowledge.base import Chunk, Embedder, Hit, Vectors
from aigrid.knowledge.language import STOP_WORDS, query_terms, sentence_spans, terms
from aigrid.knowledge.prompt import gives_orders

if TYPE_CHECKING:
    from aigrid.knowledge.store import RowStore

Rarity = Callable[[Sequence[str]], dict[str, float]]
"""Returns how much each term counts: more, the fewer chunks hold it."""
Floats = npt.NDArray[np.float32]

CHUNKS = 8
"""How many of the best chunks are read."""
ELSEWHERE = 100
"""So many chunks without the question's terms are thought of, so that a word of a small corpus counts as rare."""
LONGEST = 600
"""A sentence beyond this many characters is read in pieces."""

_MUTE = STOP_WORDS | {"many", "much", "long", "old", "often", "far", "s"}


class Words(NamedTuple):
    """A text as its embedder sees it: the pieces (`##` starts one that goes on a word) and a unit vector for each."""

    pieces: list[str]
    vectors: Vectors


@runtime_checkable
class WordEmbedder(Protocol):
    """An embedder that also gives a vector in context for each piece of a text."""

    def words(self, texts: Sequence[str]) -> list[Words]:
        """Return the pieces of each text with their unit vectors, without marks of start and end. Blocking."""


@dataclass
class Passage:
    """One sentence, with exact offsets into the source's plain text. Figures are from 0 to about 1, higher is better.

    `coverage` is the share of the question's terms that it holds (rare ones count more), `similarity` that of the
    vectors, `match` how near the pieces of the question have their nearest here, on average.
    """

    hit: int
    chunk: Chunk
    start: int
    end: int
    text: str
    coverage: float = 0.0
    similarity: float = 0.0
    match: float = 0.0
    near: float = 0.0
    """Like `match`, with the sentences before and after."""
    score: float = 0.0


@dataclass
class Read:
    """One chunk as it was read: figures like those of its passages, over the whole chunk and its headings."""

    chunk: Chunk
    coverage: float
    known: float
    """The share of the question's terms that it holds, each counting the same."""
    match: float = 0.0
    weakest: float = 0.0
    """The mean match of the two pieces of the question that match worst."""
    passages: list[Passage] = field(default_factory=list)


@dataclass
class Reading:
    """A question, and the best chunks read for it, in the order they were found."""

    question: str
    terms: list[str]
    chunks: list[Read]
    by: Literal["words", "vectors", ""] = ""
    """What the sentences were compared by, besides terms."""

    def passages(self) -> list[Passage]:
        """Return all passages, best first."""
        found = [passage for read in self.chunks for passage in read.passages]
        return sorted(found, key=lambda passage: -passage.score)


def read(question: str, hits: Sequence[Hit], embedder: Embedder | None, rarity: Rarity | None = None) -> Reading:
    """Compare the sentences of the best `CHUNKS` hits with the question. Blocking.

    Without an embedder terms alone are compared; without `rarity` terms are as rare as they are among the hits.
    Sentences that give orders to a model are no evidence and are left out.
    """
    wanted = list(dict.fromkeys(query_terms(question)))
    held = [frozenset(terms(f"{hit.chunk.context}\n{hit.chunk.text}")) for hit in hits]
    weights = (rarity or partial(_rarity_among, held))(wanted)
    reading = Reading(question, wanted, [])
    for place, (hit, holds) in enumerate(zip(hits[:CHUNKS], held, strict=False)):
        chunk = hit.chunk
        known = sum(term in holds for term in wanted) / max(1, len(wanted))
        found = Read(chunk, _coverage(weights, holds), known)
        for start, end in spans(chunk):
            text = chunk.text[start:end]
            if gives_orders(text):
                continue
            covered = _coverage(weights, frozenset(terms(text)))
            found.passages.append(Passage(place, chunk, chunk.start + start, chunk.start + end, text, covered))
        if found.passages:
            reading.chunks.append(found)
    if reading.chunks and isinstance(embedder, WordEmbedder):
        _compare_words(reading, embedder)
    elif reading.chunks and embedder is not None:
        _compare_vectors(reading, embedder)
    for each in reading.chunks:
        for passage in each.passages:
            passage.score = passage.match + each.match / 2 + 0.3 * (passage.coverage + passage.similarity)
    return reading


def rarity_in(store: "RowStore", readers: frozenset[str]) -> Rarity:
    """Return how rare terms are in what these readers may read."""

    def rarity(wanted: Sequence[str]) -> dict[str, float]:
        count = store.count(readers)
        return {term: _rarity(holding, count) for term, holding in store.frequencies(wanted, readers).items()}

    return rarity


def _rarity_among(held: Sequence[frozenset[str]], wanted: Sequence[str]) -> dict[str, float]:
    return {term: _rarity(sum(term in holds for holds in held), len(held)) for term in wanted}


def _rarity(holding: int, of: int) -> float:
    return math.log1p((of + ELSEWHERE - holding + 0.5) / (holding + 0.5))


def _coverage(rarity: dict[str, float], holds: frozenset[str]) -> float:
    whole = sum(rarity.values())
    return sum(weight for term, weight in rarity.items() if term in holds) / whole if whole else 0.0


def _compare_vectors(reading: Reading, embedder: Embedder) -> None:
    passages = [passage for each in reading.chunks for passage in each.passages]
    reading.by = "vectors"
    vectors = embedder.embed([reading.question, *(passage.text for passage in passages)])
    for passage, similarity in zip(passages, vectors[1:] @ vectors[0], strict=True):
        passage.similarity = float(similarity)


def _compare_words(reading: Reading, embedder: WordEmbedder) -> None:
    texts = [reading.question]
    for each in reading.chunks:
        texts += [each.chunk.context, *(passage.text for passage in each.passages)]
    reading.by = "words"
    made = embedder.words(texts)
    asked, others = made[0], iter(made[1:])
    weights = np.array([float(piece not in _MUTE and any(map(str.isalnum, piece))) for piece in asked.pieces])
    if not weights.any():
        weights += 1
    telling = weights > 0
    weights /= max(1.0, weights.sum())
    whole = _whole(asked)
    for each in reading.chunks:
        own = [next(others) for _ in range(1 + len(each.passages))]
        rows = [_nearest(asked, words) for words in own]
        best = np.maximum.reduce(rows)
        each.match = float(weights @ best)
        each.weakest = float(np.sort(best[telling])[:2].mean())
        for at, passage in enumerate(each.passages, 1):
            passage.match = float(weights @ rows[at])
            passage.near = float(weights @ np.maximum.reduce(rows[max(1, at - 1) : at + 2]))
            passage.similarity = float(whole @ _whole(own[at]))


def _nearest(asked: Words, words: Words) -> Floats:
    """Return how near each piece of the question has its nearest."""
    if not words.pieces:
        return np.zeros(len(asked.pieces), np.float32)
    nearest: Floats = (asked.vectors @ words.vectors.T).max(axis=1)
    return nearest


def _whole(words: Words) -> Floats:
    total: Floats = words.vectors.sum(axis=0)
    return total / max(1e-9, float(np.linalg.norm(total)))


def spans(chunk: Chunk) -> list[tuple[int, int]]:
    """Return the sentences of a chunk as offsets into its text; a row of a table and a line of code are one each."""
    found = []
    lines = chunk.kind in ("table", "code")
    for start, end in _lines(chunk.text) if lines else sentence_spans(chunk.text):
        while end - start > LONGEST:
            cut = chunk.text.rfind(" ", start + LONGEST // 2, start + LONGEST)
            cut = cut if cut > 0 else start + LONGEST
            found.append((start, cut))
            start = cut + 1 if chunk.text[cut] == " " else cut
        if end > start:
            found.append((start, end))
    return found


def _lines(text: str) -> list[tuple[int, int]]:
    found, at = [], 0
    for line in text.splitlines(keepends=True):
        bare = line.strip()
        if bare:
            start = at + line.index(bare)
            found.append((start, start + len(bare)))
        at += len(line)
    return found
