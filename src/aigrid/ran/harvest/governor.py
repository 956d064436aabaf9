"""How an engine is kept to its share: one protocol, and what this machine offers for it.

On a processor it is the scheduling class (SCHED_IDLE: whatever else is ready comes first) and the processors that threads
may stand on. Beside a radio that is not first in line it is a control group that is idle as a whole, too: SCHED_IDLE
yields only to what is in the engine's own group, and Linux makes a group of every session by itself (autogroup, whose
nice value is set where there is no control group). Such an engine gets next to nothing on a machine that others keep
busy, so it is not done without need. A GPU would be governed through the same protocol by the share of its processors
(CUDA_MPS_ACTIVE_THREAD_PERCENTAGE) and the priority of its streams; both are fixed when an engine starts.
"""

import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from shlex import quote
from typing import Protocol

from aigrid.core.errors import NotFound

CGROUP = Path("/sys/fs/cgroup")
_STRAYS = "the engine moves its threads to processors that it was sent from: nothing keeps it off the radio's"


class Governor(Protocol):
    """Keeps one engine to its share."""

    notes: list[str]
    governed: bool
    """Whether `allow` is obeyed."""

    def begin(self, *, radio_first: bool) -> None:
        """Put the engine behind the radio, which may be first in line itself; what is not permitted goes to `notes`."""

    def allow(self, processors: frozenset[int]) -> None:
        """Let the engine stand on these processors only."""

    def alive(self) -> bool:
        """Say whether the engine runs."""

    def cpu_ns(self) -> int:
        """Return the processor time that the engine has taken."""

    def end(self) -> None:
        """Give the engine back as it was found."""

    def undo(self) -> str:
        """Return shell commands that do so after this program was killed."""


