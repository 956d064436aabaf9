"""Logistic regression on sparse rows, with L2 and targets between 0 and 1, by L-BFGS (Liu and Nocedal 1989)."""

from collections import deque
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from aigrid.thinking.router.features import WIDTH, Row

Floats = NDArray[np.float64]
_MEMORY = 8
_ROUNDS = 200
_SMALL = 1e-6


class Rows:
    """Many rows as one sparse matrix, with a last column of ones for the bias."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self.count = len(rows)
        self._places = np.concatenate([row.places for row in rows])
        self._values = np.concatenate([row.values for row in rows])
        self._of = np.repeat(np.arange(self.count), [len(row.places) for row in rows])

    def times(self, weights: Floats) -> Floats:
        """Return one sum for each row; the last weight is the bias."""
        sums = np.bincount(self._of, self._values * weights[self._places], self.count)
        return np.asarray(sums + weights[-1])

    def back(self, errors: Floats) -> Floats:
        """Return one sum for each weight: the transposed product."""
        made = np.bincount(self._places, self._values * errors[self._of], WIDTH)
        return np.append(made, errors.sum())


def loss(rows: Rows, targets: Floats, weights: Floats, l2: float) -> tuple[float, Floats]:
    """Return the cross entropy plus `l2 / 2` times the squared weights (not the bias), and its gradient."""
    raw = rows.times(weights)
    penalised = weights.copy()
    penalised[-1] = 0
    value = float(np.sum(np.logaddexp(0, raw) - targets * raw) + l2 / 2 * dot(penalised, penalised))
    return value, rows.back(sigmoid(raw) - targets) + l2 * penalised


def fit(rows: Rows, targets: Floats, l2: float) -> Floats:
    """Return the weights, the bias last, of the least loss; the loss is convex, so there is one."""
    weights = np.zeros(WIDTH + 1)
    value, slope = loss(rows, targets, weights, l2)
    steps: deque[tuple[Floats, Floats, float]] = deque(maxlen=_MEMORY)
    for _ in range(_ROUNDS):
        if np.abs(slope).max() < _SMALL:
            break
        way = -_against(slope, steps)
        size, falls = (1.0 if steps else 1.0 / max(1.0, float(np.abs(slope).sum()))), dot(way, slope)
        while True:
            there = weights + size * way
            new_value, new_slope = loss(rows, targets, there, l2)
            if new_value <= value + 1e-4 * size * falls or size < 1e-12:
                break
            size /= 2
        step, turn = there - weights, new_slope - slope
        if new_value >= value:
            break
        if (bends := dot(step, turn)) > 1e-12:
            steps.append((step, turn, bends))
        weights, value, slope = there, new_value, new_slope
    return weights


def dot(left: Floats, right: Floats) -> float:
    """Return the inner product, by one thread: those of BLAS wait for each other where others are at work."""
    return float(np.einsum("i,i->", left, right))


def sigmoid(raw: Floats) -> Floats:
    """Return `1 / (1 + exp(-raw))` without overflow."""
    return np.asarray(np.exp(-np.logaddexp(0, -raw)))


def _against(slope: Floats, steps: Sequence[tuple[Floats, Floats, float]]) -> Floats:
    """Return the slope times what the last steps say of the inverse curvature: the two loops of L-BFGS."""
    way, shares = slope.copy(), []
    for step, turn, bends in reversed(steps):
        share = dot(step, way) / bends
        shares.append(share)
        way -= share * turn
    if steps:
        _, turn, bends = steps[-1]
        way *= bends / dot(turn, turn)
    for (step, turn, bends), share in zip(steps, reversed(shares), strict=True):
        way += step * (share - dot(turn, way) / bends)
    return way
