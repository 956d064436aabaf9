"""A pack on trial: beside the one in service, unheard (shadow) or for a share of the requests (canary).

What failed is counted on both arms: errors, and answers that people rated down. As soon as the one on trial fails more
often than chance explains (R. A. Fisher's exact test, one-sided, 1 %), it is out; after enough requests without
that, it is in service. Both are decisions on the shelf, with their reason.
"""

import fcntl
import hashlib
import math
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import msgspec

from aigrid.core.clock import iso, now_ns
from aigrid.core.errors import Conflict
from aigrid.packs import Shelf, folders

Mode = Literal["shadow", "canary"]
Arm = Literal["standing", "trial"]
BY = "the trial"
_LEVEL = 0.01


class Trial(msgspec.Struct):
    """A trial as it stands: how many requests each arm had, how many of them failed, how often both said the same."""

    version: str
    mode: Mode
    share: float
    requests: int
    began: str
    asked: dict[Arm, int] = msgspec.field(default_factory=lambda: {"standing": 0, "trial": 0})
    failed: dict[Arm, int] = msgspec.field(default_factory=lambda: {"standing": 0, "trial": 0})
    agreed: int = 0
    ended: Literal["", "in service", "out"] = ""
    why: str = ""

    def arm(self, request: str) -> Arm:
        """Return which one answers a request: the same for the same id."""
        if self.mode == "shadow" or self.ended:
            return "standing"
        place = int.from_bytes(hashlib.sha256(request.encode()).digest()[:8]) / 2**64
        return "trial" if place < self.share else "standing"


def fisher(failed: int, asked: int, failed_other: int, asked_other: int) -> float:
    """Return the probability of at least so many failures of all there were, were both equally good (one-sided)."""
    total, bad = asked + asked_other, failed + failed_other
    most = min(bad, asked)
    ways = sum(math.comb(asked, k) * math.comb(asked_other, bad - k) for k in range(failed, most + 1))
    return ways / math.comb(total, bad)


def begin(name: str, version: str, mode: Mode, share: float, requests: int) -> Trial:
    """Begin a trial; one that runs with another version is ended as out."""
    made = Trial(version, mode, share, requests, iso(now_ns()))

    def start(before: Trial | None) -> Trial:
        if before is not None and not before.ended and before.version == version:
            return before
        return made

    return _change(name, start)


def read(name: str) -> Trial | None:
    """Return the trial of a pack, running or ended; None where there was none."""
    try:
        return msgspec.json.decode(_path(name).read_bytes(), type=Trial)
    except FileNotFoundError:
        return None


def note(name: str, version: str, arm: Arm, ok: bool, *, agreed: bool = False, rated: bool = False) -> Trial | None:
    """Count an answer of one arm (or, `rated`, what a person said of one), and end the trial where it is decided."""

    def count(now: Trial | None) -> Trial:
        if now is None or now.ended or now.version != version:
            raise Conflict("that trial is over")
        now.asked[arm] += not rated
        now.failed[arm] += not ok
        now.agreed += agreed
        now.asked[arm] = max(now.asked[arm], now.failed[arm])
        verdict, why = judge(now)
        if verdict:
            now.ended, now.why = verdict, why
            if verdict == "in service":
                Shelf().serve(name, version, why=why, by=BY)
        return now

    try:
        return _change(name, count)
    except Conflict:
        return None


def judge(trial: Trial) -> tuple[Literal["", "in service", "out"], str]:
    """Return whether a trial is decided, and why."""
    ours, theirs = trial.asked["trial"], trial.asked["standing"]
    bad, other = trial.failed["trial"], trial.failed["standing"]
    said = f"{bad} of {ours} answers failed, of the one in service {other} of {theirs}"
    if ours and theirs and fisher(bad, ours, other, theirs) < _LEVEL:
        return "out", f"{trial.mode}: {said}"
    if ours and not theirs and bad >= 5 and bad == ours:
        return "out", f"{trial.mode}: all of {ours} answers failed"
    if ours >= trial.requests:
        return "in service", f"{trial.mode}: {said}"
    return "", said


def stop(name: str, why: str) -> Trial:
    """End a trial as out; raises `Conflict` where none runs."""

    def end(now: Trial | None) -> Trial:
        if now is None or now.ended:
            raise Conflict(f"no trial of {name} is running")
        now.ended, now.why = "out", why
        return now

    return _change(name, end)


def _path(name: str) -> Path:
    return Shelf().folder / name / "trial.json"


def _change(name: str, change: Callable[[Trial | None], Trial]) -> Trial:
    path = _path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    with (path.parent / ".trial.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        made = change(read(name))
        folders.write(path, msgspec.json.encode(made))
        return made
