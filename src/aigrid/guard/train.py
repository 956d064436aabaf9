"""How the guard's classifier is made: windows of texts, a linear model over hashed n-grams, a threshold.

An attack may be one sentence of a long text. So the model learns from windows, and of each attack only from those that
speak of it most, by the model of the round before (multiple-instance learning, Andrews et al. 2002). Needs the extra
`train`; what it makes is used without.
"""

import random
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from aigrid.guard.classifier import Guard
from aigrid.guard.clean import fold
from aigrid.guard.features import BITS, Features, features, pieces, windows

ROUNDS = 3
MOST_WINDOWS = 6
"""Windows of one harmless text that are learnt from."""


class Row(NamedTuple):
    """One example: a text, whether it is an attack, its family (near copies share one) and where it is from."""

    text: str
    attack: bool
    family: str
    source: str


class Weights(NamedTuple):
    """A linear model: one whole number for each bucket, what one unit is worth, and what is added."""

    weights: npt.NDArray[np.int8]
    scale: float
    bias: float


class _Window(NamedTuple):
    row: int
    buckets: npt.NDArray[np.int64]


def train(rows: Sequence[Row], *, strength: float = 4.0, seed: int = 0) -> Weights:
    """Return a model of `rows`. `strength` is the inverse of the regularisation."""
    from sklearn.linear_model import LogisticRegression

    draw = random.Random(seed)
    held: list[_Window] = []
    for at, row in enumerate(rows):
        found = list(_cut(row.text))
        if not row.attack and len(found) > MOST_WINDOWS:
            found = draw.sample(found, MOST_WINDOWS)
        held += [_Window(at, buckets) for buckets in found]
    owner = np.array([window.row for window in held])
    matrix = _matrix([window.buckets for window in held])
    attack = np.array([row.attack for row in rows])[owner]
    share = 1.0 / np.bincount(owner, minlength=len(rows))[owner]
    buried = np.array([row.family == "indirect" for row in rows])[owner] & (share < 1)
    use = ~(attack & buried)
    for _ in range(ROUNDS):
        weight = np.where(attack, np.maximum(share, 0.25), 1.0)
        weight[attack] *= (use & ~attack).sum() / weight[use & attack].sum() / 2
        model = LogisticRegression(C=strength, solver="liblinear", random_state=seed, tol=0.01)
        model.fit(matrix[use], attack[use], sample_weight=weight[use])
        use = ~attack | _best(model.decision_function(matrix), owner)
    return _quantised(model.coef_[0], float(model.intercept_[0]))


def _best(score: npt.NDArray[np.float64], owner: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Return which windows are in the better half of their text's."""
    order = np.lexsort((-score, owner))
    first = np.searchsorted(owner[order], owner[order])
    rank = np.empty(len(owner), np.int64)
    rank[order] = np.arange(len(owner)) - first
    many = np.bincount(owner)[owner]
    return np.asarray(rank < np.maximum(1, many // 2))


def _cut(text: str) -> Iterable[npt.NDArray[np.int64]]:
    """Yield the buckets of each window of a text."""
    for piece in pieces(fold(text).encode()):
        found: Features = features(piece)
        for begin, end in windows(found.length):
            yield found.buckets[(found.places >= begin) & (found.places < end)]


def _matrix(rows: Sequence[npt.NDArray[np.int64]]) -> Any:
    from scipy.sparse import csr_matrix

    ends = np.cumsum([0, *(len(row) for row in rows)])
    values = np.repeat([1.0 / np.sqrt(max(1, len(row))) for row in rows], [len(row) for row in rows])
    made = csr_matrix((values, np.concatenate(rows), ends), shape=(len(rows), 1 << BITS))
    made.sum_duplicates()
    return made


def _quantised(weights: npt.NDArray[np.float64], bias: float) -> Weights:
    scale = float(np.abs(weights).max()) / 127 or 1.0
    return Weights(np.round(weights / scale).astype(np.int8), scale, bias)


def families(texts: Sequence[str], alike: float = 0.4, hashes: int = 128, seed: int = 0) -> list[int]:
    """Return the number of the near-duplicate family of each text (MinHash, Broder 1997).

    Two texts are of one family where the share of triples of words that they have in common is about `alike` or more,
    or where both are like a third.
    """
    draw = np.random.default_rng(seed)
    odd = draw.integers(1, 1 << 62, hashes, dtype=np.uint64) * np.uint64(2) + np.uint64(1)
    signatures = np.zeros((len(texts), hashes), np.uint64)
    for at, text in enumerate(texts):
        words = fold(text).split()
        triples = {" ".join(words[i : i + 3]) for i in range(max(1, len(words) - 2))}
        codes = np.array([int.from_bytes(_digest(triple), "little") for triple in triples], np.uint64)
        signatures[at] = (codes[:, None] * odd[None, :]).min(axis=0)
    family = list(range(len(texts)))

    def root(at: int) -> int:
        while family[at] != at:
            at = family[at]
        return at

    for at in range(1, len(texts)):
        same = (signatures[:at] == signatures[at]).mean(axis=1)
        for other in np.flatnonzero(same >= alike):
            family[max(root(at), root(int(other)))] = min(root(at), root(int(other)))
    return [root(at) for at in range(len(texts))]


def _digest(text: str) -> bytes:
    from hashlib import blake2b

    return blake2b(text.encode("utf-8", "replace"), digest_size=8).digest()


def threshold(guard: Guard, attacks: Sequence[str], recall: float) -> float:
    """Return the highest threshold at which a share `recall` of `attacks`, which it has not learnt from, is found."""
    scores = sorted(guard.check(text).score + guard.threshold for text in attacks)
    return scores[int(len(scores) * (1.0 - recall))] - 1e-6
