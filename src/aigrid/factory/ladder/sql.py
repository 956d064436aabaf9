"""A clerk for one database as a candidate: a question in words, answered with SQL that has run, its rows, and its sources.

The stage `sql` makes it. The database is not in it: it is found by its name and digest in `AIGRID_HOME/databases`.
"""

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import msgspec

from aigrid.core.config import home
from aigrid.core.errors import BadRequest
from aigrid.factory.ladder.base import Answer, Candidate, Fit, Task

COSTLY = True
MODEL = "model.gguf"
_SHOWN = 50
"""Rows of a result that an answer shows."""


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Nothing: it is made by the stage `sql`."""


def unfit(task: Task, settings: Settings) -> str:
    """Return why the stage `train` cannot make one."""
    return "it is made by the stage `sql`"


def fit(fit: Fit, folder: Path) -> None:
    """Refuse."""
    raise BadRequest("a clerk is made by the stage `sql`", param="rungs")


class Clerking(Candidate):
    """The clerk at work; its model, where it has one, is started by the first question."""

    def __init__(self, folder: Path, database: Path) -> None:
        from aigrid.factory.sql.clerk import Clerk

        super().__init__()
        self._clerk = Clerk.load(folder, database)
        self._model = folder / MODEL
        self._stack = ExitStack()
        self._generate: Any = None

    def answer(self, inputs: Sequence[str]) -> list[Answer]:
        """Return `{"sql", "columns", "rows", "cited", "why"}` for each question; None where nothing answers it."""
        if self._generate is None and self._clerk.with_model and self._model.is_file():
            from aigrid.factory.sql.model import writer

            self._generate = self._stack.enter_context(writer(self._model))
        return [self._one(text) for text in inputs]

    def close(self) -> None:
        """Stop the model."""
        self._generate = None
        self._stack.close()

    def _one(self, text: str) -> Answer:
        from aigrid.factory.sql.clerk import NoAnswer

        try:
            found = self._clerk.answer(text, self._generate)
        except NoAnswer:
            return Answer(None, 0.0)
        output = {
            "sql": found.sql,
            "columns": list(found.rows.columns),
            "rows": [list(row) for row in found.rows.rows[:_SHOWN]],
            "cited": [pair.question for pair in found.cited],
            "why": found.why,
        }
        return Answer(output, float(found.chance))


def keep(database: Path, digest: str) -> None:
    """Remember where a database is, so that its clerk finds it: a link in `AIGRID_HOME/databases`."""
    place = home() / "databases" / f"{digest[:16]}-{database.name}"
    place.parent.mkdir(parents=True, exist_ok=True)
    new = place.with_name(f".{place.name}.new")
    new.unlink(missing_ok=True)
    new.symlink_to(database.resolve())
    new.replace(place)


def load(folder: Path) -> Clerking:
    """Return the clerk of a folder; raises `BadRequest` that says where its database should lie."""
    about = msgspec.json.decode((folder / "clerk.json").read_bytes())
    name = f"{about['sha256'][:16]}-{about['database']}"
    place = home() / "databases" / name
    if not place.exists():
        raise BadRequest(f"the clerk's database {about['database']} is not here: put it at {place}")
    return Clerking(folder, place)
