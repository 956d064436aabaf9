"""Stages for tests: they count how often they ran, and crash where they are told to."""

import os
import signal
from pathlib import Path

import msgspec

from aigrid.factory.base import Job


class Settings(msgspec.Struct, forbid_unknown_fields=True):
    add: int = 1
    fail: bool = False
    log: str = ""


def run(job: Job, settings: Settings) -> None:
    if settings.log:
        with Path(settings.log).open("a") as file:
            file.write(f"{job.name}\n")
    steps = job.work / "steps"
    done = int(steps.read_text()) if steps.exists() else 0
    for step in range(done, 3):
        job.tell(step, 3, "counting")
        if os.environ.get("TOY_KILL") == f"{job.name}:{step}":
            os.kill(os.getpid(), signal.SIGKILL)
        steps.write_text(str(step + 1))
    if settings.fail:
        raise RuntimeError("told to fail")
    before = int((job.input() / "number").read_text()) if job.inputs else int(job.file("start").read_text())
    (job.out / "number").write_text(str(before + settings.add + job.seed))
    job.say(number=before + settings.add + job.seed)
    job.measure(steps_done_before=done)
