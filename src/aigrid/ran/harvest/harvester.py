"""The harvester: ten times a second it looks at the radio, decides what the engine may use, and promises tokens.

What has to happen within a slot is the guard's. Whatever is not understood ends with the engine standing still: a radio
that says nothing or died, time that jumped, a machine that was suspended. Orders reach the engine over its meter and
hold for a second, and whoever kills this program wakes the engine: a halted one does not stay behind.
"""

import contextlib
import logging
import math
import os
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from aigrid.core.errors import NotFound, Unavailable
from aigrid.engines.meter import Meter
from aigrid.ran.harvest.decide import Decision, View, decide
from aigrid.ran.harvest.forecast import STEP_S, Forecast
from aigrid.ran.harvest.governor import CpuGovernor, Governor
from aigrid.ran.harvest.promise import Promise
from aigrid.ran.state import RECENT, RUNNING, STARTING, Page, RadioState

if TYPE_CHECKING:
    from aigrid.ran.harvest.guard import Guard

log = logging.getLogger("aigrid.ran")
PERIOD_S = 0.1
SILENCE_NS, SILENCE_OTHERS_NS = 50_000_000, 5_000_000_000
JUMP_NS, SETTLE_NS = 500_000_000, 1_000_000_000
_ENOUGH = 0.5
"""Share of the engine's places that must be taken for a second to count as one with enough to do."""
_WAKE = "read none; kill -CONT {}\n{}"
"""For a shell that waits for its input to close, which happens when this program dies, however that comes about."""


@dataclass(frozen=True)
class Clocks:
    """The clocks that the harvester reads: the monotonic one, and the one that goes on in a suspended machine."""

    mono_ns: Callable[[], int] = time.monotonic_ns
    boot_ns: Callable[[], int] = lambda: time.clock_gettime_ns(time.CLOCK_BOOTTIME)


@dataclass
class Co:
    """What the harvester knows and does at a moment. Shares are of one processor, rates tokens a second."""

    reason: str = "starting"
    phase: str = "starting"
    processors: list[int] = field(default_factory=list)
    need: float = 0.0
    need_low: float = 0.0
    need_high: float = 0.0
    radio_cpu: float = 0.0
    engine_cpu: float = 0.0
    tokens: int = 0
    tokens_per_second: float = 0.0
    promised: float = 0.0
    kept: int = 0
    broken: int = 0
    halts: int = 0
    held_s: float = 0.0
    engine: str = "running"
    notes: list[str] = field(default_factory=list)


