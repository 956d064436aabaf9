"""A worker's meter: a page of shared memory on which it tells what it has made, and is told what it may use.

The worker writes its counters after each step and looks before each whether it is to pause and how many sequences may
run. Who governs it renews its word several times a second: an order older than `LEASE_NS` counts for nothing, so that
a governor that died leaves a free engine behind. Each word is an int64 and read or written whole; nobody waits.
"""

import mmap
import os
import time
from pathlib import Path

from aigrid.core.errors import NotFound

MAGIC = 0x4D455432
FIELDS = (
    "magic", "pid", "updated_ns", "steps", "tokens", "running", "waiting", "slots", "step_ns", "paused",
    "governed_ns", "pause", "most_running", "promised_mtps", "governor",
)  # fmt: skip
AT = {name: at for at, name in enumerate(FIELDS)}
LEASE_NS = 1_000_000_000
NO_PROMISE = -1


def meter_path(socket: Path) -> Path:
    """Return where the meter of the worker at `socket` is."""
    return socket.with_name(socket.name + ".meter")


class Meter:
    """One worker's meter. The worker makes it; `meter["tokens"]` reads a word, an assignment writes it."""

    def __init__(self, path: Path, *, create: bool = False) -> None:
        self.path = path
        rough = path.with_name(f".{path.name}-{os.getpid()}")
        flags = os.O_RDWR | (os.O_CREAT | os.O_TRUNC if create else 0)
        try:
            handle = os.open(rough if create else path, flags, 0o600)
        except OSError as error:
            raise NotFound(f"no engine's meter at {path}: {error.strerror}; is the engine started?") from error
        try:
            if create:
                os.ftruncate(handle, mmap.PAGESIZE)
            elif os.fstat(handle).st_size < len(FIELDS) * 8:
                raise NotFound(f"{path} is not the meter of an engine of this version")
            self._memory = mmap.mmap(handle, mmap.PAGESIZE)
        finally:
            os.close(handle)
        self._words = memoryview(self._memory).cast("q")
        if create:
            self["magic"], self["pid"], self["promised_mtps"] = MAGIC, os.getpid(), NO_PROMISE
            rough.replace(path)  # a whole one at once; who still has the former one mapped keeps it
        elif self["magic"] != MAGIC:
            raise NotFound(f"{path} is not the meter of an engine of this version")

    def __getitem__(self, name: str) -> int:
        return self._words[AT[name]]

    def __setitem__(self, name: str, value: int) -> None:
        self._words[AT[name]] = value

    # The worker's side

    def tell(self, tokens: int, running: int, waiting: int, step_ns: int) -> None:
        """Count a step that made `tokens` and took `step_ns`."""
        self["steps"] += 1
        self["tokens"] += tokens
        self["step_ns"] = step_ns
        self.look(running, waiting)

    def look(self, running: int, waiting: int) -> None:
        """Say how many sequences run and wait."""
        self["running"], self["waiting"] = running, waiting
        self["updated_ns"] = time.monotonic_ns()

    @property
    def governed(self) -> bool:
        """Whether somebody governs the worker now."""
        return time.monotonic_ns() - self["governed_ns"] < LEASE_NS

    @property
    def pause(self) -> bool:
        """Whether the worker is to make no step now."""
        return bool(self["pause"]) and self.governed

    def most_running(self, slots: int) -> int:
        """Return how many sequences may run, of the `slots` there are."""
        wanted = self["most_running"]
        return min(slots, wanted) if wanted > 0 and self.governed else slots

    @property
    def promised(self) -> float | None:
        """The tokens a second that the governor promises; None where nobody does."""
        value = self["promised_mtps"]
        return value / 1000 if value >= 0 and self.governed else None

    # The governor's side

    def order(self, *, pause: bool, most_running: int, promised: float | None) -> None:
        """Tell the worker what it may use until `LEASE_NS` from now, and its clients what is promised."""
        self["pause"], self["most_running"] = int(pause), most_running
        self["promised_mtps"] = NO_PROMISE if promised is None else int(promised * 1000)
        self["governor"] = os.getpid()
        self["governed_ns"] = time.monotonic_ns()

    def free(self) -> None:
        """Take all orders back."""
        self["governed_ns"] = 0
        self["pause"] = self["most_running"] = 0
        self["promised_mtps"] = NO_PROMISE
