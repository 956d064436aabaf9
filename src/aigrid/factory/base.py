"""What a stage of a line is given, and what it gives back."""

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from aigrid.core.errors import ConfigError
from aigrid.factory.spread import Here, Spread

if TYPE_CHECKING:
    from aigrid.client.http import Gateway

Figure = int | float | str | bool | None
Tell = Callable[[int, int | None, str], None]
"""Told how far a stage is: done, of how many (None: unknown), what it is at. May raise to stop it."""

STAGES: dict[str, str] = {
    "curate": "aigrid.factory.curate",
    "synthesise": "aigrid.factory.synthesise",
    "train": "aigrid.factory.train",
    "evaluate": "aigrid.factory.evaluate",
    "guard": "aigrid.factory.guarding",
    "pack": "aigrid.factory.seal",
    "gate": "aigrid.factory.gate",
    "sql": "aigrid.factory.sql.stage",
}
"""Stage by the name that lines use for it: its module. Looked up by `stage`; extended by `register`."""


class Cost(msgspec.Struct):
    """Tokens of models, nano-dollars and millijoules. `source` says how the energy was measured."""

    tokens: int = 0
    nusd: int = 0
    mj: int = 0
    source: str = ""


def quiet(done: int, total: int | None, what: str) -> None:
    """Tell nobody."""


@dataclass
class Job:
    """One stage at work.

    `data` are the line's files by name, `inputs` the folders of the stages before it by name. `out` is the folder to
    write: files whose bytes follow from what went in. `work` is a folder that survives a crash, for checkpoints.
    """

    name: str
    seed: int
    folder: Path
    data: Mapping[str, Path]
    inputs: Mapping[str, Path]
    out: Path
    work: Path
    tell: Tell = quiet
    about: Mapping[str, Any] = field(default_factory=dict)
    opened: "Callable[[], Gateway] | None" = None
    spread: Spread = field(default_factory=Here)
    cost: Cost = field(default_factory=Cost)
    figures: dict[str, Figure] = field(default_factory=dict)
    measured: dict[str, Figure] = field(default_factory=dict)

    def input(self, name: str = "") -> Path:
        """Return the folder of a stage before this one; without a name, of the one just before it."""
        if not self.inputs:
            raise ConfigError(f"stage `{self.name}` needs a stage before it: name one in `after`", param=self.name)
        if name and name not in self.inputs:
            raise ConfigError(f"stage `{self.name}` needs a stage `{name}` before it", param=f"{self.name}.after")
        return self.inputs[name] if name else list(self.inputs.values())[-1]

    def file(self, name: str) -> Path:
        """Return one of the line's data files."""
        if name not in self.data:
            known = ", ".join(f"`{each}`" for each in self.data) or "none"
            raise ConfigError(f"stage `{self.name}` asks for data `{name}`; the line has {known}", param=self.name)
        return self.data[name]

    def gateway(self) -> "Gateway":
        """Return the gateway whose models the stage may ask; raises `ConfigError` where there is none."""
        if self.opened is None:
            raise ConfigError(
                f"stage `{self.name}` asks a model: start a factory with `aigrid up` first", param=self.name
            )
        return self.opened()

    def say(self, **figures: Figure) -> None:
        """Say what this stage did to the numbers: figures that follow from what went in, and nothing else."""
        self.figures.update(figures)

    def measure(self, **figures: Figure) -> None:
        """Say what was measured and may differ the next time: seconds, latencies, prices."""
        self.measured.update(figures)


class Stage(Protocol):
    """A module that is a stage."""

    Settings: type[msgspec.Struct]

    def run(self, job: Job, settings: Any) -> None:
        """Do the stage's work; a folder of a crashed try lies in `job.work`, `job.out` is empty."""


def register(**stages: str) -> None:
    """Make stages known by name: `register(curate="aigrid.factory.curate")`."""
    STAGES.update(stages)


def stage(use: str, where: str) -> Stage:
    """Return the stage of a name; raises `ConfigError` that lists the known ones."""
    if use not in STAGES:
        raise ConfigError(f"unknown stage `{use}` in {where}; there are {', '.join(sorted(STAGES))}", param=use)
    module: Any = importlib.import_module(STAGES[use])
    return module  # type: ignore[no-any-return]
