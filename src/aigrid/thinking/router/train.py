"""Training: fit on one part of the examples, choose strength and threshold on a second, measure on a third."""

from collections.abc import Callable, Sequence

import numpy as np
from msgspec.structs import replace

from aigrid.core.clock import iso, now_ns
from aigrid.core.errors import BadRequest
from aigrid.thinking.router import logistic
from aigrid.thinking.router.base import ModelRouter, RouterFile, Source, Target, pack
from aigrid.thinking.router.curve import Floats, arrays, choose, measure
from aigrid.thinking.router.data import Example, fingerprint
from aigrid.thinking.router.features import row

STRENGTHS = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
"""Strengths of the penalty on weights that are tried."""
_LEAST_IN_PART = 10


def train(
    examples: Sequence[Example], weak: Target, strong: Target, *,
    quality: float | None = None, cost: float | None = None, name: str = "", tell: Callable[[str], None] = print,
) -> RouterFile:  # fmt: skip
    """Return a router with its test figures; raises `BadRequest` where there is nothing to learn.

    The threshold is for `quality` (a share of the strong model's) or `cost` (the share of questions that it may get).
    The target of each question is `(1 + gain) / 2`: how likely the strong model is better, ties counting half.
    """
    if weak == strong:
        raise BadRequest(f"the weak and the strong model are both {weak}; name two", param="strong")
    fitted, tuned, tested = (
        [each for each in examples if each.part == part] for part in ("train", "calibration", "test")
    )
    _check(fitted, tuned, tested)
    tell(f"reading {len(examples)} questions")
    rows, targets = _rows(fitted), (1 + _gains(fitted)) / 2
    held, wanted = _rows(tuned), (1 + _gains(tuned)) / 2
    best: tuple[float, float, Floats] | None = None
    for strength in STRENGTHS:
        tell(f"fitting with a penalty of {strength:g}")
        weights = logistic.fit(rows, targets, strength)
        missed, _ = logistic.loss(held, wanted, weights, 0.0)
        if best is None or missed < best[0]:
            best = (missed, strength, weights)
    assert best is not None
    weights = best[2].astype("<f4").astype(np.float64)  # as they are kept, so that what is measured is what runs
    if quality is None and cost is None:
        quality = 0.95
    at = arrays([[each.weak for each in tuned], [each.strong for each in tuned]])
    threshold = choose(logistic.sigmoid(held.times(weights)), *at, quality=quality, cost=cost)
    asked: dict[str, float | None] = {"quality": quality, "cost": cost}
    made = RouterFile(
        weak=weak, strong=strong, threshold=threshold, weights=pack(weights), test=None, made=iso(now_ns()), l2=best[1],
        wanted={key: value for key, value in asked.items() if value is not None},
        data=Source(fingerprint(examples), name, len(fitted), len(tuned), len(tested)),
    )  # fmt: skip
    tell(f"measuring on {len(tested)} questions")
    return tested_on(made, tested)


def tested_on(file: RouterFile, examples: Sequence[Example]) -> RouterFile:
    """Return a router with its figures on questions that it has not learnt from."""
    router = ModelRouter(file)
    scores = np.array([router.score(each.asked) for each in examples])
    weak, strong = arrays([[each.weak for each in examples], [each.strong for each in examples]])
    paid = [(each.weak_cost, each.strong_cost) for each in examples]
    known = [(low, high) for low, high in paid if low is not None and high is not None]
    costs = arrays(list(zip(*known, strict=True))) if len(known) == len(paid) else None
    pair = None if costs is None else (costs[0], costs[1])
    figures = measure(scores, weak, strong, file.threshold, pair)
    return replace(file, test=figures).signed()


def _check(fitted: Sequence[Example], tuned: Sequence[Example], tested: Sequence[Example]) -> None:
    if min(len(fitted), len(tuned), len(tested)) < _LEAST_IN_PART:
        raise BadRequest(
            f"the questions fall into {len(fitted)} to learn from, {len(tuned)} to choose by and {len(tested)} to test "
            f"on; each part needs {_LEAST_IN_PART}: add questions that differ"
        )
    for part, examples in (("learnt from", fitted), ("chosen by", tuned), ("tested on", tested)):
        if _gains(examples).mean() <= 0:
            raise BadRequest(
                f"on the questions {part} the strong model is not better than the weak one: serve the weak one alone"
            )


def _rows(examples: Sequence[Example]) -> logistic.Rows:
    return logistic.Rows([row(each.asked) for each in examples])


def _gains(examples: Sequence[Example]) -> Floats:
    return np.array([each.gain for each in examples])
