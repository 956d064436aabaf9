"""The index in memory: postings and vectors of all rows, searched exactly, always through one reader's view.

A row is a chunk; rows are numbered as they come and never change, so that threads may search while one adds. A view
holds the statistics of the rows that it sees (how many, how long, how often a word occurs) and of no others: what a
reader gets is, to the last digit, what they would get were nothing else there.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from threading import Lock

import numpy as np
import numpy.typing as npt

from aigrid.knowledge.base import Vectors
from aigrid.knowledge.postings import Postings, RowNumbers, Segment, term_hash
from aigrid.knowledge.sketch import FROM_ROWS, Sketch

K1 = 1.2
B = 0.75
MERGED = 4

Rows = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class View:
    """What some readers see of the index at one moment. Immutable: searches on it need no lock."""

    visible: Mask
    count: int
    length_norm: Floats
    segments: tuple[Segment, ...]
    vectors: Vectors
    sketch: Sketch | None

    def sees(self, row: int) -> bool:
        """Whether a row is there for these readers."""
        return row < len(self.visible) and bool(self.visible[row])

    def words(self, weights: Mapping[str, float], limit: int) -> list[tuple[int, float]]:
        """Return the best rows by BM25 for weighted terms, best first; equal scores in order of rows."""
        scores = np.zeros(len(self.visible), np.float32)
        for term, weight in weights.items():
            rows, counts = self.postings(term)
            if len(rows):
                rarity = np.log1p((self.count - len(rows) + 0.5) / (len(rows) + 0.5))
                scores[rows] += np.float32(weight * rarity) * (counts / (counts + self.length_norm[rows]))
        return best(scores, np.flatnonzero(scores > 0), limit)

    def nearest(self, vector: Vectors, limit: int) -> list[tuple[int, float]]:
        """Return the nearest visible rows by cosine similarity, best first."""
        query = np.ascontiguousarray(vector, np.float32).reshape(-1)
        if not self.count or limit <= 0:
            return []
        rows = self._worth_a_look(query, limit)
        if rows is not None:
            scores = self.vectors[rows] @ query
            found = best(scores, np.arange(len(rows)), limit)
            return [(int(rows[at]), score) for at, score in found]
        scores = self.vectors[: len(self.visible)] @ query
        return best(scores, np.flatnonzero(self.visible), limit)

    def _worth_a_look(self, query: Floats, limit: int) -> Rows | None:
        """Return visible rows that hold the nearest; None where that would be too many to pick out."""
        many = len(self.visible)
        if self.count * 4 < many:
            return np.flatnonzero(self.visible)
        if self.sketch is None or self.count < 4 * limit:
            return None
        bound = self.sketch.best_case(query, many)
        bound[~self.visible] = -np.inf
        first = np.argpartition(bound, many - 2 * limit)[many - 2 * limit :]
        bar = np.partition(self.vectors[first] @ query, limit)[limit]
        rows = np.flatnonzero(bound >= bar)
        return rows if len(rows) * 4 < many else None

    def postings(self, term: str) -> tuple[RowNumbers, Floats]:
        """Return the visible rows with a term, and how often each has it."""
        number = term_hash(term)
        found = [segment.find(number) for segment in self.segments]
        rows = np.concatenate([part[0] for part in found]) if found else np.zeros(0, np.int32)
        if not len(rows):
            return rows, np.zeros(0, np.float32)
        counts = np.concatenate([part[1] for part in found]).astype(np.float32)
        seen = self.visible[rows]
        return rows[seen], counts[seen]


def best(scores: Floats, rows: npt.NDArray[np.int64], limit: int) -> list[tuple[int, float]]:
    """Return the `limit` best of `rows` with their scores, best first; equal scores in order of rows."""
    if limit <= 0 or not len(rows):
        return []
    chosen = scores[rows]
    if len(rows) > limit:
        bar = np.partition(chosen, len(chosen) - limit)[len(chosen) - limit]
        kept = chosen >= bar
        rows, chosen = rows[kept], chosen[kept]
    order = np.lexsort((rows, -chosen))[:limit]
    return list(zip(rows[order].tolist(), chosen[order].tolist(), strict=True))


class Index:
    """All rows in memory. One thread at a time changes it; views are taken and used by any."""

    def __init__(self, dimensions: int) -> None:
        self.dimensions = dimensions
        self.size = 0
        self._lock = Lock()
        self._alive: Mask = np.zeros(0, np.bool_)
        self._groups: npt.NDArray[np.int32] = np.zeros(0, np.int32)
        self._lengths: npt.NDArray[np.int32] = np.zeros(0, np.int32)
        self._vectors: Vectors = np.zeros((0, dimensions), np.float32)
        self._sketch: Sketch | None = None
        self._segments: tuple[Segment, ...] = ()
        self._readers: list[frozenset[str]] = []
        self._views: dict[frozenset[int], View] = {}

    def group(self, readers: Sequence[str]) -> int:
        """Return the number of the group of rows that exactly these readers may see."""
        wanted = frozenset(readers)
        if wanted not in self._readers:
            self._readers.append(wanted)
        return self._readers.index(wanted)

    def add(self, groups: Sequence[int], vectors: Vectors, postings: Postings) -> int:
        """Append rows, invisible until `switch`; return the number of the first.

        Raises `ValueError` where vectors and postings are not those of as many rows.
        """
        many = len(groups)
        if vectors.shape != (many, self.dimensions) or len(postings.sizes) != many:
            raise ValueError(f"{many} rows, {len(postings.sizes)} texts, vectors of shape {vectors.shape}")
        places = np.repeat(np.arange(many, dtype=np.int32), postings.sizes)
        with self._lock:
            first, end = self.size, self.size + many
            self._reserve(end)
            self._groups[first:end] = groups
            self._lengths[first:end] = np.bincount(places, weights=postings.counts, minlength=many)
            self._vectors[first:end] = vectors
            self._draw(first, vectors)
            self.size = end
            if len(places):
                self._append(Segment.build(postings.hashes, places + np.int32(first), postings.counts))
        return first

    def switch(self, on: Rows, off: Rows) -> None:
        """Show rows and hide others, in one step as every view sees it."""
        with self._lock:
            self._alive[off] = False
            self._alive[on] = True
            self._views = {}

    def view(self, readers: frozenset[str]) -> View:
        """Return what these readers see now."""
        seen = frozenset(group for group, allowed in enumerate(self._readers) if allowed & readers)
        with self._lock:
            view = self._views.get(seen)
            if view is None:
                if len(self._views) > 64:
                    self._views = {}
                view = self._views[seen] = self._look(seen)
        return view

    def vectors(self, rows: Sequence[int]) -> Vectors:
        """Return the vectors of rows, in the order given."""
        return self._vectors[list(rows)]

    def _look(self, seen: frozenset[int]) -> View:
        shown = np.zeros(len(self._readers), np.bool_)
        shown[list(seen)] = True
        visible = self._alive[: self.size] & shown[self._groups[: self.size]] if len(shown) else self._alive[:0]
        count = int(np.count_nonzero(visible))
        lengths = self._lengths[: len(visible)]
        average = float(lengths[visible].mean()) if count else 1.0
        norm = (K1 * (1 - B + B * lengths / max(average, 1e-9))).astype(np.float32)
        return View(visible, count, norm, self._segments, self._vectors, self._sketch)

    def _reserve(self, size: int) -> None:
        room = len(self._alive)
        if size <= room:
            return
        room = max(size, room + room // 2, 1024)
        for name in ("_alive", "_groups", "_lengths", "_vectors"):
            old = getattr(self, name)
            new = np.zeros((room, *old.shape[1:]), old.dtype)
            new[: len(old)] = old
            setattr(self, name, new)

    def _draw(self, first: int, vectors: Vectors) -> None:
        end = first + len(vectors)
        if self._sketch is not None:
            if len(self._sketch.head) < len(self._alive):
                self._sketch = self._sketch.grown(len(self._alive))
            self._sketch.put(first, vectors)
        elif np.count_nonzero(self._vectors[:end, 0]) >= FROM_ROWS:  # rows that are embedded
            self._sketch = Sketch.fit(self._vectors[:end], len(self._alive))

    def _append(self, segment: Segment) -> None:
        """Add a segment; where the last four are of a size, make them one."""
        parts = [*self._segments, segment]
        while len(parts) >= MERGED and len(parts[-MERGED].rows) <= MERGED * len(parts[-1].rows):
            parts[-MERGED:] = [Segment.merge(parts[-MERGED:])]
        self._segments = tuple(parts)
