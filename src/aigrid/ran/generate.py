"""A cell's load by the hour, from a fit to three measured LTE cells, scaled where a busier cell is wanted.

Two time scales. Over minutes, the mean share of used blocks is a first-order autoregressive Gaussian, mapped to the
hour's quantiles (a straight line between them on a logarithmic scale). Within, slots are busy or idle in bursts, a busy
one using a random part of the cell, so that the mean is met. The fit is of means over two minutes; bursts are ours.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aigrid.core.errors import BadRequest
from aigrid.ran.trace import LARGEST_MCS, LARGEST_PRB, SLOT_S, Trace

DOWN_QUANTILES, UP_QUANTILES = (0.1, 0.5, 0.9, 0.99), (0.5, 0.9, 0.99)
STEP_S = 120.0
BURST_SLOTS = 40
MEAN_BUSY = 0.5
"""Mean share of the blocks that a busy slot uses; larger where the load asks for more."""
FLOOR = 1e-5


@dataclass(frozen=True)
class Cell:
    """A fit: per quantile the mean, cosine and sine of the day and of half the day of the logarithm of the share."""

    down: tuple[tuple[float, ...], ...]
    up: tuple[tuple[float, ...], ...]
    down_mcs: float
    up_mcs: float
    correlation: float
    """Of the downlink's means over two minutes, one after another."""

    def quantiles(self, hour: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the shares of used blocks at the quantiles of an hour: downlink, uplink."""
        waves = basis(np.array([hour]))[0]
        down, up = (np.minimum(1.0, np.exp(np.array(fit) @ waves)) for fit in (self.down, self.up))
        return down, up


CELLS = {
    "event": Cell(
        (
            (-4.397, -0.279, -1.348, 0.608, -0.219),
            (-3.748, -0.447, -1.063, 0.701, -0.007),
            (-2.224, -0.489, -0.636, 0.784, 0.131),
            (-1.610, -0.470, -0.309, 0.843, 0.121),
        ),
        (
            (-7.744, -0.875, -1.708, 1.171, 0.134),
            (-4.414, -0.749, -0.377, 1.305, 0.265),
            (-3.548, -0.711, -0.060, 1.624, 0.401),
        ),
        12.89, 13.72, 0.9145,
    ),
    "steady": Cell(
        (
            (-4.733, -0.246, -0.769, 0.257, -0.292),
            (-4.240, -0.110, -0.569, 0.145, -0.259),
            (-3.877, -0.062, -0.480, 0.089, -0.227),
            (-3.574, -0.065, -0.310, 0.050, -0.262),
        ),
        (
            (-8.165, -0.214, -1.069, 0.320, -0.477),
            (-4.438, -0.261, -1.291, 0.076, -0.384),
            (-3.210, 0.103, -0.850, -0.196, -0.036),
        ),
        11.06, 13.99, 0.8826,
    ),
    "town": Cell(
        (
            (-4.644, -0.196, -0.733, 0.159, -0.267),
            (-4.107, -0.135, -0.782, 0.114, -0.299),
            (-2.796, 0.132, -1.131, 0.131, -0.215),
            (-1.848, 0.090, -0.927, 0.222, -0.219),
        ),
        (
            (-8.269, -0.121, -1.517, 0.102, -0.743),
            (-4.293, 0.346, -1.541, 0.111, 0.187),
            (-2.921, 0.144, -1.109, 0.198, -0.228),
        ),
        12.46, 13.94, 0.8277,
    ),
}  # fmt: skip
"""A cell near a stadium, one of even use, one of a town's centre (Barcelona)."""
BUSY_FACTOR = 8.0
"""What brings the measured LTE cells to the load of a busy 5G cell, about a third of its blocks in the evening."""


def basis(hours: NDArray[Any]) -> NDArray[np.float64]:
    """Return constant, day and half-day waves at these hours: what `fit` weighs."""
    angle = 2 * np.pi * np.asarray(hours, float) / 24
    return np.stack([np.ones_like(angle), np.cos(angle), np.sin(angle), np.cos(2 * angle), np.sin(2 * angle)], -1)


def fit(rows: Sequence[Mapping[str, str]], column: str) -> tuple[float, ...]:
    """Fit one quantile's column over the hours of a day, by least squares on the logarithm."""
    values = np.log([max(float(row[column]), FLOOR) for row in rows])
    weights, *_ = np.linalg.lstsq(basis(np.array([int(row["hour"]) for row in rows])), values, rcond=None)
    return tuple(round(float(weight), 3) for weight in weights)


def share_at(score: float, shares: NDArray[np.float64], levels: Sequence[float]) -> float:
    """Return the share of blocks at a standard normal `score`, between and beyond the quantiles given."""
    places = [NormalDist().inv_cdf(level) for level in levels]
    logs = np.log(shares)
    if score < places[0]:
        slope = (logs[1] - logs[0]) / (places[1] - places[0])
        return float(np.exp(logs[0] + slope * (score - places[0])))
    return float(np.exp(np.interp(score, places, logs)))


def generate(
    cell: str = "town",
    *,
    hour: float = 20.0,
    seconds: float = 60.0,
    scale: float = 1.0,
    seed: int = 0,
    cell_prb: int = LARGEST_PRB,
) -> Trace:
    """Make a trace of `seconds` from `hour` on; `scale` multiplies the measured shares (`BUSY_FACTOR`: a busy cell)."""
    if cell not in CELLS:
        raise BadRequest(f"there is no cell {cell!r}; there are {', '.join(CELLS)}", param="cell")
    if not 0 <= hour < 24 or not 0 < seconds <= 86_400 or not 0 <= scale <= 1000:
        raise BadRequest("an hour is from 0 to 24, seconds to 86,400, a scale from 0 to 1,000")
    random, found = np.random.default_rng(seed), CELLS[cell]
    count = max(1, round(seconds / SLOT_S))
    steps = int(seconds // STEP_S) + 1
    scores = [random.normal(size=2)]
    for _ in range(steps - 1):
        fresh = random.normal(size=2) * np.sqrt(1 - found.correlation**2)
        scores.append(found.correlation * scores[-1] + fresh)
    parts = []
    for direction, mean_mcs in enumerate((found.down_mcs, found.up_mcs)):
        levels = UP_QUANTILES if direction else DOWN_QUANTILES
        prb = np.zeros(count, np.int16)
        for step in range(steps):
            begin, end = round(step * STEP_S / SLOT_S), min(count, round((step + 1) * STEP_S / SLOT_S))
            shares = found.quantiles((hour + step * STEP_S / 3600) % 24)[direction]
            share = min(0.98, scale * share_at(float(scores[step][direction]), shares, levels))
            prb[begin:end] = _bursts(end - begin, share, cell_prb, random)
        walk = np.repeat(random.normal(size=count // 200 + 1), 200)[:count]
        mcs = np.clip(np.rint(mean_mcs + 4.0 * walk), 0, LARGEST_MCS).astype(np.int16)
        parts += [prb, np.where(prb > 0, mcs, 0).astype(np.int16)]
    return Trace(cell_prb, parts[0], parts[1], parts[2], parts[3])


def _bursts(count: int, share: float, cell_prb: int, random: np.random.Generator) -> NDArray[np.int16]:
    """Return `count` slots whose mean share is about `share`, busy and idle in turns of random length."""
    use = max(MEAN_BUSY, min(1.0, share * 1.1))
    busy = share / use
    runs: list[NDArray[np.bool_]] = []
    left = count
    on = bool(random.random() < busy)
    while left > 0:
        mean = BURST_SLOTS if on else BURST_SLOTS * (1 - busy) / max(busy, 1e-9)
        length = min(left, max(1, round(random.exponential(min(mean, 1e9)))))
        runs.append(np.full(length, on))
        left -= length
        on = not on
    spread = min(use, 1 - use)
    size = use + spread * (2 * random.random(count) - 1)
    prb = np.clip(np.rint(size * cell_prb), 1, cell_prb).astype(np.int16)
    return np.where(np.concatenate(runs), prb, 0).astype(np.int16) if runs else prb[:0]
