"""Texts as sparse vectors: TF-IDF of words, word pairs and characters (G. Salton, C. Buckley, IPM 24, 1988).

Each part is of unit length by itself, so that words and characters weigh the same. The same code makes the vectors for fitting and for answering.
"""

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from aigrid.factory.ladder import files

_WORD = re.compile(r"\w+|[^\w\s]")
_WORDS, _CHARS = "w", "c"


class Rows(NamedTuple):
    """A sparse matrix by rows: those of row i are `columns[starts[i]:starts[i + 1]]` and the same of `values`."""

    starts: npt.NDArray[np.int64]
    columns: npt.NDArray[np.int32]
    values: npt.NDArray[np.float32]


def words(text: str) -> list[str]:
    """Return the words and marks of a text, in lower case."""
    return _WORD.findall(text.lower())


class Terms:
    """The terms of a set of texts, and how rare each is. `chars` is the shortest and longest run of characters."""

    def __init__(self, index: dict[str, int], rarity: npt.NDArray[np.float32], chars: tuple[int, int]) -> None:
        self._index = index
        self._rarity = rarity
        self._chars = chars

    def __len__(self) -> int:
        return len(self._index)

    @classmethod
    def of(cls, texts: Sequence[str], chars: tuple[int, int] = (2, 4), least: int = 2, most: int = 0) -> "Terms":
        """Return the terms that `least` to `most` (0: all) of the texts have; `chars` of (0, 0) leaves them out."""
        counts: Counter[str] = Counter()
        for text in texts:
            counts.update({f"{part}{term}" for part, terms in _parts(text, chars) for term in terms})
        kept = sorted(term for term, count in counts.items() if least <= count <= (most or len(texts)))
        rarity = [math.log((1 + len(texts)) / (1 + counts[term])) + 1 for term in kept]
        return cls({term: at for at, term in enumerate(kept)}, np.array(rarity, np.float32), chars)

    @classmethod
    def load(cls, folder: Path) -> "Terms":
        """Return the terms that `save` wrote."""
        chars, *terms = (folder / "terms.txt").read_text("utf-8").splitlines()
        low, high = map(int, chars.split())
        return cls({term: at for at, term in enumerate(terms)}, files.array(folder, "rarity"), (low, high))

    def save(self, folder: Path) -> None:
        """Write the terms."""
        chars = " ".join(map(str, self._chars))
        (folder / "terms.txt").write_text("\n".join([chars, *self._index]) + "\n", "utf-8")
        files.save(folder, rarity=self._rarity)

    def vector(self, text: str) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]:
        """Return the columns and values of one text; both are empty where it has no known term."""
        columns: list[int] = []
        values: list[float] = []
        index, rarity = self._index, self._rarity
        for part, terms in _parts(text, self._chars):
            found = [
                (at, (1 + math.log(count)) * float(rarity[at]))
                for term, count in Counter(terms).items()
                if (at := index.get(part + term)) is not None
            ]
            length = math.sqrt(sum(value * value for _, value in found)) or 1.0
            columns += [at for at, _ in found]
            values += [value / length for _, value in found]
        return np.array(columns, np.int32), np.array(values, np.float32)

    def matrix(self, texts: Iterable[str]) -> Rows:
        """Return the vectors of texts."""
        vectors = [self.vector(text) for text in texts]
        starts = np.zeros(len(vectors) + 1, np.int64)
        np.cumsum([len(columns) for columns, _ in vectors], out=starts[1:])
        if not vectors:
            return Rows(starts, np.empty(0, np.int32), np.empty(0, np.float32))
        return Rows(
            starts,
            np.concatenate([columns for columns, _ in vectors]),
            np.concatenate([values for _, values in vectors]),
        )


def _parts(text: str, chars: tuple[int, int]) -> list[tuple[str, list[str]]]:
    found = words(text)
    parts = [(_WORDS, found + [f"{one} {two}" for one, two in pairwise(found)])]
    low, high = chars
    if high:
        padded = [f" {word} " for word in found]
        parts.append(
            (
                _CHARS,
                [
                    word[at : at + size]
                    for word in padded
                    for size in range(low, high + 1)
                    for at in range(len(word) - size + 1)
                ],
            )
        )
    return parts