class CpuGovernor:
    """Governs a process with all its threads."""

    def __init__(self, pid: int, cgroups: Path = CGROUP) -> None:
        self.pid = pid
        self.notes: list[str] = []
        self.governed = True
        self.group = ""
        self._cgroups = cgroups
        self._group: Path | None = None
        self._former: Path | None = None
        self._before: tuple[int, int, set[int]] | None = None
        self._allowed: frozenset[int] | None = None
        self._niced = False
        self._born = _born(pid)

    def begin(self, *, radio_first: bool) -> None:
        """Put the engine into SCHED_IDLE, and unless the radio is first in line into an idle control group."""
        pid = self.pid
        try:
            self._before = (os.sched_getscheduler(pid), os.getpriority(os.PRIO_PROCESS, pid), os.sched_getaffinity(pid))
        except ProcessLookupError:
            raise NotFound(f"the engine's process {pid} is gone; start it and try again") from None
        if (
            refused := self._each(lambda tid: os.sched_setscheduler(tid, os.SCHED_IDLE, os.sched_param(0)))
        ) is not None:
            self.notes.append(
                f"the engine is not put behind other programs ({refused}): it runs as another user; "
                "run this as that user, as root, or grant CAP_SYS_NICE"
            )
        if (refused := self._each(lambda tid: os.sched_setaffinity(tid, self._before[2]))) is not None:  # type: ignore[index]
            self.governed = False
            self.notes.append(
                f"the engine cannot be kept from processors ({refused}); beside a radio without SCHED_FIFO it waits"
            )
        if not radio_first:
            self._join()

    def _each(self, work: Callable[[int], object]) -> str | None:
        """Do something to every thread; returns why it was refused."""
        for folder in Path(f"/proc/{self.pid}/task").glob("[0-9]*"):
            try:
                work(int(folder.name))
            except ProcessLookupError:
                continue
            except OSError as error:
                return error.strerror or str(error)
        return None

    def _join(self) -> None:
        """Make a control group that is idle as a whole, and put the engine there."""
        kind, base = control_group(self._cgroups)
        if base is None:
            self.notes.append(kind)
            autogroup(self.pid, 19)
            self._niced = True
            return
        group = base / f"aigrid-harvest-{self.pid}"
        try:
            self._former = _group_of(self.pid, base, self._cgroups)
            group.mkdir(exist_ok=True)
            (group / "cpu.idle").write_text("1")
            (group / "cgroup.procs").write_text(str(self.pid))
        except OSError as error:
            with contextlib.suppress(OSError):
                group.rmdir()
            self.notes.append(f"no control group for the engine ({error.strerror}); SCHED_IDLE alone does it")
            return
        self._group, self.group = group, kind

    def allow(self, processors: frozenset[int]) -> None:
        """Let every thread of the engine stand on these processors; none at all is a matter of the meter's pause."""
        if not processors:
            return
        if processors == self._allowed:
            if not self._strays(processors):
                return
            if _STRAYS not in self.notes:
                self.notes.append(_STRAYS)
        refused = self._each(lambda tid: os.sched_setaffinity(tid, processors))
        self.governed = refused is None and _STRAYS not in self.notes
        self._allowed = processors if refused is None else None

    def _strays(self, processors: frozenset[int]) -> bool:
        """Say whether a thread may stand elsewhere, though it was told not to."""
        found: set[int] = set()
        self._each(lambda tid: found.update(os.sched_getaffinity(tid)))
        return not found <= processors

    def alive(self) -> bool:
        """Say whether the process is the one that it was."""
        return _born(self.pid) == self._born is not None

    def cpu_ns(self) -> int:
        """Return the processor time that the process has taken, to the scheduler's tick."""
        try:
            fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return 0
        return (int(fields[11]) + int(fields[12])) * (1_000_000_000 // os.sysconf("SC_CLK_TCK"))

    def end(self) -> None:
        """Give the engine back its class, its processors and its control group."""
        if self._before is None or not self.alive():
            self._leave()
            return
        policy, nice, processors = self._before
        self._each(lambda tid: os.sched_setscheduler(tid, policy, os.sched_param(0)))
        self._each(lambda tid: os.setpriority(os.PRIO_PROCESS, tid, nice))
        self._each(lambda tid: os.sched_setaffinity(tid, processors))
        if self._niced:
            autogroup(self.pid, 0)
        self._leave()

    def undo(self) -> str:
        """Return shell commands that do so after this program was killed; they use util-linux where it is there."""
        if self._before is None:
            return ""
        policy, _, processors = self._before
        lines = [f"taskset -a -p -c {','.join(map(str, sorted(processors)))} {self.pid}"]
        if policy == os.SCHED_OTHER:
            lines.append(f"chrt -a -o -p 0 {self.pid}")
        if self._niced:
            lines.append(f"echo 0 > /proc/{self.pid}/autogroup")
        if self._group is not None:
            if self._former is not None:
                lines.append(f"echo {self.pid} > {quote(str(self._former / 'cgroup.procs'))}")
            lines.append(f"rmdir {quote(str(self._group))}")
        return "\n".join(lines)

    def _leave(self) -> None:
        if self._group is None:
            return
        with contextlib.suppress(OSError):
            if self._former is not None:
                (self._former / "cgroup.procs").write_text(str(self.pid))
        with contextlib.suppress(OSError):
            self._group.rmdir()
        self._group = None


def autogroup(pid: int, nice: int) -> None:
    """Give the session of a process a nice value among sessions, where sessions are groups and it is permitted."""
    with contextlib.suppress(OSError):
        Path(f"/proc/{pid}/autogroup").write_text(str(nice))


def control_group(root: Path = CGROUP) -> tuple[str, Path | None]:
    """Return which control groups can make an engine idle as a whole, and where; without any, a sentence and None."""
    if (root / "cgroup.controllers").is_file():
        if "cpu" in (root / "cgroup.controllers").read_text().split() and os.access(root, os.W_OK):
            return "cgroup v2", root
        return "no control group for the engine (cgroup v2 without the cpu controller, or not ours to write)", None
    for name in ("cpu", "cpu,cpuacct"):
        if (root / name / "cpu.shares").is_file() and os.access(root / name, os.W_OK):
            return "cgroup v1", root / name
    return "no control group for the engine (none is mounted, or not ours to write); SCHED_IDLE alone does it", None


def _group_of(pid: int, base: Path, root: Path) -> Path:
    """Return the control group of a process below `base`."""
    for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if (base == root and not controllers) or "cpu" in controllers.split(","):
            return base / path.lstrip("/")
    return base


def _born(pid: int) -> int | None:
    """Return when a process was started; None where there is none, or a dead one that nobody has buried."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else int(fields[19])
