"""The ladder in every blueprint that has one: all rungs fitted, scored on unseen rows, timed and priced; which is taken.

Rungs that run a model answer a sample of the rows, as does the untuned model without examples, the honest baseline. A
rung that trains a language model takes longer than this: it is left out, and named (`--lora` fits it too).
"""

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from aigrid.core.errors import AigridError
from aigrid.factory import run as lines
from aigrid.factory import train
from aigrid.factory.base import Cost, Job, quiet
from aigrid.factory.ladder import files, prompt, task
from aigrid.factory.ladder.base import Candidate, Fit, rung
from aigrid.factory.ladder.measure import Measured
from aigrid.factory.ladder.open import Opened
from aigrid.factory.ladder.open import open as open_candidate
from aigrid.factory.line import Line, Planned, load
from aigrid.factory.rows import Row, newest, read
from aigrid.factory.score import metric
from aigrid.factory.stats import Share, share
from benchmarks.common import ROOT, arguments, first_in_line, log, report

SAMPLE = 60
DEV_SAMPLE = 40
REFERENCE = {"booking-clerk": ("exact match of whole calls", 0.915), "intent-router": ("accuracy in scope", 0.927)}
"""Linear models as published or first tried on the same unseen rows; ours are to reach them."""


def ladders(data: Path) -> list[tuple[Line, Planned]]:
    """Return the blueprints' lines that climb a ladder, each with its stage."""
    found = []
    for path in sorted((ROOT / "blueprints").glob("*/line.yaml")):
        try:
            line = load(path, (data,))
        except AigridError as error:
            log(f"{path.parent.name}: left out: {error.message}")
            continue
        found += [(line, stage) for stage in line.stages if stage.use == "train"]
    return found


def climbed(line: Line, stage: Planned, work: Path, lora: bool) -> tuple[Job, dict[str, Any], list[str]]:
    """Build a line up to its ladder, then fit every rung of it; returns the job, the table and the rungs left out."""
    before = [each.name for each in line.stages[: line.stages.index(stage)]]
    made = lines.build(line, until=before[-1])
    folders = {each.name: lines.result(each.key) for each in made.stages if each.name in stage.after}
    out, kept = work / line.name / "out", work / line.name / "kept"
    out.mkdir(parents=True)
    kept.mkdir()
    names = [each if isinstance(each, str) else next(iter(each)) for each in stage.settings.rungs]
    left = [name for name in names if name == "lora" and not lora]
    rungs = [each for each, name in zip(stage.settings.rungs, names, strict=True) if name not in left]
    settings = msgspec.structs.replace(stage.settings, climb="all", rungs=rungs, sample=DEV_SAMPLE)
    job = Job(stage.name, line.seed, line.folder, line.files, folders, out, kept, quiet)
    train.run(job, settings)
    return job, msgspec.json.decode((out / "ladder.json").read_bytes()), left


def examined(candidate: Candidate, rows: Sequence[Row], score: Any) -> tuple[Share, list[Any]]:
    """Return the score on rows, and the answers."""
    answers = candidate.answer([row.input for row in rows])
    candidate.close()
    return share([float(score(answer.output, row)) for answer, row in zip(answers, rows, strict=True)]), answers


def strangers(candidate: Opened, answers: Sequence[Any], rows: Sequence[Row]) -> dict[str, Any]:
    """Return what became of the rows that have no label, and of those that have one."""
    limit = candidate.about.threshold
    assert limit is not None
    plain = Opened(msgspec.structs.replace(candidate.about, threshold=None), candidate._inner)
    inside = [row for row in rows if row.output != limit.answer]
    right = [
        answer.output == row.output
        for answer, row in zip(plain.answer([row.input for row in inside]), inside, strict=True)
    ]
    said = [answer.output == limit.answer for answer in answers]
    outside = [row.output == limit.answer for row in rows]
    both = sum(one and two for one, two in zip(said, outside, strict=True))
    given = [
        (answer.output, row.output) for answer, row in zip(answers, rows, strict=True) if answer.output != limit.answer
    ]
    kept = [
        answer.output == row.output for answer, row in zip(answers, rows, strict=True) if row.output != limit.answer
    ]
    return {
        "in_scope_if_it_always_answers": as_figure(share([float(each) for each in right])),
        "in_scope_right": as_figure(share([float(each) for each in kept])),
        "out_of_scope_recall": as_figure(share([float(one) for one, two in zip(said, outside, strict=True) if two])),
        "out_of_scope_precision": round(both / max(1, sum(said)), 4),
        "answers_given_that_are_wrong": as_figure(share([float(one != two) for one, two in given])),
    }


def unsure_rows(name: str, unsure: dict[str, Any]) -> list[list[Any]]:
    """Return what became of strangers as rows of the table."""
    precision = unsure["out_of_scope_precision"]
    shown = {
        "in scope, if it always answers": figure_said(unsure["in_scope_if_it_always_answers"]),
        "in scope, right as it serves": figure_said(unsure["in_scope_right"]),
        "out of scope, told": figure_said(unsure["out_of_scope_recall"]),
        "told to be out of scope, rightly": f"{precision:.1%}",
        "answers given that are wrong": figure_said(unsure["answers_given_that_are_wrong"]),
    }
    return [[f"{name}: … {what}", "–", value, None, None] for what, value in shown.items()]


def figure_said(figure: dict[str, Any]) -> str:
    low, high = figure["interval"]
    return said({"value": figure["value"], "low": low, "high": high, "n": figure["n"]})


def as_figure(value: Share) -> dict[str, Any]:
    return {"value": round(value.value, 4), "interval": [round(value.low, 4), round(value.high, 4)], "n": value.n}


