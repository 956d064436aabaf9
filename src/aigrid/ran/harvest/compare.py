"""Ways to share a machine between a radio and AI, one after another in short slices, beside their controls.

A round is one slice of each kind, in random order: the machine's floor (slots without work), the radio alone, AI alone,
and every policy. What a policy adds to the radio's misses is its slice less the radio-alone slice of the same round, so
that what the machine does by itself cancels; intervals are from drawing rounds with replacement (the bootstrap). Nothing
is started or ended between slices: who is not to run is stopped, so caches of code and compiled kernels stay as they are.

Cycles that the radio leaves idle are all of the machine's less the radio's, and less what other programs and the host
took in the same slice: nobody can harvest those. On a quiet machine that is next to nothing.
"""

import os
import random
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import numpy as np

from aigrid.core.errors import BadRequest, Unavailable
from aigrid.engines.meter import Meter
from aigrid.ran.harvest.forecast import Forecast
from aigrid.ran.harvest.governor import CpuGovernor, autogroup
from aigrid.ran.harvest.harvester import Harvester
from aigrid.ran.harvest.works import Work
from aigrid.ran.radio import Plan, Radio, Times
from aigrid.ran.realtime import PRIORITY
from aigrid.ran.trace import Trace

CONTROLS = ("floor", "radio", "ai")
POLICIES = ("static", "plain", "nice", "idle", "harvester")
WORDS = {
    "floor": "slots without work: the machine's floor",
    "radio": "radio alone",
    "ai": "AI alone",
    "static": "static partition: a processor for the radio",
    "plain": "plain sharing",
    "nice": "nice: radio at −20, AI at 19",
    "idle": "AI in SCHED_IDLE",
    "harvester": "harvester",
}
SETTLE_S = 0.6
CATCH_UP_S = 20.0
DRAWS = 2000


@dataclass(frozen=True)
class Slice:
    """What was counted in one slice; processor times and `seconds` in seconds."""

    kind: str
    round: int
    seconds: float
    busy: int = 0
    late: int = 0
    radio_cpu: float = 0.0
    others_cpu: float = 0.0
    """What neither radio nor engine nor this program took, and what the host took from a virtual machine."""
    engine_cpu: float = 0.0
    tokens: int = 0
    halts: int = 0
    ticks: tuple[int, ...] = ()
    """How late ticks were served, in the bins of `state.bin_edges_us`."""


