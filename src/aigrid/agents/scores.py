"""What is known of how agents did: runs that ended, what people said of them, and evaluations.

Runs speak for themselves in their journals, people in `feedback.jsonl`, a debate's judge, who does not know whose the
answers are, in the journal of the run that had it judge. A run that a person stopped says nothing. Evaluations are lines of JSON in
`AIGRID_HOME/scores.jsonl`: `{"agent": …, "task": …, "score": 0…1, "source": …}`.
"""

import fcntl
import os
import sqlite3
from collections.abc import Iterable, Iterator
from itertools import islice, pairwise
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from aigrid.agents import feedback, shelf
from aigrid.agents.journal import Place, Step
from aigrid.agents.spec import AgentName
from aigrid.core.clock import SECOND
from aigrid.core.config import home
from aigrid.core.errors import AigridError, ConfigError

NEWEST = 1000
"""Runs that are looked at."""
RATED, EVALUATED, JUDGED, ENDED = 1.0, 1.0, 0.5, 0.25
"""What an observation weighs. A debate's judge is a model, which errs more than a person; that a run came to an end says
little about whether its answer was right."""


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
    ended = {place.run: found for place in islice(shelf.places(), NEWEST) if (found := _ended(place)) is not None}
    own = {run: found for run, found in ended.items() if found.tenant == tenant}
    judged = {run: value for found in own.values() for run, value in found.judged.items()}
    for run, found in own.items():
        if run in said:
            yield msgspec.structs.replace(found.seen, value=said[run], weight=RATED)
        elif run in judged:
            yield msgspec.structs.replace(found.seen, value=judged[run], weight=JUDGED)
        else:
            yield found.seen


def _value(row: feedback.Row) -> float | None:
    """Return what feedback says of a run; a correction without a rating says that it was wrong."""
    if row.feedback.rating is not None:
        return (row.feedback.rating + 1) / 2
    return 0.0 if row.feedback.correction else None


class _Ended(msgspec.Struct):
    """What is to be learnt of a run that has ended; `judged` is what a debate's judge found of others' runs."""

    tenant: str
    seen: Seen
    judged: dict[str, float]


_known: dict[str, tuple[int, _Ended | None]] = {}


def _ended(place: Place) -> _Ended | None:
    """Return what a run teaches that has ended; it does not change any more, so it is read once."""
    try:
        changed = place.changed()
        kept = _known.get(place.run)
        if kept is None or kept[0] != changed:
            kept = _known[place.run] = (changed, _observed(place.read()))
    except (OSError, AigridError, sqlite3.Error):  # taken away, or being made at this moment
        return None
    return kept[1]


def _observed(steps: list[Step]) -> _Ended | None:
    if not steps or steps[-1].kind != "end" or steps[-1].body.get("stopped_by"):
        return None
    start, end = steps[0].body, steps[-1].body
    calls = sum(step.kind in ("tool", "refused") for step in steps)
    refused = sum(step.kind == "refused" for step in steps)
    value = 1.0 if end["state"] == "done" else 0.0
    name, task = start["agent"]["name"], start["task"]
    seen = Seen(name, task["text"], value, ENDED, end["cost_nusd"], worked_s(steps), calls, refused)
    judged = {run: won for step in steps if step.kind == "judged" for run, won in step.body["values"].items()}
    return _Ended(task["tenant"], seen, judged)


def worked_s(steps: list[Step]) -> float:
    """Return the seconds that a run was at work, without those in which it waited or lay about."""
    return sum(b.at_ns - a.at_ns for a, b in pairwise(steps) if a.kind != "paused" and b.kind != "resumed") / SECOND
