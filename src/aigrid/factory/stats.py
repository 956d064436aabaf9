"""How sure a figure is: intervals of a share, and whether one worker is better than another on the same questions."""

import math
from collections.abc import Sequence

import msgspec
import numpy as np

Z = 1.959963984540054
"""The normal quantile of 95 %, two-sided."""
_TIMES = 2000


class Share(msgspec.Struct, frozen=True):
    """A mean of scores from 0 to 1 with its 95 % interval."""

    value: float
    low: float
    high: float
    n: int

    def __str__(self) -> str:
        """Say it as people do."""
        return f"{self.value:.1%} ({self.low:.1%} to {self.high:.1%}, n = {self.n:,})"


class Paired(msgspec.Struct, frozen=True):
    """How much better one is than another on the same questions: the mean difference with its 95 % interval.

    `won` and `lost` are the questions on which it was better and worse; `p` is of the exact two-sided sign test
    (of McNemar, Psychometrika 12, 1947, where scores are 0 or 1) that they are equally many.
    """

    difference: float
    low: float
    high: float
    won: int
    lost: int
    p: float

    @property
    def better(self) -> bool:
        """Better, and not by chance."""
        return self.difference > 0 and self.p < 0.05


def share(scores: Sequence[float]) -> Share:
    """Return the mean with Wilson's interval (JASA 22, 1927), which for scores between 0 and 1 is wide enough."""
    n = len(scores)
    if not n:
        return Share(0.0, 0.0, 1.0, 0)
    mean = math.fsum(scores) / n
    middle = (mean + Z * Z / (2 * n)) / (1 + Z * Z / n)
    half = Z / (1 + Z * Z / n) * math.sqrt(mean * (1 - mean) / n + Z * Z / (4 * n * n))
    return Share(mean, max(0.0, middle - half), min(1.0, middle + half), n)


def paired(ours: Sequence[float], theirs: Sequence[float], seed: int = 1) -> Paired:
    """Compare scores on the same questions: percentile bootstrap of the mean difference, and the exact sign test."""
    if len(ours) != len(theirs):
        raise ValueError(f"{len(ours)} and {len(theirs)} scores are not of the same questions")
    gaps = np.asarray(ours, float) - np.asarray(theirs, float)
    won, lost = int((gaps > 0).sum()), int((gaps < 0).sum())
    if not len(gaps):
        return Paired(0.0, 0.0, 0.0, 0, 0, 1.0)
    rng = np.random.default_rng(seed)
    means = [gaps[rng.integers(0, len(gaps), len(gaps))].mean() for _ in range(_TIMES)]
    low, high = (float(each) for each in np.quantile(means, (0.025, 0.975)))
    return Paired(float(gaps.mean()), low, high, won, lost, sign_test(won, lost))


def sign_test(won: int, lost: int) -> float:
    """Return the two-sided probability of so uneven a count by chance."""
    n = won + lost
    tail = sum(math.comb(n, k) for k in range(min(won, lost) + 1))
    return min(1.0, 2 * tail / (1 << n))
