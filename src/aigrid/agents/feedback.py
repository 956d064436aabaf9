"""What people say about a step: kept as it was said, and written out as training rows with where each came from.

Append-only lines of JSON in `AIGRID_HOME/feedback.jsonl`; a journal is closed when its run is, so it is not changed.
"""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from aigrid.agents import shelf
from aigrid.agents.journal import Step
from aigrid.agents.memory import MAX_TEXT, Memories
from aigrid.agents.spec import Agent
from aigrid.core.clock import now_ns
from aigrid.core.config import home
from aigrid.core.errors import BadRequest, Conflict
from aigrid.core.ids import new_id


class Feedback(msgspec.Struct, forbid_unknown_fields=True):
    """A rating (-1, 0 or 1), a correction (what should have been said) or a comment on a model's step; the last one, unless named."""

    run: Annotated[str, Meta(min_length=1, max_length=64)]
    step: Annotated[int, Meta(ge=0)] | None = None
    rating: Literal[-1, 0, 1] | None = None
    correction: Annotated[str, Meta(max_length=16_000)] | None = None
    comment: Annotated[str, Meta(max_length=10_000)] | None = None


class Row(msgspec.Struct):
    """Feedback as it is kept, with the step that it is about: its digest says exactly what the model had read."""

    id: str
    at_ns: int
    by: str
    feedback: Feedback
    agent: str
    tenant: str
    model: str
    step: int
    digest: str
    task: str
    said: str


def path() -> Path:
    """Return the file of all feedback."""
    return home() / "feedback.jsonl"


def give(feedback: Feedback, *, by: str) -> Row:
    """Keep feedback; raises `BadRequest` where it says nothing or names no step of the model's."""
    if feedback.rating is None and not feedback.correction and not feedback.comment:
        raise BadRequest("give a rating, a correction or a comment", param="rating")
    steps = shelf.read(feedback.run)
    answers = [step for step in steps if step.kind == "model"]
    chosen = _chosen(answers, feedback.step)
    start = steps[0].body
    row = Row(
        new_id("fb_"), now_ns(), by, feedback, start["agent"]["name"], start["task"]["tenant"], start["model"],
        int(chosen.key), chosen.digest, start["task"]["text"], _said(chosen.body),
    )  # fmt: skip
    with open(os.open(path(), os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600), "ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.write(msgspec.json.encode(row) + b"\n")
    if feedback.correction:
        with contextlib.suppress(Conflict):  # its memory is full; the feedback is kept all the same
            _learn(row, feedback.correction, start)
    return row


def _learn(row: Row, correction: str, start: Any) -> None:
    """Have the agent remember what it should have said, where its file wants that."""
    memory = msgspec.convert(start["agent"], Agent).memory
    if memory is None or not memory.corrections:
        return
    user = start["task"].get("user", "") if memory.share == "user" else ""
    text = f"Asked: {row.task[: MAX_TEXT // 4]}\nThe right answer: {correction}"[:MAX_TEXT]
    memories = Memories(row.tenant, row.agent)
    memories.remember(text, "correction", user, origin=row.id, most=memory.most)


def rows() -> Iterator[Row]:
    """Yield all feedback, oldest first."""
    if path().exists():
        with path().open("rb") as file:
            for line in file:
                yield msgspec.json.decode(line, type=Row)


def training(least: int = 1) -> Iterator[dict[str, Any]]:
    """Yield training rows: messages with the answer that was wanted, and their provenance.

    What was corrected teaches the correction; what was rated at least `least` teaches what was said.
    """
    for row in rows():
        rated = row.feedback.rating is not None and row.feedback.rating >= least
        wanted = row.feedback.correction or (row.said if rated else None)
        if wanted:
            where = {"run": row.feedback.run, "step": row.step, "digest": row.digest, "feedback": row.id, "by": row.by}
            asked, answer = {"role": "user", "content": row.task}, {"role": "assistant", "content": wanted}
            yield {"messages": [asked, answer], "agent": row.agent, "model": row.model, "provenance": where}


def _chosen(answers: list[Step], number: int | None) -> Step:
    found = [step for step in answers if number is None or step.key == str(number)]
    if not found:
        raise BadRequest(f"the run has no step {number} of its model's", param="step")
    return found[-1]


def _said(body: Any) -> str:
    calls = [f"{call['name']}({call['arguments']})" for call in body["calls"]]
    return "\n".join([*([body["text"]] if body["text"] else []), *calls])
