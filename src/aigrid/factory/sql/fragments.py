"""Which pieces of SQL a question calls for: one small classifier per piece, learned from the pairs (kernel logistic).

A statement that no neighbour wrote can so be weighed too: its pieces should be those that the question calls for.
"""

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from aigrid.factory.sql.similar import Floats, Similar

MAX_PIECES = 900
_STEPS, _RATE, _KEEP, _DECAY = 60, 1.0, 0.85, 0.01


def pieces(sql: Sequence[str]) -> set[str]:
    """Return the runs of one to three tokens of a statement."""
    padded = ["^", *(token for token in sql if token not in {"(", ")", "."}), "$"]
    return {" ".join(padded[at : at + size]) for size in (1, 2, 3) for at in range(len(padded) - size + 1)}


class Fragments:
    """Classifiers over the questions of `similar`, whose statements (slots typed) are `sql`."""

    def __init__(self, similar: Similar, questions: Sequence[Sequence[str]], sql: Sequence[Sequence[str]],
                 weights: Mapping[str, Floats] | None = None) -> None:  # fmt: skip
        found = [pieces(each) for each in sql]
        counts = Counter(piece for each in found for piece in sorted(each))
        kept = [piece for piece, count in counts.most_common(MAX_PIECES) if 2 <= count < len(sql)]
        self.index = {piece: at for at, piece in enumerate(kept)}
        self._similar = similar
        self.bias: Floats
        self.weights: Floats
        if weights is not None:
            self.bias, self.weights = weights["piece_bias"], weights["piece_weights"]
            return
        labels = np.zeros((len(sql), len(kept)), np.float32)
        for row, each in enumerate(found):
            labels[row, [self.index[piece] for piece in each if piece in self.index]] = 1
        kernel = np.stack([similar.to(words) for words in questions]) if questions else np.zeros((0, 0), np.float32)
        self.bias = np.log((labels.mean(0) + 1e-3) / (1 - labels.mean(0) + 1e-3)).astype(np.float32)
        self.weights = np.zeros_like(labels)
        speed: Floats = np.zeros_like(labels)
        for _ in range(_STEPS):
            wrong = _sigmoid(kernel @ self.weights * 4 + self.bias) - labels
            speed = np.asarray(_KEEP * speed - _RATE * (wrong + _DECAY * self.weights), np.float32)
            self.weights += speed

    @property
    def learned(self) -> dict[str, Floats]:
        """What was learned."""
        return {"piece_bias": self.bias, "piece_weights": self.weights}

    def wanted(self, words: Sequence[str]) -> tuple[Floats, float]:
        """Return for each piece the log odds that a question calls for it, and the log-likelihood of none at all."""
        odds = self._similar.to(words) @ self.weights * 4 + self.bias
        return odds.astype(np.float32), float(-np.logaddexp(0, odds).sum())

    def score(self, wanted: tuple[Floats, float], sql: Sequence[str]) -> tuple[float, int]:
        """Return the log-likelihood of a statement's pieces, and how many of them were never seen."""
        odds, none = wanted
        found = pieces(sql)
        known = [self.index[piece] for piece in found if piece in self.index]
        return none + float(odds[known].sum()), len(found) - len(known)


def _sigmoid(x: Floats) -> Floats:
    return (1 / (1 + np.exp(-np.clip(x, -30, 30)))).astype(np.float32)
