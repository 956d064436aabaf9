"""The radio as others see it: a plan of what to run, a process that runs it, and what came of it."""

import contextlib
import importlib.util
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from aigrid.core.errors import BadRequest, ConfigError, Unavailable
from aigrid.ran.state import STOPPED, Page, RadioState, bin_edges_us
from aigrid.ran.trace import Trace

GATE = 0.9998
"""The share of slots on time that NVIDIA Aerial's public continuous integration asks for."""
PATTERNS = {"tdd": "DDDSU", "fdd": "F"}
"""Slots in turn: D down, U up, F both, S switching (carries no data here)."""
START_S = 300.0
"""The first start on a machine compiles the kernels."""


@dataclass(frozen=True)
class Plan:
    """What a radio is to do.

    `cpu` is the processor it stays on (None: any). `empty` is the control: the same slots and deadlines without the
    work, which shows what the machine itself can do.
    """

    trace: Trace
    seconds: float
    pattern: str = "tdd"
    cpu: int | None = None
    real_time: bool = True
    empty: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.seconds) and 0 < self.seconds <= 86_400):
            raise BadRequest(
                f"a radio cannot run for {self.seconds} seconds; 0 to 86,400 are possible", param="seconds"
            )
        if self.pattern not in PATTERNS:
            raise BadRequest(
                f"there is no slot pattern {self.pattern!r}; there are {', '.join(PATTERNS)}", param="pattern"
            )


@dataclass(frozen=True)
class Times:
    """A distribution of times in microseconds, from a histogram of four bins to an octave (upper edges)."""

    count: int
    p50: float
    p99: float
    p999: float
    most: float

    @classmethod
    def of(cls, histogram: Any) -> "Times":
        """Read a histogram."""
        total, edges = int(histogram.sum()), bin_edges_us()
        running = np.cumsum(histogram)

        def at(share: float) -> float:
            return round(float(edges[np.searchsorted(running, share * total)]), 1) if total else 0.0

        return cls(total, at(0.5), at(0.99), at(0.999), at(1.0))


@dataclass(frozen=True)
class Summary:
    """What a radio did. `notes` are what the system did not permit, in sentences; `ended` says how it ended."""

    slots: int
    busy_slots: int
    late_slots: int
    on_time: float
    holds: bool
    downlink_done: int
    downlink_missed: int
    uplink_done: int
    uplink_missed: int
    dropped: int
    bad_blocks: int
    overruns: int
    cpu_share: float
    prb_share: float
    tick_us: Times
    tick_most_us: float
    downlink_us: Times
    uplink_us: Times
    real_time: bool
    memory_locked: bool
    notes: list[str] = field(default_factory=list)
    ended: str = "done"


def summary(state: RadioState, notes: list[str], ended: str) -> Summary:
    """Sum up a radio's page."""
    slots = state.slot + 1
    return Summary(
        slots, state.busy_slots, state.late_slots, state.on_time, state.on_time >= GATE, state.downlink_done,
        state.downlink_missed, state.uplink_done, state.uplink_missed, state.dropped, state.bad_blocks, state.overruns,
        round(state.cpu_ns / (slots * state.slot_ns), 4),
        round((state.downlink_prb_sum + state.uplink_prb_sum) / (slots * state.cell_prb), 4),
        Times.of(state.tick_histogram), round(state.tick_late_max_ns / 1e3, 1),
        Times.of(state.downlink_histogram), Times.of(state.uplink_histogram),
        bool(state.real_time), bool(state.locked), notes, ended,
    )  # fmt: skip


class Radio:
    """One radio in a process of its own; a context that ends it, whatever happens."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.notes: list[str] = []
        self._process: subprocess.Popen[str] | None = None
        base = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
        self.folder = Path(tempfile.mkdtemp(prefix="aigrid-radio-", dir=base))
        self.page = self.folder / "page"
        self._ended: Summary | None = None

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start the radio; returns when its first slot is due. Raises Unavailable where it does not come up."""
        if importlib.util.find_spec("numba") is None:
            raise ConfigError("the radio's kernels need numba, which is not installed; run `pip install 'aigrid[ran]'`")
        page = Page(self.page, create=True)
        page.write({"cell_prb": self.plan.trace.cell_prb})
        trace = self.plan.trace
        np.savez(
            self.folder / "trace.npz",
            loads=np.stack([trace.downlink_prb, trace.downlink_mcs, trace.uplink_prb, trace.uplink_mcs]),
        )
        options = {
            "seconds": self.plan.seconds, "pattern": PATTERNS[self.plan.pattern], "cpu": self.plan.cpu,
            "real_time": self.plan.real_time, "empty": self.plan.empty, "seed": self.plan.seed,
            "cell_prb": trace.cell_prb, "step_slots": trace.step_slots, "parent": os.getpid(),
        }  # fmt: skip
        (self.folder / "plan.json").write_text(json.dumps(options))
        self._process = subprocess.Popen(
            [sys.executable, "-m", "aigrid.ran.process", str(self.folder)],
            stdout=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            text=True,
            env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
            start_new_session=True,
        )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise Unavailable(f"the radio ended before its first slot, with exit code {self._process.wait()}")
        self.notes = json.loads(line)["notes"]

    @property
    def alive(self) -> bool:
        """Say whether the radio's process runs."""
        return self._process is not None and self._process.poll() is None

    def state(self) -> RadioState:
        """Return the radio at this moment."""
        return Page(self.page).read()

    def wait(self, timeout: float | None = None) -> Summary:
        """Wait for the end of the plan; returns what came of it, also of a radio that died."""
        assert self._process is not None
        try:
            self._process.wait(timeout if timeout is not None else self.plan.seconds + START_S)
        except subprocess.TimeoutExpired as error:
            raise Unavailable("the radio does not come to its end; stop it and look at the machine's load") from error
        return self.result()

    def result(self) -> Summary:
        """Return what the radio did up to now."""
        if self._ended:
            return self._ended
        code = self._process.poll() if self._process else None
        state = self.state() if code is None else Page(self.page).last()
        if code is None or (code == 0 and state.phase == STOPPED):
            ended = "running" if code is None else "done"
        else:
            cause = signal.Signals(-code).name if code < 0 else f"exit code {code}"
            ended = f"the radio died ({cause}) in slot {state.slot}"
        return summary(state, self.notes, ended)

    def stop(self) -> None:
        """End the radio and remove its page; what came of it can still be asked for."""
        if self._process is not None:
            if self._process.poll() is None:
                self._process.terminate()
                try:
                    self._process.wait(2.0)
                except subprocess.TimeoutExpired:
                    with contextlib.suppress(ProcessLookupError):
                        self._process.kill()
                    self._process.wait()
            if self._process.stdout is not None:
                self._process.stdout.close()
            if self._ended is None and self.page.exists():
                self._ended = self.result()
        shutil.rmtree(self.folder, ignore_errors=True)
