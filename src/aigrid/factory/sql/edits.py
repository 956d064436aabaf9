"""Which differences between two questions change the answer: a weight per word, learned from neighbours.

Cosine takes "largest" and "smallest" for near neighbours as it does "what" and "which"; the pairs say that only the
first two have different SQL. The odds that two questions share their SQL fall with the weight of what differs.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from aigrid.factory.sql.similar import Floats, Similar, stem

NEIGHBOURS = 16
_STEPS, _RATE, _DECAY = 250, 0.05, 0.002


def marks(words: Sequence[str]) -> frozenset[str]:
    """Return what is compared of a question: its stems, and pairs of neighbours."""
    stems = [stem(word) for word in words]
    return frozenset(stems) | {f"{a} {b}" for a, b in zip(["^", *stems], [*stems, "$"], strict=True)}


class Edits:
    """The learned weights. `rows` and `keys` are questions and what tells their SQL apart."""

    def __init__(self, similar: Similar, rows: Sequence[Sequence[str]], keys: Sequence[str], anchors: Sequence[int],
                 weights: Mapping[str, Floats] | None = None) -> None:  # fmt: skip
        self.marks = [marks(row) for row in rows]
        names = {
            name: at for at, name in enumerate(dict.fromkeys(name for each in self.marks for name in sorted(each)))
        }
        self.index = names
        self.weights: Floats
        self.rest: Floats
        if weights is not None:
            self.weights, self.rest = weights["edit_weights"], weights["edit_rest"]
            return
        pairs: list[tuple[list[int], float, float]] = []
        for at in anchors:
            cosines = similar.to(rows[at])
            order = np.argpartition(-cosines, min(4 * NEIGHBOURS, len(rows) - 1))[: 4 * NEIGHBOURS]
            near = [int(n) for n in order[np.argsort(-cosines[order])] if self.marks[n] != self.marks[at]]
            for other in near[:NEIGHBOURS]:
                differ = [names[name] for name in self.marks[at] ^ self.marks[other]]
                pairs.append((differ, float(cosines[other]), float(keys[at] == keys[other])))
        where = np.array([name for differ, _, _ in pairs for name in differ], np.int64)
        row = np.repeat(np.arange(len(pairs)), [len(differ) for differ, _, _ in pairs])
        cosine = np.array([each[1] for each in pairs], np.float64)
        label = np.array([each[2] for each in pairs], np.float64)
        self._learn(where, row, cosine, label, len(names), [" " in name for name in names])

    def _learn(self, where: np.ndarray, row: np.ndarray, cosine: np.ndarray, label: np.ndarray, size: int,
               paired: list[bool]) -> None:  # fmt: skip
        kind = np.array(paired, np.int64)
        theta = np.zeros(size + 4)
        theta[size : size + 4] = (0.5, 0.1, 4.0, -1.0)
        first, second = np.zeros_like(theta), np.zeros_like(theta)
        for step in range(1, _STEPS + 1):
            weights = theta[:size] + theta[size + kind]
            odds = theta[-1] + theta[-2] * cosine - np.bincount(row, weights[where], len(cosine))
            wrong = (1 / (1 + np.exp(-np.clip(odds, -30, 30))) - label) / max(1, len(label))
            slope = np.zeros_like(theta)
            slope[:size] = -np.bincount(where, wrong[row], size) + _DECAY * theta[:size] / 10
            slope[size : size + 2] = np.bincount(kind, slope[:size] - _DECAY * theta[:size] / 10, 2)
            slope[-2], slope[-1] = wrong @ cosine, wrong.sum()
            first, second = 0.9 * first + 0.1 * slope, 0.999 * second + 0.001 * slope**2
            theta -= _RATE * (first / (1 - 0.9**step)) / (np.sqrt(second / (1 - 0.999**step)) + 1e-9)
        self.weights = (theta[:size] + theta[size + kind]).astype(np.float32)
        self.rest = theta[size:].astype(np.float32)

    @property
    def learned(self) -> dict[str, Floats]:
        """What was learned: a weight per mark; for unknown words and word pairs; slope and bias of the cosine."""
        return {"edit_weights": self.weights, "edit_rest": self.rest}

    def odds(self, words: Sequence[str], cosines: Floats, rows: Sequence[int]) -> list[float]:
        """Return the log odds that a question has the SQL of each of some rows."""
        mine = marks(words)
        slope, bias = float(self.rest[-2]), float(self.rest[-1])
        return [bias + slope * float(cosines[row]) - sum(map(self._weight, mine ^ self.marks[row])) for row in rows]

    def _weight(self, name: str) -> float:
        at = self.index.get(name)
        return float(self.rest[int(" " in name)] if at is None else self.weights[at])
