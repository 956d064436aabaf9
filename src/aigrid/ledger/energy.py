"""Energy: what the machine used since it was last asked, and how to share it out without losing any.

`find_meter` takes the best sensors there are. For GPUs: NVML's energy counter, else NVML's power, integrated.
For processors: RAPL, else hwmon, else an estimate from load. Every sample names its source, e.g. `nvml+rapl`,
and says whether it may be trusted. All sums are integers: remainders below a millijoule are carried over.
"""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import msgspec

from aigrid.core.clock import mono_ns
from aigrid.ledger.energy_gauges import MJ, Gauge, Load
from aigrid.ledger.energy_sensors import Found, Missing, find_hwmon, find_nvml, find_rapl

WATTS_PER_CORE = 8
MIN_TDP_W = 15
"""A guess where the site says nothing: 8 W per logical core, at least 15 W."""

STRIKES = 3
"""Failures in a row after which a source is given up for the next best one."""


class Sample(msgspec.Struct, frozen=True, gc=False):
    """Energy used in one interval. Without `valid`, `reason` says what may be missing or wrong."""

    energy_mj: int
    interval_ns: int
    source: str
    valid: bool = True
    reason: str = ""


class Meter(Protocol):
    """Something that knows how much energy this machine uses."""

    source: str

    def sample(self) -> Sample:
        """Return the energy since the previous sample (at first: since the meter was made). Never raises."""

    def describe(self) -> str:
        """Say which sources are used, why better ones are not, and how to mend that."""


class Source:
    """Gauges of one kind, summed, e.g. RAPL over two packages. Any failure is a reason, not an exception."""

    def __init__(self, name: str, gauges: Sequence[Gauge]) -> None:
        self.name, self._gauges, self.strikes = name, gauges, 0

    def advance(self, now_ns: int) -> tuple[int, list[str]]:
        """Return half femtojoules since the last call, and reasons for doubt."""
        energy, reasons, failed = 0, [], False
        for gauge in self._gauges:
            try:
                more, reason = gauge.advance(now_ns)
            except Exception as error:  # drivers raise what they like; energy must never stop a request
                more, reason, failed = 0, str(error) or type(error).__name__, True
            energy += more
            if reason:
                reasons.append(f"{self.name}: {reason}")
        self.strikes = self.strikes + 1 if failed else 0
        return energy, reasons


class SourceMeter:
    """The sum over sources. A processor source that keeps failing is replaced by `spare()`; a GPU one is missed."""

    def __init__(
        self,
        gpu: Source | None,
        cpu: Source,
        spare: Callable[[int], Source],
        notes: Sequence[str] = (),
        clock: Callable[[], int] = mono_ns,
    ) -> None:
        self._gpu, self._cpu, self._spare, self._clock = gpu, cpu, spare, clock
        self._notes = list(notes)
        self._missing: list[str] = []
        self._rest = 0
        self._at = clock()
        self.source = self._name()

    def sample(self) -> Sample:
        """Return the energy since the previous sample. Never raises."""
        now = self._clock()
        source = self.source
        energy, reasons = self._cpu.advance(now)
        reasons += self._missing
        if self._gpu:
            more, doubts = self._gpu.advance(now)
            energy += more
            reasons += doubts
        self._replace(now, reasons)
        energy_mj, self._rest = divmod(self._rest + energy, MJ)
        interval, self._at = max(0, now - self._at), now
        return Sample(energy_mj, interval, source, not reasons, "; ".join(reasons))

    def describe(self) -> str:
        """Say which sources are used, why better ones are not, and how to mend that."""
        first = f"Energy is taken from {self.source}."
        return " ".join([first, *(f"{note}." for note in [*self._notes, *self._missing])])

    def _replace(self, now: int, reasons: list[str]) -> None:
        if self._cpu.strikes >= STRIKES:
            self._notes.append(f"{self._cpu.name} was given up after {STRIKES} failures ({reasons[0]})")
            self._cpu = self._spare(now)
        if self._gpu and self._gpu.strikes >= STRIKES:
            self._missing.append(f"GPU energy is missing since {self._gpu.name} failed ({reasons[-1]})")
            self._gpu = None
        self.source = self._name()

    def _name(self) -> str:
        return f"{self._gpu.name}+{self._cpu.name}" if self._gpu else self._cpu.name


def guess_tdp_w(cores: int | None = None) -> int:
    """Return a guess of the processors' power at full load, in watts."""
    return max(MIN_TDP_W, WATTS_PER_CORE * (cores or os.cpu_count() or 1))


def find_meter(
    tdp_w: float = 0.0, root: Path = Path("/"), nvml: Any = None, clock: Callable[[], int] = mono_ns
) -> SourceMeter:
    """Return a meter over the best sensors of this machine; it always finds one.

    `tdp_w` (0: guess from the cores) is for the estimate. `root` is where `sys` and `proc` are, `nvml` a module
    like `pynvml` (None: that one, if there is a driver).
    """
    now = clock()
    tdp_uw = round((tdp_w or guess_tdp_w()) * 1_000_000)
    notes: list[str] = []

    def estimate(at_ns: int) -> Source:
        return Source("estimate", [Load(root / "proc/stat", tdp_uw, at_ns)])

    def accept(answer: Found | Missing) -> Source | None:
        if isinstance(answer, Missing):
            notes.append(answer.why)
            return None
        notes.append(answer.what)
        return Source(answer.name, answer.gauges)

    gpu = accept(find_nvml(now, nvml))
    cpu = accept(find_rapl(now, root)) or accept(find_hwmon(now, root))
    if not cpu:
        guessed = "" if tdp_w else ", a guess from the number of cores: set `site.tdp_w` to the real figure"
        notes.append(f"The estimate is from processor load with {tdp_uw / 1e6:g} W at full load{guessed}")
        cpu = estimate(now)
    return SourceMeter(gpu, cpu, estimate, notes, clock)
