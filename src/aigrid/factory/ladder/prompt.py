"""A model that is told what to do and shown a few of the training rows, in the prompt: nothing is trained."""

import re
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

import msgspec
import numpy as np
from msgspec import Meta

from aigrid.core.config import load as load_config
from aigrid.core.models import resolve
from aigrid.engines.base import Grammar
from aigrid.factory.ladder import files
from aigrid.factory.ladder.asking import Asking
from aigrid.factory.ladder.base import Answer, Candidate, Fit, Task
from aigrid.factory.rows import Row, canonical

COSTLY = True

_MOST_LABELS = 200


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`upstream` is one of the configuration's; empty is the embedded engine. `instructions` come first in the prompt.

    `shots` rows are shown (0: none), the same for each input; an answer has at most `tokens` tokens.
    """

    model: str = "smollm2-135m-instruct"
    upstream: str = ""
    instructions: str = ""
    shots: Annotated[int, Meta(ge=0, le=32)] = 4
    tokens: Annotated[int, Meta(ge=1)] = 64


def unfit(task: Task, settings: Settings) -> str:
    """Return why this rung cannot work here."""
    if task.kind == "label" and len(task.names) > _MOST_LABELS:
        return f"more than {_MOST_LABELS} labels do not fit into a prompt"
    if settings.upstream or resolve(settings.model, load_config()).present:
        return ""
    return f"the model is not here: aigrid models pull {settings.model}"


def fit(fit: Fit, folder: Path) -> None:
    """Choose the rows to show: as many different answers as possible, none of them long."""
    how = fit.settings
    made = Made(
        fit.task,
        how.model,
        how.upstream,
        how.instructions or told(fit.task),
        chosen(fit.rows, how.shots, fit.seed),
        how.tokens,
    )
    files.write(folder / "prompt.json", made)


def chosen(rows: Sequence[Row], shots: int, seed: int) -> list[tuple[str, str]]:
    """Return up to `shots` rows to show, as (input, answer): as many different answers as possible, none too long."""
    rng = np.random.default_rng(seed)
    shown: dict[str, tuple[str, str]] = {}
    for at in rng.permutation(len(rows)):
        row = rows[at]
        key = canonical(sorted(row.output)) if isinstance(row.output, dict) else row.text
        if len(shown) < shots and key not in shown and len(row.input) < 400:
            shown[key] = (row.input, row.text)
    return list(shown.values())


class Made(msgspec.Struct):
    """What a prompt is made of."""

    task: Task
    model: str
    upstream: str
    instructions: str
    shots: list[tuple[str, str]]
    tokens: int


class Prompt(Candidate):
    """The prompt at work; its engine starts at the first answer."""

    def __init__(self, made: Made) -> None:
        super().__init__()
        self._made = made
        self._task = made.task

    @cached_property
    def _asking(self) -> Asking:
        return Asking(self._made.model, self._made.upstream, self.cost)

    def answer(self, inputs: Sequence[str]) -> list[Answer]:
        """Return what the model says to each input, held to the task's form by a grammar."""
        said = self._asking.ask([self._chat(text) for text in inputs], self._made.tokens, grammar(self._task))
        return [Answer(parsed(self._task, each.text), each.chance) for each in said]

    def close(self) -> None:
        """Stop the engine."""
        if "_asking" in self.__dict__:
            self._asking.close()
            del self.__dict__["_asking"]

    def _chat(self, text: str) -> list[dict[str, Any]]:
        chat = [{"role": "system", "content": self._made.instructions}] if self._made.instructions else []
        for shown, answer in self._made.shots:
            chat += [{"role": "user", "content": shown}, {"role": "assistant", "content": answer}]
        return [*chat, {"role": "user", "content": text}]


def grammar(task: Task) -> Grammar | None:
    """Return what holds an answer to the form of a task: one of the labels, or an object of some of the slots."""
    if task.kind == "label":
        return Grammar("regex", "|".join(re.escape(name) for name in task.names))
    if task.kind == "slots":
        slots = {name: {"type": "string"} for name in task.names}
        schema = {"type": "object", "properties": slots, "additionalProperties": False}
        return Grammar("json_schema", canonical(schema))
    return None


def parsed(task: Task, text: str) -> Any:
    """Return an answer's text in the shape of a row's output; slots that are no object are none."""
    if task.kind != "slots":
        return text
    try:
        found = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return {}
    return found if isinstance(found, dict) else {}


def told(task: Task) -> str:
    """Return what a model is told to do where the line says nothing."""
    names = ", ".join(task.names)
    if task.kind == "label":
        return f"Say which of these the message is about. Answer with its name and nothing else: {names}"
    if task.kind == "slots":
        return f"Copy these details from the message into a JSON object, those that it has: {names}"
    return "Answer the message."


def load(folder: Path) -> Prompt:
    """Return the prompt of a folder."""
    return Prompt(files.read(folder / "prompt.json", Made))
