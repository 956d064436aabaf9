"""The slot loop: at every tick first the downlink that is due, then the uplink slots that have been received.

It is one compiled function: nothing is allocated, no garbage is collected, no lock is taken while slots run. Time is
CLOCK_MONOTONIC, deadlines are absolute. The limits are those of NVIDIA Aerial's public continuous integration:
uplink done 4,500 us after its slot began on the air (2,000 us where an early HARQ answer is due), downlink ready
1,155 us after the tick. Work whose deadline is over is dropped and counted as missed: the clock is never left behind.
"""

import time
from typing import Any, NamedTuple

import numpy as np
from numba.core import types
from numpy.typing import NDArray

from aigrid.ran import state
from aigrid.ran.kernels import pdsch, pusch
from aigrid.ran.kernels.compile import kernel
from aigrid.ran.kernels.simd import fence
from aigrid.ran.kernels.tables import SIZE, Scratch, Tables

SLOT_NS = 500_000
UPLINK_NS, EARLY_UPLINK_NS, DOWNLINK_NS = 4_500_000, 2_000_000, 1_155_000
PENDING = 16
_MONOTONIC, _THREAD_CPU, _ABSOLUTE = 1, 3, 1
_INT: Any = types.int32
_gettime: Any = types.ExternalFunction("clock_gettime", _INT(types.int32, types.intp))
_sleep: Any = types.ExternalFunction("clock_nanosleep", _INT(types.int32, types.int32, types.intp, types.intp))
_receive, _transmit = pusch.receive_slot, pdsch.transmit_slot
ROUNDS = pusch.ROUNDS
BINS, RECENT = state.BINS, state.RECENT
TICK_BINS, DOWNLINK_BINS, UPLINK_BINS = state.TICK_BINS, state.DOWNLINK_BINS, state.UPLINK_BINS
RECENT_WORK, RECENT_DOWNLINK, RECENT_UPLINK = state.RECENT_WORK, state.RECENT_DOWNLINK, state.RECENT_UPLINK
(UPDATED, SLOT, DL_PRB, UL_PRB, DL_MCS, UL_MCS, DL_DONE, DL_MISSED, UL_DONE, UL_MISSED, DROPPED, BAD, OVERRUNS,
 WAITING, LATE, LATE_MAX, WORK, CPU_NS, BUSY, LATE_SLOTS, DL_SUM, UL_SUM) = (
    state.AT[name] for name in (
        "updated_ns", "slot", "downlink_prb", "uplink_prb", "downlink_mcs", "uplink_mcs", "downlink_done",
        "downlink_missed", "uplink_done", "uplink_missed", "dropped", "bad_blocks", "overruns", "pending",
        "tick_late_ns", "tick_late_max_ns", "work_ns", "cpu_ns", "busy_slots", "late_slots", "downlink_prb_sum",
        "uplink_prb_sum",
    )
)  # fmt: skip
QUEUE_HEAD, QUEUE_TAIL, CPU_BEFORE = range(3)
"""Places in `memory`, what the loop remembers from one call to the next; the marks of late slots follow."""
MARKS = 8
MEMORY = MARKS + 2 * PENDING


@kernel
def now_ns(clock, timespec):  # type: ignore[no-untyped-def]
    """Read a clock."""
    _gettime(clock, timespec.ctypes.data)
    return timespec[0] * 1_000_000_000 + timespec[1]


@kernel
def sleep_until(when, timespec):  # type: ignore[no-untyped-def]
    """Sleep until `when`; returns the time then. A signal does not end the sleep."""
    now = now_ns(_MONOTONIC, timespec)
    while now < when:
        timespec[0], timespec[1] = when // 1_000_000_000, when % 1_000_000_000
        _sleep(_MONOTONIC, _ABSOLUTE, timespec.ctypes.data, 0)
        now = now_ns(_MONOTONIC, timespec)
    return now


@kernel
def bin_of(ns):  # type: ignore[no-untyped-def]
    """Return the bin of a time: four to an octave from 1 microsecond."""
    if ns <= 1000:
        return 0
    return min(BINS - 1, int(np.ceil(4.0 * np.log2(ns * 0.001))))


@kernel
def miss(page, memory, slot, dropped):  # type: ignore[no-untyped-def]
    """Count a missed deadline of `slot`; a slot that misses twice is one late slot."""
    page[DROPPED] += dropped
    mark = MARKS + slot % (2 * PENDING)
    if memory[mark] != slot + 1:
        memory[mark] = slot + 1
        page[LATE_SLOTS] += 1


class Job(NamedTuple):
    """All that the loop works on; `load`, `mcs` and `kinds` are [downlink or uplink, slot], and repeat."""

    load: NDArray[np.int64]
    mcs: NDArray[np.int64]
    kinds: NDArray[np.int64]
    """Row in the tables of formats, -1 for a slot without data."""
    early: NDArray[np.uint8]
    tables: Tables
    scratch: Scratch
    waves: NDArray[np.int16]
    scale: NDArray[np.float32]
    payload: NDArray[np.int8]
    samples: NDArray[np.int16]
    memory: NDArray[np.int64]
    timespec: NDArray[np.int64]
    works: bool
    """False for the control: everything but the work itself."""


