"""How sure a candidate may be: confidences that mean what they say, and where it had better say that it does not know.

A calibration is a logistic curve over the candidate's own confidence (J. Platt, Advances in Large Margin Classifiers,
1999): of all answers given with a confidence of 0.8, four of five should be right.
"""

import math
from collections.abc import Sequence
from typing import Annotated, Any

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec import Meta

_EDGE = 1e-6
_SHARPEST = 64.0
_BINS = 10

Floats = npt.NDArray[np.float64]


class Curve(msgspec.Struct, frozen=True):
    """`1 / (1 + exp(-(slope * logit + offset)))`; of (1, 0) it changes nothing."""

    slope: float = 1.0
    offset: float = 0.0

    def __call__(self, confidence: float) -> float:
        """Return the calibrated confidence."""
        return 1 / (1 + math.exp(-(self.slope * _logit(confidence) + self.offset)))


class Unsure(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What to answer instead of an answer that is likely wrong, and how many of those given may be wrong.

    Of the answers that it gives on dev, at most the share `wrong` is wrong; all others become `answer`.
    """

    answer: Any
    wrong: Annotated[float, Meta(gt=0, lt=1)] = 0.05


class Threshold(msgspec.Struct, frozen=True):
    """Answers with a confidence below `least` become `answer`. On dev, `coverage` were given, `wrong` of them wrong."""

    answer: Any
    least: float
    coverage: float
    wrong: float


def curve(confidences: Sequence[float], credits: Sequence[float], rounds: int = 50) -> Curve:
    """Return the curve that fits answers to whether they were right, by Newton's method with a little weight on (1, 0).

    The curve never falls: where confidence says nothing, it is flat at the share of right answers.
    """
    right = np.asarray(credits, np.float64)
    logits = np.array([_logit(value) for value in confidences])
    prior, weight = np.array([1.0, 0.0]), np.array([1e-2, 1e-2])
    columns = np.stack([logits, np.ones_like(logits)], 1)
    at = prior.copy()
    for _ in range(rounds):
        chance = 1 / (1 + np.exp(-np.clip(columns @ at, -30, 30)))
        slope = columns.T @ (right - chance) - weight * (at - prior)
        bend = (columns * (chance * (1 - chance))[:, None]).T @ columns + np.diag(weight)
        step = np.linalg.solve(bend, slope)
        at += np.clip(step, -2, 2)
        if np.abs(step).max() < 1e-9:
            break
    if at[0] <= 0:
        share = (right.sum() + 0.5) / (len(right) + 1)
        return Curve(0.0, _logit(share))
    return Curve(round(float(at[0]), 6), round(float(at[1]), 6))


def threshold(unsure: Unsure, outputs: Sequence[Any], confidences: Sequence[float], right: Sequence[bool]) -> Threshold:
    """Return the lowest confidence at which at most the share `unsure.wrong` of the answers is wrong.

    (Y. Geifman, R. El-Yaniv, Selective Classification, NeurIPS 2017.) Where no confidence will do, it answers never.
    """
    given = [at for at, output in enumerate(outputs) if output != unsure.answer]
    ordered = sorted(given, key=lambda at: -confidences[at])
    best, missed, at_best = 0, 0, 0
    for count, at in enumerate(ordered, 1):
        missed += not right[at]
        tied = count < len(ordered) and confidences[ordered[count]] == confidences[at]
        if not tied and missed <= unsure.wrong * count:
            best, at_best = count, missed
    least = confidences[ordered[best - 1]] if best else 1.0 + _EDGE
    return Threshold(unsure.answer, least, best / len(outputs) if outputs else 0.0, at_best / best if best else 0.0)


def sharpness(scores: Floats, labels: npt.NDArray[np.int64]) -> float:
    """Return the factor on scores with which a softmax gives the labels the greatest likelihood; 1 without any."""
    if not len(labels):
        return 1.0
    low, high = math.log(1 / _SHARPEST), math.log(_SHARPEST)
    for _ in range(40):
        one, two = low + (high - low) / 3, high - (high - low) / 3
        if _loss(scores * math.exp(one), labels) <= _loss(scores * math.exp(two), labels):
            high = two
        else:
            low = one
    return round(math.exp((low + high) / 2), 4)


def error(confidences: Sequence[float], credits: Sequence[float]) -> float:
    """Return the expected calibration error over ten bins (C. Guo et al., ICML 2017)."""
    sure, right = np.asarray(confidences), np.asarray(credits)
    bins = np.minimum((sure * _BINS).astype(int), _BINS - 1)
    gaps = [abs(float(sure[bins == at].mean() - right[bins == at].mean())) * np.mean(bins == at) for at in set(bins)]
    return float(sum(gaps))


def _loss(scores: Floats, labels: npt.NDArray[np.int64]) -> float:
    top = scores.max(1, keepdims=True)
    total = np.log(np.exp(scores - top).sum(1)) + top[:, 0]
    return float((total - scores[np.arange(len(labels)), labels]).mean())


def _logit(confidence: float) -> float:
    inside = min(1 - _EDGE, max(_EDGE, confidence))
    return math.log(inside / (1 - inside))
