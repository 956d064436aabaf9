"""Energy gauges: a counter that may wrap, a power reading to integrate, and an estimate from processor load.

A gauge answers one question: how much energy since the last time it was asked? The unit inside is the half
femtojoule, in which a trapezoid of microwatts over nanoseconds is a whole number: nothing is rounded until the
meter turns the sum into millijoules.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, Protocol

from aigrid.core.clock import SECOND

MJ = 2 * 10**12
"""Half femtojoules in a millijoule."""

UJ = 2 * 10**9
"""Half femtojoules in a microjoule."""

MAX_GAP_NS = 3 * SECOND
"""Longest time between two power readings for which a straight line between them is believed."""

MAX_WATTS = 10_000
"""More than one sensor can see; a counter that rises faster than this did not count, it jumped."""

WINDOW_NS = SECOND // 10
"""Load is measured over at least this long: the kernel counts in hundredths of a second."""


class Reading(NamedTuple):
    """Energy in half femtojoules since the last reading, and why it should not be trusted ("" if it may be)."""

    energy: int
    reason: str = ""


class Gauge(Protocol):
    """One sensor. `advance` may raise whatever its sensor raises; the next call then covers the time between."""

    def advance(self, now_ns: int) -> Reading:
        """Return the energy since the last successful call (at first: since it was made)."""


class Counter:
    """A sensor that counts energy by itself, in units of `unit` half femtojoules, modulo `wraps_at` units.

    Late readings lose nothing, except where the counter could have gone round more than once.
    """

    def __init__(self, read: Callable[[], int], unit: int, now_ns: int, wraps_at: int = 0) -> None:
        self._read, self._unit, self._wraps_at = read, unit, wraps_at
        self._last, self._at = read(), now_ns

    def advance(self, now_ns: int) -> Reading:
        """Return the energy counted since the last reading; a reset or an impossible jump counts as nothing."""
        value = self._read()
        rise, elapsed = value - self._last, now_ns - self._at
        self._last, self._at = value, now_ns
        if rise < 0:
            rise += self._wraps_at
        if rise < 0:
            return Reading(0, "energy counter went backwards")
        energy = rise * self._unit
        if energy > _most(elapsed + SECOND):  # counters advance in steps: a second's grace
            return Reading(0, "energy counter jumped")
        if 0 < self._wraps_at * self._unit <= _most(elapsed) // 10:
            return Reading(energy, "gap so long that the energy counter may have wrapped more than once")
        return Reading(energy)


class Power:
    """A sensor that shows power in microwatts, integrated by the trapezoid rule."""

    def __init__(self, read: Callable[[], int], now_ns: int) -> None:
        self._read = read
        self._last, self._at = read(), now_ns

    def advance(self, now_ns: int) -> Reading:
        """Return the area under a straight line from the last reading to this one."""
        power = self._read()
        elapsed = max(0, now_ns - self._at)
        energy = (self._last + power) * elapsed
        self._last, self._at = power, now_ns
        if elapsed > MAX_GAP_NS:
            return Reading(energy, f"gap of {elapsed / SECOND:.1f} s between power readings")
        return Reading(energy)


class Load:
    """An estimate where no sensor is: `TDP·(0.1 + 0.9·load³)`, the load taken from `/proc/stat`."""

    def __init__(self, stat: Path, tdp_uw: int, now_ns: int) -> None:
        self._stat, self._tdp_uw = stat, tdp_uw
        self._fd = -1
        self._at = self._window = now_ns
        self._ticks = (0, 0)
        self._load = (0, 1)
        self._reason = self._measure(now_ns)  # the first window's guess is the average since boot

    def __del__(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)

    def advance(self, now_ns: int) -> Reading:
        """Return the estimate since the last call, with the load of the latest window."""
        if now_ns - self._window >= WINDOW_NS:
            self._reason = self._measure(now_ns)
        busy, total = self._load
        elapsed = max(0, now_ns - self._at)
        self._at = now_ns
        return Reading(2 * self._tdp_uw * elapsed * (total**3 + 9 * busy**3) // (10 * total**3), self._reason)

    def _measure(self, now_ns: int) -> str:
        self._window = now_ns
        try:
            if self._fd < 0:
                self._fd = os.open(self._stat, os.O_RDONLY | os.O_CLOEXEC)
            line = os.pread(self._fd, 512, 0).split(b"\n", 1)[0].split()
            if line[0] != b"cpu":
                raise ValueError("no cpu line")
            # user nice system idle iowait irq softirq steal; guest time is already part of user
            ticks = [int(word) for word in line[1:9]]
            total, idle, stolen = sum(ticks), sum(ticks[3:5]), sum(ticks[7:8])
        except (OSError, ValueError, IndexError) as error:
            return f"cannot read {self._stat}: {error}"
        spent = total - idle - stolen
        busy, passed = spent - self._ticks[0], total - self._ticks[1]
        self._ticks = (spent, total)
        if passed > 0:
            self._load = (min(max(busy, 0), passed), passed)
        return ""


def _most(elapsed_ns: int) -> int:
    return MAX_WATTS * max(0, elapsed_ns) * 2 * 10**6
