"""Processes: start them, watch them, start them again, stop them; children die with their parent.

Every program runs in a process group of its own, so that Ctrl-C on a terminal reaches only the supervisor, which
passes it on in order: first a polite SIGTERM (programs drain), at the second signal or after `stop_s` a SIGKILL
to the whole group. Before the supervised programs are *settled* an exit is a failure of the start; afterwards it
is a crash, and the program is started again after a growing pause.
"""

import asyncio
import contextlib
import ctypes
import os
import signal
import subprocess
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

from aigrid.core.clock import SECOND, mono_ns
from aigrid.core.errors import AigridError

_PR_SET_PDEATHSIG = 1
_MAX_LINE = 1 << 20


def dies_with_parent(sig: int = signal.SIGTERM) -> Callable[[], None]:
    """Return a `preexec_fn` that makes the kernel send `sig` to the child when this thread's process dies."""
    libc = ctypes.CDLL(None, use_errno=True)
    parent = os.getpid()

    def prepare() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, sig, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)

    return prepare


@dataclass(frozen=True)
class Program:
    """What to run. `stop_s` is how long it may drain after SIGTERM before it is killed."""

    name: str
    argv: Sequence[str]
    env: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    stop_s: float = 30.0


class ProgramFailed(AigridError):
    """A program ended while the factory was starting."""

    default_code = "start_failed"


def why(code: int) -> str:
    """Say how a process ended: `exit code 3`, `killed by SIGKILL`."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"killed by signal {-code}"


class Supervisor:
    """Keeps programs running until a signal or `stop()`.

    `on_line(program, line)` gets each line that a program writes; `on_event(text)` what the supervisor itself does.
    A crashed program is started again after `backoff_s` seconds, doubled at each crash up to ten seconds; a
    program that ran for `steady_s` seconds begins anew at the shortest pause.
    """

    def __init__(
        self,
        programs: Sequence[Program],
        *,
        on_line: Callable[[str, str], None],
        on_event: Callable[[str], None],
        backoff_s: float = 0.25,
        steady_s: float = 30.0,
    ) -> None:
        self.programs = list(programs)
        self.restarts: dict[str, int] = {program.name: 0 for program in programs}
        self._on_line = on_line
        self._on_event = on_event
        self._backoff_s = backoff_s
        self._steady_ns = int(steady_s * SECOND)
        self._settled = False
        self._stopping = asyncio.Event()
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def pids(self) -> dict[str, int]:
        """Return the process id of each running program."""
        return {name: process.pid for name, process in self._running.items()}

    def stop(self) -> None:
        """Stop all programs: politely at the first call, at once at the second."""
        if not self._stopping.is_set():
            self._stopping.set()
            return
        self._on_event("stopping at once")
        for process in self._running.values():
            _signal_group(process.pid, signal.SIGKILL)

    async def run(self, settle: Callable[[], Awaitable[None]]) -> None:
        """Start all programs, await `settle` (which returns once all is well), keep them until a stop.

        Raises `ProgramFailed` when a program ends before `settle` has returned, and whatever `settle` raises; all
        programs have ended when this returns.
        """
        loop = asyncio.get_running_loop()
        for sig in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(sig, self.stop)
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self._keep(program)) for program in self.programs]
                tasks.append(group.create_task(self._settle(settle)))
                await self._stopping.wait()
                for task in tasks:
                    task.cancel()
        except* AigridError as errors:
            raise _first(errors) from None
        finally:
            for sig in (signal.SIGINT, signal.SIGTERM):
                loop.remove_signal_handler(sig)

    async def _settle(self, settle: Callable[[], Awaitable[None]]) -> None:
        await settle()
        self._settled = True

    async def _keep(self, program: Program) -> None:
        pause = self._backoff_s
        while True:
            began = mono_ns()
            code, last = await self._run_once(program)
            if not self._settled:
                raise ProgramFailed(f"the {program.name} did not start ({why(code)}): {last or 'it said nothing'}")
            if mono_ns() - began > self._steady_ns:
                pause = self._backoff_s
            self._on_event(f"the {program.name} ended ({why(code)}); starting it again in {pause:g} s")
            await asyncio.sleep(pause)
            pause = min(pause * 2, 10.0)
            self.restarts[program.name] += 1

    async def _run_once(self, program: Program) -> tuple[int, str]:
        process = subprocess.Popen(  # noqa: ASYNC220 - forking is quick, and must happen in the main thread
            program.argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=dict(program.env),
            process_group=0,
            preexec_fn=dies_with_parent(),
        )
        self._running[program.name] = process
        lines: deque[str] = deque(maxlen=1)
        pump = asyncio.create_task(self._pump(program.name, process, lines))
        try:
            await ended(process)
        finally:
            await self._end(program, process)
            del self._running[program.name]
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(pump, 1.0)
        return process.returncode, lines[0] if lines else ""

    async def _end(self, program: Program, process: subprocess.Popen[bytes]) -> None:
        """Stop the program if it runs, and whatever it left behind in its group."""
        if process.returncode is None:
            _signal_group(process.pid, signal.SIGTERM)
            try:
                await asyncio.wait_for(ended(process), program.stop_s)
            except TimeoutError:
                self._on_event(f"the {program.name} did not stop within {program.stop_s:g} s; killing it")
        _signal_group(process.pid, signal.SIGKILL)
        await ended(process)

    async def _pump(self, name: str, process: subprocess.Popen[bytes], lines: deque[str]) -> None:
        assert process.stdout is not None
        reader = asyncio.StreamReader()
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), process.stdout
        )
        rest = b""
        try:
            while data := await reader.read(65536):
                *whole, rest = (rest + data).split(b"\n")
                if len(rest) > _MAX_LINE:
                    whole, rest = [*whole, rest], b""
                for line in whole:
                    self._say(name, line, lines)
            self._say(name, rest, lines)
        finally:
            transport.close()

    def _say(self, name: str, line: bytes, lines: deque[str]) -> None:
        text = line.decode(errors="replace").rstrip()
        if text:
            lines.append(text)
            self._on_line(name, text)


async def ended(process: subprocess.Popen[bytes]) -> None:
    """Return when the process has ended, whoever still holds its pipes; it is no zombie then."""
    if process.returncode is not None:
        return
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    pidfd = os.pidfd_open(process.pid)
    loop.add_reader(pidfd, ended.set)
    try:
        await ended.wait()
    finally:
        loop.remove_reader(pidfd)
        os.close(pidfd)
    process.wait()


def _signal_group(pid: int, sig: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, sig)


def _first(errors: BaseExceptionGroup[AigridError]) -> AigridError:
    leaf: BaseException = errors
    while isinstance(leaf, BaseExceptionGroup):
        leaf = leaf.exceptions[0]
    assert isinstance(leaf, AigridError)
    return leaf
