"""From files to the index: parse, chunk, embed and write, with all stages at work at once.

A source is written whole or not at all, and nothing else is remembered, so that an ingestion can end at any point,
a kill included, and the next one does what is missing. What a file does to its parser is that file's affair.
"""

import os
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import msgspec

from aigrid.core.clock import now_ns
from aigrid.knowledge.ahead import ahead, side_by_side
from aigrid.knowledge.base import Chunk, Embedder, Progress, Source, Vectors

if TYPE_CHECKING:
    from aigrid.knowledge.store import RowStore

EMBED_CHUNKS = 256
"""Chunks embedded in one call: enough to sort by length, few enough to stop soon."""

WAITING = 4
"""Sources that wait between two stages."""

PARSERS = 2
"""Files parsed at once, each in a process of its own."""


class Job(msgspec.Struct, frozen=True):
    """One source to bring up to date.

    `read` it from `file` (which is deleted afterwards where it is `temporary`), `skip` it for the reason in its note,
    or only `revise` what is known of it: it has `moved`, or was touched.
    """

    source: Source
    act: Literal["read", "skip", "revise"] = "read"
    file: str = ""
    temporary: bool = False
    moved: bool = False


class Content(msgspec.Struct, frozen=True):
    """What a file came to: its source with title and kind, its plain text, and its chunks."""

    source: Source
    plain: str
    chunks: list[Chunk]


Read = Callable[[Source, str], Content]
"""Parses and chunks the file at a path; whatever it raises is why the file is skipped."""


@dataclass(frozen=True)
class Done:
    """A job on its way through the stages."""

    job: Job
    source: Source
    content: Content | None = None
    vectors: "Vectors | None" = None


class Skipped(msgspec.Struct, frozen=True):
    """A file that is not in the index, and why."""

    path: str
    reason: str


class Report(msgspec.Struct):
    """What an ingestion did, in sources; `stopped` says that it was told to end early."""

    added: int = 0
    changed: int = 0
    moved: int = 0
    unchanged: int = 0
    removed: int = 0
    chunks: int = 0
    bytes: int = 0
    duration_ns: int = 0
    stopped: bool = False
    skipped: list[Skipped] = []


class Ingestion:
    """Brings sources into a store. `stop` may be set by any thread: what is not yet embedded is then left for later."""

    def __init__(
        self, store: "RowStore", embedder: Callable[[], Embedder], read: Read, report: Report, stop: threading.Event
    ) -> None:
        self._store = store
        self._embedder = embedder
        self._read = read
        self._report = report
        self._stop = stop
        self.known: frozenset[str] = frozenset()

    def run(self, jobs: Iterable[Job], tell: Progress, total: int) -> None:
        """Do all jobs; `known` holds the ids of sources that are in the store, `total` is how many files there are.

        An error of the embedder or the store is raised, with everything before it written; an error of a file skips
        that file.
        """
        contents = ahead(side_by_side(self._content, self._until_stopped(jobs), PARSERS), WAITING)
        written = 0
        for batch in ahead(self._embedded(contents), 1):
            self._write(batch)
            written += len(batch)
            if batch:
                tell(self._report.unchanged + written, total, batch[-1].source.path)

    def _until_stopped(self, jobs: Iterable[Job]) -> Iterator[Job]:
        for job in jobs:
            if self._stop.is_set():
                return
            yield job

    def _content(self, job: Job) -> Done:
        if job.act != "read":
            return Done(job, job.source)
        source = msgspec.structs.replace(job.source, indexed_ns=now_ns())
        try:
            content = self._read(source, job.file)
        except Exception as error:
            return Done(job, skipped(source, str(error) or type(error).__name__))
        finally:
            if job.temporary:
                os.unlink(job.file)
        if not content.chunks:
            return Done(job, skipped(source, "there is no text in it"))
        return Done(job, msgspec.structs.replace(content.source, chunks=len(content.chunks)), content)

    def _embedded(self, contents: Iterable[Done]) -> Iterator[list[Done]]:
        """Yield contents with their vectors, embedded together where they are small and in pieces where large."""
        batch: list[Done] = []
        chunks = 0
        for done in contents:
            batch.append(done)
            chunks += len(done.content.chunks) if done.content else 0
            if chunks >= EMBED_CHUNKS or len(batch) >= EMBED_CHUNKS:
                yield self._embed(batch)
                batch, chunks = [], 0
        yield self._embed(batch)

    def _embed(self, batch: list[Done]) -> list[Done]:
        """Return a batch with vectors; nothing where it was told to stop meanwhile."""
        import numpy as np

        from aigrid.knowledge.store import indexed_text

        texts = [indexed_text(chunk) for done in batch if done.content for chunk in done.content.chunks]
        if not texts:
            return batch
        pieces = []
        for start in range(0, len(texts), EMBED_CHUNKS):
            if self._stop.is_set():
                return []
            pieces.append(self._embedder().embed(texts[start : start + EMBED_CHUNKS]))
        vectors = np.concatenate(pieces)
        embedded, at = [], 0
        for done in batch:
            count = len(done.content.chunks) if done.content else 0
            embedded.append(replace(done, vectors=vectors[at : at + count]))
            at += count
        return embedded

    def _write(self, batch: list[Done]) -> None:
        from aigrid.knowledge.store import Addition

        additions = []
        for done in batch:
            source, content = done.source, done.content
            if content is not None and done.vectors is not None:
                additions.append(Addition(source, content.plain, content.chunks, done.vectors))
            elif source.state == "skipped":
                self._store.skip(source)
                self._report.skipped.append(Skipped(source.path, source.note))
            else:
                self._store.revise(source)
                self._report.moved += done.job.moved
                self._report.unchanged += not done.job.moved
        self._store.add_many(additions)
        for addition in additions:
            self._report.chunks += len(addition.chunks)
            self._report.bytes += addition.source.bytes
            if addition.source.id in self.known:
                self._report.changed += 1
            else:
                self._report.added += 1


def skipped(source: Source, reason: str) -> Source:
    """Return a source as one that cannot be read, with the reason in one line."""
    return msgspec.structs.replace(source, state="skipped", chunks=0, note=" ".join(reason.split())[:500])
