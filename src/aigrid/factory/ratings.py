"""What people say about answers of packs: right or wrong, and what would have been right. Rows of the next lesson.

Append-only lines of JSON in `AIGRID_HOME/ratings.jsonl`, by people with a key; the file is theirs, and never a pack's.
"""

import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from aigrid.core.clock import now_ns
from aigrid.core.config import home
from aigrid.core.errors import BadRequest
from aigrid.core.ids import new_id
from aigrid.factory import trial
from aigrid.packs import Shelf


class Rating(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """What somebody says of an answer: `rating` is 1 (right), -1 (wrong); `correction` is what would have been right.

    `request` is the answer's id, by which the version that gave it is known while a trial runs.
    """

    model: Annotated[str, Meta(min_length=1, max_length=256)]
    input: Annotated[str, Meta(min_length=1, max_length=32_000)]
    said: Any = None
    rating: Literal[-1, 1] | None = None
    correction: Any = None
    request: Annotated[str, Meta(max_length=100)] = ""


class Kept(msgspec.Struct):
    """A rating as it is kept: by whom, when, and about which version."""

    id: str
    at_ns: int
    by: str
    version: str
    rating: Rating


def path() -> Path:
    """Return the file of all ratings."""
    return home() / "ratings.jsonl"


def give(rating: Rating, *, by: str) -> Kept:
    """Keep a rating; raises `BadRequest` where it says nothing. One of an answer on trial counts there."""
    if rating.rating is None and rating.correction is None:
        raise BadRequest("give a rating (1 or -1) or a correction", param="rating")
    decision = Shelf().in_service(rating.model)
    version = decision.version if decision else ""
    running = trial.read(rating.model)
    if running is not None and not running.ended:
        arm = running.arm(rating.request.replace("chatcmpl-", "req_"))
        wrong = rating.rating == -1 or (rating.rating is None and rating.correction is not None)
        if arm == "trial":
            version = running.version
        if wrong:
            trial.note(rating.model, running.version, arm, False, rated=True)
    kept = Kept(new_id("rate_"), now_ns(), by, version, rating)
    with open(os.open(path(), os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600), "ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.write(msgspec.json.encode(kept) + b"\n")
    return kept


def all_kept() -> Iterator[Kept]:
    """Yield all ratings, oldest first. A last line that a crash cut off is left out."""
    if path().exists():
        for line in path().read_bytes().split(b"\n"):
            try:
                yield msgspec.json.decode(line, type=Kept)
            except msgspec.DecodeError:
                continue


def lessons(model: str = "") -> Iterator[dict[str, Any]]:
    """Yield what can be learnt: corrections, and what was right; of several ratings of one question the last counts."""
    last: dict[tuple[str, str], Kept] = {}
    for kept in all_kept():
        if model in ("", kept.rating.model):
            last[(kept.rating.model, kept.rating.input)] = kept
    for kept in last.values():
        rating = kept.rating
        wanted = rating.correction if rating.correction is not None else rating.said if rating.rating == 1 else None
        if wanted is not None:
            yield {"input": rating.input, "output": wanted, "rating": kept.id, "model": rating.model}
