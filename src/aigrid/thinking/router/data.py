"""Labelled traffic: questions, and how good the answers of the weak and of the strong model were.

Rows are lines of JSON: `{"prompt" or "messages", "weak": 0…1, "strong": 0…1}`, with `weak_cost` and `strong_cost` (in
any one unit) where they are known, or `{"prompt" or "messages", "label": "weak" or "strong"}`: which model the
question needs. `weak` says that the weak model is good enough, `strong` that only the strong one is.
"""

import hashlib
from collections.abc import Iterable, Sequence
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from aigrid.core.errors import BadRequest
from aigrid.thinking.router.features import Question, question

Score = Annotated[float, Meta(ge=0, le=1)]
Price = Annotated[float, Meta(ge=0)]
Part = Literal["train", "calibration", "test"]
_PARTS: tuple[Part, ...] = ("train",) * 6 + ("calibration",) * 2 + ("test",) * 2
_SHOWN = 5
LEAST = 100
"""Rows without which there is nothing to learn from, or to test on."""


class Example(msgspec.Struct, frozen=True):
    """A question, how good each model's answer was (0 to 1), and what each cost, where that is known."""

    asked: Question
    weak: float
    strong: float
    weak_cost: float | None = None
    strong_cost: float | None = None

    @property
    def gain(self) -> float:
        """How much better the strong model's answer was, -1 to 1."""
        return self.strong - self.weak

    @property
    def part(self) -> Part:
        """What it is used for: the same for the same question, whatever stands around it."""
        digest = hashlib.sha256(" ".join(self.asked.text.split()).casefold().encode("utf-8", "replace")).digest()
        return _PARTS[int.from_bytes(digest[:8], "big") % len(_PARTS)]


class _Line(msgspec.Struct, forbid_unknown_fields=True):
    prompt: str | None = None
    messages: list[dict[str, Any]] | None = None
    weak: Score | None = None
    strong: Score | None = None
    label: Literal["weak", "strong"] | None = None
    weak_cost: Price | None = None
    strong_cost: Price | None = None
    id: str | int | None = None


def read(lines: Iterable[bytes], name: str) -> list[Example]:
    """Return the examples of a file; raises `BadRequest` that names its bad lines and what to do about each."""
    found, bad = [], []
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                found.append(_example(msgspec.json.decode(line, type=_Line)))
            except (msgspec.DecodeError, ValueError) as error:
                bad.append(f"line {number}: {error}")
    if bad:
        more = f"; and {len(bad) - _SHOWN} more" if len(bad) > _SHOWN else ""
        raise BadRequest(f"{name} has {len(bad)} bad rows; correct or remove them: {'; '.join(bad[:_SHOWN])}{more}")
    if len(found) < LEAST:
        raise BadRequest(f"{name} has {len(found)} rows; a router needs at least {LEAST} to be trained and tested on")
    return found


def fingerprint(examples: Sequence[Example]) -> str:
    """Return the SHA-256 of what was learnt from and tested on."""
    return hashlib.sha256(msgspec.json.encode(examples)).hexdigest()


def _example(line: _Line) -> Example:
    if (line.prompt is None) == (line.messages is None):
        raise ValueError("give `prompt` or `messages`, one of them")
    asked = question(line.messages, line.prompt)
    if not asked.text.strip():
        raise ValueError("the question is empty; remove the row")
    if (line.weak_cost is None) != (line.strong_cost is None):
        raise ValueError("give both `weak_cost` and `strong_cost`, or neither")
    if line.label is not None:
        if line.weak is not None or line.strong is not None:
            raise ValueError("give `label`, or `weak` and `strong`, not both")
        return Example(asked, float(line.label == "weak"), 1.0, line.weak_cost, line.strong_cost)
    if line.weak is None or line.strong is None:
        raise ValueError("give `weak` and `strong`, scores from 0 to 1, or a `label`")
    return Example(asked, line.weak, line.strong, line.weak_cost, line.strong_cost)