class Bench:
    """A radio, a radio without work, and AI, each stopped until its slice; a context.

    `ahead` is the nice value of their sessions: −20 keeps programs of other sessions out of a measurement, as far as
    weights can, and leaves what radio and AI are to each other as it is.
    """

    def __init__(
        self,
        trace: Trace,
        work: Work,
        seconds: float,
        *,
        pattern: str = "tdd",
        cpu: int | None = None,
        ahead: int = 0,
    ) -> None:
        self.processors = frozenset(os.sched_getaffinity(0))
        if len(self.processors) < 2:
            raise BadRequest("comparing needs two processors or more: a static partition gives the radio one of them")
        self.cpu = max(self.processors) if cpu is None else cpu
        self.work, self._ahead = work, ahead
        self._radio = Radio(Plan(trace, seconds, pattern, self.cpu))
        self._floor = Radio(Plan(trace, seconds, pattern, self.cpu, empty=True))
        self._stack = ExitStack()
        self._forecast = Forecast()  # a harvester that runs for days learns once
        self.notes: list[str] = []

    def __enter__(self) -> Self:
        try:
            self._stack.enter_context(self.work)
            self.work.halt()
            for radio in (self._radio, self._floor):
                self._stack.enter_context(radio)
                os.kill(radio.state().pid, signal.SIGSTOP)
            self.notes = list(self._radio.notes)
            self.meter = Meter(self.work.meter_path)
            self.engine = CpuGovernor(self.work.pid)
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        for radio in (self._radio, self._floor):
            if radio.alive:
                os.kill(radio.state().pid, signal.SIGCONT)
        self._stack.close()

    def slice(self, kind: str, number: int, seconds: float) -> Slice:
        """Run one slice of a kind and count."""
        radio = None if kind == "ai" else self._floor if kind == "floor" else self._radio
        harvester: Harvester | None = None
        try:
            if radio is not None:
                self._seat(radio, kind)
                os.kill(radio.state().pid, signal.SIGCONT)
                _caught_up(radio)
            if kind not in ("floor", "radio"):
                self._place(kind)
                self.work.go_on()
            if kind == "harvester":
                assert radio is not None
                harvester = Harvester(radio.page, self.work.meter_path, forecast=self._forecast)
                harvester.start()
            time.sleep(SETTLE_S)
            if radio is not None and (not radio.alive or radio.state().stale(1_000_000_000)):
                raise Unavailable(f"the radio did not go on: {radio.result().ended}")
            return self._count(kind, number, seconds, radio, harvester)
        finally:
            if harvester is not None:
                harvester.stop()
            if radio is not None and radio.alive:
                os.kill(radio.state().pid, signal.SIGSTOP)
            self.work.halt()

    def _count(self, kind: str, number: int, seconds: float, radio: Radio | None, harvester: Harvester | None) -> Slice:
        before, state = self._read(), radio.state() if radio else None
        time.sleep(seconds)
        after, then = self._read(), radio.state() if radio else None
        took = (after[0] - before[0]) / 1e9
        busy = late = 0
        radio_cpu = 0.0
        ticks: tuple[int, ...] = ()
        if state is not None and then is not None:
            busy, late = then.busy_slots - state.busy_slots, then.late_slots - state.late_slots
            radio_cpu = (then.cpu_ns - state.cpu_ns) / 1e9
            ticks = tuple((then.tick_histogram - state.tick_histogram).tolist())
        return Slice(
            kind, number, took, busy, late, radio_cpu,
            max(0.0, (after[3] - before[3] - (after[1] - before[1])) / 1e9 - radio_cpu), (after[1] - before[1]) / 1e9, after[2] - before[2],
            harvester.co.halts if harvester else 0, ticks,
        )  # fmt: skip

    def _read(self) -> tuple[int, int, int, int]:
        """Return time, and what the engine, its tokens, and all but this program have come to."""
        mine = int(time.process_time() * 1e9)
        return time.monotonic_ns(), self.engine.cpu_ns(), self.meter["tokens"], busy_ns() - mine

    def _place(self, kind: str) -> None:
        """Put the engine into its class and onto its processors."""
        policy = os.SCHED_IDLE if kind == "idle" else os.SCHED_OTHER
        processors = self.processors - {self.cpu} if kind == "static" else self.processors
        each_thread(self.work.pid, lambda tid: os.sched_setscheduler(tid, policy, os.sched_param(0)))
        each_thread(self.work.pid, lambda tid: os.setpriority(os.PRIO_PROCESS, tid, 19 if kind == "nice" else 0))
        each_thread(self.work.pid, lambda tid: os.sched_setaffinity(tid, processors))
        autogroup(self.work.pid, 19 if kind == "nice" else self._ahead + 19 if kind == "idle" else self._ahead)

    def _seat(self, radio: Radio, kind: str) -> None:
        """Put the radio into its class: first in line and on its processor, or as an ordinary program on any."""
        pid, ordinary = radio.state().pid, kind in ("plain", "nice", "idle")
        first = radio.state().real_time and not ordinary
        os.sched_setscheduler(pid, os.SCHED_FIFO if first else os.SCHED_OTHER, os.sched_param(PRIORITY if first else 0))
        os.setpriority(os.PRIO_PROCESS, pid, -20 if kind == "nice" else 0)
        autogroup(pid, -20 if kind == "nice" else self._ahead)
        os.sched_setaffinity(pid, self.processors if ordinary else {self.cpu})


def _caught_up(radio: Radio) -> None:
    """Wait while a radio that was stopped counts the slots that it has missed; it takes a processor for itself."""
    until = time.monotonic() + CATCH_UP_S
    while time.monotonic() < until:
        time.sleep(0.05)
        if not radio.alive or (state := radio.state()).tick_late_ns < state.slot_ns:
            return
    raise Unavailable(f"the radio is still behind after {CATCH_UP_S:.0f} s: this machine cannot keep up with it")


