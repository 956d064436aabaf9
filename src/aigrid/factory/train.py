"""Train: climb a ladder of candidates, the cheapest first, and take the first that clears the bar.

Each rung is fitted on the rows of the split `train` and scored on those of `dev`. What clears the bar on a cheap rung
has no need of a dear one; where none clears it, the best is taken and marked. `candidate/` is the chosen one,
`ladder.json` the table with the reason. Latency and cost depend on the machine: they are measured, and lie beside.
"""

import shutil
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
from msgspec import Meta

from aigrid.agents.spec_check import no_unknown
from aigrid.core.errors import BadRequest, ConfigError
from aigrid.factory.base import Cost, Job
from aigrid.factory.ladder import files, task
from aigrid.factory.ladder.base import RUNGS, Fit, Rung, Task, rung
from aigrid.factory.ladder.calibrate import Unsure
from aigrid.factory.ladder.measure import Measured, measure
from aigrid.factory.ladder.open import open as open_candidate
from aigrid.factory.ladder.table import Step, choose
from aigrid.factory.ladder.trial import MACRO, settle
from aigrid.factory.rows import Row, newest, read
from aigrid.factory.score import metric

CODE = (
    "aigrid.factory.ladder", "aigrid.factory.lora", "aigrid.factory.score", "aigrid.factory.stats", "aigrid.factory.rows",
)  # fmt: skip
PACKAGES = ("numpy", "scipy", "scikit-learn", "torch")
OWN_CODE = True

Chosen = str | dict[str, dict[str, Any] | None]


class Settings(msgspec.Struct, forbid_unknown_fields=True):
    """What a line may say about training.

    `bar` is the score to reach, with the `low` end of its 95 % interval or with the `value` itself. `rungs` are names,
    or a name with the rung's own settings; none means all that can do the task. `climb: stop` ends with the first that
    clears the bar; `all` fits the others too, for the table. `sample` dev rows are asked of rungs that run a model.
    `metric` is one of score.py, `macro-f1`, or a function of the blueprint's: `file.py:function`.
    """

    bar: Annotated[float, Meta(ge=0, le=1)]
    metric: str = "exact"
    clears: Literal["low", "value"] = "low"
    rungs: list[Chosen] = []
    climb: Literal["stop", "all"] = "stop"
    task: Literal["", "label", "slots", "text"] = ""
    unsure: Unsure | None = None
    sample: Annotated[int, Meta(ge=10)] = 200
    tool: dict[str, Any] | None = None


def run(job: Job, settings: Settings) -> None:
    """Write `candidate/` and `ladder.json`."""
    chosen = _rungs(settings)
    score = metric("label" if settings.metric == MACRO else settings.metric, job.folder)
    folder = newest(job.inputs)
    rows, dev = read(folder, "train"), read(folder, "dev")
    if not dev:
        raise BadRequest("there are no rows in the split `dev` to choose a rung by; give the stage `curate` a share")
    asked = task.of(rows, settings.task)
    steps: list[Step] = []
    with _one_thread():
        for name, own in chosen:
            step = Step(name)
            steps.append(step)
            if settings.climb == "stop" and any(each.clears for each in steps):
                step.why_not = "not tried: a cheaper rung clears the bar"
            elif not (why := rung(name).unfit(asked, own)):
                kept = _fitted(job, settings, score, asked, name, own, rows, dev)
                step.take(kept, settings.bar, settings.clears)
                _say(job, step, files.read(kept / "measured.json", Measured))
            else:
                step.why_not = why
                job.say(**{name: f"left out: {why}"})
    table = choose(steps, asked, settings.metric, settings.bar, settings.clears)
    shutil.copytree(job.work / "rungs" / table.picked / "candidate", job.out / "candidate")
    for step in steps:  # the others that cost nothing to ask are the evaluation's baselines
        if step.score is not None and step.rung != table.picked and not rung(step.rung).COSTLY:
            shutil.copytree(job.work / "rungs" / step.rung / "candidate", job.out / "rungs" / step.rung)
    files.write(job.out / "ladder.json", table)
    best = next(step for step in steps if step.rung == table.picked)
    assert best.score is not None
    job.say(
        picked=table.picked, clears=table.cleared, why=table.why,
        score=best.score.value, low=best.score.low, high=best.score.high, dev=best.score.n,
    )  # fmt: skip


def _rungs(settings: Settings) -> list[tuple[str, Any]]:
    """Return the rungs that the line names with their settings, the cheapest first."""
    named: dict[str, Any] = {}
    for each in settings.rungs or list(RUNGS):
        if isinstance(each, dict) and len(each) != 1:
            raise ConfigError("each of `rungs` is a name, or one name with its settings", param="rungs")
        name, own = (each, None) if isinstance(each, str) else next(iter(each.items()))
        if name in named:
            raise ConfigError(f"the rung `{name}` is named twice", param="rungs")
        kind, where = rung(name).Settings, f"rung `{name}`"
        no_unknown(own or {}, kind, where)
        try:
            named[name] = msgspec.convert(own or {}, kind, strict=True)
        except msgspec.ValidationError as error:
            raise ConfigError(f"{where}: {error}", param=name) from None
    return [(name, named[name]) for name in RUNGS if name in named]


def _fitted(
    job: Job, settings: Settings, score: Any, asked: Task, name: str, own: Any, rows: Sequence[Row], dev: Sequence[Row]
) -> Path:
    """Return the folder of a fitted rung, with its score and what was measured; of an earlier try, if it is whole."""
    kept = job.work / "rungs" / name
    if kept.exists():
        return kept
    module: Rung = rung(name)
    if module.COSTLY and len(dev) > settings.sample:
        at = np.random.default_rng(job.seed).permutation(len(dev))[: settings.sample]
        dev = [dev[index] for index in sorted(at)]
    new = kept.with_name(f"{name}.new")
    shutil.rmtree(new, ignore_errors=True)
    folder = new / "candidate"
    folder.mkdir(parents=True)
    cost = Cost()
    module.fit(Fit(asked, rows, dev, own, job.seed, job.work, job.tell, cost), folder)
    job.tell(0, len(dev), f"{name}: scoring")
    settle(folder, name, asked, dev, score, settings.metric, settings.unsure, settings.tool, cost, job.tell)
    candidate = open_candidate(folder)
    try:
        measured = measure(candidate, [row.input for row in dev], module.COSTLY)
    finally:
        candidate.close()
    measured.fit_tokens, measured.fit_nusd = cost.tokens, cost.nusd
    files.write(new / "measured.json", measured)
    (folder / "step.json").rename(new / "step.json")
    new.rename(kept)
    return kept


def _say(job: Job, step: Step, measured: Measured) -> None:
    assert step.score is not None
    job.cost.tokens += measured.fit_tokens
    job.cost.nusd += measured.fit_nusd
    job.say(**{step.rung: step.score.value})
    job.measure(
        **{
            f"{step.rung}_p50_ns": measured.p50_ns,
            f"{step.rung}_p99_ns": measured.p99_ns,
            f"{step.rung}_nusd_per_1000": measured.nusd_per_1000,
        }
    )


def _one_thread() -> AbstractContextManager[Any]:
    """Return a context in which matrix products run in one thread: the same sums, whatever the machine."""
    if find_spec("threadpoolctl") is None:
        return nullcontext()
    from threadpoolctl import threadpool_limits

    limits: AbstractContextManager[Any] = threadpool_limits(1)
    return limits
