"""One piece of work on the library, in a process of its own: read as JSON from stdin, told as JSON lines on stdout.

The gateway starts it, so that parsing and embedding take nothing from those who wait for tokens. SIGTERM and the end
of stdin stop it after what is being written.
"""

import os
import signal
import sys
import threading
from types import FrameType
from typing import Any

import msgspec

from aigrid.core.config import load
from aigrid.core.errors import AigridError
from aigrid.knowledge.library import open_library

NICE = 10


class Task(msgspec.Struct):
    """What to do: add targets, bring all roots up to date, or remove."""

    act: str
    targets: list[str] = []
    readers: list[str] | None = None
    again: bool = False


def tell(**line: Any) -> None:
    """Print one line."""
    print(msgspec.json.encode(line).decode(), flush=True)


def progress(done: int, total: int, what: str) -> None:
    """Tell how far it is."""
    tell(done=done, total=total, what=what)


def main() -> int:
    """Do one task; returns the exit code."""
    os.nice(NICE)
    stop = threading.Event()

    def told(signum: int, frame: FrameType | None) -> None:
        stop.set()

    signal.signal(signal.SIGTERM, told)
    signal.signal(signal.SIGINT, told)
    try:
        task = msgspec.json.decode(sys.stdin.buffer.readline(), type=Task)
        library = open_library(load())
        if task.act == "remove":
            tell(removed=library.remove(task.targets))
        elif task.act == "refresh":
            tell(report=library.refresh(progress, stop))
        else:
            tell(report=library.add(task.targets, task.readers, progress=progress, stop=stop, again=task.again))
    except AigridError as error:
        tell(error={"message": error.message, "code": error.code, "param": error.param, "status": error.status})
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
