"""The flywheel: when enough was said about a line's answers, run the line again, within a budget, in the cheap hours.

What counts are new lessons: ratings of its pack, and feedback on agents where the line reads it. A build is due after
`lessons` new ones, starts in the cheapest hours of the energy table within a day, and runs at the idle priority, so
whatever serves people comes first. What builds cost is taken from the last ones; none starts that the budget of the
last `DAY` does not cover.
"""

import os
from collections.abc import Callable
from typing import Literal

import msgspec

from aigrid.core.clock import DAY, now_ns
from aigrid.core.config import Config
from aigrid.core.errors import AigridError
from aigrid.factory import record, run
from aigrid.factory.curate import Settings as Curate
from aigrid.factory.line import Line
from aigrid.factory.record import Build
from aigrid.factory.sources import OWN, own
from aigrid.gateway.batches.hours import Hours
from aigrid.packs import folders


class Flight(msgspec.Struct):
    """What the flywheel of a line remembers: lessons that were known when it last built, and its builds."""

    known: int = 0
    due_ns: int = 0
    builds: list[tuple[int, int]] = []
    """When each ended, and what it cost in nano-dollars."""
    last: str = ""


class Turn(msgspec.Struct, frozen=True):
    """What the flywheel does now, and why."""

    act: Literal["wait", "build", "built", "failed"]
    why: str
    build: Build | None = None


class Wheel:
    """The flywheel of one line. `load` reads the line anew for each build, as its file may have changed."""

    def __init__(
        self, load: Callable[[], Line], config: Config, *, lessons: int, budget_nusd: int, at_once: bool = False
    ) -> None:
        self._load, self._config = load, config
        self._lessons, self._budget, self._at_once = lessons, budget_nusd, at_once
        self._hours = Hours(config)
        self._path = run.root() / "lines" / load().name / "fly.json"

    def turn(self, make: Callable[[Line], Build] | None = None) -> Turn:
        """Look whether a build is due; make it where it is."""
        line, flight, now = self._load(), self._read(), now_ns()
        count = count_lessons(line)
        new = count - flight.known
        if new < self._lessons:
            return Turn("wait", f"{new} new lessons, {self._lessons} wanted")
        if not flight.due_ns:
            flight.due_ns = now
            self._write(flight)
        spent = sum(nusd for at, nusd in flight.builds if at > now - DAY)
        likely, took = self._last(line.name)
        if spent + likely > self._budget:
            return Turn(
                "wait", f"a build may cost ${likely / 1e9:.6f}; ${(self._budget - spent) / 1e9:.6f} are left today"
            )
        start = now if self._at_once else self._hours.until(now, flight.due_ns + DAY, took)
        if start > now:
            return Turn("wait", f"{new} new lessons; the cheaper hours begin in {(start - now) // 60_000_000_000} min")
        try:
            made = (make or (lambda line: run.build(line, self._config.site)))(line)
        except AigridError as error:
            flight.known, flight.due_ns, flight.last = count, 0, f"failed: {error.message}"
            self._write(flight)
            return Turn("failed", error.message)
        fresh = [stage for stage in made.stages if stage.state == "done"]
        cost = sum(stage.cost.nusd for stage in fresh)
        said = next((str(stage.measured.get("entered", "")) for stage in made.stages if stage.use == "gate"), "built")
        flight.known, flight.due_ns, flight.last = count, 0, said
        flight.builds = [*flight.builds[-99:], (now_ns(), cost)]
        self._write(flight)
        return Turn("built", f"build {made.number} with {new} new lessons: {said}", made)

    def _last(self, name: str) -> tuple[int, int]:
        """Return what the newest whole build cost and took; nothing where there was none."""
        try:
            whole = [build for build in record.builds(run.root(), name) if build.ended_ns is not None]
        except AigridError:
            return 0, 0
        return (whole[0].cost.nusd, whole[0].ns) if whole else (0, 0)

    def _read(self) -> Flight:
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=Flight)
        except FileNotFoundError:
            return Flight()

    def _write(self, flight: Flight) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        folders.write(self._path, msgspec.json.encode(flight))


def count_lessons(line: Line) -> int:
    """Return how many rows the line's own sources (ratings, feedback, runs) have now."""
    found = [
        source
        for planned in line.stages
        if isinstance(planned.settings, Curate)
        for source in planned.settings.sources
        if source.read in OWN
    ]
    return sum(1 for _ in own(line.name, found))


def step_back() -> None:
    """Let this process, and what it starts, run only while no other wants to."""
    try:
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    except (AttributeError, OSError):
        os.nice(19)
