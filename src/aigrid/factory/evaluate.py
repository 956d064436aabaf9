"""Evaluate: how good the chosen worker is on rows it has never seen, against honest baselines and what is in service.

Scores are exact and of every row; figures carry 95 % intervals, comparisons are paired (the same questions). What
takes time (latency) is measured beside them. Slices show where it is better or worse than the mean hides.
"""

import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from aigrid.factory import rows, score, standing, stats
from aigrid.factory.base import Job
from aigrid.factory.ladder.open import open as open_candidate
from aigrid.factory.rows import Row
from aigrid.factory.stats import Paired, Share

CODE = ("aigrid.factory.stats", "aigrid.factory.score", "aigrid.factory.standing")
OWN_CODE = True
IN_SERVICE = "in service"
_TIMED = 200
_AT_ONCE = 64
_WRONG = 20
_SLICES = 12
"""With more slices than these, their scores are in the evidence only, not among the stage's figures."""


class Settings(msgspec.Struct, forbid_unknown_fields=True):
    """How a line examines its worker.

    `metric` is exact, label, slots or `file.py:function`. `split` are the rows to ask. `slices` is the field of a
    row's `meta` (or `output`) that makes slices of at least `least` rows. `rungs` of the ladder are the baselines: all
    that were fitted, unless named.
    """

    metric: str = "exact"
    split: rows.Split = "test"
    slices: str = ""
    least: Annotated[int, Meta(ge=1)] = 20
    rungs: list[str] | None = None


class Slice(msgspec.Struct, frozen=True):
    """A slice of the rows: its score, and the mean difference to what is in service."""

    name: str
    score: Share
    gain: float | None = None


class Against(msgspec.Struct, frozen=True):
    """Another worker's score on the same rows, and how much better ours is."""

    score: Share
    gain: Paired


class Evidence(msgspec.Struct, frozen=True):
    """What an examination found. `declined` is the share of rows that it would not answer."""

    metric: str
    score: Share
    declined: Share
    against: dict[str, Against]
    slices: list[Slice]
    wrong: list[dict[str, Any]]


def depends(line: str, settings: Settings, after: Mapping[str, str]) -> str:
    """Return what the result depends on beside the line: the pack that is in service."""
    pack = standing.before(line, after["train"])
    return pack.digest if pack else ""


def run(job: Job, settings: Settings) -> None:
    """Write `evidence.json` (figures) and `scores.jsonl` (row by row)."""
    asked = rows.read(rows.newest(job.inputs), settings.split)
    metric = score.metric(settings.metric, job.folder)
    train = job.input("train")

    def examined(folder: Path, what: str) -> tuple[list[Any], list[float]]:
        said = _ask(job, folder, asked, what)
        return said, [metric(each, row) for each, row in zip(said, asked, strict=True)]

    said, ours = examined(train / "candidate", "asking the worker")
    others = {rung.name: examined(rung, f"asking {rung.name}")[1] for rung in _rungs(train, settings)}
    pack = standing.before(job.about["line"], job.about["digests"]["train"])
    if pack is not None:
        others[IN_SERVICE] = examined(standing.unpacked(pack) / standing.WORKER, "asking the one in service")[1]
    evidence = Evidence(
        settings.metric,
        stats.share(ours),
        stats.share([float(each is None) for each in said]),
        {name: Against(stats.share(them), stats.paired(ours, them, job.seed)) for name, them in others.items()},
        by_slice(asked, ours, others.get(IN_SERVICE), settings),
        [
            {"id": row.id, "input": row.input[:300], "wanted": row.output, "said": each}
            for row, each, got in zip(asked, said, ours, strict=True)
            if got < 1
        ][:_WRONG],
    )
    (job.out / "evidence.json").write_bytes(msgspec.json.format(msgspec.json.encode(evidence), indent=2))
    with (job.out / "scores.jsonl").open("wb") as file:
        for row, each, got in zip(asked, said, ours, strict=True):
            file.write(msgspec.json.encode({"id": row.id, "said": each, "score": got}) + b"\n")
    job.say(n=len(asked), score=evidence.score.value, low=evidence.score.low, high=evidence.score.high)
    for name, against in evidence.against.items():
        job.say(**{name: against.score.value, f"gain over {name}": against.gain.difference})
    for each in evidence.slices if len(evidence.slices) <= _SLICES else ():
        job.say(**{f"slice {each.name}": each.score.value})
    job.measure(**_latency(train / "candidate", asked))


def _rungs(train: Path, settings: Settings) -> list[Path]:
    folder = train / "rungs"
    there = sorted(path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
    return [path for path in there if settings.rungs is None or path.name in settings.rungs]


def _ask(job: Job, folder: Path, asked: Sequence[Row], what: str) -> list[Any]:
    candidate = open_candidate(folder)
    said: list[Any] = []
    for at in range(0, len(asked), _AT_ONCE):
        job.tell(at, len(asked), what)
        said += [each.output for each in candidate.answer([row.input for row in asked[at : at + _AT_ONCE]])]
    return said


def _latency(folder: Path, asked: Sequence[Row]) -> dict[str, float]:
    """Return the milliseconds that single answers took, of the middle one and of the slowest in a hundred."""
    candidate, times = open_candidate(folder), list[float]()
    for row in asked[:_TIMED]:
        began = time.perf_counter()
        candidate.answer([row.input])
        times.append((time.perf_counter() - began) * 1e3)
    times.sort()
    return (
        {"p50_ms": times[len(times) // 2], "p99_ms": times[min(len(times) - 1, len(times) * 99 // 100)]}
        if times
        else {}
    )


def by_slice(asked: Sequence[Row], ours: list[float], theirs: list[float] | None, settings: Settings) -> list[Slice]:
    """Return the score of each slice that is large enough, with the mean gain over `theirs`."""
    groups: dict[str, list[int]] = defaultdict(list)
    for at, row in enumerate(asked if settings.slices else ()):
        found = row.output if settings.slices == "output" else row.meta.get(settings.slices, "")
        for name in found if isinstance(found, list | dict) else [str(found)]:
            groups[name].append(at)
    made = []
    for name, places in sorted(groups.items()):
        if len(places) >= settings.least:
            gain = None if theirs is None else sum(ours[at] - theirs[at] for at in places) / len(places)
            made.append(Slice(name, stats.share([ours[at] for at in places]), gain))
    return made
