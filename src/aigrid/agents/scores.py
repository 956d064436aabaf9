"""What is known of how agents did: runs that ended, what people said of them, and evaluations.

Runs speak for themselves in their journals, people in `feedback.jsonl`. Evaluations are lines of JSON in
`AIGRID_HOME/scores.jsonl`: `{"agent": …, "task": …, "score": 0…1, "source": …}`.
"""

import fcntl
import os
import sqlite3
from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from aigrid.agents import feedback, journal
from aigrid.agents.journal import Step
from aigrid.agents.spec import AgentName
from aigrid.core.clock import SECOND
from aigrid.core.config import home
from aigrid.core.errors import AigridError, ConfigError

NEWEST = 1000
"""Runs that are looked at."""
RATED, EVALUATED, ENDED = 1.0, 1.0, 0.25
"""What an observation weighs: that a run came to an end says little about whether its answer was right."""


class Score(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What an evaluation measured on one task: 0 is wrong, 1 is right."""

    agent: AgentName
    task: Annotated[str, Meta(min_length=1, max_length=100_000)]
    score: Annotated[float, Meta(ge=0, le=1)]
    source: str = ""


class Seen(msgspec.Struct, frozen=True):
    """One observation of an agent at a task. Without `cost_nusd` it was no run; `seconds` is without waiting."""

    agent: str
    task: str
    value: float
    weight: float
    cost_nusd: int | None = None
    seconds: float = 0.0
    calls: int = 0
    refused: int = 0


def path() -> Path:
    """Return the file of evaluations."""
    return home() / "scores.jsonl"


def add(lines: Iterable[bytes], where: str = "the file") -> int:
    """Append evaluations, all or none; returns how many. Raises `ConfigError` that names the line at fault."""
    rows = []
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                rows.append(msgspec.json.decode(line, type=Score))
            except msgspec.DecodeError as error:
                raise ConfigError(f"line {number} of {where}: {error}") from None
    with open(os.open(path(), os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600), "ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.write(b"".join(msgspec.json.encode(row) + b"\n" for row in rows))
    return len(rows)


def seen(tenant: str) -> list[Seen]:
    """Return what is known: evaluations, and this tenant's own runs, so that none learns of another's."""
    return [*_evaluated(), *_runs(tenant)]


def _evaluated() -> Iterator[Seen]:
    if path().exists():
        for line in path().read_bytes().splitlines():
            row = msgspec.json.decode(line, type=Score)
            yield Seen(row.agent, row.task, row.score, EVALUATED)


def _runs(tenant: str) -> Iterator[Seen]:
    said = {row.feedback.run: value for row in feedback.rows() if (value := _value(row)) is not None}
    for number, file in enumerate(journal.paths()):
        if number == NEWEST:
            return
        found = _ended(file)
        if found is not None and found[0] == tenant:
            one = found[1]
            if file.stem in said:
                one = msgspec.structs.replace(one, value=said[file.stem], weight=RATED)
            yield one


def _value(row: feedback.Row) -> float | None:
    """Return what feedback says of a run; a correction without a rating says that it was wrong."""
    if row.feedback.rating is not None:
        return (row.feedback.rating + 1) / 2
    return 0.0 if row.feedback.correction else None


_known: dict[Path, tuple[int, tuple[str, Seen] | None]] = {}


def _ended(file: Path) -> tuple[str, Seen] | None:
    """Return the tenant and the observation of a run that has ended; it does not change any more, so it is read once."""
    try:
        changed = file.stat().st_mtime_ns
        kept = _known.get(file)
        if kept is None or kept[0] != changed:
            kept = _known[file] = (changed, _observed(journal.read(file)))
    except (OSError, AigridError, sqlite3.Error):  # taken away, or being made at this moment
        return None
    return kept[1]


def _observed(steps: list[Step]) -> tuple[str, Seen] | None:
    if not steps or steps[-1].kind != "end":
        return None
    start, end = steps[0].body, steps[-1].body
    calls = sum(step.kind in ("tool", "refused") for step in steps)
    refused = sum(step.kind == "refused" for step in steps)
    value = 1.0 if end["state"] == "done" else 0.0
    name, task = start["agent"]["name"], start["task"]
    return task["tenant"], Seen(name, task["text"], value, ENDED, end["cost_nusd"], worked_s(steps), calls, refused)


def worked_s(steps: list[Step]) -> float:
    """Return the seconds that a run was at work, without those in which it waited or lay about."""
    return sum(b.at_ns - a.at_ns for a, b in pairwise(steps) if a.kind != "paused" and b.kind != "resumed") / SECOND