class Harvester:
    """Governs one engine beside one radio; a context that gives the engine back at its end.

    `page` is the radio's page of state, `meter` the meter of the engine's worker (see `engines.meter.meter_path`);
    `forecast` is what an earlier one has learnt of the same radio.
    """

    def __init__(
        self, page: Path, meter: Path, *, governor: Governor | None = None, clocks: Clocks | None = None,
        guard: bool = True, forecast: Forecast | None = None,
    ) -> None:  # fmt: skip
        self._page, self._meter = Page(page), Meter(meter)
        self._meter_path = meter
        self.governor: Governor = governor or CpuGovernor(self._meter["pid"])
        self._clocks = clocks or Clocks()
        self._guarded = guard
        self.guard: Guard | None = None
        self._waker: subprocess.Popen[bytes] | None = None
        self._end = threading.Event()
        self._thread: threading.Thread | None = None
        self._processors = frozenset(os.sched_getaffinity(0))
        self.forecast, self.promise = forecast or Forecast(), Promise()
        self.co = Co()
        self.history: deque[tuple[float, float, float, float, float, float]] = deque(maxlen=240)
        """A second each: need, its forecast a second before (5 %, 95 %), engine's share, promised and made tokens/s."""
        self._slot = self._prior_mono = self._prior_boot = self._settle_until = 0
        self._second: tuple[int, int, int, int, int] | None = None
        self._promised = self._least_idle = 0.0
        self._said = (0.0, 0.0)
        self._wanted = True
        self._ceded = False

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Take the engine over."""
        self.govern()
        self._thread = threading.Thread(target=self._run, name="ran-harvester", daemon=True)
        self._thread.start()

    def govern(self) -> None:
        """Put the engine behind the radio, with a guard, and with somebody who wakes it if this program dies."""
        radio = self._radio()
        self.governor.begin(radio_first=bool(radio and radio.real_time))
        pid = self._meter["pid"]
        self._waker = subprocess.Popen(
            ["/bin/sh", "-c", _WAKE.format(pid, self.governor.undo())], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        if self._guarded:
            from aigrid.ran.harvest.guard import Guard

            guard = Guard(self._page, pid)
            guard.start()
            self.guard = guard

    def stop(self) -> None:
        """Give the engine back."""
        self._end.set()
        if self._thread is not None:
            self._thread.join()
        self.let_go()

    def let_go(self) -> None:
        """Undo what `govern` did."""
        if self.guard is not None:
            self._count_halts()
            self.guard.stop()
            self.guard = None
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if self.governor.alive():
                os.kill(self._meter["pid"], signal.SIGCONT)
        self._meter.free()
        self.governor.end()
        if self._waker is not None:
            assert self._waker.stdin is not None
            self._waker.kill()
            self._waker.stdin.close()
            self._waker.wait()
            self._waker = None

    def _run(self) -> None:
        while not self._end.wait(PERIOD_S):
            try:
                self.look()
            except Exception:
                log.exception("the harvester did not understand what it saw: AI waits")
                self._meter.order(pause=True, most_running=0, promised=0.0)

    # One look

    def look(self) -> Decision:
        """Look at radio, clocks and engine; decide, and order it."""
        now = self._jumped()
        radio = self._radio()
        phase = self._phase(radio, now)
        if radio is not None and phase == "running":
            self._observe(radio)
        need = self.forecast.ahead(0.95) if self.forecast.ready else None
        if radio is not None and phase == "running" and radio.source != 0:
            need = 1.0  # another vendor's radio does not tell what its work takes
        decision = decide(View(
            phase, bool(radio and radio.real_time), radio.cpu if radio else -1, self._processors, need,
            now < self._settle_until, self.governor.governed, self._ceded,
        ))  # fmt: skip
        if phase == "running" and not decision.pause:
            self._ceded = decision.processors != self._processors
        self._engine()
        self.governor.allow(decision.processors)
        self._account(now, decision, radio, need)
        promised = self._promised if phase != "none" else None
        share = len(decision.processors) / len(self._processors)
        self._meter.order(
            pause=decision.pause,
            most_running=max(1, math.ceil(share * self._meter["slots"])),  # a step stays about as long
            promised=0.0 if decision.pause else promised,
        )
        self._tell(phase, decision)
        return decision

    def _jumped(self) -> int:
        """Return the monotonic time; see whether it, or the machine, stood still since the last look."""
        mono, boot = self._clocks.mono_ns(), self._clocks.boot_ns()
        if self._prior_mono:
            passed = mono - self._prior_mono
            slept = (boot - self._prior_boot) - passed
            if slept > JUMP_NS or passed > JUMP_NS + int(PERIOD_S * 1e9) or passed < 0:
                self._settle_until = mono + SETTLE_NS
                self.promise.forget()
                self._second = None
        self._prior_mono, self._prior_boot = mono, boot
        return mono

    def _radio(self) -> RadioState | None:
        try:
            return self._page.read()
        except Unavailable:
            return None  # it died in the middle of writing

    def _phase(self, radio: RadioState | None, now: int) -> str:
        if radio is None:
            return "gone"
        if radio.phase == STARTING:
            return "starting"
        if radio.phase != RUNNING:
            return "none"
        if now - radio.updated_ns > (SILENCE_OTHERS_NS if radio.source else SILENCE_NS):
            return "gone" if radio.pid and not Path(f"/proc/{radio.pid}").exists() else "silent"
        return "running"

    def _observe(self, radio: RadioState) -> None:
        """Give the forecast the slots since the last time, a step at once."""
        step = max(1, round(STEP_S * 1e9 / max(1, radio.slot_ns)))
        fresh = radio.slot - self._slot
        if fresh < 0 or fresh > RECENT:
            self._slot = radio.slot
        elif fresh >= step:
            work = radio.recent_work_ns[-fresh:]
            self.forecast.observe(float(work.mean()) / radio.slot_ns)
            self._slot = radio.slot

    def _engine(self) -> None:
        """See whether the engine still is the one that is governed."""
        if self.governor.alive():
            self.co.engine = "running"
            return
        self.co.engine = "died"
        try:
            meter = Meter(self._meter_path)
        except NotFound:
            return
        if meter["pid"] == self._meter["pid"] or not isinstance(self.governor, CpuGovernor):
            return
        self._again(meter)

    def _again(self, meter: Meter) -> None:
        """Govern the engine's successor."""
        self.let_go()
        self._meter = meter
        self.governor = CpuGovernor(meter["pid"])
        self.promise.forget()
        self._second = None
        with contextlib.suppress(NotFound):
            self.govern()
            self.co.engine = "running"

    def _account(self, now: int, decision: Decision, radio: RadioState | None, need: float | None) -> None:
        """Once a second: what was made of what was idle, and what to promise for the next."""
        meter = self._meter
        slots = max(1, meter.most_running(meter["slots"]))
        wanted = meter["running"] >= _ENOUGH * slots or meter["waiting"] > 0
        self._wanted = self._wanted and wanted and self.co.engine == "running"
        radio_ns = radio.cpu_ns if radio else 0
        sample = (now, meter["tokens"], radio_ns, self.governor.cpu_ns(), len(decision.processors))
        if self._second is None:
            self._second, self._wanted = sample, wanted
            return
        then, tokens, radio_before, engine_before, processors = self._second
        if now - then < 1_000_000_000:
            return
        seconds = (now - then) / 1e9
        made, radio_s = sample[1] - tokens, (sample[2] - radio_before) / 1e9
        idle_s = processors * seconds - (radio_s if processors == len(self._processors) else 0.0)
        self.promise.second(round(made / seconds), idle_s / seconds, self._wanted, self._promised, self._least_idle)
        co = self.co
        co.radio_cpu, co.engine_cpu = radio_s / seconds, (sample[3] - engine_before) / 1e9 / seconds
        co.tokens, co.tokens_per_second = co.tokens + made, made / seconds
        self.history.append((co.radio_cpu, *self._said, co.engine_cpu, self._promised, co.tokens_per_second))
        count = len(decision.processors)
        taken = (need or 0.0) if count == len(self._processors) else 0.0
        self._least_idle = max(0.0, count - taken)
        self._promised = self.promise.rate(self._least_idle)
        self._said = (self.forecast.ahead(0.05), self.forecast.ahead(0.95))
        self._second, self._wanted = sample, wanted

    def _count_halts(self) -> None:
        guard = self.guard
        if guard is not None:
            self.co.halts = guard.halts
            self.co.held_s = guard.held_ns / 1e9

    def _tell(self, phase: str, decision: Decision) -> None:
        co = self.co
        self._count_halts()
        co.phase, co.reason, co.processors = phase, decision.reason, sorted(decision.processors)
        if co.engine == "died":
            co.reason = "the engine died: nothing to give to until its successor is there"
        co.need, co.need_low, co.need_high = (self.forecast.ahead(level) for level in (0.5, 0.05, 0.95))
        co.promised, co.kept, co.broken = self._promised, self.promise.kept, self.promise.broken
        note = self.guard.note if self.guard else None
        co.notes = [*self.governor.notes, *([note] if note else [])]
