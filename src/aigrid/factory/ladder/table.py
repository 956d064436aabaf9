"""The table of a ladder, and which rung is taken."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import msgspec

from aigrid.core.errors import BadRequest
from aigrid.factory.ladder import files
from aigrid.factory.ladder.base import Task
from aigrid.factory.ladder.trial import Trial
from aigrid.factory.stats import Share

Clears = Literal["low", "value"]


class Step(msgspec.Struct):
    """A rung of a line: what came of it, or why it was not tried."""

    rung: str
    clears: bool = False
    why_not: str = ""
    score: Share | None = None
    calibration: float | None = None
    coverage: float | None = None
    wrong: float | None = None
    bytes: int | None = None

    def take(self, folder: Path, bar: float, clears: Clears) -> None:
        """Take what came of a rung, and say whether it clears the bar."""
        trial = files.read(folder / "step.json", Trial)
        self.score, self.calibration, self.bytes = trial.score, trial.calibration, trial.bytes
        self.coverage, self.wrong = trial.coverage, trial.wrong
        self.clears = (trial.score.low if clears == "low" else trial.score.value) >= bar


class Table(msgspec.Struct):
    """All rungs, the cheapest first; which one was picked, whether it clears the bar, and why it was picked."""

    picked: str
    cleared: bool
    why: str
    bar: float
    clears: Clears
    metric: str
    task: Task
    rungs: list[Step]


def choose(steps: Sequence[Step], task: Task, metric: str, bar: float, clears: Clears) -> Table:
    """Return the table: the cheapest rung that clears the bar, else the best (of equals, the cheaper) and that it does not.

    Raises `BadRequest` where no rung could be fitted.
    """
    scored = [step for step in steps if step.score is not None]
    if not scored:
        reasons = "; ".join(f"{step.rung}: {step.why_not}" for step in steps)
        raise BadRequest(f"no rung of the ladder can do this task ({reasons})", param="rungs")
    of = f"{bar:.1%} ({metric}, {'low end of the 95 % interval' if clears == 'low' else 'point estimate'})"
    passed = next((step for step in scored if step.clears), None)
    if passed is not None:
        below = scored[: scored.index(passed)]
        under = "; cheaper rungs fall short: " + _list(below) if below else "; there is no cheaper one"
        why = f"{passed.rung} is the cheapest rung that clears the bar of {of}: {passed.score}{under}"
        return Table(passed.rung, True, why, bar, clears, metric, task, list(steps))
    best = max(scored, key=lambda step: step.score.value if step.score else 0.0)
    why = f"no rung clears the bar of {of}; {best.rung} is the best of them: {_list(scored)}"
    return Table(best.rung, False, why, bar, clears, metric, task, list(steps))


def _list(steps: Sequence[Step]) -> str:
    return ", ".join(f"{step.rung} {step.score}" for step in steps)
