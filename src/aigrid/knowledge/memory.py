"""What is known of a store's rows without the disk: which source and write each belongs to, and which count."""

from bisect import bisect_left
from collections.abc import Iterable, Sequence

import numpy as np

from aigrid.knowledge.base import Source, Vectors
from aigrid.knowledge.index import Index, View
from aigrid.knowledge.postings import Postings


class Memory:
    """Rows and sources. A row counts when its generation is that of its source; see `store_lance`."""

    def __init__(self) -> None:
        self.index: Index | None = None
        self.current: dict[str, tuple[int, Source]] = {}
        self.keys: list[int] = []
        self.owners: list[str] = []
        self.positions: list[int] = []
        self.generation = 0
        self._generations: list[int] = []
        self._all: dict[str, list[int]] = {}

    def view(self, readers: frozenset[str]) -> View | None:
        """Return what these readers see; None while there is nothing."""
        return self.index.view(readers) if self.index is not None else None

    def keyed(self, found: Sequence[tuple[int, float]]) -> list[tuple[int, float]]:
        """Return what a view found with the keys that rows have on disk, which outlive this memory."""
        return [(self.keys[row], score) for row, score in found]

    def rows(self, keys: Sequence[int]) -> list[int | None]:
        """Return the row of each key, None where there is none; keys grow with rows."""
        places = [bisect_left(self.keys, key) for key in keys]
        return [
            place if place < len(self.keys) and self.keys[place] == key else None
            for key, place in zip(keys, places, strict=True)
        ]

    def rows_of(self, source_id: str) -> list[int]:
        """Return the rows of a source that count."""
        generation, _ = self.current.get(source_id, (0, None))
        return [row for row in self._all.get(source_id, ()) if self._generations[row] == generation]

    def add_rows(
        self,
        generations: Sequence[int],
        keys: Sequence[int],
        owners: Sequence[str],
        positions: Sequence[int],
        readers: Sequence[tuple[str, ...]],
        vectors: Vectors,
        postings: Postings,
    ) -> None:
        """Take in rows, which count once `switch` says that their generation does."""
        if self.index is None:
            self.index = Index(vectors.shape[1])
        groups = {each: self.index.group(each) for each in dict.fromkeys(readers)}
        first = self.index.add([groups[each] for each in readers], vectors, postings)
        self.keys.extend(keys)
        self.owners.extend(owners)
        self.positions.extend(positions)
        self._generations.extend(generations)
        for row, owner in enumerate(owners, first):
            self._all.setdefault(owner, []).append(row)
        self.generation = max([self.generation, *generations])

    def switch(self, changes: Iterable[tuple[int, Source, bool]]) -> None:
        """Let the newest generation of each source count: (generation, source, whether it was removed)."""
        touched = set()
        for generation, source, removed in changes:
            self.generation = max(self.generation, generation)
            touched.add(source.id)
            if removed:
                self.current.pop(source.id, None)
            else:
                self.current[source.id] = (generation, source)
        on: list[int] = []
        off: list[int] = []
        for source_id in touched:
            generation, _ = self.current.get(source_id, (0, None))
            for row in self._all.get(source_id, ()):
                (on if self._generations[row] == generation else off).append(row)
        if self.index is not None:
            self.index.switch(np.array(on, np.int64), np.array(off, np.int64))

    def dead(self) -> list[int]:
        """Return the keys of rows that do not count."""
        return [
            key
            for key, owner, generation in zip(self.keys, self.owners, self._generations, strict=True)
            if generation != self.current.get(owner, (0, None))[0]
        ]