@kernel
def begin_slot(page, job, slot, at, late):  # type: ignore[no-untyped-def]
    """Write what a slot begins with."""
    page[0] += 1
    fence()
    page[SLOT], page[LATE] = slot, late
    page[LATE_MAX] = max(page[LATE_MAX], late)
    page[TICK_BINS + bin_of(late)] += 1
    page[DL_PRB], page[UL_PRB] = job.load[0, at], job.load[1, at]
    page[DL_MCS], page[UL_MCS] = job.mcs[0, at], job.mcs[1, at]
    page[DL_SUM] += job.load[0, at]
    page[UL_SUM] += job.load[1, at]
    page[BUSY] += job.kinds[0, at] >= 0 or job.kinds[1, at] >= 0
    fence()
    page[0] += 1


@kernel
def downlink(page, job, slot, kind, tick, now):  # type: ignore[no-untyped-def]
    """Make a slot's downlink ready, or drop it where it cannot be ready in time."""
    took = -1
    if now < tick + DOWNLINK_NS:
        if job.works:
            form = job.tables.formats[kind]
            size = form[SIZE]
            offset = (slot * 64) % (job.payload.size - size)
            job.scratch.bits[:size] = job.payload[offset : offset + size]
            _transmit(slot % 20, form, job.tables, job.scratch, job.samples, np.float32(40))
        took = now_ns(_MONOTONIC, job.timespec) - tick
    page[0] += 1
    fence()
    if took >= 0:
        page[DOWNLINK_BINS + bin_of(took)] += 1
    if 0 <= took <= DOWNLINK_NS:
        page[DL_DONE] += 1
    else:
        page[DL_MISSED] += 1
        miss(page, job.memory, slot, took < 0)
    fence()
    page[0] += 1


@kernel
def uplink(page, job, slot, kind, start, limit, now):  # type: ignore[no-untyped-def]
    """Receive a slot that began on the air at `start`, or drop it where its time is over."""
    took = -1
    bad = 0
    if now < start + limit:
        if job.works:
            form = job.tables.formats[kind]
            _, bad, _ = _receive(job.waves[kind], job.scale[kind], 0, form, job.tables, job.scratch, ROUNDS)
        took = now_ns(_MONOTONIC, job.timespec) - start
    page[0] += 1
    fence()
    if took >= 0:
        page[UPLINK_BINS + bin_of(took)] += 1
    if 0 <= took <= limit:
        page[UL_DONE] += 1
    else:
        page[UL_MISSED] += 1
        miss(page, job.memory, slot, took < 0)
    page[BAD] += bad
    fence()
    page[0] += 1


@kernel
def end_slot(page, job, slot, at, tick):  # type: ignore[no-untyped-def]
    """Write what a slot has cost, and whether it reached into the next."""
    now, cpu = now_ns(_MONOTONIC, job.timespec), now_ns(_THREAD_CPU, job.timespec)
    work = cpu - job.memory[CPU_BEFORE]
    job.memory[CPU_BEFORE] = cpu
    page[0] += 1
    fence()
    page[WORK] = work
    page[CPU_NS] += work
    page[WAITING] = job.memory[QUEUE_TAIL] - job.memory[QUEUE_HEAD]
    page[OVERRUNS] += now > tick + SLOT_NS
    page[RECENT_WORK + slot % RECENT] = work
    page[RECENT_DOWNLINK + slot % RECENT] = job.load[0, at]
    page[RECENT_UPLINK + slot % RECENT] = job.load[1, at]
    page[UPDATED] = now
    fence()
    page[0] += 1


@kernel
def run(first, count, begin, job, page):  # type: ignore[no-untyped-def]
    """Run `count` slots from number `first` on; the tick of slot 0 is at `begin`."""
    period = job.load.shape[1]
    kinds, memory = job.kinds, job.memory
    for slot in range(first, first + count):
        tick = begin + slot * SLOT_NS
        now = sleep_until(tick, job.timespec)
        at = slot % period
        begin_slot(page, job, slot, at, now - tick)
        if slot > 0 and kinds[1, (slot - 1) % period] >= 0:
            memory[QUEUE_TAIL] = slot
        if kinds[0, at] >= 0:
            downlink(page, job, slot, kinds[0, at], tick, now)
        head = memory[QUEUE_HEAD]
        while head < memory[QUEUE_TAIL]:
            kind = kinds[1, head % period]
            if kind >= 0:
                now = now_ns(_MONOTONIC, job.timespec)
                start = begin + head * SLOT_NS
                limit = EARLY_UPLINK_NS if job.early[head % period] else UPLINK_NS
                if now < start + limit and now >= tick + SLOT_NS:
                    break  # the next tick's downlink comes first
                uplink(page, job, head, kind, start, limit, now)
            head += 1
        memory[QUEUE_HEAD] = head
        end_slot(page, job, slot, at, tick)


def ticks_ahead(seconds: float) -> int:
    """Return a moment `seconds` from now on CLOCK_MONOTONIC, in nanoseconds."""
    return time.monotonic_ns() + int(seconds * 1e9)
