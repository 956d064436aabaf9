"""The reference store: one SQLite file, words by FTS5, vectors compared one by one. Small, exact, not the quickest.

FTS5 finds which rows have a term and how often; BM25 is worked out here, over the rows that the reader sees: FTS5's
own `bm25()` counts every row, and so would tell a reader how common a word is in what they may not read.
"""

import contextlib
import json
import math
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from threading import RLock
from typing import Any

import msgspec
import numpy as np

from aigrid.knowledge.base import Chunk, Source, Vectors
from aigrid.knowledge.index import K1, B, best
from aigrid.knowledge.language import terms
from aigrid.knowledge.store import Addition, RowsGone, RowStore, WriterLock, indexed_text

SCHEMA = """
CREATE TABLE IF NOT EXISTS sources (id TEXT PRIMARY KEY, record BLOB NOT NULL, plain TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS audiences (number INTEGER PRIMARY KEY, readers TEXT NOT NULL UNIQUE);
CREATE TABLE IF NOT EXISTS chunks (
    row INTEGER PRIMARY KEY AUTOINCREMENT,
    source TEXT NOT NULL REFERENCES sources (id),
    position INTEGER NOT NULL,
    audience INTEGER NOT NULL REFERENCES audiences (number),
    length INTEGER NOT NULL,
    record BLOB NOT NULL,
    vector BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS chunks_by_source ON chunks (source, position, audience);
CREATE INDEX IF NOT EXISTS chunks_by_audience ON chunks (audience, length);
CREATE VIRTUAL TABLE IF NOT EXISTS words USING fts5 (terms, tokenize = "ascii tokenchars '._'");
CREATE VIRTUAL TABLE IF NOT EXISTS occurrences USING fts5vocab (words, instance);
"""
"""`words` cuts at white space alone: besides letters and digits, terms hold only `.` and `_`."""


