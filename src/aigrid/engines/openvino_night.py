"""A second worker with the same model, for requests that may wait until nobody else wants the processor.

A step cannot be cut short from within, but the kernel can take the processor away in the middle of one: at the idle
priority of Linux a process is off it within a fraction of a millisecond of anybody else's waking. So these requests fill
their batches as if they were alone, and others wait for none of their steps. The price is memory for a second model;
where there is not enough of it, they run beside the others in one worker (`openvino_patience`).
"""

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import AsyncGenerator, Callable
from pathlib import Path

from aigrid.core.errors import AigridError
from aigrid.engines.base import Engine

log = logging.getLogger(__name__)
KEPT_S = 300.0
"""Seconds for which the second worker is kept when it has nothing to do."""
_WORKING_GB = 1.0
"""Memory that a worker takes beside its cache and its model's weights, which it has twice: as read and as compiled."""
_UNKNOWN_GB = 4.0
_NICEST = 19


class Night:
    """The second worker: started when a request comes for it, ended when none has come for a while."""

    def __init__(self, model: Path, cache_gb: int, make: Callable[[], Engine]) -> None:
        self.engine: Engine | None = None
        self._model, self._cache_gb, self._make = model, cache_gb, make
        self._users = 0
        self._broken = False
        self._end: asyncio.TimerHandle | None = None
        self._ending: asyncio.Task[None] | None = None

    @contextlib.asynccontextmanager
    async def use(self) -> AsyncGenerator[Engine | None, None]:
        """Yield the engine, started where it is not; None where this machine has no room for it."""
        self._users += 1
        if self._end is not None:
            self._end.cancel()
        try:
            yield await self._started()
        finally:
            self._users -= 1
            if not self._users:
                self._end = asyncio.get_running_loop().call_later(KEPT_S, self._retire)

    async def stop(self) -> None:
        """End it."""
        if self._end is not None:
            self._end.cancel()
        engine, self.engine = self.engine, None
        if engine is not None:
            await engine.stop()

    async def _started(self) -> Engine | None:
        if self._ending is not None:
            await asyncio.wait([self._ending])
        if self._broken:
            return None
        if self.engine is None:
            if not _fits(self._model, self._cache_gb):
                self._share("there is no memory for a second copy of the model")
                return None
            self.engine = self._make()
        engine = self.engine
        try:
            await engine.start()
        except AigridError as error:
            self._share(error.message)
            return None
        return engine

    def _share(self, why: str) -> None:
        """Have the one worker do everything until this process ends."""
        if not self._broken:
            log.warning("batches share the worker of other requests: %s", why)
            self._broken = True
            self._ending = asyncio.create_task(self.stop(), name="night-ends")

    def _retire(self) -> None:
        if not self._users:
            self._ending = asyncio.create_task(self.stop(), name="night-retires")


def _fits(model: Path, cache_gb: int) -> bool:
    """Return whether half of the memory that is free is enough for another worker."""
    files = [model] if model.is_file() else [path for path in model.rglob("*") if path.is_file()]
    weights = sum(path.stat().st_size for path in files) / (1 << 30)
    return _WORKING_GB + (cache_gb or 1) + 2 * weights < free_gb() / 2


def free_gb() -> float:
    """Return the memory in GiB that can be had without swapping, within the limit of a container."""
    try:
        lines = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
        free = int(lines["MemAvailable"].split()[0]) / (1 << 20)
    except (OSError, KeyError):
        return _UNKNOWN_GB
    with contextlib.suppress(OSError, ValueError):  # "max" where there is no limit
        group = Path("/sys/fs/cgroup")
        most, used = (int((group / f"memory.{what}").read_text()) for what in ("max", "current"))
        free = min(free, (most - used) / (1 << 30))
    return free


def idle_priority() -> None:
    """Let this process run only while no other wants to; systems without such a priority give it their lowest."""
    try:
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    except (AttributeError, OSError):  # not Linux, or not permitted
        os.nice(_NICEST)
    # Linux may also share the processor between sessions, however much each wants; this process leads one of its own.
    for _ in range(10):
        try:
            Path("/proc/self/autogroup").write_text(str(_NICEST))
        except BlockingIOError:  # at most one change in 0.1 s on the whole machine
            time.sleep(0.2)
        except OSError:
            return
        else:
            return
