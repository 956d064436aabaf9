"""Putting opinions together: scores of different kinds on one scale, neighbours that vouch, and rerankers."""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import msgspec
import numpy as np
import numpy.typing as npt

from aigrid.core.errors import UpstreamError
from aigrid.knowledge.base import Vectors
from aigrid.knowledge.index import K1, B
from aigrid.knowledge.postings import Postings

Scores = npt.NDArray[np.float32]

VOUCHERS = 5
"""How many of a chunk's nearest neighbours among the candidates vouch for it."""


class Reranker(Protocol):
    """Reads the query and the candidates together; slower and finer than what found them."""

    def rerank(self, query: str, texts: Sequence[str]) -> list[float]:
        """Return one score per text, higher is better; raises `UpstreamError` where it cannot be asked."""


def level(scores: Sequence[float] | Scores) -> Scores:
    """Put scores on a scale from 0 (the worst of them) to 1 (the best), so that kinds can be added."""
    values = np.asarray(scores, np.float32)
    if not len(values):
        return values
    low, high = float(values.min()), float(values.max())
    return (values - low) / (high - low) if high > low else np.ones_like(values)


def fuse(rows: Sequence[int], opinions: Sequence[tuple[Mapping[int, float], float]]) -> Scores:
    """Return one score per row: each opinion (scores by row, weight) levelled, weighted and added.

    A row that an opinion does not know counts as its worst. Scores say more than ranks: levelled sums beat reciprocal
    ranks on every collection measured (`benchmarks/retrieval.py`).
    """
    total = np.zeros(len(rows), np.float32)
    place = {row: at for at, row in enumerate(rows)}
    for scores, weight in opinions:
        known = [row for row in scores if row in place]
        total[[place[row] for row in known]] += weight * level([scores[row] for row in known])
    return total


def reciprocal(rows: Sequence[int], rankings: Sequence[Sequence[int]], k: int = 60) -> Scores:
    """Return one score per row by reciprocal rank fusion: the sum of 1 / (k + rank), ranks from 1."""
    total = np.zeros(len(rows), np.float32)
    place = {row: at for at, row in enumerate(rows)}
    for ranking in rankings:
        for rank, row in enumerate(ranking, 1):
            if row in place:
                total[place[row]] += 1 / (k + rank)
    return total


def vouch(scores: Scores, alike: npt.NDArray[np.float32], neighbours: int = VOUCHERS) -> Scores:
    """Add to each score the mean score of the nearest others, weighted by likeness; the best stays the best.

    `alike` is the likeness of each pair. What is relevant resembles what is relevant: a candidate among good ones is
    likelier to be good than its own words say. But the best direct hit is not outvoted, so that a question with one
    answer keeps it.
    """
    many = len(scores)
    if many < 3:
        return scores
    near = min(neighbours, many - 1)
    pairs = np.maximum(alike, 0.0)
    np.fill_diagonal(pairs, 0.0)
    bar = -np.partition(-pairs, near - 1, axis=1)[:, near - 1 : near]
    pairs = np.where(pairs >= bar, pairs, 0.0)
    weight = np.maximum(pairs.sum(axis=1), 1e-9)
    out = scores + (pairs @ scores) / weight
    best = int(np.argmax(scores))
    out[best] = max(float(out[best]), float(out.max()) + 1e-6)
    return np.asarray(out, np.float32)


def likeness(vectors: Vectors) -> Scores:
    """Return the cosine similarity of each pair of unit vectors."""
    return np.asarray(vectors @ vectors.T, np.float32)


def shared_words(passages: Postings) -> Scores:
    """Return how alike each pair of passages is in its words, from 0 to 1.

    That is BM25 of one as a query against the other. Words are as rare as they are among these passages; each row is
    levelled by its best.
    """
    many = len(passages.sizes)
    rows = np.repeat(np.arange(many), passages.sizes)
    words, having = np.unique(passages.hashes, return_inverse=True, return_counts=True)[1:]
    shared = having > 1
    kept = shared[words]
    often = np.zeros((many, int(shared.sum())), np.float32)
    often[rows[kept], (np.cumsum(shared) - 1)[words[kept]]] = passages.counts[kept]
    rarity = np.log1p((many - having[shared] + 0.5) / (having[shared] + 0.5)).astype(np.float32)
    lengths = np.bincount(rows, passages.counts, many).astype(np.float32)[:, None]
    norm = K1 * (1 - B + B * lengths / max(float(lengths.mean()), 1.0))
    alike = (often * rarity) @ (often / (often + norm + 1e-9)).T
    np.fill_diagonal(alike, 0.0)
    return np.asarray(alike / np.maximum(alike.max(axis=1, keepdims=True), 1e-9), np.float32)


class _Result(msgspec.Struct):
    index: int
    relevance_score: float


class _Answer(msgspec.Struct):
    results: list[_Result]


Post = Callable[[str, Mapping[str, str], bytes], bytes]
"""Sends a body to an address with headers, returns the answer's body; raises `OSError` where that fails."""


class HttpReranker:
    """Any server that speaks the `/rerank` of Cohere, Jina, vLLM and others."""

    def __init__(self, url: str, model: str, key: str = "", timeout: float = 10.0, post: Post | None = None) -> None:
        """`url` is the whole address, as https://host/v1/rerank; `timeout` is in seconds."""
        self._url = url
        self._model = model
        self._headers = {"Content-Type": "application/json"}
        if key:
            self._headers["Authorization"] = f"Bearer {key}"
        self._timeout = timeout
        self._post = post or self._send

    def rerank(self, query: str, texts: Sequence[str]) -> list[float]:
        """Return one score per text; a text that the server leaves out gets the lowest score of all."""
        if not texts:
            return []
        body = msgspec.json.encode(
            {"model": self._model, "query": query, "documents": list(texts), "top_n": len(texts)}
        )
        try:
            answer = msgspec.json.decode(self._post(self._url, self._headers, body), type=_Answer)
        except (OSError, msgspec.DecodeError) as error:
            raise UpstreamError(f"the reranker at {self._url} did not answer as expected: {error}") from None
        scores = {result.index: result.relevance_score for result in answer.results}
        lowest = min(scores.values(), default=0.0)
        return [scores.get(at, lowest) for at in range(len(texts))]

    def _send(self, url: str, headers: Mapping[str, str], body: bytes) -> bytes:
        from urllib.request import Request, urlopen

        if not url.startswith(("http://", "https://")):
            raise OSError(f"{url} is not a web address")
        with urlopen(Request(url, body, dict(headers)), timeout=self._timeout) as answer:
            return bytes(answer.read())
