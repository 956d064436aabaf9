"""The words of knowledge, and its two protocols: what embeds, and what stores.

A *source* is a file (or page) as it was read; a *block* is a piece of it with its place; a *chunk* is what is
indexed and cited. Places are exact: `text[start:end]` of a source's plain text is the chunk's own text, so that a
citation can be checked and shown where it stands.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias

import msgspec

if TYPE_CHECKING:  # the processes that only parse start in half the time without it
    import numpy as np
    import numpy.typing as npt

Vectors: TypeAlias = "npt.NDArray[np.float32]"
"""Unit vectors, one per row: shape (texts, dimensions)."""

EVERYONE = "*"
"""The reader of what anyone may read."""


class Block(msgspec.Struct, frozen=True):
    """A paragraph, heading, table, list item, code block or row group, as a parser found it.

    `page` counts from 1 (PDF pages, slides, sheets); None where there are no pages. `heading` is the path of headings
    above it, outermost first. `line` is the first line in the file (from 1) where lines mean something; `lines` says
    where each line of `text` stands, where they do not simply follow one another (rows of a table, for one).
    """

    text: str
    kind: Literal["text", "heading", "table", "code", "list"] = "text"
    heading: tuple[str, ...] = ()
    page: int | None = None
    line: int | None = None
    lines: tuple[int, ...] = ()


class Parsed(msgspec.Struct, frozen=True):
    """What a parser made of one file: its blocks in reading order, and what it left out, in words."""

    blocks: list[Block]
    title: str = ""
    kind: str = ""
    notes: list[str] = []


class Source(msgspec.Struct, frozen=True):
    """One file or page in the index. `digest` is the SHA-256 of its bytes; `path` is absolute, or a URL.

    `state` is `indexed`, or `skipped` with the reason in `note`. While `embedded` is false it is found by its words
    alone: its vectors are zero. Times are nanoseconds since the epoch.
    """

    id: str
    path: str
    digest: str
    title: str = ""
    kind: str = ""
    bytes: int = 0
    chunks: int = 0
    readers: tuple[str, ...] = (EVERYONE,)
    modified_ns: int = 0
    indexed_ns: int = 0
    state: Literal["indexed", "skipped"] = "indexed"
    note: str = ""
    embedded: bool = True


class Chunk(msgspec.Struct, frozen=True):
    """What is indexed and cited. `start` and `end` are offsets into the source's plain text, in characters.

    `readers` are tenants or keys that may see it (`*` is everyone). `context` (title and headings) is searched and
    embedded with the text but never quoted. `line` and `last_line` count from 1 where the file has lines.
    """

    id: str
    source_id: str
    position: int
    text: str
    start: int
    end: int
    path: str = ""
    title: str = ""
    heading: tuple[str, ...] = ()
    page: int | None = None
    line: int | None = None
    last_line: int | None = None
    kind: str = "text"
    readers: tuple[str, ...] = (EVERYONE,)

    @property
    def context(self) -> str:
        """Title and heading path, as one line."""
        return " › ".join(part for part in (self.title, *self.heading) if part)


class Hit(msgspec.Struct):
    """A chunk found, with what each stage thought of it (ranks from 1; None where that stage did not find it)."""

    chunk: Chunk
    score: float
    lexical_rank: int | None = None
    vector_rank: int | None = None
    similarity: float | None = None
    rerank_score: float | None = None


class Embedder(Protocol):
    """Turns texts into unit vectors. `name` identifies model and precision: vectors of different names never mix."""

    name: str
    dimensions: int
    max_tokens: int

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Return one unit vector per text, in order; long texts are cut at `max_tokens`. Blocking."""


class Store(Protocol):
    """Chunks on disk, searched by words and by vectors, always as one of `readers` sees them.

    Each search takes the set of readers that the caller is (their tenant, key, groups, and `*`) and behaves exactly
    as if no other chunk existed: not in results, not in counts, not in document frequencies that the caller can see.
    One process at a time writes and maintains (a file lock); any may read. What is written is visible at once.
    """

    def add(self, source: Source, plain: str, chunks: Sequence[Chunk], vectors: Vectors) -> None:
        """Replace a source and all its chunks, atomically; `plain` is the text that offsets point into."""

    def skip(self, source: Source) -> None:
        """Remember a source that could not be read, and drop what it had in the index."""

    def revise(self, source: Source) -> None:
        """Change a source's path, title, readers or times, and those of its chunks; text and vectors stay."""

    def remove(self, source_ids: Iterable[str]) -> int:
        """Remove sources with their chunks; return how many there were."""

    def sources(self) -> list[Source]:
        """Return every source, whoever may read it: for administration only."""

    def plain(self, source_id: str, readers: frozenset[str]) -> str | None:
        """Return a source's plain text, None where it is not there or not for these readers."""

    def lexical(self, query: str, limit: int, readers: frozenset[str]) -> list[tuple[Chunk, float]]:
        """Return the best chunks by BM25, best first, with their scores (higher is better)."""

    def nearest(self, vector: Vectors, limit: int, readers: frozenset[str]) -> list[tuple[Chunk, float]]:
        """Return the nearest chunks by cosine similarity, best first."""

    def neighbours(self, chunk: Chunk, before: int, after: int, readers: frozenset[str]) -> list[Chunk]:
        """Return the chunks around one of the same source, in order, itself included."""

    def count(self, readers: frozenset[str]) -> int:
        """Return how many chunks these readers may see."""

    def optimize(self) -> None:
        """Do what keeps searches quick (index new rows, compact). Called by the one writer."""

    def close(self) -> None:
        """Let go of files and locks."""


Progress = Callable[[int, int, str], None]
"""Called with (done, total, what) as work goes on."""
