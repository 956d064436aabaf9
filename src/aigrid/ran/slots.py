"""The slot loop: at every tick first the downlink that is due, then the uplink slots that have been received.

It is one compiled function: nothing is allocated, no garbage is collected, no lock is taken while slots run. Time is
CLOCK_MONOTONIC, deadlines are absolute. The limits are those of NVIDIA Aerial's public continuous integration:
uplink done 4,500 us after its slot began on the air (2,000 us where an early HARQ answer is due), downlink ready
1,155 us after the tick. Work whose deadline is over is dropped and counted as missed: the clock is never left behind.
"""

import time
from typing import Any

import numpy as np
from numba.core import types

from aigrid.ran import state
from aigrid.ran.kernels import pdsch, pusch
from aigrid.ran.kernels.compile import kernel
from aigrid.ran.kernels.simd import fence
from aigrid.ran.kernels.tables import SIZE

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


@kernel
def run(  # type: ignore[no-untyped-def]
    first,
    count,
    begin,
    load,
    mcs,
    early,
    kinds,
    tables,
    scratch,
    waves,
    scale,
    payload,
    samples,
    page,
    memory,
    timespec,
):
    """Run `count` slots from number `first` on; the tick of slot 0 is at `begin`.

    `load` and `mcs` are [downlink or uplink, slot]; `kinds` gives the format of each, -1 for none; all repeat.
    """
    period = load.shape[1]
    for slot in range(first, first + count):
        tick = begin + slot * SLOT_NS
        now = sleep_until(tick, timespec)
        late = now - tick
        at = slot % period
        page[0] += 1
        fence()
        page[SLOT], page[LATE] = slot, late
        page[LATE_MAX] = max(page[LATE_MAX], late)
        page[TICK_BINS + bin_of(late)] += 1
        page[DL_PRB], page[UL_PRB], page[DL_MCS], page[UL_MCS] = load[0, at], load[1, at], mcs[0, at], mcs[1, at]
        page[DL_SUM] += load[0, at]
        page[UL_SUM] += load[1, at]
        if kinds[0, at] >= 0 or kinds[1, at] >= 0:
            page[BUSY] += 1
        fence()
        page[0] += 1
        before = (slot - 1) % period
        if slot > 0 and kinds[1, before] >= 0:
            memory[QUEUE_TAIL] = slot
        done = 0
        bad = 0
        if kinds[0, at] >= 0:
            if now < tick + DOWNLINK_NS:
                form = tables.formats[kinds[0, at]]
                size = form[SIZE]
                offset = (slot * 64) % (payload.size - size)
                scratch.bits[:size] = payload[offset : offset + size]
                _transmit(slot % 20, form, tables, scratch, samples, np.float32(40))
                done = now_ns(_MONOTONIC, timespec) - tick
            else:
                done = -1
        down = done
        head = memory[QUEUE_HEAD]
        page[0] += 1
        fence()
        if down > 0:
            page[DOWNLINK_BINS + bin_of(down)] += 1
        if 0 < down <= DOWNLINK_NS:
            page[DL_DONE] += 1
        elif down != 0:
            page[DL_MISSED] += 1
            miss(page, memory, slot, down < 0)
        fence()
        page[0] += 1
        while head < memory[QUEUE_TAIL]:
            if kinds[1, head % period] < 0:
                head += 1
                continue
            now = now_ns(_MONOTONIC, timespec)
            start = begin + head * SLOT_NS
            limit = EARLY_UPLINK_NS if early[head % period] else UPLINK_NS
            if now < start + limit and now >= tick + SLOT_NS:
                break  # the next tick's downlink comes first
            took = -1
            good = True
            if now < start + limit:
                kind = kinds[1, head % period]
                good, bad, _ = _receive(waves[kind], scale[kind], 0, tables.formats[kind], tables, scratch, ROUNDS)
                took = now_ns(_MONOTONIC, timespec) - start
            page[0] += 1
            fence()
            if took >= 0:
                page[UPLINK_BINS + bin_of(took)] += 1
            if 0 <= took <= limit:
                page[UL_DONE] += 1
            else:
                page[UL_MISSED] += 1
                miss(page, memory, head, took < 0)
            if not good:
                page[BAD] += bad
            fence()
            page[0] += 1
            head += 1
        memory[QUEUE_HEAD] = head
        now = now_ns(_MONOTONIC, timespec)
        cpu = now_ns(_THREAD_CPU, timespec)
        work = cpu - memory[CPU_BEFORE]
        memory[CPU_BEFORE] = cpu
        page[0] += 1
        fence()
        page[WORK] = work
        page[CPU_NS] += work
        page[WAITING] = memory[QUEUE_TAIL] - head
        page[OVERRUNS] += now > tick + SLOT_NS
        page[RECENT_WORK + slot % RECENT] = work
        page[RECENT_DOWNLINK + slot % RECENT] = load[0, at]
        page[RECENT_UPLINK + slot % RECENT] = load[1, at]
        page[UPDATED] = now
        fence()
        page[0] += 1


def ticks_ahead(seconds: float) -> int:
    """Return a moment `seconds` from now on CLOCK_MONOTONIC, in nanoseconds."""
    return time.monotonic_ns() + int(seconds * 1e9)
