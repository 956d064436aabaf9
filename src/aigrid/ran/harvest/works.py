"""AI to share a machine with: the embedded engine with a full batch, or arithmetic that only keeps processors busy.

Both run in a process of their own with a meter, so that they are governed and measured alike.
"""

import asyncio
import contextlib
import itertools
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from aigrid.core.config import Config, EngineConfig
from aigrid.core.errors import AigridError, Unavailable
from aigrid.core.models import pull, resolve
from aigrid.engines.base import GenerateRequest, Sampling
from aigrid.engines.meter import Meter, meter_path
from aigrid.engines.openvino import OpenVinoEngine
from aigrid.engines.openvino_process import socket_path

STREAMS, TOKENS = 64, 96
START_S = 120.0


class Work(Protocol):
    """AI that has always enough to do, between entering and leaving it."""

    unit: str
    pid: int
    meter_path: Path

    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def halt(self) -> None:
        """Stop it where it is."""

    def go_on(self) -> None:
        """Let it go on."""


class _Process:
    unit = ""
    pid = 0

    def halt(self) -> None:
        """Stop it where it is."""
        os.kill(self.pid, signal.SIGSTOP)

    def go_on(self) -> None:
        """Let it go on."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGCONT)


class EngineWork(_Process):
    """The embedded engine, which is asked for `STREAMS` answers at any time."""

    unit = "tokens"

    def __init__(self, model: str = "", threads: int = 0) -> None:
        config = EngineConfig()
        self._model = resolve(model or config.model, Config())
        self._config = EngineConfig(model=self._model.id, threads=threads, cache_gb=2)
        self._folder = tempfile.TemporaryDirectory(prefix="aigrid-work-")
        self._run = Path(self._folder.name)
        self.meter_path = meter_path(socket_path(self._run, "work"))
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="ran-work", daemon=True)
        self._askers: list[asyncio.Task[None]] = []
        self._numbers = itertools.count()
        self._engine: OpenVinoEngine | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        try:
            asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(START_S)
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.pid:
            self.go_on()
        with contextlib.suppress(TimeoutError, AigridError):
            asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result(30.0)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._folder.cleanup()

    async def _start(self) -> None:
        self._engine = OpenVinoEngine("work", pull(self._model), self._config, self._run, name="work")
        await self._engine.start()
        self._askers = [asyncio.create_task(self._ask()) for _ in range(STREAMS + STREAMS // 4)]
        meter = Meter(self.meter_path)
        until = time.monotonic() + START_S
        while meter["tokens"] < 2 * STREAMS and time.monotonic() < until:  # noqa: ASYNC110 - another process's page
            await asyncio.sleep(0.1)
        self.pid = meter["pid"]

    async def _stop(self) -> None:
        for asker in self._askers:
            asker.cancel()
        await asyncio.gather(*self._askers, return_exceptions=True)
        if self._engine is not None:
            await self._engine.stop()

    async def _ask(self) -> None:
        """Ask without end; answers are of different lengths, so that not all prompts are read at once."""
        assert self._engine is not None
        while True:
            number = next(self._numbers)
            request = GenerateRequest(
                id=f"work-{number}",
                model="work",
                max_tokens=TOKENS // 2 + number * 37 % TOKENS,
                prompt=f"Story {number}, which is long and has many heroes. Once upon a time",
                sampling=Sampling(temperature=0.8, seed=number),
                patient=True,
            )
            try:
                async for _ in self._engine.generate(request):
                    pass
            except AigridError:
                await asyncio.sleep(0.5)


class BurnWork(_Process):
    """Sums over memory on `threads` threads; a unit is a round of about a millisecond."""

    unit = "rounds"

    def __init__(self, threads: int = 0) -> None:
        self._threads = threads or len(os.sched_getaffinity(0))
        self._folder = tempfile.TemporaryDirectory(prefix="aigrid-work-")
        self.meter_path = Path(self._folder.name) / "burn.meter"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "aigrid.ran.harvest.burn", str(self.meter_path), str(self._threads), str(os.getpid())],
            env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        )  # fmt: skip
        self.pid = self._process.pid
        until = time.monotonic() + START_S
        while not (self.meter_path.exists() and Meter(self.meter_path)["tokens"]):
            if self._process.poll() is not None or time.monotonic() > until:
                raise Unavailable("the load beside the radio did not start")
            time.sleep(0.05)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self._folder.cleanup()
