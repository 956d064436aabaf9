"""The answer of the most similar training row: nothing is learned, and nothing is answered that nobody wrote.

For slots, those values of that row are kept that the input has too. Rules come first, where the line gives any: a
regular expression and the answer to what matches it; for slots, the named groups of the expression are the values.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from aigrid.core.errors import ConfigError
from aigrid.factory.ladder import files
from aigrid.factory.ladder.base import Answer, Candidate, Fit, Task
from aigrid.factory.ladder.text import Rows, Terms, words

COSTLY = False

_SURE = 0.999999
_COMMON = 20
"""A word that more than one row in so many has tells little: it is left out where there are many rows."""


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`rules` are tried in their order, on inputs of any case."""

    rules: dict[str, Any] = {}


def unfit(task: Task, settings: Settings) -> str:
    """Return an empty string: any task has a nearest row."""
    return ""


def fit(fit: Fit, folder: Path) -> None:
    """Keep the rows and the index over their words."""
    for rule in fit.settings.rules:
        try:
            re.compile(rule)
        except re.error as error:
            raise ConfigError(f"the rule `{rule}` is no regular expression: {error}", param="rules") from None
    fit.tell(0, 1, "nearest: index")
    texts = [row.input for row in fit.rows]
    terms = Terms.of(texts, (0, 0), 1, max(100, len(texts) // _COMMON))
    starts, columns, values = terms.matrix(texts)
    rows = np.repeat(np.arange(len(texts), dtype=np.int32), np.diff(starts))
    order = np.argsort(columns, kind="stable")
    ends = np.concatenate([[0], np.cumsum(np.bincount(columns, minlength=len(terms)))])
    terms.save(folder)
    files.save(folder, starts=ends.astype(np.int64), rows=rows[order], values=values[order])
    files.write(folder / "inputs.json", [_key(text) for text in texts])
    files.write(folder / "outputs.json", [row.output for row in fit.rows])
    files.write(folder / "rules.json", list(fit.settings.rules.items()))


class Nearest(Candidate):
    """The rows at work: for each term, the rows that have it."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._terms = Terms.load(folder)
        self._outputs = files.read(folder / "outputs.json", list[Any])
        rules = files.read(folder / "rules.json", list[tuple[str, Any]])
        self._rules = [(re.compile(rule, re.IGNORECASE), output) for rule, output in rules]
        self._same = {key: at for at, key in reversed(list(enumerate(files.read(folder / "inputs.json", list[str]))))}
        self._index = Rows(*(files.array(folder, name) for name in ("starts", "rows", "values")))

    def answer(self, inputs: Sequence[str]) -> list[Answer]:
        """Return the nearest row's answer for each input; its confidence is the cosine between the two."""
        return [self._ruled(text) or self._nearest(text) for text in inputs]

    def _ruled(self, text: str) -> Answer | None:
        for rule, output in self._rules:
            if found := rule.search(text):
                groups = {name: value for name, value in found.groupdict().items() if value}
                return Answer({**output, **groups} if isinstance(output, dict) else output, _SURE)
        return None

    def _nearest(self, text: str) -> Answer:
        same = self._same.get(_key(text))
        if same is not None:
            return Answer(self._outputs[same], _SURE)
        columns, values = self._terms.vector(text)
        starts, rows, weights = self._index
        scores = np.zeros(len(self._outputs), np.float32)
        for column, value in zip(columns, values, strict=True):
            at = slice(starts[column], starts[column + 1])
            scores[rows[at]] += value * weights[at]
        best = int(scores.argmax())
        output = self._outputs[best]
        if isinstance(output, dict):
            output = {slot: value for slot, value in output.items() if _within(value, text)}
        return Answer(output, float(scores[best]))


def _key(text: str) -> str:
    return " ".join(words(text))


def _within(value: Any, text: str) -> bool:
    return isinstance(value, str) and re.search(rf"(?<!\w){re.escape(value)}(?!\w)", text) is not None


def load(folder: Path) -> Nearest:
    """Return the rows of a folder."""
    return Nearest(folder)
