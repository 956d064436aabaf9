"""The library: everything that can be done with knowledge, for commands, the gateway and agents alike.

Any process may search; one at a time adds and removes (the store's lock says who). A caller is a set of readers
(tenant, key, `*`): whatever is asked of the library is answered as if what they may not read did not exist.
"""

import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from aigrid.core.clock import mono_ns
from aigrid.core.config import Config, home
from aigrid.core.errors import BadRequest, ConfigError, NotFound
from aigrid.knowledge.base import EVERYONE, Embedder, Hit, Parsed, Progress, Source
from aigrid.knowledge.ingest import Content, Ingestion, Read, Report
from aigrid.knowledge.plan import Plan
from aigrid.knowledge.roots import Roots, absolute, is_url, within

if TYPE_CHECKING:
    from aigrid.knowledge.sandbox import Sandbox
    from aigrid.knowledge.store import Kind, RowStore

Fetch = Callable[[str, Path], str]
"""Fetches a URL into a new file in a folder and returns its path; the name's suffix tells its kind."""

ANYONE = frozenset({EVERYONE})


class Stats(msgspec.Struct):
    """What there is, as somebody sees it. `indexed_ns` is when the newest source was written (since the epoch).

    `waiting` sources are found by their words alone until they are embedded.
    """

    sources: int = 0
    waiting: int = 0
    skipped: int = 0
    chunks: int = 0
    bytes: int = 0
    indexed_ns: int = 0
    kinds: dict[str, int] = {}


