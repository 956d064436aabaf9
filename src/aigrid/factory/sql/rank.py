"""A weight per feature, learned so that right answers come first: a softmax over each question's candidates."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from aigrid.factory.sql.similar import Floats


class Ranker:
    """A linear score; `fit` maximises the likelihood that a right candidate is chosen (L2 `decay`)."""

    def __init__(self, weights: Floats, centre: Floats, scale: Floats) -> None:
        self.weights, self.centre, self.scale = weights, centre, scale

    @classmethod
    def fit(cls, questions: Sequence[tuple[Floats, Floats]], decay: float = 0.01, steps: int = 250) -> "Ranker":
        """Learn from questions: features of the candidates (one row each), and 1 where a candidate is right."""
        useful = [(rows, right) for rows, right in questions if 0 < right.sum() < len(right)]
        size = questions[0][0].shape[1]
        if not useful:
            return cls(np.zeros(size, np.float32), np.zeros(size, np.float32), np.ones(size, np.float32))
        everything = np.concatenate([rows for rows, _ in useful])
        centre, scale = everything.mean(0), everything.std(0) + 1e-6
        data = [((rows - centre) / scale, right) for rows, right in useful]
        weights = np.zeros(size, np.float64)
        first = second = np.zeros(size)
        for step in range(1, steps + 1):
            slope = decay * weights
            for rows, right in data:
                chance = softmax(rows @ weights)
                target = chance * right
                slope = slope + ((chance - target / max(target.sum(), 1e-12)) @ rows) / len(data)
            first, second = 0.9 * first + 0.1 * slope, 0.99 * second + 0.01 * slope**2
            weights -= 0.05 * (first / (1 - 0.9**step)) / (np.sqrt(second / (1 - 0.99**step)) + 1e-8)
        return cls(weights.astype(np.float32), centre.astype(np.float32), scale.astype(np.float32))

    def chances(self, rows: Floats) -> Floats:
        """Return the chance of each candidate to be the right one."""
        return softmax((rows - self.centre) / self.scale @ self.weights)


def softmax(scores: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return scores as shares of 1."""
    powers = np.exp(scores - scores.max())
    return np.asarray(powers / powers.sum())
