"""From a question to the best chunks: words and vectors, one scale, neighbours, a second look where one is wanted.

1. BM25 finds by words, vectors by meaning (a long query by its sentences).
2. Both opinions are put on one scale and added.
3. Candidates near to good candidates rise; the best direct hit stays first.
4. A thorough search reads the candidates before that: it adds the words that the best of them use, looks how near to
   each other the question's words stand, and how many words candidates share.
5. A reranker, where one is configured, orders the best again.
"""

import math

import numpy as np

from aigrid.knowledge.base import EVERYONE, Chunk, Embedder, Hit
from aigrid.knowledge.expand import by_parts, feedback, parts, togetherness
from aigrid.knowledge.language import terms
from aigrid.knowledge.postings import Postings
from aigrid.knowledge.rank import Reranker, Scores, fuse, likeness, shared_words, vouch
from aigrid.knowledge.store import RowsGone, RowStore, indexed_text, weigh

ANYONE = frozenset((EVERYONE,))

CANDIDATES = 200
"""Rows that each way of searching brings: with some chunks to a document, the best hundred documents or so."""
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
        found = Candidates(self._store, self._embedder, query, max(CANDIDATES, limit), readers)
        if not found.rows:
            return []
        scores = found.fused()
        scores = found.read(scores) if thorough else found.among_neighbours(scores)
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
        self._fetched: dict[int, Chunk] = {}
        self.weights = weigh(query)
        self.words = dict(store.words(self.weights, many, readers))
        self.similar: dict[int, float] = {}
        self.asked = embedder.embed(parts(query)) if embedder is not None else None
        if self.asked is not None:
            near = {row for vector in self.asked for row, _ in store.near(vector, many, readers)}
            rows = list(dict.fromkeys([*self.words, *sorted(near)]))
            vectors = store.vectors(rows) if rows else np.zeros((0, 1), np.float32)
            embedded = np.any(vectors, axis=1).tolist()
            kept = [at for at, row in enumerate(rows) if embedded[at] or row in self.words]
            self.rows, self.vectors = [rows[at] for at in kept], vectors[kept]
            alike = by_parts(self.vectors @ self.asked.T) if kept else np.zeros(0, np.float32)
            scored = zip(kept, alike.tolist(), strict=True)
            self.similar = {rows[at]: similarity for at, similarity in scored if embedded[at]}
        else:
            self.rows = list(self.words)
            self.vectors = store.vectors(self.rows) if self.rows else np.zeros((0, 1), np.float32)

    def fused(self) -> Scores:
        """Return one score per row from words and vectors, in equal parts; words alone where there is no vector yet."""
        nearest = dict(sorted(self.similar.items(), key=lambda item: (-item[1], item[0]))[: self._many])
        scores = fuse(self.rows, [(self.words, 0.5), (nearest, 0.5)])
        if self.asked is not None and len(self.similar) < len(self.rows):
            scores[[at for at, row in enumerate(self.rows) if row not in self.similar]] *= 2
        return scores

    def among_neighbours(self, scores: Scores, likely: Scores | None = None, shared: Scores | None = None) -> Scores:
        """Return scores to which candidates near in meaning (and in words, where `shared` is given) have added.

        Only those of other sources: chunks of one file repeat its words, and are no second witness.
        The best by `scores` stays first; `likely` are better founded scores for the rest. `shared` is how alike in
        words each pair of the best rows by `scores` is, in order.
        """
        order = np.argsort(-scores, kind="stable")[: self._many if shared is None else len(shared)]
        top = (scores if likely is None else likely)[order]
        top[0] = float(top.max()) + 1e-6
        alike = likeness(self.vectors[order])
        if shared is not None:
            alike += shared
        sources = np.unique(self._store.owners([self.rows[at] for at in order]), return_inverse=True)[1]
        alike[sources[:, None] == sources[None, :]] = 0.0
        out = scores - 9.0
        out[order] = vouch(top, alike)
        return np.asarray(out, np.float32)

    def read(self, scores: Scores) -> Scores:
        """Return scores that take the texts of the best into account."""
        order = np.argsort(-scores, kind="stable")[: self._many]
        chunks = self._fetched = self._store.fetch([self.rows[at] for at in order], self._readers)
        found = [chunks.get(self.rows[at]) for at in order]
        texts = [indexed_text(chunk) if chunk else "" for chunk in found]
        passages = [terms(text) for text in texts[: max(READ_FOR_WORDS, READ_FOR_PLACES)]]
        first = order[:READ_FOR_WORDS]
        more = feedback(self.weights, passages[:READ_FOR_WORDS], scores[first].tolist())
        again = dict(self._store.words(more, self._many, self._readers))
        likely = scores + fuse(self.rows, [(again, FEEDBACK_WEIGHT)])
        near = togetherness(self._query, passages[:READ_FOR_PLACES], self._rarity())
        bonus = np.zeros_like(scores)
        bonus[order[: len(near)]] = TOGETHER_WEIGHT * np.asarray(near, np.float32)
        direct = scores + bonus
        rank = np.argsort(-direct[order], kind="stable")
        return self.among_neighbours(direct, likely + bonus, shared_words(Postings.of(texts[at] for at in rank)))

    def hits(self, scores: Scores, limit: int) -> list[Hit]:
        """Return the best rows as hits."""
        order = [int(at) for at in np.argsort(-scores, kind="stable")[:limit]]
        chunks = self._fetched
        if any(self.rows[at] not in chunks for at in order):
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
