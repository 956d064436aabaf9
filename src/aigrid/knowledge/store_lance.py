"""The default store: rows in LanceDB on disk, found through the index in memory.

Two tables, both only appended to. `chunks` holds rows, each with the generation of the write that brought it;
`sources` says which generation of a source counts. A row counts when its generation is its source's: so a write
becomes visible, whole, with the one commit to `sources`, and a crash before it leaves rows that never count. What no
longer counts is cleared away by `optimize`, which only the one writer does.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from threading import RLock

import numpy as np
import pyarrow as pa

from aigrid.knowledge.base import Chunk, Source, Vectors
from aigrid.knowledge.lance_tables import Tables
from aigrid.knowledge.memory import Memory
from aigrid.knowledge.postings import Postings
from aigrid.knowledge.store import Addition, RowsGone, RowStore, WriterLock, indexed_text


class LanceStore(RowStore):
    """A store in the folder `path`."""

    def __init__(self, path: Path) -> None:
        path.mkdir(parents=True, exist_ok=True)
        self._writer = WriterLock(path / "writer.lock")
        self._owner = False
        self._tables = Tables(path)
        self._lock = RLock()
        self._memory = Memory()
        self._key = self._serial = self._seen = -1
        self._serials: dict[str, int] = {}
        self._old_serials: list[int] = []
        self._cleared: set[int] = set()
        self._writes = 0
        self._refresh()

    def sources(self) -> list[Source]:
        """Return every source; see `RowStore`."""
        memory = self._refresh()
        with self._lock:
            return [source for _, source in memory.current.values()]

    def plain(self, source_id: str, readers: frozenset[str]) -> str | None:
        """Return a source's plain text; see `RowStore`."""
        generation, source = self._refresh().current.get(source_id, (0, None))
        if source is None or source.state != "indexed" or readers.isdisjoint(source.readers):
            return None
        return self._tables.plain(source_id, generation)

    def contents(self, source_id: str) -> Addition | None:
        """Return a source as it was added; see `RowStore`."""
        with self._lock:
            memory = self._refresh()
            generation, source = memory.current.get(source_id, (0, None))
            rows = sorted(memory.rows_of(source_id), key=lambda row: memory.positions[row])
            if source is None or memory.index is None or not rows:
                return None
            keys = [memory.keys[row] for row in rows]
            found = self._tables.chunks(keys)
            plain = self._tables.plain(source_id, generation) or ""
            return Addition(source, plain, [found[key] for key in keys], memory.index.vectors(rows))

    def words(self, weights: Mapping[str, float], limit: int, readers: frozenset[str]) -> list[tuple[int, float]]:
        """Return the best rows by BM25; see `RowStore`."""
        memory = self._refresh()
        view = memory.view(readers)
        return memory.keyed(view.words(weights, limit)) if view else []

    def near(self, vector: Vectors, limit: int, readers: frozenset[str]) -> list[tuple[int, float]]:
        """Return the nearest rows; see `RowStore`."""
        memory = self._refresh()
        view = memory.view(readers)
        return memory.keyed(view.nearest(vector, limit)) if view else []

    def frequencies(self, terms: Iterable[str], readers: frozenset[str]) -> dict[str, int]:
        """Return in how many chunks each term occurs; see `RowStore`."""
        view = self._refresh().view(readers)
        return {term: len(view.postings(term)[0]) if view else 0 for term in terms}

    def fetch(self, rows: Sequence[int], readers: frozenset[str]) -> dict[int, Chunk]:
        """Return the chunks of rows; see `RowStore`."""
        return self._fetch(self._memory, rows, readers)

    def owners(self, rows: Sequence[int]) -> list[str]:
        """Return the source of each row; see `RowStore`."""
        memory = self._memory
        return [memory.owners[row] if row is not None else "" for row in memory.rows(rows)]

    def vectors(self, rows: Sequence[int]) -> Vectors:
        """Return the vector of each row; see `RowStore`."""
        memory = self._memory
        places = memory.rows(rows)
        if memory.index is None or None in places:
            raise RowsGone
        return memory.index.vectors([place for place in places if place is not None])

    def neighbours(self, chunk: Chunk, before: int, after: int, readers: frozenset[str]) -> list[Chunk]:
        """Return the chunks around one; see `RowStore`."""
        memory = self._refresh()
        place = memory.positions
        near = [row for row in memory.rows_of(chunk.source_id) if -before <= place[row] - chunk.position <= after]
        found = self._fetch(memory, [memory.keys[row] for row in near], readers)
        return sorted(found.values(), key=lambda each: each.position)

    def count(self, readers: frozenset[str]) -> int:
        """Return how many chunks these readers may see."""
        view = self._refresh().view(readers)
        return view.count if view else 0

    def add_many(self, additions: Sequence[Addition]) -> None:
        """Replace several sources; see `RowStore`."""
        latest = {addition.source.id: addition for addition in additions}
        with self._lock:
            memory = self._own()
            generation = memory.generation + 1
            chunks = [chunk for each in latest.values() for chunk in each.chunks]
            if chunks:
                parts = [each.vectors for each in latest.values() if len(each.chunks)]
                self._append(memory, generation, chunks, np.concatenate(parts).astype(np.float32, copy=False))
            self._commit(memory, generation, [(each.source, each.plain, False) for each in latest.values()])

    def skip(self, source: Source) -> None:
        """Remember a source that could not be read; see `RowStore`."""
        with self._lock:
            memory = self._own()
            self._commit(memory, memory.generation + 1, [(source, "", False)])

    def remove(self, source_ids: Iterable[str]) -> int:
        """Remove sources; see `RowStore`."""
        with self._lock:
            memory = self._own()
            gone = [memory.current[each][1] for each in dict.fromkeys(source_ids) if each in memory.current]
            if gone:
                self._commit(memory, memory.generation + 1, [(source, "", True) for source in gone])
        return len(gone)

    def optimize(self) -> None:
        """Clear away what no longer counts and put small files together."""
        with self._lock:
            memory = self._own()
            dead = memory.dead()
            self._tables.clear([key for key in dead if key not in self._cleared], self._old_serials)
            self._cleared.update(dead)
            self._old_serials = []
            self._writes = 0
            if len(dead) * 2 > len(memory.keys):
                self._forget()
                self._refresh(force=True)

    def close(self) -> None:
        """Let go of files and locks."""
        with self._lock:
            self._writer.release()
            self._owner = False
            self._forget()

    def _fetch(self, memory: Memory, keys: Sequence[int], readers: frozenset[str]) -> dict[int, Chunk]:
        view = memory.view(readers)
        if view is None:
            return {}
        seen = {key for key, row in zip(keys, memory.rows(keys), strict=True) if row is not None and view.sees(row)}
        return self._tables.chunks([key for key in keys if key in seen]) if seen else {}

    def _forget(self) -> None:
        self._memory = Memory()
        self._key = self._serial = self._seen = -1
        self._serials, self._old_serials, self._cleared = {}, [], set()
        self._writes = 0

    def _own(self) -> Memory:
        """Become the one writer, with all that the last one wrote in view."""
        if self._writer.take():
            self._refresh(force=True)
            self._owner = True
        return self._memory

    def _refresh(self, force: bool = False) -> Memory:
        """Take in what another process wrote since the last look; the writer itself knows all."""
        if self._owner and not force:
            return self._memory
        stamp = self._tables.stamp()
        if stamp == self._seen and stamp and not force:
            return self._memory
        with self._lock:
            memory = self._memory
            self._tables.latest()
            changes = self._tables.changes(self._serial)
            if changes or force:
                self._take_in(memory, self._tables.rows(self._key))
                memory.switch((generation, source, removed) for _, generation, source, removed in changes)
                for serial, _, source, _ in changes:
                    self._replace_serial(source.id, serial)
            self._seen = stamp
        return memory

    def _take_in(self, memory: Memory, rows: pa.Table) -> None:
        if not len(rows):
            return
        column = {name: rows[name].combine_chunks() for name in rows.column_names}
        vectors = column["vector"].flatten().to_numpy().reshape(len(rows), -1)
        postings = Postings(
            column["terms"].flatten().to_numpy(),
            column["counts"].flatten().to_numpy(),
            np.diff(column["terms"].offsets.to_numpy()).astype(np.int64),
        )
        keys = column["key"].to_pylist()
        readers = {text: tuple(json.loads(text)) for text in column["readers"].unique().to_pylist()}
        memory.add_rows(
            column["generation"].to_pylist(),
            keys,
            column["source"].to_pylist(),
            column["position"].to_pylist(),
            [readers[text] for text in column["readers"].to_pylist()],
            vectors,
            postings,
        )
        self._key = keys[-1]

    def _append(self, memory: Memory, generation: int, chunks: list[Chunk], vectors: Vectors) -> None:
        postings = Postings.of(indexed_text(chunk) for chunk in chunks)
        first = self._key + 1
        self._tables.append_chunks(generation, first, chunks, vectors, postings)
        self._key += len(chunks)
        memory.add_rows(
            [generation] * len(chunks),
            range(first, first + len(chunks)),
            [chunk.source_id for chunk in chunks],
            [chunk.position for chunk in chunks],
            [chunk.readers for chunk in chunks],
            vectors,
            postings,
        )

    def _commit(self, memory: Memory, generation: int, changes: list[tuple[Source, str, bool]]) -> None:
        self._tables.append_sources(self._serial + 1, generation, changes)
        for source, _, _ in changes:
            self._serial += 1
            self._replace_serial(source.id, self._serial)
        memory.switch((generation, source, removed) for source, _, removed in changes)
        self._writes += 1
        if self._writes >= 64 + len(memory.keys) // 256:
            self.optimize()

    def _replace_serial(self, source_id: str, serial: int) -> None:
        if source_id in self._serials:
            self._old_serials.append(self._serials[source_id])
        self._serials[source_id] = serial
        self._serial = max(self._serial, serial)
