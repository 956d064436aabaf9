"""Which rows have which terms, and how often: small immutable parts that merge."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
import numpy.typing as npt

from aigrid.knowledge.language import terms

Hashes = npt.NDArray[np.uint64]
Counts = npt.NDArray[np.uint16]
RowNumbers = npt.NDArray[np.int32]
Offsets = npt.NDArray[np.int64]

MOST = 65_535
"""The most often that a term is counted in one chunk."""

_hashes: dict[str, int] = {}
_HASHES_LIMIT = 500_000


def term_hash(term: str) -> int:
    """Return the number that stands for a term on disk and in memory (64 bits, the same in every process)."""
    known = _hashes.get(term)
    if known is None:
        known = int.from_bytes(blake2b(term.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")
        if len(_hashes) < _HASHES_LIMIT:
            _hashes[term] = known
    return known


@dataclass(frozen=True)
class Segment:
    """Postings of some rows: for `terms[i]`, rows and counts at `starts[i]:starts[i + 1]`."""

    terms: Hashes
    starts: Offsets
    rows: RowNumbers
    counts: Counts

    @classmethod
    def build(cls, hashes: Hashes, rows: RowNumbers, counts: Counts) -> "Segment":
        """Sort postings by term."""
        order = np.argsort(hashes)
        terms, starts = np.unique(hashes[order], return_index=True)
        return cls(terms, np.append(starts, len(hashes)), rows[order], counts[order])

    def merge(self, other: "Segment") -> "Segment":
        """Return one segment with the postings of both."""
        return Segment.build(
            np.concatenate([np.repeat(part.terms, np.diff(part.starts)) for part in (self, other)]),
            np.concatenate([self.rows, other.rows]),
            np.concatenate([self.counts, other.counts]),
        )

    def find(self, term: int) -> tuple[RowNumbers, Counts]:
        """Return the rows with a term and how often each has it."""
        at = int(np.searchsorted(self.terms, np.uint64(term)))
        if at == len(self.terms) or int(self.terms[at]) != term:
            return self.rows[:0], self.counts[:0]
        span = slice(int(self.starts[at]), int(self.starts[at + 1]))
        return self.rows[span], self.counts[span]


@dataclass(frozen=True)
class Postings:
    """The terms of some texts: text i has the next `sizes[i]` of `hashes`, each `counts` times."""

    hashes: Hashes
    counts: Counts
    sizes: Offsets

    @classmethod
    def of(cls, texts: Iterable[str]) -> "Postings":
        """Count the terms of texts."""
        hashes: list[int] = []
        counts: list[int] = []
        sizes: list[int] = []
        for text in texts:
            counted = Counter(terms(text))
            hashes.extend(map(term_hash, counted))
            counts.extend(counted.values())
            sizes.append(len(counted))
        most = np.minimum(np.array(counts, np.int64), MOST)
        return cls(np.array(hashes, np.uint64), most.astype(np.uint16), np.array(sizes, np.int64))
