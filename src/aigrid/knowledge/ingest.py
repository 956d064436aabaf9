"""From files to the index: parse, chunk and write the words, then embed, with all stages at work at once.

What is read is found by its words at once; embedding takes far longer and follows, so that a large folder answers
within seconds and then answers better and better. A source is written whole or not at all, and nothing else is
remembered, so that an ingestion can end at any point, a kill included, and the next one does what is missing. What a
file does to its parser is that file's affair.
"""

import contextlib
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import TYPE_CHECKING, Literal

import msgspec

from aigrid.core.clock import now_ns
from aigrid.knowledge.ahead import ahead, side_by_side
from aigrid.knowledge.base import Chunk, Embedder, Progress, Source

if TYPE_CHECKING:
    from aigrid.knowledge.store import Addition, RowStore

EMBED_CHUNKS = 256
"""Chunks embedded in one call: enough to sort by length, few enough to stop soon."""

WRITE_CHUNKS = 512
"""Chunks written in one go, and what is embedded before it is written where there is no more in all."""

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


class Done(msgspec.Struct, frozen=True):
    """A job, the source that it came to, and its content where it was read."""

    job: Job
    source: Source
    content: Content | None = None


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
        self._loading: threading.Thread | None = None

    def run(self, jobs: Iterable[Job], tell: Progress, total: int) -> None:
        """Do all jobs, then embed what is not; `total` is how many files there are.

        An error of the embedder or the store is raised, with everything before it written; an error of a file skips
        that file.
        """
        contents = ahead(side_by_side(self._content, self._until_stopped(jobs), PARSERS), WAITING)
        batches = _batches(contents)
        first, second = next(batches, []), next(batches, None)
        little = second is None and _chunks(first) <= WRITE_CHUNKS
        written = 0
        for batch in chain([first], [second] if second else [], batches):
            self._write(batch, self._embed if little else self._unembedded)
            written += len(batch)
            if batch:
                tell(self._report.unchanged + written, total, batch[-1].source.path)
        if self._loading is not None:
            self._loading.join()
        self._embed_waiting(tell)

    def _embed_waiting(self, tell: Progress) -> None:
        """Embed every source of the store that is found by its words alone until now."""
        waiting = [source for source in self._store.sources() if source.state == "indexed" and not source.embedded]
        done = 0
        for batch in ahead(self._embedded(waiting), 1):
            self._store.add_many(batch)
            done += len(batch)
            tell(done, len(waiting), f"embedding {batch[-1].source.path}")

    def _until_stopped(self, jobs: Iterable[Job]) -> Iterator[Job]:
        for job in jobs:
            if self._stop.is_set():
                return
            if job.act == "read" and self._loading is None:
                self._loading = threading.Thread(target=self._load, name="load embedder")
                self._loading.start()
            yield job

    def _load(self) -> None:
        """Load the model while the first files are parsed; an error is raised where it is used."""
        with contextlib.suppress(Exception):
            self._embedder()

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
        source = msgspec.structs.replace(content.source, chunks=len(content.chunks))
        return Done(job, source, msgspec.structs.replace(content, source=source))

    def _embedded(self, sources: Iterable[Source]) -> Iterator["list[Addition]"]:
        """Yield sources of the store with their vectors, embedded together where they are small."""
        held = (self._store.contents(source.id) for source in sources)
        whole = (Content(each.source, each.plain, list(each.chunks)) for each in held if each is not None)
        batch: list[Content] = []
        for content in whole:
            batch.append(content)
            if sum(len(each.chunks) for each in batch) >= EMBED_CHUNKS:
                yield from filter(None, [self._embed(batch)])
                batch = []
            if self._stop.is_set():
                return
        yield from filter(None, [self._embed(batch)])

    def _embed(self, contents: "list[Content]") -> "list[Addition]":
        """Return contents with their vectors; nothing where it was told to stop meanwhile."""
        import numpy as np

        from aigrid.knowledge.store import Addition, indexed_text

        texts = [indexed_text(chunk) for content in contents for chunk in content.chunks]
        pieces = []
        for start in range(0, len(texts), EMBED_CHUNKS):
            if self._stop.is_set():
                return []
            pieces.append(self._embedder().embed(texts[start : start + EMBED_CHUNKS]))
        vectors = np.concatenate(pieces) if pieces else np.empty((0, 1), np.float32)
        made, at = [], 0
        for content in contents:
            source = msgspec.structs.replace(content.source, embedded=True)
            made.append(Addition(source, content.plain, content.chunks, vectors[at : at + len(content.chunks)]))
            at += len(content.chunks)
        return made

    def _unembedded(self, contents: "list[Content]") -> "list[Addition]":
        """Return contents that are found by their words alone for now."""
        import numpy as np

        from aigrid.knowledge.store import Addition

        width = self._embedder().dimensions if contents else 0
        return [
            Addition(
                msgspec.structs.replace(content.source, embedded=False),
                content.plain,
                content.chunks,
                np.zeros((len(content.chunks), width), np.float32),
            )
            for content in contents
        ]

    def _write(self, batch: list[Done], prepared: "Callable[[list[Content]], list[Addition]]") -> None:
        report = self._report
        for done in batch:
            if done.source.state == "skipped":
                self._store.skip(done.source)
                report.skipped.append(Skipped(done.source.path, done.source.note))
            elif done.content is None:
                self._store.revise(done.source)
                report.moved += done.job.moved
                report.unchanged += not done.job.moved
        additions = prepared([done.content for done in batch if done.content is not None])
        self._store.add_many(additions)
        for addition in additions:
            report.chunks += len(addition.chunks)
            report.bytes += addition.source.bytes
            if addition.source.id in self.known:
                report.changed += 1
            else:
                report.added += 1


def _batches(contents: Iterable[Done]) -> Iterator[list[Done]]:
    """Yield what is written together."""
    batch: list[Done] = []
    for done in contents:
        batch.append(done)
        if _chunks(batch) >= WRITE_CHUNKS or len(batch) >= WRITE_CHUNKS:
            yield batch
            batch = []
    if batch:
        yield batch


def _chunks(batch: Iterable[Done]) -> int:
    return sum(len(done.content.chunks) for done in batch if done.content is not None)


def skipped(source: Source, reason: str) -> Source:
    """Return a source as one that cannot be read, with the reason in one line."""
    return msgspec.structs.replace(source, state="skipped", chunks=0, note=" ".join(reason.split())[:500])