def busy_ns() -> int:
    """Return the time that this machine's processors were busy, or taken away from it (steal), since it started."""
    with open("/proc/stat") as file:
        user, nice, system, _, _, irq, soft, steal, *_ = map(int, file.readline().split()[1:])
    return (user + nice + system + irq + soft + steal) * (1_000_000_000 // os.sysconf("SC_CLK_TCK"))


def each_thread(pid: int, work: Callable[[int], Any]) -> None:
    """Do something to every thread of a process that still is there."""
    for tid in os.listdir(f"/proc/{pid}/task"):
        try:
            work(int(tid))
        except ProcessLookupError:
            continue


def rounds(
    bench: Bench, kinds: Sequence[str], until: float, slice_s: float, tell: Callable[[str, int], None], seed: int = 0
) -> list[Slice]:
    """Run rounds until the monotonic time `until`; at least two."""
    order, found, number = random.Random(seed), [], 0
    while number < 2 or time.monotonic() < until:
        turn = list(kinds)
        order.shuffle(turn)
        for kind in turn:
            tell(kind, number)
            found.append(bench.slice(kind, number, slice_s))
        number += 1
    return found


Figure = dict[str, float]


def figures(slices: Sequence[Slice], processors: int) -> dict[str, dict[str, Any]]:
    """Return what came of each kind, with 95 % intervals from drawing rounds."""
    count = 1 + max(each.round for each in slices)
    table = {
        kind: [each for each in slices if each.kind == kind] for kind in dict.fromkeys(each.kind for each in slices)
    }
    draws = np.vstack([np.arange(count), np.random.default_rng(0).integers(0, count, (DRAWS, count))])

    def sums(kind: str, name: str) -> Any:
        values = np.zeros(count)
        for each in table[kind]:
            values[each.round] += getattr(each, name)
        return values[draws].sum(axis=1)

    def spread(values: Any) -> Figure:
        low, high = np.percentile(values[1:], [2.5, 97.5])
        return {"value": float(values[0]), "low": float(low), "high": float(high)}

    with np.errstate(divide="ignore", invalid="ignore"):
        miss = {kind: 1e4 * sums(kind, "late") / sums(kind, "busy") for kind in table if kind != "ai"}
        rate = {kind: sums(kind, "tokens") / sums(kind, "seconds") for kind in table}
        found: dict[str, dict[str, Any]] = {}
        for kind in table:
            entry: dict[str, Any] = {"slices": len(table[kind]), "halts": sum(each.halts for each in table[kind])}
            if kind != "ai":
                entry["on_time"] = spread(1 - miss[kind] / 1e4)
                ticks = Times.of(np.sum([each.ticks for each in table[kind]], axis=0))
                entry["tick_us"] = {"p50": ticks.p50, "p99": ticks.p99, "p999": ticks.p999, "most": ticks.most}
                entry["radio_cpu_us_per_slot"] = spread(1e6 * sums(kind, "radio_cpu") / sums(kind, "busy"))
                entry["busy_slots"], entry["late_slots"] = (
                    sum(getattr(each, name) for each in table[kind]) for name in ("busy", "late")
                )
            if kind in POLICIES and "radio" in table:
                entry["added_misses"] = spread(miss[kind] - miss["radio"])
            if kind not in ("floor", "radio"):
                wall = processors * sums(kind, "seconds") - sums(kind, "others_cpu")
                idle = wall - sums(kind, "radio_cpu")
                entry["others_share"] = spread(sums(kind, "others_cpu") / sums(kind, "seconds"))
                entry["tokens_per_s"] = spread(rate[kind])
                entry["radio_share"] = spread(sums(kind, "radio_cpu") / sums(kind, "seconds"))
                entry["reclaimed"] = spread(sums(kind, "engine_cpu") / idle)
                if "ai" in table:
                    entry["of_alone"] = spread(rate[kind] / rate["ai"])
                    free = processors * sums("ai", "seconds") - sums("ai", "others_cpu")
                    entry["of_idle_share"] = spread(sums(kind, "tokens") / idle / (sums("ai", "tokens") / free))
            found[kind] = entry
    return found
