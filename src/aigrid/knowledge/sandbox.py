"""Parsing in processes of its own: a file may crash, hang or take over its parser, and costs nothing but itself.

The file is opened here, without following it out of a folder and without waiting for pipes or devices, and handed
over open; the processes can open nothing, connect nowhere, and are ended when they use too much time or memory.
"""

import atexit
import contextlib
import os
import queue
import select
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import msgspec

from aigrid.core.supervise import why
from aigrid.knowledge.base import Parsed
from aigrid.knowledge.sandbox_files import Skipped, open_regular
from aigrid.knowledge.sandbox_worker import Answer, Ready, Task

__all__ = ["Limits", "Sandbox", "Skipped", "open_regular", "parse_file"]

_START_S = 60.0
_MAX_ANSWER = 512 << 20
_RECYCLE = 2_000
_BOOT = """
import sys
sys.path[:] = sys.argv[3:]
from aigrid.knowledge.sandbox_files import Skipped, open_regular
from aigrid.knowledge.sandbox_worker import main
main(int(sys.argv[1]), int(sys.argv[2]))
"""


class Limits(msgspec.Struct, frozen=True):
    """How much one file may cost: bytes read, wall and processor seconds, bytes of memory beyond the empty process."""

    max_bytes: int = 256 << 20
    wall_s: float = 60.0
    cpu_s: float = 45.0
    memory_bytes: int = 1 << 30


class Sandbox:
    """A few parsing processes, started when first needed and used again; safe to use from several threads."""

    def __init__(self, limits: Limits | None = None, workers: int | None = None) -> None:
        self.limits = limits or Limits()
        self.workers = workers or max(1, min(4, len(os.sched_getaffinity(0))))
        self._idle: queue.LifoQueue[_Worker | None] = queue.LifoQueue()
        for _ in range(self.workers):
            self._idle.put(None)
        self._closed = False

    def __enter__(self) -> "Sandbox":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def parse(self, path: str | Path, *, name: str | None = None, within: str | Path | None = None) -> Parsed | Skipped:
        """Return what a file says; `name` is what it is called where its path does not say so.

        With `within`, a file outside that folder is refused, by whatever links it was reached.
        """
        opened = open_regular(path, within)
        if isinstance(opened, Skipped):
            return opened
        try:
            return self._run(opened, name if name is not None else os.fspath(path))
        finally:
            os.close(opened)

    def parse_bytes(self, data: bytes, name: str) -> Parsed | Skipped:
        """Return what some bytes say, such as a page that was fetched; `name` is what its file would be called."""
        file = os.memfd_create("aigrid", os.MFD_CLOEXEC)
        try:
            with open(file, "wb", closefd=False) as whole:
                whole.write(data)
            return self._run(file, name)
        finally:
            os.close(file)

    def parse_all(
        self, paths: Iterable[str], *, within: str | Path | None = None
    ) -> Iterator[tuple[str, Parsed | Skipped]]:
        """Yield each path with what it says, in order, as many at a time as there are processes."""
        waiting: deque[tuple[str, Future[Parsed | Skipped]]] = deque()
        with ThreadPoolExecutor(self.workers, "aigrid-parse") as threads:
            try:
                for path in paths:
                    waiting.append((path, threads.submit(self.parse, path, within=within)))
                    if len(waiting) > 2 * self.workers:
                        first, future = waiting.popleft()
                        yield first, future.result()
                while waiting:
                    first, future = waiting.popleft()
                    yield first, future.result()
            finally:
                for _, future in waiting:
                    future.cancel()

    def walls(self) -> list[str]:
        """Return what holds the processes in: `limits`, and `landlock` and `seccomp` where the kernel has them."""
        worker = self._take()
        try:
            return list(worker.walls)
        finally:
            self._idle.put(worker)

    def close(self) -> None:
        """End the processes; those at work are waited for."""
        if self._closed:
            return
        self._closed = True
        for _ in range(self.workers):
            worker = self._idle.get()
            if worker is not None:
                worker.stop()

    def _take(self) -> "_Worker":
        if self._closed:
            raise RuntimeError("the sandbox is closed")
        worker = self._idle.get()
        try:
            return worker if worker is not None else _Worker(self.limits.memory_bytes)
        except BaseException:
            self._idle.put(None)
            raise

    def _run(self, file: int, name: str) -> Parsed | Skipped:
        worker: _Worker | None = self._take()
        assert worker is not None
        keep = False
        try:
            shown = os.path.basename(name).encode("utf-8", "replace")[-255:].decode("utf-8", "replace")
            answer = worker.ask(Task(shown, self.limits.max_bytes, self.limits.cpu_s), file, self.limits.wall_s)
            keep = isinstance(answer, Answer) and worker.done < _RECYCLE
        finally:
            if not keep and worker is not None:
                worker.stop()
            self._idle.put(worker if keep else None)
        if isinstance(answer, Skipped):
            return answer
        return answer.parsed if answer.parsed is not None else Skipped(answer.reason or "it could not be read")


