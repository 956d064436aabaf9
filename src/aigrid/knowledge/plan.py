"""What has to be done so that the index holds what the roots hold: compare what is there with what is known."""

import os
from collections.abc import Callable, Iterator

import msgspec

from aigrid.core.clock import SECOND
from aigrid.core.errors import AigridError
from aigrid.core.ids import new_id
from aigrid.knowledge.base import Source
from aigrid.knowledge.ingest import Job, Report, Skipped, skipped
from aigrid.knowledge.roots import Roots, is_url, within
from aigrid.knowledge.walk import Found, Walk, digest

RACY_NS = 2 * SECOND
"""A file changed so shortly before it was read may have changed again without a new time."""


class Plan:
    """The jobs of one ingestion. What needs none is counted in `report.unchanged`."""

    def __init__(
        self,
        sources: list[Source],
        roots: Roots,
        targets: list[str],
        report: Report,
        fetch: Callable[[str], str],
        again: bool = False,
    ) -> None:
        """Look at everything below `targets` without reading it.

        `fetch` fetches a URL into a file of its own and returns its path; `again` reads what has not changed, too.
        """
        self._roots = roots
        self._report = report
        self._fetch = fetch
        self._again = again
        self._known = {source.path: source for source in sources}
        self.urls = [target for target in targets if is_url(target)]
        self.files: dict[str, Found] = {}
        gone: dict[str, Source] = {}
        for target in targets:
            if not is_url(target):
                gone |= self._look(target)
        self.gone = {path: source for path, source in gone.items() if path not in self.files}
        self._by_digest = {each.digest: each for each in self.gone.values() if each.state == "indexed"}

    @property
    def total(self) -> int:
        """How many files and pages there are."""
        return len(self.files) + len(self.urls)

    def revisions(self) -> Iterator[Source]:
        """Yield the known sources whose readers are no longer those of their root: the first thing to set right."""
        for path in [*self.files, *self.urls, *self.gone]:
            source = self._known.get(path)
            if source is not None and source.readers != (readers := self._roots.readers(path)):
                self._known[path] = source = msgspec.structs.replace(source, readers=readers)
                if path in self.gone:
                    self.gone[path] = source
                yield source
        self._by_digest = {each.digest: each for each in self.gone.values() if each.state == "indexed"}

    def jobs(self) -> Iterator[Job]:
        """Yield what has to be done, file by file; reading for it happens as it is asked for."""
        for found in self.files.values():
            job = self._job(found)
            if job is None:
                self._report.unchanged += 1
            else:
                yield job
        for url in self.urls:
            job = self._page(url)
            if job is not None:
                yield job

    def _look(self, target: str) -> dict[str, Source]:
        """Take in the files below a target; return the known sources below it that were not found there."""
        walk = Walk(target)
        for found in walk:
            if not self._roots.left_out(found.path):
                self.files[found.path] = found
        return {
            path: source
            for path, source in self._known.items()
            if within(path, target)
            and path not in self.files
            and not any(within(path, folder) for folder in walk.unseen)
        }

    def _job(self, found: Found) -> Job | None:
        known = self._known.get(found.path)
        if found.refused:
            return self._skip(found, known, found.refused)
        if known is not None and not self._again and _looks_same(found, known):
            return None
        try:
            sha256 = digest(found.path)
        except OSError as error:
            return self._skip(found, known, error.strerror or str(error))
        fresh = self._source(found, known, sha256)
        if known is not None and known.digest == sha256 and not self._again:
            return Job(msgspec.structs.replace(known, modified_ns=found.modified_ns), "revise")
        moved = None if known is not None or self._again else self._by_digest.pop(sha256, None)
        if moved is not None:
            del self.gone[moved.path]
            place = {"path": fresh.path, "readers": fresh.readers, "modified_ns": fresh.modified_ns}
            return Job(msgspec.structs.replace(moved, **place), "revise", moved=True)
        return Job(fresh, file=found.path)

    def _skip(self, found: Found, known: Source | None, reason: str) -> Job | None:
        source = skipped(self._source(found, known, ""), reason)
        if known is not None and (known.state, known.note) == ("skipped", source.note):
            self._report.skipped.append(Skipped(known.path, known.note))
            return None
        return Job(source, "skip")

    def _source(self, found: Found, known: Source | None, sha256: str) -> Source:
        return Source(
            id=known.id if known else new_id("src_"),
            path=found.path,
            digest=sha256,
            bytes=found.bytes,
            readers=self._roots.readers(found.path),
            modified_ns=found.modified_ns,
        )

    def _page(self, url: str) -> Job | None:
        """Fetch a page; one that cannot be fetched now keeps what the index has of it."""
        known = self._known.get(url)
        try:
            fetched = self._fetch(url)
        except AigridError as error:
            if known is None or known.state == "skipped":
                return Job(skipped(self._source(Found(url), known, ""), error.message), "skip")
            self._report.skipped.append(Skipped(url, f"{error.message}; what was known of it stays"))
            return None
        sha256 = digest(fetched)
        size = os.path.getsize(fetched)
        if known is not None and known.digest == sha256 and not self._again:
            os.unlink(fetched)
            self._report.unchanged += 1
            return None
        return Job(self._source(Found(url, size), known, sha256), file=fetched, temporary=True)


def _looks_same(found: Found, known: Source) -> bool:
    """Return whether a file's size and time say that it has not changed since it was read."""
    return (
        known.bytes == found.bytes
        and known.modified_ns == found.modified_ns
        and known.modified_ns < known.indexed_ns - RACY_NS
        and bool(known.digest)
    )
