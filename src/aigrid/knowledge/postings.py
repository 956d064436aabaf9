"""Which rows have which terms, and how often: small immutable parts that merge."""

from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import cast

import numpy as np
import numpy.typing as npt

from aigrid.knowledge.language import CJK_RUN, terms

Hashes = npt.NDArray[np.uint64]
Counts = npt.NDArray[np.uint16]
RowNumbers = npt.NDArray[np.int32]
Offsets = npt.NDArray[np.int64]

MOST = 65_535
"""The most often that a term is counted in one chunk."""

LONGEST_WORD = 64
"""Longer ones (encoded data), and CJK runs, rarely come again: they are not remembered."""

VOCABULARY_LIMIT = 1_000_000
"""Words after which a vocabulary is forgotten; about 200 MB."""

_known: "list[Vocabulary]" = []
"""The vocabulary not in use by a thread just now, if there is one."""


def term_hash(term: str) -> int:
    """Return the number that stands for a term on disk and in memory (64 bits, the same in every process)."""
    return int.from_bytes(blake2b(term.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")


class Vocabulary:
    """Words seen so far, numbered, with the terms that each makes: so that a text is terms by look-ups alone."""

    def __init__(self) -> None:
        self._words: dict[str, int] = {}
        self._terms: dict[str, int] = {}
        self._hashes = array("Q")
        self._forms = array("q")
        self._ends = array("q", [0])

    def __len__(self) -> int:
        return len(self._words)

    def numbers(self, text: str) -> list[int]:
        """Return the numbers of a text's words, in order: what stands between white space, punctuation and all."""
        words = text.split()
        found = list(map(self._words.get, words))
        if None not in found:
            return cast("list[int]", found)
        numbers: list[int] = []
        for word, number in zip(words, found, strict=True):
            if number is not None:
                numbers.append(number)
            elif len(word) <= LONGEST_WORD and not CJK_RUN.search(word):
                numbers.append(self._learn(word, terms(word)))
            else:
                numbers.extend(self._learn(f" {term}", [term]) for term in terms(word))
        return numbers

    def count(self, numbers: list[int], sizes: list[int]) -> "Postings":
        """Count the terms of texts, given the numbers of all their words and how many words each has."""
        words = np.array(numbers, np.int64)
        ends = np.array(self._ends, np.int64)
        many = ends[words + 1] - ends[words]
        rows = np.repeat(np.repeat(np.arange(len(sizes)), sizes), many)
        within = np.arange(len(rows)) - np.repeat(np.cumsum(many) - many, many)
        forms = np.array(self._forms, np.int64)[np.repeat(ends[words], many) + within]
        pairs, counts = np.unique((rows << 32) | forms, return_counts=True)
        return Postings(
            np.array(self._hashes, np.uint64)[pairs & 0xFFFFFFFF],
            np.minimum(counts, MOST).astype(np.uint16),
            np.bincount(pairs >> 32, minlength=len(sizes)),
        )

    def _learn(self, word: str, made: list[str]) -> int:
        """Return the number of a word, which it gets with its terms where it has none."""
        if word in self._words:
            return self._words[word]
        for term in made:
            if term not in self._terms:
                self._terms[term] = len(self._hashes)
                self._hashes.append(term_hash(term))
            self._forms.append(self._terms[term])
        self._ends.append(len(self._forms))
        self._words[word] = len(self._ends) - 2
        return self._words[word]


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
        ordered = hashes[order]
        starts = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
        return cls(ordered[starts], np.append(starts, len(hashes)), rows[order], counts[order])

    @classmethod
    def merge(cls, parts: "Sequence[Segment]") -> "Segment":
        """Return one segment with the postings of all."""
        return cls.build(
            np.concatenate([np.repeat(part.terms, np.diff(part.starts)) for part in parts]),
            np.concatenate([part.rows for part in parts]),
            np.concatenate([part.counts for part in parts]),
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
        vocabulary = _known.pop() if _known else Vocabulary()
        numbers: list[int] = []
        sizes: list[int] = []
        for text in texts:
            found = vocabulary.numbers(text)
            numbers.extend(found)
            sizes.append(len(found))
        counted = vocabulary.count(numbers, sizes)
        if len(vocabulary) < VOCABULARY_LIMIT and not _known:
            _known.append(vocabulary)
        return counted
