"""What a rung of the ladder is given, and what a candidate gives back."""

import importlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import msgspec

from aigrid.core.errors import ConfigError
from aigrid.factory.base import Cost, Tell
from aigrid.factory.rows import Row

RUNGS: dict[str, str] = {
    "nearest": "aigrid.factory.ladder.nearest",
    "linear": "aigrid.factory.ladder.linear",
    "tagger": "aigrid.factory.ladder.tagger",
    "guard": "aigrid.factory.ladder.guard",
    "head": "aigrid.factory.ladder.head",
    "prompt": "aigrid.factory.ladder.prompt",
    "lora": "aigrid.factory.ladder.lora",
    "sql": "aigrid.factory.ladder.sql",
}
"""Rung by name: its module. The order is the ladder's: what a call costs, the cheapest first."""


class Task(msgspec.Struct, frozen=True):
    """What is to be answered: one of a few labels, values found in the input by the name of their slot, or free text.

    `names` are the labels or the slots, in order.
    """

    kind: Literal["label", "slots", "text"]
    names: tuple[str, ...] = ()


class Answer(msgspec.Struct, frozen=True):
    """A candidate's answer in the shape of a row's `output`, and how sure it is that it is right (0 to 1)."""

    output: Any
    confidence: float


class Candidate(ABC):
    """Something that answers. `cost` is what models have cost it until now: tokens, and money to others."""

    def __init__(self) -> None:
        self.cost = Cost()

    @abstractmethod
    def answer(self, inputs: Sequence[str]) -> list[Answer]:
        """Return one answer for each input, in order. An answer does not depend on the others asked with it."""

    def close(self) -> None:
        """End what it started; the next answer starts it again."""
        return


@dataclass(frozen=True)
class Fit:
    """What a rung is fitted with.

    `rows` are the training rows, `dev` those to set a few numbers by (never to learn from). `settings` is what the
    line says about this rung. `work` is a folder that survives a crash, shared by all rungs of a line. A rung that
    uses models adds what they cost to `cost`.
    """

    task: Task
    rows: Sequence[Row]
    dev: Sequence[Row]
    settings: Any
    seed: int
    work: Path
    tell: Tell
    cost: Cost


class Rung(Protocol):
    """A module that is a rung. `Settings` is a Struct of what a line may say about it.

    A `COSTLY` rung answers by a model; its score comes from a sample of the dev rows, as large as the line says.
    """

    Settings: type[msgspec.Struct]
    COSTLY: bool

    def unfit(self, task: Task, settings: Any) -> str:
        """Return why this rung cannot do such a task on this machine, in a few words; empty where it can."""

    def fit(self, fit: Fit, folder: Path) -> None:
        """Write the candidate's files: the same for the same rows, settings and seed."""

    def load(self, folder: Path) -> Candidate:
        """Return the candidate of a folder that `fit` wrote."""


def register(**rungs: str) -> None:
    """Make rungs known by name, above those there are: `register(forest="my.forest")`."""
    RUNGS.update(rungs)


def rung(name: str) -> Rung:
    """Return the rung of a name; raises `ConfigError` that lists the known ones."""
    if name not in RUNGS:
        raise ConfigError(f"there is no rung `{name}` on the ladder; there are {', '.join(RUNGS)}", param="rungs")
    module: Any = importlib.import_module(RUNGS[name])
    return module  # type: ignore[no-any-return]
