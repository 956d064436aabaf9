"""A linear chain of tags: each depends on what is seen of its token and on the tag before it.

Conditional random field (J. Lafferty, A. McCallum, F. Pereira, ICML 2001). The sums over all sequences run for all
sentences at once, in probabilities scaled at each step (L. Rabiner, Proc. IEEE 77, 1989).
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

NEVER = -1e4
"""Score of a step that cannot be: a value that goes on without having begun."""


def allowed(tags: Sequence[str]) -> tuple[Floats, Floats]:
    """Return 0 for each step (and each first tag) that can be, `NEVER` for the others."""
    begins = np.array([NEVER if tag.startswith("I-") else 0.0 for tag in tags])
    steps = np.zeros((len(tags), len(tags)))
    for at, tag in enumerate(tags):
        if tag.startswith("I-"):
            steps[:, at] = [0.0 if before[2:] == tag[2:] and before != "O" else NEVER for before in tags]
    return begins, steps


def best(emissions: Floats, begin: Floats, steps: Floats) -> tuple[list[int], float]:
    """Return the likeliest tags of one sentence and their probability (A. Viterbi, IEEE Trans. IT 13, 1967)."""
    score = emissions[0] + begin
    total = score
    came = []
    for emission in emissions[1:]:
        paths = score[:, None] + steps
        came.append(paths.argmax(0))
        score = paths.max(0) + emission
        sums = total[:, None] + steps
        top = sums.max(0)
        total = np.log(np.exp(sums - top).sum(0)) + top + emission
    last = int(score.argmax())
    top = total.max()
    chance = np.exp(score[last] - top - np.log(np.exp(total - top).sum()))
    tags = [last]
    for back in reversed(came):
        tags.append(int(back[tags[-1]]))
    return tags[::-1], float(chance)


class Corpus:
    """Tagged sentences, the longest first, with the tokens of all in the order of their place in the sentence."""

    def __init__(self, lengths: Sequence[int], tags: Sequence[Sequence[int]]) -> None:
        order = sorted(range(len(lengths)), key=lambda at: -lengths[at])
        starts = np.concatenate([[0], np.cumsum(lengths)]).astype(int)
        longest = max(lengths)
        self.alive = [sum(lengths[at] > step for at in order) for step in range(longest)]
        self.rows = np.array(
            [starts[at] + step for step in range(longest) for at in order[: self.alive[step]]], np.int64
        )
        self.tags = np.array([tags[at][step] for step in range(longest) for at in order[: self.alive[step]]], np.int64)
        self.offsets = np.concatenate([[0], np.cumsum(self.alive)]).astype(int)

    def loss(self, emissions: Floats, begin: Floats, steps: Floats) -> tuple[float, Floats, Floats, Floats]:
        """Return the negative log-likelihood of the tags, and how it changes with the emissions, begins and steps."""
        top = emissions.max(1, keepdims=True)
        fit = np.exp(emissions - top)
        go = np.exp(steps)
        forward, scales = np.empty_like(fit), np.empty(len(fit))
        for step, alive in enumerate(self.alive):
            part = self._part(step)
            before = np.exp(begin) if not step else forward[self._part(step - 1)][:alive] @ go
            here = before * fit[part]
            scales[part] = here.sum(1)
            forward[part] = here / scales[part][:, None]
        chance = np.empty_like(fit)
        met = np.zeros_like(go)
        after = np.ones((self.alive[-1], len(go)))
        for step in range(len(self.alive) - 1, -1, -1):
            part = self._part(step)
            chance[part] = forward[part] * after
            if step:
                ahead = fit[part] * after / scales[part][:, None]
                met += forward[self._part(step - 1)][: self.alive[step]].T @ ahead
                after = np.ones((self.alive[step - 1], len(go)))
                after[: self.alive[step]] = ahead @ go.T
        gold = np.arange(len(fit)), self.tags
        first = self._part(0)
        score = emissions[gold].sum() + begin[self.tags[first]].sum()
        change = chance
        begins = chance[first].sum(0) - np.bincount(self.tags[first], minlength=len(go))
        change[gold] -= 1
        moves = met * go
        for step in range(1, len(self.alive)):
            one, two = self.tags[self._part(step - 1)][: self.alive[step]], self.tags[self._part(step)]
            np.subtract.at(moves, (one, two), 1)
            score += steps[one, two].sum()
        return float(np.log(scales).sum() + top.sum() - score), change, begins, moves

    def _part(self, step: int) -> slice:
        return slice(int(self.offsets[step]), int(self.offsets[step + 1]))


def train(
    matrix: Any, corpus: Corpus, tags: Sequence[str], l2: float, rounds: int, tell: Any
) -> tuple[Floats, Floats, Floats]:
    """Return weights (a row per column of the sparse `matrix`, a column per tag), begins and steps, by L-BFGS."""
    from scipy.optimize import minimize

    matrix = matrix[corpus.rows]
    turned = matrix.T.tocsr()
    begin_mask, step_mask = allowed(tags)
    count, wide = len(tags), matrix.shape[1]
    cuts = [wide * count, wide * count + count]
    done = [0]

    def loss(at: Floats) -> tuple[float, Floats]:
        weights, begin, steps = np.split(at, cuts)
        weights, steps = weights.reshape(wide, count), steps.reshape(count, count)
        value, change, begins, moves = corpus.loss(matrix @ weights, begin + begin_mask, steps + step_mask)
        slope = np.concatenate([(turned @ change).ravel(), begins, moves.ravel()])
        return value + l2 / 2 * float(at @ at), slope + l2 * at

    def step(_: Floats) -> None:
        done[0] += 1
        tell(done[0], rounds, "tagger: fitting")

    start = np.zeros(wide * count + count + count * count)
    options = {"maxiter": rounds, "maxcor": 8}
    found = minimize(loss, start, jac=True, method="L-BFGS-B", options=options, callback=step).x
    weights, begin, steps = np.split(found, cuts)
    return weights.reshape(wide, count), begin + begin_mask, steps.reshape(count, count) + step_mask
