"""A candidate's folder: `candidate.json` says what it is, the other files are its rung's."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from aigrid.core.errors import BadRequest
from aigrid.factory.ladder import files
from aigrid.factory.ladder.base import Answer, Candidate, Task, rung
from aigrid.factory.ladder.calibrate import Curve, Threshold


class About(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a candidate is: its rung (`kind`), its task, what its confidences mean, and when it is unsure.

    `tool` is the OpenAI function that its slots are the arguments of, where the line names one.
    """

    kind: str
    task: Task
    curve: Curve = Curve()
    threshold: Threshold | None = None
    tool: dict[str, Any] | None = None


class Opened(Candidate):
    """A candidate as it serves: calibrated, and with its threshold applied."""

    def __init__(self, about: About, inner: Candidate) -> None:
        super().__init__()
        self.about = about
        self.cost = inner.cost
        self._inner = inner

    def answer(self, inputs: Sequence[str]) -> list[Answer]:
        """Return one answer for each input, in order; an unsure one says so, with the confidence it would have had."""
        return [self.checked(answer) for answer in self._inner.answer(inputs)]

    def close(self) -> None:
        """End what it started."""
        self._inner.close()

    def checked(self, answer: Answer) -> Answer:
        """Return the rung's answer with its calibrated confidence, or what is said where that is too low."""
        sure = self.about.curve(answer.confidence)
        limit = self.about.threshold
        return Answer(limit.answer if limit and sure < limit.least else answer.output, sure)


def describe(folder: Path, about: About) -> None:
    """Write what a folder holds."""
    files.write(folder / "candidate.json", about)


def about(folder: Path) -> About:
    """Return what a folder holds; raises `BadRequest` where it is no candidate."""
    try:
        return files.read(folder / "candidate.json", About)
    except FileNotFoundError:
        raise BadRequest(f"{folder} has no candidate.json: it is not what the stage `train` wrote") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadRequest(f"{folder / 'candidate.json'} is damaged: {error}") from None


def open(folder: Path) -> Opened:
    """Return the candidate of a folder, of whatever rung it is."""
    found = about(folder)
    return Opened(found, rung(found.kind).load(folder))
