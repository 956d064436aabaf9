"""Watches a worker that should be working: one that says nothing for too long is ended, so that another can start.

A worker in the middle of a step hears nothing and cannot be asked; but between steps it always says something.
"""

import asyncio
import os
import signal
from collections.abc import Callable

from aigrid.engines.openvino_link import Link

STALL_S = 60.0
"""How long a worker may be silent while requests are with it, in seconds; one step takes much less."""

IDLE_SLOWER = 15
"""So many times as long may be silent who gets the processor only when nobody else wants it."""

BEATS = 20


class Watch:
    """Looks after one connection; cancel the task of `run` when it ends.

    Silence is counted in beats of our own, so that a halt of this process is not blamed on the worker.
    """

    def __init__(self, link: Link, pid: int, waits: Callable[[], bool], *, idle: bool = False) -> None:
        self._link, self._pid, self._waits, self._idle = link, pid, waits, idle
        self._silent = 0
        self.killed = False

    @property
    def doubtful(self) -> bool:
        """Whether the worker has been silent for half the time it may be."""
        return self._silent >= BEATS // 2

    @property
    def stall_s(self) -> float:
        """How long this worker may be silent, in seconds."""
        return STALL_S * IDLE_SLOWER if self._idle else STALL_S

    @property
    def verdict(self) -> str:
        """How the worker ended, as the end of a sentence."""
        return f"stood still for {self.stall_s:g} s and was ended"

    async def run(self) -> None:
        """Kill the worker once it has been silent for too long while requests wait for it."""
        heard = -1
        while self._silent < BEATS:
            await asyncio.sleep(self.stall_s / BEATS)
            self._silent = self._silent + 1 if self._link.heard == heard and self._waits() else 0
            heard = self._link.heard
        self.killed = True
        try:
            os.kill(self._pid, signal.SIGKILL)
        except ProcessLookupError:
            self._link.close()
