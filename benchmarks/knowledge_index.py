"""How quickly chunks get into the index, and how quickly a hybrid query is answered: parts of `knowledge_speed`.

The 50,000 chunks are Cranfield's abstracts and the bank's documents, cut by the chunker, over and over with some words
exchanged so that no two are the same; vectors are those of their originals with some of another chunk's added. What
is timed for the index is everything but embedding: terms, postings, vectors, files on disk, the commit, and that it
can be found.
"""

import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from aigrid.knowledge.base import Chunk, Embedder, Source, Vectors
from aigrid.knowledge.chunk import chunks_of
from aigrid.knowledge.parse import parse
from aigrid.knowledge.search import ANYONE, Searcher
from aigrid.knowledge.store import Addition, Kind, RowStore, open_store
from benchmarks.common import log, spread
from benchmarks.retrieval_data import banking, cranfield

CHUNKS = 50_000
A_SOURCE = 10
A_WRITE = 100
"""Chunks of a source, and sources in one write: what adding a folder amounts to."""


class Remembered:
    """An embedder that was asked before: its answers cost nothing, so that the rest can be timed."""

    def __init__(self, embedder: Embedder, texts: list[str]) -> None:
        self.name, self.dimensions, self.max_tokens = embedder.name, embedder.dimensions, embedder.max_tokens
        self._vectors = dict(zip(texts, embedder.embed(texts), strict=True))

    def embed(self, texts: list[str]) -> Vectors:
        """Return what was made before."""
        return np.stack([self._vectors[text] for text in texts])


def real_texts() -> list[str]:
    """Return the texts of chunks of real documents."""
    documents = cranfield().documents + banking().documents
    found = []
    for number, (title, text) in enumerate(documents):
        if text.strip():
            data = (f"# {title}\n\n{text}" if title else text).encode()
            source = Source(id=str(number), path="", digest="")
            found.extend(chunk.text for chunk in chunks_of(source, parse(data, f"{number}.md"))[1])
    return found


def additions(embedder: Embedder, many: int = CHUNKS, seed: int = 1) -> list[Addition]:
    """Return sources with `many` chunks in all."""
    texts = real_texts()
    log(f"embedding {len(texts)} real chunks, once")
    known = embedder.embed(texts)
    words = " ".join(texts).split()
    chance = np.random.default_rng(seed)
    made = []
    for first in range(0, many, A_SOURCE):
        picks = [(first + at) % len(texts) for at in range(min(A_SOURCE, many - first))]
        name = f"source-{first}"
        chunks = []
        for position, pick in enumerate(picks):
            text = varied(texts[pick], words, chance) if first + position >= len(texts) else texts[pick]
            chunks.append(Chunk(f"{name}/{position}", name, position, text, 0, len(text), path=name))
        others = chance.integers(0, len(texts), len(picks))
        vectors = known[picks] + known[others] * chance.uniform(0.1, 0.4, (len(picks), 1)).astype(np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        plain = "\n\n".join(chunk.text for chunk in chunks)
        made.append(Addition(Source(name, name, "", chunks=len(chunks)), plain, chunks, vectors))
    return made


def varied(text: str, words: list[str], chance: np.random.Generator) -> str:
    """Return a text with every tenth word exchanged for one from elsewhere."""
    own = text.split()
    for at in chance.integers(0, len(own), max(1, len(own) // 10)):
        own[at] = words[int(chance.integers(0, len(words)))]
    return " ".join(own)


def index_speed(made: list[Addition], folder: Path, kind: Kind = "lance") -> tuple[RowStore, dict[str, Any]]:
    """Write all additions, then search for the last; return the open store and chunks per second."""
    store = open_store(folder, kind)
    total = sum(len(addition.chunks) for addition in made)
    began = time.perf_counter()
    for at in range(0, len(made), A_WRITE):
        store.add_many(made[at : at + A_WRITE])
    last = made[-1].chunks[-1]
    if last.id not in {chunk.id for chunk, _ in store.lexical(last.text, 5, ANYONE)}:
        raise AssertionError("what was written last is not found")
    seconds = time.perf_counter() - began
    return store, {"chunks": total, "seconds": round(seconds, 2), "chunks_per_s": round(total / seconds)}


def query_speed(store: RowStore, embedder: Embedder, queries: list[str], limit: int = 10) -> dict[str, Any]:
    """Return milliseconds per hybrid query: plain, and thorough as the library asks; without embedding it, and with."""
    asked = Searcher(store, Remembered(embedder, queries))
    whole = Searcher(store, embedder)
    for thorough in (False, True):
        whole.search(queries[0], limit, thorough=thorough)

    def timed(searcher: Searcher, thorough: bool) -> dict[str, float]:
        took = []
        for query in queries:
            began = time.perf_counter()
            searcher.search(query, limit, thorough=thorough)
            took.append((time.perf_counter() - began) * 1000)
        return {name: round(value, 2) for name, value in spread(took).items()}

    return {
        "hybrid_ms": timed(asked, thorough=False),
        "hybrid_with_embedding_ms": timed(whole, thorough=False),
        "thorough_ms": timed(asked, thorough=True),
        "thorough_with_embedding_ms": timed(whole, thorough=True),
        "chunks": store.count(ANYONE),
    }


def measure(embedder: Embedder, many: int = CHUNKS) -> dict[str, Any]:
    """Return both speeds, the time to open such an index again, and what of it must hold (claims in words)."""
    made = additions(embedder, many)
    queries = cranfield().queries
    with tempfile.TemporaryDirectory(prefix="aigrid-") as folder:
        store, written = index_speed(made, Path(folder))
        asked = query_speed(store, embedder, queries)
        store.close()
        began = time.perf_counter()
        again = open_store(Path(folder))
        again.lexical(queries[0], 10, ANYONE)
        opened = time.perf_counter() - began
        again.close()
    claims = {
        "at least 5,000 chunks/s into the index, embedding excluded": written["chunks_per_s"] >= 5000,
        f"a hybrid query takes at most 10 ms (p50) at {many:,} chunks": asked["hybrid_ms"]["median"] <= 10,
    }
    return {"index": written, "query": asked, "open_s": round(opened, 2), "claims": claims}
