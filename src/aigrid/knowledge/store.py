"""What both stores share: additions, the writer's lock, searches made of rows, and how a store is opened."""

import fcntl
import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec

from aigrid.core.errors import ConfigError, Conflict
from aigrid.knowledge.base import Chunk, Source, Vectors
from aigrid.knowledge.language import query_terms

Kind = Literal["lance", "sqlite"]


@dataclass(frozen=True)
class Addition:
    """One source to be written: its plain text, its chunks and a unit vector for each."""

    source: Source
    plain: str
    chunks: Sequence[Chunk]
    vectors: Vectors

    def __post_init__(self) -> None:
        if len(self.chunks) != len(self.vectors):
            raise ValueError(f"{self.source.path}: {len(self.chunks)} chunks but {len(self.vectors)} vectors")


class RowsGone(LookupError):
    """Rows that a search found were replaced before they could be looked at; search again."""


class WriterLock:
    """The right to write: taken at the first write, held until release; the kernel lets go when the process ends."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._held = -1

    def take(self) -> bool:
        """Take the lock where it is not held yet; return whether it was taken now.

        Raises `Conflict` naming the process that has it.
        """
        if self._held >= 0:
            return False
        held = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            owner = os.pread(held, 32, 0).decode(errors="replace").strip() or "unknown"
            os.close(held)
            raise Conflict(
                f"the knowledge in {self._path.parent} is being written by process {owner}; wait until it is done, "
                "or stop it (searching goes on meanwhile)",
                code="knowledge_in_use",
            ) from None
        os.ftruncate(held, 0)
        os.pwrite(held, f"{os.getpid()}\n".encode(), 0)
        self._held = held
        return True

    def release(self) -> None:
        """Let go of the lock."""
        if self._held >= 0:
            os.close(self._held)
            self._held = -1


def weigh(query: str) -> dict[str, float]:
    """Return the terms of a query, each as heavy as it is often."""
    weights: dict[str, float] = {}
    for term in query_terms(query):
        weights[term] = weights.get(term, 0.0) + 1.0
    return weights


def indexed_text(chunk: Chunk) -> str:
    """Return what of a chunk is searched: its title and headings, and its text."""
    return f"{chunk.context}\n{chunk.text}" if chunk.context else chunk.text


class RowStore(ABC):
    """A store as rows: what search works with, and from it the searches of `aigrid.knowledge.base.Store`.

    A row is a number for a chunk, good until the store is closed. Every method that takes `readers` works as if what
    they may not see did not exist; rows that are gone or not theirs are left out of `fetch`.
    """

    @abstractmethod
    def words(self, weights: Mapping[str, float], limit: int, readers: frozenset[str]) -> list[tuple[int, float]]:
        """Return the best rows by BM25 for weighted terms, with scores, best first."""

    @abstractmethod
    def near(self, vector: Vectors, limit: int, readers: frozenset[str]) -> list[tuple[int, float]]:
        """Return the rows nearest to a unit vector, with cosine similarities, best first."""

    @abstractmethod
    def fetch(self, rows: Sequence[int], readers: frozenset[str]) -> dict[int, Chunk]:
        """Return the chunks of rows."""

    @abstractmethod
    def owners(self, rows: Sequence[int]) -> list[str]:
        """Return the source of each row; the rows must come from a search by the same reader."""

    @abstractmethod
    def vectors(self, rows: Sequence[int]) -> Vectors:
        """Return the vector of each row, which must come from a search by the same reader; raises `RowsGone`."""

    @abstractmethod
    def frequencies(self, terms: Iterable[str], readers: frozenset[str]) -> dict[str, int]:
        """Return in how many chunks each term occurs."""

    @abstractmethod
    def add_many(self, additions: Sequence[Addition]) -> None:
        """Replace several sources, each atomically, quicker than one by one; all are visible on return."""

    @abstractmethod
    def contents(self, source_id: str) -> Addition | None:
        """Return a source as it was added, whoever may read it; None where it is not indexed."""

    @abstractmethod
    def sources(self) -> list[Source]:
        """Return every source, whoever may read it: for administration only."""

    @abstractmethod
    def skip(self, source: Source) -> None:
        """Remember a source that could not be read, and drop what it had in the index."""

    @abstractmethod
    def remove(self, source_ids: Iterable[str]) -> int:
        """Remove sources with their chunks; return how many there were."""

    @abstractmethod
    def plain(self, source_id: str, readers: frozenset[str]) -> str | None:
        """Return a source's plain text, None where it is not there or not for these readers."""

    @abstractmethod
    def neighbours(self, chunk: Chunk, before: int, after: int, readers: frozenset[str]) -> list[Chunk]:
        """Return the chunks around one of the same source, in order, itself included."""

    @abstractmethod
    def count(self, readers: frozenset[str]) -> int:
        """Return how many chunks these readers may see."""

    @abstractmethod
    def optimize(self) -> None:
        """Do what keeps searches quick. Only the one writer may; raises `Conflict` where another process is it."""

    @abstractmethod
    def close(self) -> None:
        """Let go of files and locks."""

    def add(self, source: Source, plain: str, chunks: Sequence[Chunk], vectors: Vectors) -> None:
        """Replace a source and all its chunks, atomically; `plain` is the text that offsets point into."""
        self.add_many([Addition(source, plain, chunks, vectors)])

    def revise(self, source: Source) -> None:
        """Change a source's path, readers or times, and those of its chunks; text and vectors stay."""
        held = self.contents(source.id)
        if held is None:
            self.skip(source)
            return
        chunks = [msgspec.structs.replace(chunk, path=source.path, readers=source.readers) for chunk in held.chunks]
        self.add_many([Addition(source, held.plain, chunks, held.vectors)])

    def lexical(self, query: str, limit: int, readers: frozenset[str]) -> list[tuple[Chunk, float]]:
        """Return the best chunks by BM25, best first, with their scores (higher is better)."""
        return self._chunks_of(self.words(weigh(query), limit, readers), readers)

    def nearest(self, vector: Vectors, limit: int, readers: frozenset[str]) -> list[tuple[Chunk, float]]:
        """Return the nearest chunks by cosine similarity, best first."""
        return self._chunks_of(self.near(vector, limit, readers), readers)

    def _chunks_of(self, found: list[tuple[int, float]], readers: frozenset[str]) -> list[tuple[Chunk, float]]:
        chunks = self.fetch([row for row, _ in found], readers)
        return [(chunks[row], score) for row, score in found if row in chunks]


def open_store(path: Path, kind: Kind = "lance") -> RowStore:
    """Open the store in the folder `path`, made where there is none; raises `ConfigError` for another kind."""
    if kind == "lance":
        from aigrid.knowledge.store_lance import LanceStore

        return LanceStore(path)
    if kind == "sqlite":
        from aigrid.knowledge.store_sqlite import SqliteStore

        return SqliteStore(path)
    raise ConfigError(f"no knowledge store of kind {kind!r}; there are lance and sqlite", param="knowledge.store")
