"""Labels by a linear head on the embeddings of a small sentence encoder, which are made once and kept."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Annotated

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec import Meta

from aigrid.core.config import load as load_config
from aigrid.core.models import pull, resolve
from aigrid.factory.digest import of_value
from aigrid.factory.ladder import files
from aigrid.factory.ladder.base import Answer, Candidate, Fit, Task
from aigrid.factory.ladder.calibrate import sharpness
from aigrid.factory.ladder.needs import missing
from aigrid.factory.rows import Row

COSTLY = False
_PART = 1024

Floats = npt.NDArray[np.float32]


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`model` is the encoder; `c` is the weight of the training rows against simplicity."""

    model: str = "all-minilm-l6-v2"
    c: Annotated[float, Meta(gt=0)] = 10.0


def unfit(task: Task, settings: Settings) -> str:
    """Return why a task is none for this rung."""
    if task.kind != "label" or len(task.names) < 2:
        return "it answers with one of two or more labels"
    if why := missing("sklearn"):
        return why
    model = resolve(settings.model, load_config())
    return "" if model.present else f"the encoder is not here: aigrid models pull {model.id}"


def fit(fit: Fit, folder: Path) -> None:
    """Fit a weight for each dimension and label, on embeddings that are kept in the line's work folder."""
    from sklearn.linear_model import LogisticRegression

    files.write(folder / "head.json", {"model": fit.settings.model, "labels": fit.task.names})
    head = Head(folder)
    at = {name: index for index, name in enumerate(fit.task.names)}
    known = [row for row in fit.dev if row.output in at]
    vectors = _kept(fit, head, [*fit.rows, *known])
    fit.tell(len(vectors), len(vectors), "head: fitting")
    model = LogisticRegression(C=fit.settings.c, max_iter=300, tol=1e-3)
    model.fit(vectors[: len(fit.rows)], [at[row.output] for row in fit.rows])
    weights, bias = model.coef_.T, model.intercept_
    if len(at) == 2:
        weights, bias = np.hstack([-weights / 2, weights / 2]), np.array([-bias[0] / 2, bias[0] / 2])
    weights, bias = weights.astype(np.float32), bias.astype(np.float32)
    scores = vectors[len(fit.rows) :].astype(np.float64) @ weights + bias
    sharp = sharpness(scores, np.array([at[row.output] for row in known], np.int64))
    files.save(folder, weights=weights, bias=bias, sharpness=np.array([sharp]))


def _kept(fit: Fit, head: "Head", rows: Sequence[Row]) -> Floats:
    """Return the embeddings of rows, from the work folder as far as they were made before."""
    parts = []
    for at in range(0, len(rows), _PART):
        texts = [row.input for row in rows[at : at + _PART]]
        path = fit.work / f"vectors-{of_value([fit.settings.model, texts])[:16]}"
        if not path.with_suffix(".npy").exists():
            fit.tell(at, len(rows), "head: embedding")
            np.save(path.with_suffix(".new.npy"), head.embed(texts))
            path.with_suffix(".new.npy").rename(path.with_suffix(".npy"))
        parts.append(np.load(path.with_suffix(".npy")))
    return np.concatenate(parts)


class _Made(msgspec.Struct):
    model: str
    labels: list[str]


class Head(Candidate):
    """The head at work; its encoder loads at the first answer."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._made = files.read(folder / "head.json", _Made)
        self._folder = folder

    @cached_property
    def _encoder(self):  # type: ignore[no-untyped-def]
        from aigrid.knowledge.embed import LocalEmbedder

        model = resolve(self._made.model, load_config())
        return LocalEmbedder(pull(model), model.id, threads=1)

    @cached_property
    def _weights(self) -> tuple[Floats, Floats, float]:
        weights, bias, sharp = (files.array(self._folder, name) for name in ("weights", "bias", "sharpness"))
        return weights, bias, float(sharp[0])

    def embed(self, texts: Sequence[str]) -> Floats:
        """Return a vector for each text, of halves: what differs by rounding from batch to batch mostly vanishes."""
        vectors: Floats = self._encoder.embed(texts).astype(np.float16).astype(np.float32)
        return vectors

    def answer(self, inputs: Sequence[str]) -> list[Answer]:
        """Return the label with the highest score for each input."""
        weights, bias, sharp = self._weights
        answers = []
        for scores in self.embed(inputs) @ weights + bias:
            best = int(scores.argmax())
            answers.append(Answer(self._made.labels[best], float(1 / np.exp(sharp * (scores - scores[best])).sum())))
        return answers


def load(folder: Path) -> Head:
    """Return the head of a folder."""
    return Head(folder)