class SqliteStore(RowStore):
    """A store in `path`/knowledge.sqlite3."""

    def __init__(self, path: Path) -> None:
        path.mkdir(parents=True, exist_ok=True)
        self._writer = WriterLock(path / "writer.lock")
        self._lock = RLock()
        self._database = sqlite3.connect(
            path / "knowledge.sqlite3", isolation_level=None, check_same_thread=False, timeout=30
        )
        self._database.execute("PRAGMA journal_mode = WAL")
        self._database.execute("PRAGMA synchronous = NORMAL")
        if not self._database.execute("SELECT 1 FROM sqlite_schema WHERE name = 'occurrences'").fetchone():
            self._database.executescript(SCHEMA)
        self._matrix: tuple[tuple[int, int], list[int], list[int], Vectors] | None = None

    def sources(self) -> list[Source]:
        """Return every source; see `RowStore`."""
        return [msgspec.json.decode(row[0], type=Source) for row in self._all("SELECT record FROM sources")]

    def plain(self, source_id: str, readers: frozenset[str]) -> str | None:
        """Return a source's plain text; see `RowStore`."""
        for record, plain in self._all("SELECT record, plain FROM sources WHERE id = ?", source_id):
            source = msgspec.json.decode(record, type=Source)
            if source.state == "indexed" and not readers.isdisjoint(source.readers):
                return str(plain)
        return None

    def contents(self, source_id: str) -> Addition | None:
        """Return a source as it was added; see `RowStore`."""
        with self._lock:
            held = self._all("SELECT record, plain FROM sources WHERE id = ?", source_id)
            rows = self._all("SELECT record, vector FROM chunks WHERE source = ? ORDER BY position", source_id)
        if not held or not rows:
            return None
        chunks = [msgspec.json.decode(record, type=Chunk) for record, _ in rows]
        vectors = np.stack([np.frombuffer(vector, np.float32) for _, vector in rows])
        return Addition(msgspec.json.decode(held[0][0], type=Source), str(held[0][1]), chunks, vectors)

    def words(self, weights: Mapping[str, float], limit: int, readers: frozenset[str]) -> list[tuple[int, float]]:
        """Return the best rows by BM25; see `RowStore`."""
        with self._lock:
            seen = self._audiences(readers)
            count, total = self._all(f"SELECT count(*), sum(length) FROM chunks WHERE audience IN ({seen})")[0]
            average = (total or 0) / max(count, 1) or 1.0
            scores: dict[int, float] = {}
            for term, weight in weights.items():
                found = self._occurrences(term, seen)
                rarity = math.log1p((count - len(found) + 0.5) / (len(found) + 0.5))
                for row, often, length in found:
                    norm = K1 * (1 - B + B * length / average)
                    scores[row] = scores.get(row, 0.0) + weight * rarity * often / (often + norm)
        ordered = sorted((-score, row) for row, score in scores.items() if score > 0)
        return [(row, -score) for score, row in ordered[: max(limit, 0)]]

    def near(self, vector: Vectors, limit: int, readers: frozenset[str]) -> list[tuple[int, float]]:
        """Return the nearest rows; see `RowStore`."""
        with self._lock:
            rows, audiences, matrix = self._vectors()
            seen = self._numbers(readers)
        visible = np.array([at for at, audience in enumerate(audiences) if audience in seen], np.int64)
        if not len(visible):
            return []
        found = best(matrix[visible] @ vector.reshape(-1).astype(np.float32), np.arange(len(visible)), limit)
        return [(rows[visible[at]], score) for at, score in found]

    def frequencies(self, terms: Iterable[str], readers: frozenset[str]) -> dict[str, int]:
        """Return in how many chunks each term occurs; see `RowStore`."""
        with self._lock:
            seen = self._audiences(readers)
            return {term: len(self._occurrences(term, seen)) for term in terms}

    def fetch(self, rows: Sequence[int], readers: frozenset[str]) -> dict[int, Chunk]:
        """Return the chunks of rows; see `RowStore`."""
        with self._lock:
            where = f"row IN ({','.join(str(int(row)) for row in rows)}) AND audience IN ({self._audiences(readers)})"
            found = self._all(f"SELECT row, record FROM chunks WHERE {where}")
        return {row: msgspec.json.decode(record, type=Chunk) for row, record in found}

    def owners(self, rows: Sequence[int]) -> list[str]:
        """Return the source of each row; see `RowStore`."""
        listed = ",".join(str(int(row)) for row in rows)
        found = dict(self._all(f"SELECT row, source FROM chunks WHERE row IN ({listed})"))
        return [found.get(row, "") for row in rows]

    def vectors(self, rows: Sequence[int]) -> Vectors:
        """Return the vector of each row; see `RowStore`."""
        listed = ",".join(str(int(row)) for row in rows)
        found = dict(self._all(f"SELECT row, vector FROM chunks WHERE row IN ({listed})"))
        if any(row not in found for row in rows):
            raise RowsGone
        return np.stack([np.frombuffer(found[row], np.float32) for row in rows])

    def neighbours(self, chunk: Chunk, before: int, after: int, readers: frozenset[str]) -> list[Chunk]:
        """Return the chunks around one; see `RowStore`."""
        with self._lock:
            found = self._all(
                "SELECT record FROM chunks WHERE source = ? AND position BETWEEN ? AND ? "
                f"AND audience IN ({self._audiences(readers)}) ORDER BY position",
                chunk.source_id,
                chunk.position - before,
                chunk.position + after,
            )
        return [msgspec.json.decode(record, type=Chunk) for (record,) in found]

    def count(self, readers: frozenset[str]) -> int:
        """Return how many chunks these readers may see."""
        with self._lock:
            seen = self._audiences(readers)
            return int(self._all(f"SELECT count(*) FROM chunks WHERE audience IN ({seen})")[0][0])

    def add_many(self, additions: Sequence[Addition]) -> None:
        """Replace several sources in one transaction; see `RowStore`."""
        with self._writing():
            for addition in additions:
                self._drop(addition.source.id)
                self._keep(addition.source, addition.plain)
                for chunk, vector in zip(addition.chunks, addition.vectors, strict=True):
                    self._insert(chunk, vector)

    def skip(self, source: Source) -> None:
        """Remember a source that could not be read; see `RowStore`."""
        with self._writing():
            self._drop(source.id)
            self._keep(source, "")

    def remove(self, source_ids: Iterable[str]) -> int:
        """Remove sources; see `RowStore`."""
        with self._writing():
            return sum(self._drop(source_id) for source_id in dict.fromkeys(source_ids))

    def optimize(self) -> None:
        """Put the parts of the word index together."""
        with self._writing():
            self._database.execute("INSERT INTO words (words) VALUES ('optimize')")

    def purge(self) -> None:
        """Erase what was removed from the files themselves: rows, words, vectors, readers. Nobody else may be reading."""
        self.optimize()
        with self._writing():
            self._database.execute("DELETE FROM audiences WHERE number NOT IN (SELECT audience FROM chunks)")
        with self._lock:
            self._database.execute("VACUUM")
            self._database.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def close(self) -> None:
        """Let go of files and locks."""
        with self._lock:
            self._writer.release()
            self._database.close()

    def _all(self, query: str, *values: object) -> list[Any]:
        with self._lock:
            return self._database.execute(query, values).fetchall()

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        """Hold the writer's lock and one transaction, which is undone where the block fails."""
        with self._lock:
            self._writer.take()
            self._database.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._database.execute("ROLLBACK")
                raise
            self._database.execute("COMMIT")

    def _drop(self, source_id: str) -> int:
        of_source = "SELECT row FROM chunks WHERE source = ?"
        self._database.execute(f"DELETE FROM words WHERE rowid IN ({of_source})", (source_id,))
        self._database.execute("DELETE FROM chunks WHERE source = ?", (source_id,))
        return self._database.execute("DELETE FROM sources WHERE id = ?", (source_id,)).rowcount

    def _keep(self, source: Source, plain: str) -> None:
        record = msgspec.json.encode(source)
        self._database.execute("INSERT INTO sources VALUES (?, ?, ?)", (source.id, record, plain))

    def _insert(self, chunk: Chunk, vector: Vectors) -> None:
        found = terms(indexed_text(chunk))
        readers = json.dumps(sorted(set(chunk.readers)))
        self._database.execute("INSERT OR IGNORE INTO audiences (readers) VALUES (?)", (readers,))
        row = self._database.execute(
            "INSERT INTO chunks (source, position, audience, length, record, vector) "
            "VALUES (?, ?, (SELECT number FROM audiences WHERE readers = ?), ?, ?, ?)",
            (
                chunk.source_id,
                chunk.position,
                readers,
                len(found),
                msgspec.json.encode(chunk),
                np.ascontiguousarray(vector, np.float32).tobytes(),
            ),
        ).lastrowid
        self._database.execute("INSERT INTO words (rowid, terms) VALUES (?, ?)", (row, " ".join(found)))

    def _numbers(self, readers: frozenset[str]) -> frozenset[int]:
        """Return the audiences that have one of these readers."""
        known = self._all("SELECT number, readers FROM audiences")
        return frozenset(number for number, text in known if not readers.isdisjoint(json.loads(text)))

    def _audiences(self, readers: frozenset[str]) -> str:
        return ",".join(map(str, sorted(self._numbers(readers))))

    def _occurrences(self, term: str, seen: str) -> list[tuple[int, int, int]]:
        """Return (row, how often, length of the chunk) for the visible rows with a term."""
        return self._all(
            "SELECT found.doc, count(*), chunks.length FROM occurrences found "
            "JOIN chunks ON chunks.row = found.doc "
            f"WHERE found.term = ? AND chunks.audience IN ({seen}) GROUP BY found.doc",
            term,
        )

    def _vectors(self) -> tuple[list[int], list[int], Vectors]:
        """Return rows, their audiences and vectors, read again where this or another connection changed them."""
        version = (self._all("PRAGMA data_version")[0][0], self._database.total_changes)
        if self._matrix is None or self._matrix[0] != version:
            found = self._all("SELECT row, audience, vector FROM chunks ORDER BY row")
            matrix = np.frombuffer(b"".join(vector for _, _, vector in found), np.float32)
            shaped = matrix.reshape(len(found), -1) if found else matrix.reshape(0, 1)
            self._matrix = (version, [row for row, _, _ in found], [audience for _, audience, _ in found], shaped)
        return self._matrix[1:]
