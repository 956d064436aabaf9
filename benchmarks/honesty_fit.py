"""Fit the logistic regression behind "the documents do not say", and measure it on articles it has not seen."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from aigrid.knowledge.abstain import Model

Array = npt.NDArray[np.float64]

Figures = dict[str, float]

RIDGE = 10.0
FOLDS = 12

FIGURES = {
    "words": [
        "match", "near", "chunk_match", "weakest", "coverage", "chunk_coverage", "known", "top_coverage", "similarity",
        "top_similarity", "lead", "terms", "count", "no_candidate",
    ],
    "vectors": [
        "coverage", "chunk_coverage", "known", "top_coverage", "similarity", "top_similarity", "terms", "count",
        "no_candidate",
    ],
    "terms": ["coverage", "chunk_coverage", "known", "top_coverage", "terms", "count", "no_candidate"],
}  # fmt: skip
"""What each model weighs."""


class Examples(NamedTuple):
    """What to fit on: figures, whether there is an answer (1 or 0), and the article each is about."""

    figures: Sequence[Figures]
    answers: Array
    groups: Array


def fit(rows: Array, answers: Array, names: list[str]) -> Model:
    """Return the model whose threshold answers and declines equally often rightly on its own data."""
    centre, scale = np.nanmean(rows, axis=0), np.nanstd(rows, axis=0) + 1e-9
    inside = np.c_[np.nan_to_num((rows - centre) / scale), np.ones(len(rows))]
    penalty = np.eye(inside.shape[1]) * RIDGE
    penalty[-1, -1] = 1e-6
    weights = np.zeros(inside.shape[1])
    for _ in range(30):
        chance = 1 / (1 + np.exp(-inside @ weights))
        slope = inside.T @ (answers - chance) - penalty @ weights
        weights += np.linalg.solve((inside * (chance * (1 - chance))[:, None]).T @ inside + penalty, slope)
    threshold = balance(inside @ weights, answers)
    rounded = [[round(float(value), 5) for value in values] for values in (centre, scale, weights[:-1])]
    return Model(names, *rounded, bias=round(float(weights[-1]), 5), threshold=round(threshold, 5))


def balance(scores: Array, answers: Array) -> float:
    """Return the threshold at which the share rightly answered and the share rightly declined are nearest."""
    there, gone = np.sort(scores[answers == 1]), np.sort(scores[answers == 0])
    places = np.sort(scores)
    answered = 1 - np.searchsorted(there, places, "left") / len(there)
    declined = np.searchsorted(gone, places, "left") / len(gone)
    return float(places[np.abs(answered - declined).argmin()])


def apart(scores: Array, answers: Array) -> float:
    """Return the chance that an answerable question scores above one that is not (area under the ROC curve)."""
    _, place, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[place]
    there = int(answers.sum())
    return float((ranks[answers == 1].sum() - there * (there + 1) / 2) / (there * (len(answers) - there)))


def out_of_fold(figures: Sequence[Figures], groups: Array, train: Examples, names: list[str]) -> Array:
    """Return each question's margin above the threshold, by a model that has not seen its article."""
    rows = np.array([[each[name] for name in names] for each in train.figures])
    order = np.random.default_rng(0).permutation(np.unique(groups))
    margins = np.zeros(len(figures))
    for fold in range(min(FOLDS, len(order))):
        held = order[fold::FOLDS]
        seen = ~np.isin(train.groups, held)
        model = fit(rows[seen], train.answers[seen], names)
        for at in np.flatnonzero(np.isin(groups, held)):
            margins[at] = model.score(figures[at]) - model.threshold
    return margins


def rates(margins: Array, answers: Array, groups: Array) -> dict[str, Any]:
    """Return the shares rightly answered and declined, with 95 % intervals from drawing articles anew."""
    rng = np.random.default_rng(1)
    members = [np.flatnonzero(groups == group) for group in np.unique(groups)]
    draws = []
    for _ in range(1000):
        drawn = np.concatenate([members[at] for at in rng.integers(0, len(members), len(members))])
        draws.append(_shares(margins[drawn], answers[drawn]))
    low, high = np.percentile(np.array(draws), [2.5, 97.5], axis=0)
    answered, declined = _shares(margins, answers)
    return {
        "answered": round(answered, 4),
        "answered_95": [round(float(low[0]), 4), round(float(high[0]), 4)],
        "declined": round(declined, 4),
        "declined_95": [round(float(low[1]), 4), round(float(high[1]), 4)],
        "auc": round(apart(margins, answers), 4),
        "questions": len(answers),
    }


def _shares(margins: Array, answers: Array) -> tuple[float, float]:
    return float((margins[answers == 1] >= 0).mean()), float((margins[answers == 0] < 0).mean())


def trade_off(margins: Array, answers: Array) -> list[dict[str, float]]:
    """Return the share declined at each share answered."""
    there, gone = margins[answers == 1], margins[answers == 0]
    curve = []
    for answered in (0.80, 0.85, 0.88, 0.90, 0.92, 0.94, 0.96, 0.98):
        at = np.quantile(there, 1 - answered)
        curve.append({"answered": answered, "declined": round(float((gone < at).mean()), 4)})
    return curve
