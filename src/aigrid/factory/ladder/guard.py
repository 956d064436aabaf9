"""The guard as a rung: windows of hashed n-grams, under every disguise, for the task of telling attacks from the rest.

Its labels are `attack` and `harmless`. The threshold is set so that `recall` of the dev rows' attacks are found; harmless
rows have no part in it. What it writes is a guard's model (`aigrid.guard`), which the stage `guard` and the gateway
take as it is.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from aigrid.factory.ladder.base import Answer, Candidate, Fit, Task
from aigrid.guard.classifier import Guard
from aigrid.guard.train import Row, threshold, train

COSTLY = False
ATTACK, HARMLESS = "attack", "harmless"
MODEL = "model.npz"


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`recall` of the dev rows' attacks are found; `strength` is the inverse of the regularisation."""

    recall: Annotated[float, Meta(gt=0, le=1)] = 0.975
    strength: Annotated[float, Meta(gt=0)] = 4.0


def unfit(task: Task, settings: Settings) -> str:
    """Return why this rung cannot do a task; empty where it tells attacks from the harmless."""
    right = task.kind == "label" and set(task.names) == {ATTACK, HARMLESS}
    return "" if right else f"it tells `{ATTACK}` from `{HARMLESS}`, and nothing else"


def fit(fit: Fit, folder: Path) -> None:
    """Train, set the threshold, write the model."""
    fit.tell(0, 1, "guard: training")
    learnt = [
        Row(row.input, row.output == ATTACK, row.group or row.id, str(row.meta.get("source", row.origin)))
        for row in fit.rows
    ]
    made = train(learnt, strength=fit.settings.strength, seed=fit.seed)
    guard = Guard(made.weights, made.scale, made.bias, 0.0)
    attacks = [row.input for row in fit.dev if row.output == ATTACK]
    Guard(made.weights, made.scale, made.bias, threshold(guard, attacks, fit.settings.recall)).save(folder / MODEL)


class Guarding(Candidate):
    """A guard that answers with a label."""

    def __init__(self, guard: Guard) -> None:
        super().__init__()
        self._guard = guard

    def answer(self, inputs: Sequence[str]) -> list[Answer]:
        """Return `attack` or `harmless` for each input."""
        found = []
        for text in inputs:
            score = self._guard.check(text).score
            sure = 1 / (1 + math.exp(-min(30.0, abs(score))))
            found.append(Answer(ATTACK if score > 0 else HARMLESS, sure))
        return found


def load(folder: Path) -> Guarding:
    """Return the candidate of a folder that `fit` wrote."""
    return Guarding(Guard.load(folder / MODEL))
