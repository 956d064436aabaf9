"""From a question to the best chunks: words and vectors, one scale, neighbours, a second look where one is wanted.

1. BM25 finds by words, vectors by meaning (a long query by its sentences).
2. Both opinions are put on one scale and added.
3. A thorough search reads the best: it adds the words that they share, and looks how near the question's words stand.
4. Candidates near to good candidates rise; the best direct hit stays first.
5. A reranker, where one is configured, orders the best again.
"""

import math

import numpy as np

from aigrid.knowledge.base import EVERYONE, Chunk, Embedder, Hit
from aigrid.knowledge.expand import by_parts, feedback, parts, togetherness
from aigrid.knowledge.rank import Reranker, Scores, fuse, likeness, vouch
from aigrid.knowledge.store import RowsGone, RowStore, indexed_text, weigh

ANYONE = frozenset((EVERYONE,))

CANDIDATES = 100
READ_FOR_WORDS = 5
READ_FOR_PLACES = 30
FEEDBACK_WEIGHT = 0.25
TOGETHER_WEIGHT = 0.2
RERANKED = 30
RACES = 3
"""How often a search begins again because what it found was replaced meanwhile."""


class Searcher:
    """Searches one store with one embedder. Safe to use from several threads where the embedder is."""

    def __init__(self, store: RowStore, embedder: Embedder | None, reranker: Reranker | None = None) -> None:
        """Without an embedder, words alone are searched."""
        self._store = store
        self._embedder = embedder
        self._reranker = reranker

    def search(
        self, query: str, limit: int = 10, readers: frozenset[str] = ANYONE, *, thorough: bool = False
    ) -> list[Hit]:
        """Return the best chunks that these readers may see, best first.

        `thorough` reads the best candidates before it decides: better, by some milliseconds slower.
        """
        if limit <= 0 or not query.strip():
            return []
        for _ in range(RACES):
            try:
                return self._search(query, limit, readers, thorough)
            except RowsGone:
                continue
        return self._search(query, limit, readers, thorough)

    def _search(self, query: str, limit: int, readers: frozenset[str], thorough: bool) -> list[Hit]:
        found = Candidates(self._store, self._embedder, query, max(CANDIDATES, 2 * limit), readers)
        if not found.rows:
            return []
        scores = found.fused()
        direct = scores
        if thorough:
            scores = found.read(scores)
        scores = found.among_neighbours(scores, direct)
        hits = found.hits(scores, max(limit, RERANKED) if self._reranker else limit)
        if self._reranker and hits:
            judged = self._reranker.rerank(query, [indexed_text(hit.chunk) for hit in hits])
            for hit, score in zip(hits, judged, strict=True):
                hit.rerank_score = score
            hits.sort(key=lambda hit: -(hit.rerank_score or 0.0))
        return hits[:limit]

    def around(self, hit: Hit, before: int, after: int, readers: frozenset[str] = ANYONE) -> list[Chunk]:
        """Return the chunks around a hit, in order, itself included."""
        return self._store.neighbours(hit.chunk, before, after, readers)


class Candidates:
    """The rows that either way of searching found, with what each thinks of them."""

    def __init__(
        self, store: RowStore, embedder: Embedder | None, query: str, many: int, readers: frozenset[str]
    ) -> None:
        self._store = store
        self._query = query
        self._many = many
        self._readers = readers
        self.weights = weigh(query)
        self.words = dict(store.words(self.weights, many, readers))
        self.similar: dict[int, float] = {}
        self.asked = embedder.embed(parts(query)) if embedder is not None else None
        if self.asked is not None:
            near = {row for vector in self.asked for row, _ in store.near(vector, many, readers)}
            self.rows = list(dict.fromkeys([*self.words, *sorted(near)]))
            self.vectors = store.vectors(self.rows) if self.rows else np.zeros((0, 1), np.float32)
            alike = by_parts(self.vectors @ self.asked.T) if self.rows else np.zeros(0, np.float32)
            self.similar = dict(zip(self.rows, alike.tolist(), strict=True))
        else:
            self.rows = list(self.words)
            self.vectors = store.vectors(self.rows) if self.rows else np.zeros((0, 1), np.float32)

    def fused(self) -> Scores:
        """Return one score per row from words and vectors, in equal parts."""
        nearest = dict(sorted(self.similar.items(), key=lambda item: (-item[1], item[0]))[: self._many])
        return fuse(self.rows, [(self.words, 0.5), (nearest, 0.5)])

    def read(self, scores: Scores) -> Scores:
        """Return scores that take the text of the best into account."""
        best = [self.rows[at] for at in np.argsort(-scores, kind="stable")[:READ_FOR_PLACES]]
        chunks = self._store.fetch(best, self._readers)
        best = [row for row in best if row in chunks]
        place = {row: at for at, row in enumerate(self.rows)}
        texts = [indexed_text(chunks[row]) for row in best]
        first = best[:READ_FOR_WORDS]
        more = feedback(self.weights, texts[: len(first)], [float(scores[place[row]]) for row in first])
        again = dict(self._store.words(more, self._many, self._readers))
        out = scores + fuse(self.rows, [(again, FEEDBACK_WEIGHT)])
        rarity = self._rarity()
        for row, together in zip(best, togetherness(self._query, texts, rarity), strict=True):
            out[place[row]] += TOGETHER_WEIGHT * together
        return out

    def among_neighbours(self, scores: Scores, direct: Scores) -> Scores:
        """Return scores to which near candidates have added, the best direct hit first."""
        order = np.argsort(-scores, kind="stable")[: self._many]
        out = np.full(len(scores), -1.0, np.float32)
        top = scores[order].copy()
        top[int(np.argmax(direct[order]))] = float(top.max()) + 1e-6
        out[order] = vouch(top, likeness(self.vectors[order]))
        return out

    def hits(self, scores: Scores, limit: int) -> list[Hit]:
        """Return the best rows as hits."""
        order = [int(at) for at in np.argsort(-scores, kind="stable")[:limit]]
        chunks = self._store.fetch([self.rows[at] for at in order], self._readers)
        lexical = {row: rank for rank, row in enumerate(self.words, 1)}
        by_meaning = sorted(self.similar, key=lambda row: (-self.similar[row], row))
        semantic = {row: rank for rank, row in enumerate(by_meaning, 1)}
        return [
            Hit(
                chunk=chunks[row],
                score=float(scores[at]),
                lexical_rank=lexical.get(row),
                vector_rank=semantic.get(row),
                similarity=self.similar.get(row),
            )
            for at in order
            if (row := self.rows[at]) in chunks
        ]

    def _rarity(self) -> dict[str, float]:
        count = self._store.count(self._readers)
        found = self._store.frequencies(self.weights, self._readers)
        return {term: math.log1p((count - many + 0.5) / (many + 0.5)) for term, many in found.items() if many}


def search(
    store: RowStore,
    embedder: Embedder | None,
    query: str,
    limit: int = 10,
    readers: frozenset[str] = ANYONE,
    *,
    reranker: Reranker | None = None,
    thorough: bool = False,
) -> list[Hit]:
    """Search once; see `Searcher.search`."""
    return Searcher(store, embedder, reranker).search(query, limit, readers, thorough=thorough)