class Library:
    """Knowledge in a folder. Methods block and may be called from several threads at once; close it at the end."""

    def __init__(
        self,
        folder: Path,
        embedder: Callable[[], Embedder],
        *,
        kind: "Kind" = "lance",
        read: Read | None = None,
        fetch: Fetch | None = None,
    ) -> None:
        """Open the library in `folder`, made where there is none; `embedder` is called once it is needed."""
        self.folder = folder
        self._kind: Kind = kind
        self._make_embedder = embedder
        self._embedder: Embedder | None = None
        self._store: RowStore | None = None
        self._read = read
        self._fetch = fetch
        self._lock = threading.Lock()

    # reading

    def search(self, question: str, limit: int = 10, readers: frozenset[str] = ANYONE) -> list[Hit]:
        """Return the best chunks for a question, best first; where there are none, no model is loaded for it."""
        if not self.store.count(readers):
            return []
        from aigrid.knowledge.search import search

        return search(self.store, self.embedder, question, limit, readers, thorough=True)

    def sources(self, readers: frozenset[str] | None = ANYONE) -> list[Source]:
        """Return what these readers may read, and what of theirs was skipped, by path; None is the administrator."""
        found = self.store.sources()
        if readers is not None:
            found = [source for source in found if not readers.isdisjoint(source.readers)]
        return sorted(found, key=lambda source: source.path)

    def source(self, source_id: str, readers: frozenset[str] | None = ANYONE) -> tuple[Source, str]:
        """Return a source and its plain text; raises `NotFound`, the same whether it is not there or not theirs."""
        for source in self.store.sources():
            if source.id == source_id and (readers is None or not readers.isdisjoint(source.readers)):
                plain = self.store.plain(source_id, readers or frozenset(source.readers))
                if plain is not None or source.state == "skipped":
                    return source, plain or ""
        raise NotFound(f"there is no source `{source_id[:80]}`", param="id")

    def stats(self, readers: frozenset[str] | None = ANYONE) -> Stats:
        """Return what these readers' part of the library holds."""
        found = self.sources(readers)
        stats = Stats(skipped=sum(source.state == "skipped" for source in found))
        for source in found:
            if source.state == "indexed":
                stats.sources += 1
                stats.waiting += not source.embedded
                stats.chunks += source.chunks
                stats.bytes += source.bytes
                stats.indexed_ns = max(stats.indexed_ns, source.indexed_ns)
                stats.kinds[source.kind] = stats.kinds.get(source.kind, 0) + 1
        return stats

    def roots(self) -> dict[str, tuple[str, ...]]:
        """Return what was added, with its readers."""
        roots = self._roots()
        return {root: roots.readers(root) for root in roots}

    # writing

    def add(
        self,
        targets: Sequence[str],
        readers: Sequence[str] | None = None,
        *,
        progress: Progress | None = None,
        stop: threading.Event | None = None,
        again: bool = False,
    ) -> Report:
        """Bring files, folders and URLs up to date in the index; what is no longer there is removed from it.

        `readers` may see them from now on (None: those of before, or of the folder they are in; everyone where
        nothing says otherwise). `again` reads what has not changed, too. Raises `NotFound` for a path that does not
        exist, and `Conflict` while another process writes.
        """
        began = mono_ns()
        report, stop = Report(), stop or threading.Event()
        targets = list(dict.fromkeys(absolute(target) for target in targets))
        for target in targets:
            if not is_url(target) and not Path(target).exists():
                raise NotFound(f"there is no file or folder {target}; `aigrid knowledge rm` takes out what is gone")
        with ExitStack() as stack:
            store = stack.enter_context(self._writing())
            roots = self._roots()
            for target in targets:
                roots.add(target, tuple(dict.fromkeys(readers)) if readers is not None else None)
            sources = store.sources()
            pages = stack.enter_context(tempfile.TemporaryDirectory(prefix="aigrid-"))
            plan = Plan(sources, roots, targets, report, partial(self._fetch_into, Path(pages)), again)
            for source in plan.revisions():
                store.revise(source)
            read = stack.enter_context(self._reading())
            ingestion = Ingestion(store, self._get_embedder, read, report, stop)
            ingestion.known = frozenset(source.id for source in sources)
            ingestion.run(plan.jobs(), progress or (lambda done, total, what: None), plan.total)
            report.stopped = stop.is_set()
            if not report.stopped:
                report.removed = store.remove([source.id for source in plan.gone.values()])
            store.optimize()
        report.duration_ns = mono_ns() - began
        return report

    def refresh(self, progress: Progress | None = None, stop: threading.Event | None = None) -> Report:
        """Bring everything that was ever added up to date; roots that are not there now are left as they were."""
        targets = [root for root in self._roots() if is_url(root) or Path(root).exists()]
        return self.add(targets, progress=progress, stop=stop)

    def remove(self, targets: Sequence[str]) -> int:
        """Take out sources by id, or what was added from paths and URLs; return how many sources went.

        Raises `NotFound` where a target names nothing.
        """
        with self._writing() as store:
            roots = self._roots()
            known = store.sources()
            gone: dict[str, Source] = {}
            for target in targets:
                path = next((source.path for source in known if source.id == target), None) or absolute(target)
                below = {source.id: source for source in known if within(source.path, path)}
                if not below and path not in roots:
                    raise NotFound(f"`{target}` is no source and was never added; see `aigrid knowledge sources`")
                roots.remove(path)
                gone |= below
            return store.remove(list(gone))

    def close(self) -> None:
        """Let go of the store."""
        with self._lock:
            if self._store is not None:
                self._store.close()
                self._store = None

    @property
    def store(self) -> "RowStore":
        """The store, opened to read."""
        with self._lock:
            if self._store is None:
                self._store = self._open()
            return self._store

    @property
    def embedder(self) -> Embedder:
        """The model that embeds, loaded when it is first needed."""
        return self._get_embedder()

    def _get_embedder(self) -> Embedder:
        with self._lock:
            if self._embedder is None:
                embedder = self._make_embedder()
                self._check_embedder(embedder)
                self._embedder = embedder
            return self._embedder

    def _check_embedder(self, embedder: Embedder) -> None:
        """Refuse vectors of another model: they would be compared with those that are there."""
        file = self.folder / "embedder.json"
        mine = {"name": embedder.name, "dimensions": embedder.dimensions}
        if file.exists():
            theirs = msgspec.json.decode(file.read_bytes())
            if theirs != mine:
                raise ConfigError(
                    f"{self.folder} was embedded by {theirs['name']}, not by {embedder.name}: set knowledge.embedder "
                    "back, or set knowledge.folder to another folder and add everything again",
                    param="knowledge.embedder",
                )
            return
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        file.write_bytes(msgspec.json.encode(mine))

    def _open(self) -> "RowStore":
        from aigrid.knowledge.store import open_store

        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        return open_store(self.folder / self._kind, self._kind)

    @contextmanager
    def _writing(self) -> "Iterator[RowStore]":
        """Open a store to write, alone, until the block ends."""
        from aigrid.knowledge.store import WriterLock

        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = WriterLock(self.folder / "writer.lock")
        lock.take()
        try:
            store = self._open()
            try:
                yield store
            finally:
                store.close()
        finally:
            lock.release()

    def _roots(self) -> Roots:
        return Roots(self.folder / "roots.json")

    def _fetch_into(self, folder: Path, url: str) -> str:
        if self._fetch is None:
            from aigrid.knowledge.fetch import fetch_page

            self._fetch = fetch_page
        return self._fetch(url, folder)

    @contextmanager
    def _reading(self) -> Iterator[Read]:
        """Yield what reads files: parsers in processes of their own, which end with the block."""
        if self._read is not None:
            yield self._read
            return
        from aigrid.knowledge.sandbox import Sandbox

        with Sandbox() as sandbox:
            yield lambda source, file: _read_file(sandbox, source, file)


def _read_file(sandbox: "Sandbox", source: Source, file: str) -> Content:
    from aigrid.knowledge.chunk import chunks_of

    parsed = sandbox.parse(file)
    if not isinstance(parsed, Parsed):
        raise BadRequest(parsed.reason)
    notes = "; ".join(parsed.notes)
    source = msgspec.structs.replace(source, title=parsed.title, kind=parsed.kind, note=notes)
    plain, chunks = chunks_of(source, parsed)
    return Content(source, plain, chunks)


def open_library(config: Config) -> Library:
    """Return the library of a configuration; nothing heavy is loaded until it is used."""
    settings = config.knowledge
    folder = Path(settings.folder).expanduser() if settings.folder else home() / "knowledge"

    def embedder() -> Embedder:
        from aigrid.knowledge.embed import open_embedder

        return open_embedder(config)

    def fetch(url: str, place: Path) -> str:
        from aigrid.knowledge.fetch import fetch_page

        return fetch_page(url, place, settings.private_urls)

    return Library(folder, embedder, kind=settings.store, fetch=fetch)
