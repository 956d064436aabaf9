"""What a worker is examined on: the questions, the metric and the slices of its line, or rows of a file."""

import random
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from aigrid.core.errors import BadRequest, ConfigError, NotFound
from aigrid.factory import evaluate, record, rows, run, score
from aigrid.factory.ladder.trial import MACRO
from aigrid.factory.rows import Row
from aigrid.factory.score import Metric
from aigrid.packs import Shelf

if TYPE_CHECKING:
    from aigrid.factory.line import Line


@dataclass(frozen=True)
class Exam:
    """Questions with their answers (`rows`), how answers are scored, and rows that a plain model may be shown."""

    name: str
    rows: list[Row]
    lessons: list[Row]
    metric: Metric
    settings: evaluate.Settings


def of(name: str, line: "Line | None" = None, file: Path | None = None, slices: str = "", limit: int = 0) -> Exam:
    """Return the examination of the worker `name`.

    The rows are those of a file, or what the newest build of the line (`line`, else the one of the worker's name) kept:
    its split `test`. The metric and the slices are those of the line's stage `evaluate`; without a line, the metric of
    the pack's own evidence. With a `limit`, so many rows, drawn by a fixed seed. Raises `AigridError`.
    """
    settings = _settings(name, line)
    if slices:
        settings = msgspec.structs.replace(settings, slices=slices)
    if ":" in settings.metric and line is None:
        raise ConfigError(
            f"the metric `{settings.metric}` is code of a blueprint: name its folder with `--line`", param="line"
        )
    metric = score.metric(settings.metric, line.folder if line else Path())
    path = file or _kept(line.name if line else name)
    if not path.exists():
        raise NotFound(f"there is no file {path}")
    found = rows.read(path)
    asked = [row for row in found if row.split == settings.split]
    if not asked and file is not None:
        asked = [row for row in found if row.split == ""]
    if not asked:
        raise BadRequest(f"{path} has no rows of the split `{settings.split}`: nothing to ask", param="rows")
    if unanswered := next((row for row in asked if row.output is None), None):
        raise BadRequest(f"the row `{unanswered.input[:60]}` in {path} has no `output` to compare with", param="rows")
    if limit and limit < len(asked):
        asked = [asked[at] for at in sorted(random.Random(1).sample(range(len(asked)), limit))]
    return Exam(name, asked, [row for row in found if row.split == "train"], metric, settings)


def _settings(name: str, line: "Line | None") -> evaluate.Settings:
    if line is not None:
        stage = next((each for each in line.stages if each.use == "evaluate"), None)
        train = next((each for each in line.stages if each.use == "train"), None)
        if stage is not None:
            found: evaluate.Settings = stage.settings
            return found
        metric = train.settings.metric if train else "exact"
        return evaluate.Settings(metric="label" if metric == MACRO else metric)
    shelf = Shelf()
    decision = shelf.in_service(name)
    if decision is None:
        return evaluate.Settings()
    pack = shelf.get(name, decision.version)
    proof = next((file for file in pack.manifest.files if file.path == "evidence/evidence.json"), None)
    if proof is None:
        return evaluate.Settings()
    return evaluate.Settings(metric=msgspec.json.decode(pack.read(proof.path), type=evaluate.Evidence).metric)


def _kept(line: str) -> Path:
    """Return the folder of the rows that the newest build of a line would be examined on."""
    for build in record.builds(run.root(), line):
        before = []
        for done in build.stages:
            if done.use == "evaluate":
                break
            before.append(run.result(done.key))
        for folder in reversed(before):
            if (folder / "rows.jsonl").is_file():
                return folder
    raise NotFound(f"the rows of the line `{line}` are not kept here: build it again, or name rows with `--rows FILE`")
