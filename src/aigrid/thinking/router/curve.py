"""How good a router is, as RouteLLM measures it (Ong et al. 2024, arXiv:2406.18665, section 3), with intervals.

Questions are sent to the strong model from the highest score down. Over the share that it gets, *recovered* is the
part of the gap between the two models that is closed. Its mean over all shares is the average performance gap
recovered (APGR): 0.5 for a router that guesses. The call-performance threshold CPT(x) is the least share that recovers
x of the gap. Questions of equal score count as if they came in random order. Intervals are 95 %, by bootstrap over
questions (Efron 1979); a draw in which the strong model is not better counts as a router that recovers nothing.
"""

from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
DRAWS = 1000
GRID = tuple(at / 20 for at in range(21))


class Figure(msgspec.Struct, frozen=True):
    """A figure and its 95 % interval."""

    value: float
    low: float
    high: float


class Point(msgspec.Struct, frozen=True):
    """The mean quality when a share of the questions goes to the strong model: by the router, and by an oracle."""

    share: float
    quality: Figure
    oracle: float


class Chosen(msgspec.Struct, frozen=True):
    """What the threshold comes to: the share for the strong model, the quality, the gap recovered, the cost.

    `cost` is the mean for a question, in the unit of the data; None where the data has none.
    """

    share: Figure
    quality: Figure
    recovered: Figure
    cost: Figure | None = None


class Figures(msgspec.Struct, frozen=True):
    """How good a router is on questions that it has not learnt from."""

    rows: int
    weak: float
    strong: float
    apgr: Figure
    oracle_apgr: float
    cpt_50: Figure
    cpt_80: Figure
    chosen: Chosen
    curve: list[Point]
    weak_cost: float | None = None
    strong_cost: float | None = None

    @property
    def better_than_random(self) -> bool:
        """Whether the whole interval of the APGR is above that of a router that guesses."""
        return self.apgr.low > 0.5


class Path:
    """The way from the weak model alone to the strong one alone: `x` the share, `y` the gain a question."""

    def __init__(self, scores: Floats, gains: Floats) -> None:
        order = np.argsort(-scores, kind="stable")
        self._gains = gains[order]
        ranked = scores[order]
        self._blocks = np.flatnonzero(np.append(True, ranked[1:] != ranked[:-1]))
        self._order = order

    def draw(self, counts: Floats | None = None) -> tuple[Floats, Floats]:
        """Return the points of the path, its questions taken as often as `counts` says (once)."""
        often = np.ones(len(self._gains)) if counts is None else counts[self._order]
        total = often.sum()
        x = np.cumsum(np.add.reduceat(often, self._blocks)) / total
        y = np.cumsum(np.add.reduceat(often * self._gains, self._blocks)) / total
        return np.append(0.0, x), np.append(0.0, y)


def apgr(x: Floats, y: Floats) -> float:
    """Return the mean of the gap recovered over all shares; 0 where the strong model is not better."""
    return float(np.sum(np.diff(x) * (y[1:] + y[:-1]) / 2) / y[-1]) if y[-1] > 0 else 0.0


def cpt(x: Floats, y: Floats, part: float) -> float:
    """Return the least share that recovers `part` of the gap; 1 where the strong model is not better."""
    if y[-1] <= 0:
        return 1.0
    at = int(np.argmax(y >= part * y[-1] - 1e-12))
    rise = y[at] - y[at - 1]
    return float(x[at - 1] + (x[at] - x[at - 1]) * (part * y[-1] - y[at - 1]) / rise) if at and rise > 0 else 0.0


def measure(
    scores: Floats, weak: Floats, strong: Floats, threshold: float,
    costs: tuple[Floats, Floats] | None = None, seed: int = 1,
) -> Figures:  # fmt: skip
    """Return the figures of a router whose `scores` of these questions are sent on from `threshold` up."""
    gains, count = strong - weak, len(scores)
    path, sent = Path(scores, gains), (scores >= threshold).astype(float)
    paid = None if costs is None else np.where(sent > 0, costs[1], costs[0])

    def all_of(often: Floats) -> list[float]:
        x, y = path.draw(often)
        share, base = often @ sent / count, often @ weak / count
        gained = often @ (sent * gains) / count
        recovered = gained / y[-1] if y[-1] > 0 else 0.0
        spent = 0.0 if paid is None else often @ paid / count
        heads = (apgr(x, y), cpt(x, y, 0.5), cpt(x, y, 0.8), share, base + gained, recovered, spent)
        return [float(each) for each in (*heads, *(base + np.interp(GRID, x, y)))]

    here = all_of(np.ones(count))
    luck = np.random.default_rng(seed)
    draws = np.array(
        [all_of(np.bincount(luck.integers(count, size=count), minlength=count).astype(float)) for _ in range(DRAWS)]
    )
    lows, highs = np.percentile(draws, [2.5, 97.5], axis=0)
    rows = zip(here, lows.tolist(), highs.tolist(), strict=True)
    figures = [Figure(*(round(each, 6) for each in found)) for found in rows]
    best = Path(gains, gains).draw()
    ideal = (np.interp(GRID, *best) + weak.mean()).tolist()
    return Figures(
        count, float(weak.mean()), float(strong.mean()), figures[0], apgr(*best), figures[1], figures[2],
        Chosen(figures[3], figures[4], figures[5], None if paid is None else figures[6]),
        [Point(share, each, round(most, 6)) for share, each, most in zip(GRID, figures[7:], ideal, strict=True)],
        None if costs is None else float(costs[0].mean()), None if costs is None else float(costs[1].mean()),
    )  # fmt: skip


def choose(scores: Floats, weak: Floats, strong: Floats, *, quality: float | None, cost: float | None) -> float:
    """Return the lowest threshold within `cost`, the share of questions for the strong model; or the one for `quality`.

    That is the highest from which on down `quality` times the strong model's is always reached: the highest that
    reaches it at all would owe much to luck.
    """
    steps = np.append(np.nextafter(scores.max(), np.inf), np.unique(scores)[::-1])
    if cost is not None:
        return float([step for step in steps if np.mean(scores >= step) <= cost][-1])
    wanted = (quality or 0.0) * strong.mean() - 1e-12
    chosen = steps[-1]
    for step in steps[::-1]:
        if np.where(scores >= step, strong, weak).mean() < wanted:
            break
        chosen = step
    return float(chosen)


def arrays(columns: Sequence[Sequence[float]]) -> list[Floats]:
    """Return columns as arrays."""
    return [np.array(column, np.float64) for column in columns]