def untuned(job: Job, rows: Sequence[Row], learnt: Sequence[Row], score: Any) -> Share:
    """Return the score of the embedded model that is told what to do and shown nothing."""
    folder = job.work / "untuned"
    folder.mkdir()
    prompt.fit(Fit(task.of(learnt), learnt, [], prompt.Settings(shots=0), job.seed, job.work, quiet, Cost()), folder)
    return examined(prompt.load(folder), rows, score)[0]


def one(line: Line, stage: Planned, work: Path, lora: bool) -> tuple[dict[str, Any], list[list[Any]], dict[str, bool]]:
    """Return the figures, the rows of the table and the claims of one blueprint."""
    log(f"{line.name}: curating and fitting every rung")
    job, table, left = climbed(line, stage, work, lora)
    folder = newest(job.inputs)
    unseen, score = read(folder, "test"), metric(stage.settings.metric, line.folder)
    some = [unseen[at] for at in sorted(np.random.default_rng(1).permutation(len(unseen))[:SAMPLE])]
    figures: dict[str, Any] = {
        "bar": table["bar"],
        "metric": table["metric"],
        "picked": table["picked"],
        "why": table["why"],
    }
    lines_of_table, costs = [], {}
    scores: dict[str, Share] = {}
    for step in table["rungs"]:
        if step["score"] is None:
            figures[step["rung"]] = {"left out": step["why_not"]}
            continue
        log(f"{line.name}: {step['rung']} on unseen rows")
        home = job.work / "rungs" / step["rung"]
        candidate = open_candidate(home / "candidate")
        scores[step["rung"]], answers = examined(candidate, some if rung(step["rung"]).COSTLY else unseen, score)
        measured = files.read(home / "measured.json", Measured)
        costs[step["rung"]] = measured.nusd_per_1000
        figures[step["rung"]] = {
            "dev": step["score"], "clears": step["clears"], "unseen": as_figure(scores[step["rung"]]),
            "calibration_error": step["calibration"], "p50_ms": measured.p50_ns / 1e6, "p99_ms": measured.p99_ns / 1e6,
            "usd_per_1000_calls": measured.nusd_per_1000 / 1e9, "joules_per_1000_calls": measured.mj_per_1000 / 1000,
            "bytes": step["bytes"],
        }  # fmt: skip
        if candidate.about.threshold and not rung(step["rung"]).COSTLY:
            figures[step["rung"]]["unsure"] = strangers(candidate, answers, unseen)
        mark = " (taken)" if step["rung"] == table["picked"] else ""
        lines_of_table.append(
            [f"{line.name}: {step['rung']}{mark}", said(step["score"]), said(msgspec.to_builtins(scores[step["rung"]])),
             measured.p50_ns / 1e6, measured.nusd_per_1000 / 1e3]
        )  # fmt: skip
        if mark and "unsure" in figures[step["rung"]]:
            lines_of_table += unsure_rows(f"{line.name}: {step['rung']}", figures[step["rung"]]["unsure"])
    plain = untuned(job, some, read(folder, "train"), score)
    figures["untuned model, no examples"] = {"unseen": as_figure(plain)}
    lines_of_table.append(
        [f"{line.name}: untuned model, no examples", "–", said(msgspec.to_builtins(plain)), None, None]
    )
    figures.update({name: {"left out": "longer than this benchmark; --lora fits it"} for name in left})
    clearing = {step["rung"]: costs[step["rung"]] for step in table["rungs"] if step["clears"]}
    taken = scores[table["picked"]]
    best_model = max([plain.high, *(scores[name].high for name in scores if rung(name).COSTLY)])
    holds = {
        f"{line.name}: a rung clears the bar of {table['bar']:.0%}": table["cleared"],
        f"{line.name}: the rung taken costs least, as measured, of those that clear the bar": bool(clearing)
        and min(clearing, key=clearing.__getitem__) == table["picked"],
        f"{line.name}: the rung taken is certainly better than the untuned model with and without examples": taken.low
        > best_model,
    }
    if line.name in REFERENCE:
        what, least = REFERENCE[line.name]
        unsure = figures[table["picked"]].get("unsure")
        reached = unsure["in_scope_if_it_always_answers"]["value"] if unsure else taken.value
        holds[f"{line.name}: {what} on unseen rows is at least the reference linear model's {least:.1%}"] = (
            reached >= least
        )
    return figures, lines_of_table, holds


def said(score: dict[str, Any]) -> str:
    return f"{score['value']:.1%} ({score['low']:.1%} to {score['high']:.1%}, n = {score['n']:,})"


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data", help="folder with the data files")
    parser.add_argument("--lora", action="store_true", help="fit the rungs that train a language model too")
    options = parser.parse_args()
    log(f"scheduling: {first_in_line()}")
    figures: dict[str, Any] = {}
    rows: list[list[Any]] = []
    holds: dict[str, bool] = {}
    with tempfile.TemporaryDirectory(prefix="aigrid-") as home:
        os.environ["AIGRID_HOME"] = home
        for line, stage in ladders(options.data):
            figures[line.name], more, claims = one(line, stage, Path(home) / "ladders", options.lora)
            rows += more
            holds |= claims
    holds["at least two blueprints climb a ladder"] = len(figures) >= 2
    columns = ["dev (95 % interval)", "unseen rows (95 % interval)", "latency, ms (p50)", "µUSD per 1,000 calls"]
    peer = {"name": "the embedded model untuned, with no examples and with four"}
    report({"figures": figures, "grid": {"columns": columns, "rows": rows}, "peer": peer, "holds": holds}, options.json)


if __name__ == "__main__":
    main()