class _Worker:
    """One parsing process and the socket to it."""

    def __init__(self, memory_bytes: int) -> None:
        self.channel, theirs = socket.socketpair()
        environment = {name: os.environ[name] for name in ("LD_LIBRARY_PATH", "PATH") if name in os.environ}
        paths = [os.path.abspath(path) for path in sys.path]
        argv = [sys.executable, "-I", "-S", "-B", "-c", _BOOT, str(os.getpid()), str(memory_bytes), *paths]
        with theirs:
            self.process = subprocess.Popen(
                argv,
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=environment,
                cwd="/",
            )
        self.done = 0
        self._rest = b""
        message = self._receive(time.monotonic() + _START_S)
        if not isinstance(message, bytes):
            self.stop()
            raise RuntimeError(f"the parsing process did not start ({message.reason})")
        self.walls = msgspec.msgpack.decode(message, type=Ready).walls

    def ask(self, task: Task, file: int, wall_s: float) -> Answer | Skipped:
        """Hand a file over and wait for what is in it. After `Skipped` the process is of no more use."""
        self.done += 1
        deadline = time.monotonic() + wall_s
        try:
            socket.send_fds(self.channel, [msgspec.msgpack.encode(task)], [file])
        except OSError:
            return Skipped("the parsing process had ended before it could be read")
        message = self._receive(deadline)
        if isinstance(message, Skipped):
            return message
        try:
            return msgspec.msgpack.decode(message, type=Answer)
        except msgspec.DecodeError:
            return Skipped("its parser sent back what makes no sense")

    def stop(self) -> None:
        """End the process, whatever it does."""
        self.channel.close()
        self.process.kill()
        self.process.wait()

    def _receive(self, deadline: float) -> bytes | Skipped:
        buffer = bytearray()
        need = 4
        while len(buffer) < need:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self.channel], [], [], left)[0]:
                return Skipped("reading it took too long")
            try:
                data = self.channel.recv(1 << 20)
            except OSError:
                data = b""
            if not data:
                return Skipped(self._death())
            buffer += data
            if need == 4 and len(buffer) >= 4:
                need = 4 + int.from_bytes(buffer[:4], "little")
                if need > _MAX_ANSWER:
                    return Skipped("it holds more text than is read")
        return bytes(buffer[4:need])

    def _death(self) -> str:
        with contextlib.suppress(subprocess.TimeoutExpired):
            code = self.process.wait(5.0)
            how = why(code)
            if "SIGXCPU" in how or "SIGKILL" in how:
                return f"reading it took too much processor time or memory (its parser was {how})"
            return f"it crashed its parser ({how})"
        return "its parser stopped answering"


_shared: dict[Limits, Sandbox] = {}
_lock = threading.Lock()


def parse_file(path: str | Path, limits: Limits | None = None) -> Parsed | Skipped:
    """Return what a file says, parsed in a sandbox that is kept for the next one until this process ends."""
    limits = limits or Limits()
    with _lock:
        if limits not in _shared:
            _shared[limits] = Sandbox(limits)
            if len(_shared) == 1:
                atexit.register(close_shared)
        sandbox = _shared[limits]
    return sandbox.parse(path)


def close_shared() -> None:
    """End the processes that `parse_file` keeps."""
    with _lock:
        while _shared:
            _shared.popitem()[1].close()
