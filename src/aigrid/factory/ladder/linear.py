"""Labels by a linear model over the terms of a text: a support vector machine for each label, one against the rest.

(R.-E. Fan et al., LIBLINEAR, JMLR 9, 2008.) Scores become probabilities by a softmax, whose sharpness is set on dev.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec import Meta

from aigrid.factory.ladder import files
from aigrid.factory.ladder.base import Answer, Candidate, Fit, Task
from aigrid.factory.ladder.calibrate import sharpness
from aigrid.factory.ladder.needs import missing
from aigrid.factory.ladder.text import Terms

COSTLY = False


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`c` is the weight of the training rows against simplicity, `chars` the runs of characters that count."""

    c: Annotated[float, Meta(gt=0)] = 0.5
    chars: tuple[Annotated[int, Meta(ge=1, le=8)], Annotated[int, Meta(ge=1, le=8)]] = (2, 4)


def unfit(task: Task, settings: Settings) -> str:
    """Return why a task is none for this rung."""
    if task.kind != "label" or len(task.names) < 2:
        return "it answers with one of two or more labels"
    return missing("sklearn")


def fit(fit: Fit, folder: Path) -> None:
    """Fit one weight for each term and label."""
    from scipy.sparse import csr_matrix
    from sklearn.svm import LinearSVC

    fit.tell(0, 3, "linear: terms")
    texts = [row.input for row in fit.rows]
    terms = Terms.of(texts, fit.settings.chars, 2 if len(texts) > 1000 else 1)
    starts, columns, values = terms.matrix(texts)
    fit.tell(1, 3, f"linear: {len(terms):,} terms, {len(fit.task.names)} labels")
    at = {name: index for index, name in enumerate(fit.task.names)}
    matrix = csr_matrix((values.astype(np.float64), columns, starts), (len(texts), len(terms)))
    model = LinearSVC(C=fit.settings.c, random_state=fit.seed).fit(matrix, [at[row.output] for row in fit.rows])
    weights, bias = model.coef_.T, model.intercept_
    if len(fit.task.names) == 2:
        weights, bias = np.hstack([-weights, weights]), np.array([-bias[0], bias[0]])
    fit.tell(2, 3, "linear: probabilities")
    terms.save(folder)
    files.write(folder / "labels.json", fit.task.names)
    files.save(folder, weights=weights.astype(np.float16), bias=bias.astype(np.float32), sharpness=np.ones(1))
    plain = load(folder)
    known = [row for row in fit.dev if row.output in at]
    scores = np.array([plain.scores(row.input) for row in known]).reshape(len(known), len(at))
    sharp = sharpness(scores, np.array([at[row.output] for row in known], np.int64))
    files.save(folder, sharpness=np.array([sharp]))


class Linear(Candidate):
    """The linear model at work."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._terms = Terms.load(folder)
        self._labels = files.read(folder / "labels.json", list[str])
        self._weights = files.array(folder, "weights").astype(np.float32)
        self._bias = files.array(folder, "bias")
        self._sharpness = float(files.array(folder, "sharpness")[0])

    def scores(self, text: str) -> npt.NDArray[np.float32]:
        """Return the distance of a text from each label's border."""
        columns, values = self._terms.vector(text)
        scores: npt.NDArray[np.float32] = values @ self._weights[columns] + self._bias
        return scores

    def answer(self, inputs: Sequence[str]) -> list[Answer]:
        """Return the label with the highest score for each input."""
        return [self._answer(text) for text in inputs]

    def _answer(self, text: str) -> Answer:
        scores = self.scores(text)
        best = int(scores.argmax())
        share = 1 / np.exp(self._sharpness * (scores - scores[best])).sum()
        return Answer(self._labels[best], float(share))


def load(folder: Path) -> Linear:
    """Return the model of a folder."""
    return Linear(folder)
