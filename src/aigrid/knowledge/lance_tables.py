"""The two LanceDB tables of a store: appended to, read from where one left off, cleared of what no longer counts."""

import json
import time
import warnings
from collections.abc import Iterable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import lancedb
import msgspec
import numpy as np
import pyarrow as pa

from aigrid.knowledge.base import Chunk, Source, Vectors
from aigrid.knowledge.postings import Postings

KEEP_OLD = timedelta(minutes=10)
"""How long files that a reading process may still look at are kept."""
SETTLED_NS = 50_000_000
"""A folder's time of change this old tells later changes from earlier ones, on every file system."""

SOURCES = pa.schema(
    [
        ("serial", pa.int64()),
        ("generation", pa.int64()),
        ("id", pa.string()),
        ("removed", pa.bool_()),
        ("record", pa.binary()),
        ("plain", pa.large_string()),
    ]
)


def chunk_schema(dimensions: int) -> pa.Schema:
    """Return the columns of a chunk; `key` counts rows as they come and is LanceDB's stable row id."""
    return pa.schema(
        [
            ("key", pa.int64()),
            ("generation", pa.int64()),
            ("source", pa.string()),
            ("position", pa.int32()),
            ("readers", pa.string()),
            ("record", pa.binary()),
            ("terms", pa.list_(pa.uint64())),
            ("counts", pa.list_(pa.uint16())),
            ("vector", pa.list_(pa.float32(), dimensions)),
        ]
    )


class Tables:
    """The tables `sources` and `chunks` in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._database = lancedb.connect(folder)
        self._sources: Any = None
        self._chunks: Any = None

    def stamp(self) -> int:
        """Return a number that another write changes; 0 where it cannot tell yet, or there is nothing."""
        try:
            changed = (self._folder / "sources.lance" / "_versions").stat().st_mtime_ns
        except FileNotFoundError:
            return 0
        return changed if time.time_ns() - changed > SETTLED_NS else 0

    def latest(self) -> None:
        """Look at the newest version of both tables."""
        self._sources = self._latest("sources", self._sources)
        self._chunks = self._latest("chunks", self._chunks)

    def changes(self, after: int) -> list[tuple[int, int, Source, bool]]:
        """Return (serial, generation, source, removed) written after the serial given, in order."""
        if self._sources is None:
            return []
        columns = ["serial", "generation", "removed", "record"]
        found = self._rows(self._sources, f"serial > {after}", columns).sort_by("serial")
        sources = [msgspec.json.decode(record, type=Source) for record in found["record"].to_pylist()]
        serials, generations, removed = (found[name].to_pylist() for name in columns[:3])
        return list(zip(serials, generations, sources, removed, strict=True))

    def rows(self, after: int) -> pa.Table:
        """Return rows with keys after the one given, in order, without their texts."""
        columns = ["key", "generation", "source", "position", "readers", "terms", "counts", "vector"]
        if self._chunks is None:
            return chunk_schema(1).empty_table().select(columns)
        return self._rows(self._chunks, f"key > {after}", columns).sort_by("key").combine_chunks()

    def chunks(self, keys: Sequence[int]) -> dict[int, Chunk]:
        """Return chunks by key; those that are gone are left out."""
        columns = ["key", "record"]
        try:
            found = self._chunks.take_row_ids(list(keys)).select(columns).to_arrow()
        except (RuntimeError, ValueError, OSError):
            found = None
            self.latest()
        if found is None or set(found["key"].to_pylist()) != set(keys):
            found = self._rows(self._chunks, f"key IN ({','.join(map(str, keys))})", columns)
        pairs = zip(found["key"].to_pylist(), found["record"].to_pylist(), strict=True)
        return {key: msgspec.json.decode(record, type=Chunk) for key, record in pairs}

    def plain(self, source_id: str, generation: int) -> str | None:
        """Return the plain text of a source as that generation wrote it."""
        quoted = source_id.replace("'", "''")
        found = self._rows(self._sources, f"generation = {generation} AND id = '{quoted}'", ["plain"])
        return str(found["plain"][0].as_py()) if len(found) else None

    def append_chunks(
        self, generation: int, first: int, chunks: Sequence[Chunk], vectors: Vectors, postings: Postings
    ) -> None:
        """Append rows with keys from `first`."""
        starts = np.concatenate([[0], np.cumsum(postings.sizes)]).astype(np.int32)
        dimensions = vectors.shape[1]
        many = len(chunks)
        readers = {each: json.dumps(each) for each in {chunk.readers for chunk in chunks}}
        columns = [
            pa.array(np.arange(first, first + many)),
            pa.array(np.full(many, generation)),
            pa.array([chunk.source_id for chunk in chunks]),
            pa.array([chunk.position for chunk in chunks], pa.int32()),
            pa.array([readers[chunk.readers] for chunk in chunks]),
            pa.array([msgspec.json.encode(chunk) for chunk in chunks], pa.binary()),
            pa.ListArray.from_arrays(pa.array(starts), pa.array(postings.hashes)),
            pa.ListArray.from_arrays(pa.array(starts), pa.array(postings.counts)),
            pa.FixedSizeListArray.from_arrays(pa.array(np.ascontiguousarray(vectors).reshape(-1)), dimensions),
        ]
        schema = chunk_schema(dimensions)
        if self._chunks is None:
            self._chunks = self._make("chunks", schema)
        self._chunks.add(pa.table(columns, schema=schema))

    def append_sources(self, first: int, generation: int, changes: Iterable[tuple[Source, str, bool]]) -> None:
        """Append (source, plain text, removed) with serials from `first`: one commit, which makes it count."""
        rows = [
            {
                "serial": serial,
                "generation": generation,
                "id": source.id,
                "removed": removed,
                "record": msgspec.json.encode(source),
                "plain": plain,
            }
            for serial, (source, plain, removed) in enumerate(changes, first)
        ]
        if self._sources is None:
            self._sources = self._make("sources", SOURCES)
        self._sources.add(pa.Table.from_pylist(rows, schema=SOURCES))

    def clear(self, keys: Sequence[int], serials: Sequence[int]) -> None:
        """Delete rows and lines of sources that no longer count, and put small files together."""
        for table, column, gone in ((self._chunks, "key", keys), (self._sources, "serial", serials)):
            if table is None:
                continue
            for at in range(0, len(gone), 5000):
                table.delete(f"{column} IN ({','.join(map(str, gone[at : at + 5000]))})")
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                table.optimize(cleanup_older_than=KEEP_OLD)

    def _latest(self, name: str, table: Any) -> Any:
        if table is not None:
            table.checkout_latest()
            return table
        if not (self._folder / f"{name}.lance").exists():
            return None
        try:
            return self._database.open_table(name)
        except ValueError:  # another process is making it just now
            return None

    def _make(self, name: str, schema: pa.Schema) -> Any:
        return self._database.create_table(
            name, schema=schema, storage_options={"new_table_enable_stable_row_ids": "true"}
        )

    @staticmethod
    def _rows(table: Any, where: str, columns: list[str]) -> pa.Table:
        return table.search().where(where).select(columns).limit(table.count_rows()).to_arrow()
