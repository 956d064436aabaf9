"""How alike questions are: TF-IDF over words, stems, word pairs and pieces of words, kept as plain arrays."""

import math
from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
_PIECE = 4


def stem(word: str) -> str:
    """Return a word without the commonest English endings."""
    for end in ("ing", "ies", "es", "ed", "s"):
        if word.endswith(end) and len(word) > len(end) + 2 and word[0] != "{":
            return word[: -len(end)] + ("y" if end == "ies" else "")
    return word[:-1] if word.endswith("e") and len(word) > 3 else word


def features(words: Sequence[str]) -> Iterator[tuple[str, float]]:
    """Yield what a question's words are compared by, with the weight of its kind."""
    stems = [stem(word) for word in words]
    for word in stems:
        yield word, 1.0
        if word[0] != "{":
            padded = f"^{word}$"
            pieces = max(1, len(padded) - _PIECE + 1)
            for at in range(pieces):
                yield "~" + padded[at : at + _PIECE], 0.6 / math.sqrt(pieces)
    for first, second in zip(["^", *stems], [*stems, "$"], strict=True):
        yield f"{first} {second}", 0.7


class Similar:
    """Questions to compare with: `words` of each."""

    def __init__(self, rows: Sequence[Sequence[str]]) -> None:
        seen: Counter[str] = Counter()
        lists = [list(features(row)) for row in rows]
        for each in lists:
            seen.update(list(dict.fromkeys(name for name, _ in each)))
        self.index = {name: at for at, name in enumerate(seen)}
        self.idf = np.array([math.log((1 + len(rows)) / (1 + count)) + 1 for count in seen.values()], np.float32)
        packed = [self._pack(each) for each in lists]
        self._starts = np.cumsum([0, *(len(where) for where, _ in packed)])[:-1].astype(np.int64)
        self._where = np.concatenate([where for where, _ in packed]) if packed else np.zeros(0, np.int64)
        self._weights = np.concatenate([weights for _, weights in packed]) if packed else np.zeros(0, np.float32)

    def to(self, words: Sequence[str]) -> Floats:
        """Return the cosine of a question with every row."""
        where, weights = self._pack(list(features(words)))
        dense = np.zeros(len(self.index), np.float32)
        dense[where] = weights
        return np.add.reduceat(self._weights * dense[self._where], self._starts).astype(np.float32)

    def _pack(self, names: Sequence[tuple[str, float]]) -> tuple[npt.NDArray[np.int64], Floats]:
        sums: dict[int, float] = {}
        unknown = 0.0
        for name, weight in names:
            at = self.index.get(name)
            if at is None:
                unknown += (weight * 6) ** 2
            else:
                sums[at] = sums.get(at, 0.0) + weight
        where = np.fromiter(sums, np.int64, len(sums))
        weights = np.fromiter(sums.values(), np.float32, len(sums)) * self.idf[where]
        return where, (weights / math.sqrt(float(weights @ weights) + unknown + 1e-9)).astype(np.float32)
