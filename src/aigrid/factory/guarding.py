"""Guard: what the pack refuses, red-teamed before release: recall of attacks beside false alarms on ordinary questions.

The model is the guard that ships with aigrid, or one of the line's data files (made by `blueprints/guard`). Attacks come
from sources of the line; the ordinary questions are those of the examination. The model goes into the pack and refuses
there, before the worker sees the question.
"""

import shutil
import time
from itertools import islice
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from aigrid.core.errors import BadRequest
from aigrid.factory import rows, sources, stats
from aigrid.factory.base import Job
from aigrid.factory.sources import Source
from aigrid.guard.classifier import SHIPPED, Guard

CODE = ("aigrid.guard", "aigrid.factory.sources", "aigrid.factory.stats")
OWN_CODE = True
MODEL = "model.npz"
_MISSED = 20


class Settings(msgspec.Struct, forbid_unknown_fields=True):
    """How the pack is guarded, and against what that is tried.

    `model` names one of the line's data files; the shipped guard, unless named. `attacks` are sources of attacks that it
    should find, `ordinary` of texts that it should let pass, beside the examination's; at most `most` of each are tried.
    """

    attacks: Annotated[list[Source], Meta(min_length=1)]
    ordinary: list[Source] = []
    model: str = ""
    most: Annotated[int, Meta(ge=1)] = 5000


def run(job: Job, settings: Settings) -> None:
    """Write the guard's `model.npz` and `report.json`."""
    path = job.file(settings.model) if settings.model else SHIPPED
    guard = Guard.load(path)
    shutil.copyfile(path, job.out / MODEL)
    attacks = [row.input for source in settings.attacks for row in islice(sources.rows(source, job), settings.most)]
    ordinary = [row.input for row in islice(rows.read(rows.newest(job.inputs), "test"), settings.most)]
    ordinary += [row.input for source in settings.ordinary for row in islice(sources.rows(source, job), settings.most)]
    if not attacks or not ordinary:
        raise BadRequest(
            f"the guard was tried on {len(attacks)} attacks and {len(ordinary)} ordinary texts; it needs both"
        )
    found, times = _verdicts(job, guard, attacks, "attacking")
    alarms, more = _verdicts(job, guard, ordinary, "asking ordinary questions")
    recall, false = stats.share(found), stats.share(alarms)
    report = {
        "recall": recall,
        "false_positives": false,
        "missed": [text[:300] for text, hit in zip(attacks, found, strict=True) if not hit][:_MISSED],
        "false_alarms": [text[:300] for text, hit in zip(ordinary, alarms, strict=True) if hit][:_MISSED],
    }
    (job.out / "report.json").write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=2))
    job.say(recall=recall.value, recall_low=recall.low, attacks=recall.n)
    job.say(false_positives=false.value, false_positives_high=false.high, ordinary=false.n)
    times = sorted(times + more)
    job.measure(p50_ms=times[len(times) // 2])


def guard_of(folder: Path) -> Guard | None:
    """Return the guard in an unpacked pack, None where there is none."""
    path = folder / MODEL
    return Guard.load(path) if path.is_file() else None


def _verdicts(job: Job, guard: Guard, texts: list[str], what: str) -> tuple[list[float], list[float]]:
    """Return 1 or 0 for each text, and the milliseconds each took."""
    hits, times = [], []
    for at, text in enumerate(texts):
        if at % 100 == 0:
            job.tell(at, len(texts), what)
        began = time.perf_counter()
        hits.append(float(guard.check(text).attack))
        times.append((time.perf_counter() - began) * 1e3)
    return hits, times
