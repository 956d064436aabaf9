"""A fitted candidate on the dev rows: how right it is, how sure it may be, and where it had better not answer."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from aigrid.factory.base import Cost, Tell
from aigrid.factory.ladder import calibrate, files
from aigrid.factory.ladder.base import Answer, Task, rung
from aigrid.factory.ladder.calibrate import Curve, Unsure
from aigrid.factory.ladder.open import About, Opened, describe
from aigrid.factory.rows import Row
from aigrid.factory.stats import Share, share

Metric = Callable[[Any, Row], float]

_PART = 64
_TIMES = 1000


class Trial(msgspec.Struct, frozen=True):
    """What came of it. `calibration` is the expected calibration error; `bytes` is the size of the candidate's files.

    `coverage` is the share of rows answered and `wrong` that of wrong ones among these, where the line asks for
    an answer where it is unsure.
    """

    score: Share
    calibration: float
    bytes: int
    coverage: float | None = None
    wrong: float | None = None


def settle(
    folder: Path,
    name: str,
    task: Task,
    dev: Sequence[Row],
    score: Metric,
    metric: str,
    unsure: Unsure | None,
    tool: dict[str, Any] | None,
    cost: Cost,
    tell: Tell,
) -> None:
    """Write the candidate's `candidate.json`, and `step.json` with its trial."""
    inner = rung(name).load(folder)
    raw: list[Answer] = []
    try:
        for at in range(0, len(dev), _PART):
            raw += inner.answer([row.input for row in dev[at : at + _PART]])
            tell(len(raw), len(dev), f"{name}: scoring")
    finally:
        inner.close()
    cost.tokens, cost.nusd = cost.tokens + inner.cost.tokens, cost.nusd + inner.cost.nusd
    credits = [float(score(answer.output, row)) for answer, row in zip(raw, dev, strict=True)]
    curve: Curve = calibrate.curve([answer.confidence for answer in raw], credits)
    sure = [curve(answer.confidence) for answer in raw]
    outputs = [answer.output for answer in raw]
    limit = calibrate.threshold(unsure, outputs, sure, [each == 1 for each in credits]) if unsure else None
    about = About(name, task, curve, limit, tool if task.kind == "slots" else None)
    describe(folder, about)
    served = Opened(about, inner)
    outputs = [served.checked(answer).output for answer in raw]
    credits = [float(score(output, row)) for output, row in zip(outputs, dev, strict=True)]
    value = macro_f1(outputs, dev) if metric == MACRO else share(credits)
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    coverage, wrong = (limit.coverage, limit.wrong) if limit else (None, None)
    error = calibrate.error(sure, [float(score(answer.output, row)) for answer, row in zip(raw, dev, strict=True)])
    files.write(folder / "step.json", Trial(value, round(error, 6), size, coverage, wrong))


MACRO = "macro-f1"


def macro_f1(outputs: Sequence[Any], dev: Sequence[Row]) -> Share:
    """Return the mean over the labels of their F1, with the 95 % interval of a bootstrap over the rows."""
    names = sorted({str(row.output) for row in dev})
    at = {name: index for index, name in enumerate(names)}
    wanted = np.array([at[str(row.output)] for row in dev])
    given = np.array([at.get(str(output), len(names)) for output in outputs])

    def f1(rows: Any) -> float:
        right = np.bincount(wanted[rows][wanted[rows] == given[rows]], minlength=len(names))
        both = np.bincount(wanted[rows], minlength=len(names)) + np.bincount(given[rows], minlength=len(names) + 1)[:-1]
        return float(np.mean(2 * right[both > 0] / both[both > 0]))

    rng = np.random.default_rng(1)
    drawn = [f1(rng.integers(0, len(dev), len(dev))) for _ in range(_TIMES)]
    low, high = (float(each) for each in np.quantile(drawn, (0.025, 0.975)))
    return Share(f1(np.arange(len(dev))), low, high, len(dev))
