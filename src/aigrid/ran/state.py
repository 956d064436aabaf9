"""What a radio tells the rest of the machine: one small page of shared memory that readers never have to wait for.

A sequence lock: the only writer makes word 0 odd, writes, and makes it even again; a reader that saw an odd or a
changed number reads again. Words are int64 in the machine's order; every field below is one word.
"""

import mmap
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aigrid.core.errors import NotFound, Unavailable

MAGIC = 0x52414E31
FIELDS = (
    "sequence", "magic", "pid", "phase", "updated_ns", "started_ns", "slot", "slot_ns", "cell_prb",
    "downlink_prb", "uplink_prb", "downlink_mcs", "uplink_mcs", "downlink_done", "downlink_missed", "uplink_done",
    "uplink_missed", "dropped", "bad_blocks", "overruns", "pending", "tick_late_ns", "tick_late_max_ns", "work_ns",
    "cpu_ns", "busy_slots", "late_slots", "downlink_prb_sum", "uplink_prb_sum", "real_time", "locked", "cpu", "source",
)  # fmt: skip
AT = {name: at for at, name in enumerate(FIELDS)}
BINS = 64
TICK_BINS, DOWNLINK_BINS, UPLINK_BINS, RECENT_WORK, RECENT_DOWNLINK, RECENT_UPLINK = 64, 128, 192, 1024, 2048, 3072
RECENT = 1024
WORDS = 4096
STARTING, RUNNING, STOPPED = 0, 1, 2
SOURCES = ("aigrid", "srsran", "oai", "aerial")
_AT_ONCE, _TRIES, _NAP_S = 1000, 1200, 0.001


def bin_edges_us() -> NDArray[np.float64]:
    """Return the upper edges of the histograms' bins in microseconds: four to an octave, from 1 to 65,536."""
    return np.asarray(2.0 ** (np.arange(BINS) / 4.0))


@dataclass(frozen=True)
class RadioState:
    """A radio at one moment. Times are nanoseconds of CLOCK_MONOTONIC, counters count from the start.

    A histogram counts by `bin_edges_us`; the last bin holds all that is beyond. `recent_*` end with the newest slot.
    """

    pid: int
    phase: int
    updated_ns: int
    started_ns: int
    slot: int
    slot_ns: int
    cell_prb: int
    downlink_prb: int
    uplink_prb: int
    downlink_mcs: int
    uplink_mcs: int
    downlink_done: int
    downlink_missed: int
    uplink_done: int
    uplink_missed: int
    dropped: int
    bad_blocks: int
    overruns: int
    pending: int
    tick_late_ns: int
    tick_late_max_ns: int
    work_ns: int
    cpu_ns: int
    busy_slots: int
    late_slots: int
    downlink_prb_sum: int
    uplink_prb_sum: int
    real_time: int
    locked: int
    cpu: int
    source: int
    tick_histogram: NDArray[np.int64] = field(repr=False)
    downlink_histogram: NDArray[np.int64] = field(repr=False)
    uplink_histogram: NDArray[np.int64] = field(repr=False)
    recent_work_ns: NDArray[np.int64] = field(repr=False)
    recent_downlink_prb: NDArray[np.int64] = field(repr=False)
    recent_uplink_prb: NDArray[np.int64] = field(repr=False)

    @property
    def jobs(self) -> int:
        """Return the pieces of work that had a deadline."""
        return self.downlink_done + self.downlink_missed + self.uplink_done + self.uplink_missed

    @property
    def on_time(self) -> float:
        """Return the share of slots with work whose deadlines were all met; 1 before the first."""
        return 1.0 - self.late_slots / self.busy_slots if self.busy_slots else 1.0

    def stale(self, after_ns: int = 50_000_000) -> bool:
        """Say whether a radio that should run has said nothing for `after_ns`: it died, or is stopped."""
        return self.phase == RUNNING and time.monotonic_ns() - self.updated_ns > after_ns


class Page:
    """The page of one radio. Made by who starts the radio, written by the radio alone, read by anyone."""

    def __init__(self, path: Path, *, create: bool = False) -> None:
        self.path = path
        flags = os.O_RDWR | (os.O_CREAT | os.O_TRUNC if create else 0)
        try:
            handle = os.open(path, flags, 0o600)
        except OSError as error:
            raise NotFound(f"no radio's page at {path}: {error.strerror}; is the radio started?") from error
        try:
            if create:
                os.ftruncate(handle, WORDS * 8)
            elif os.fstat(handle).st_size != WORDS * 8:
                raise NotFound(f"{path} is not the page of a radio: it has {os.fstat(handle).st_size} bytes")
            self._memory = mmap.mmap(handle, WORDS * 8)
        finally:
            os.close(handle)
        self.words: NDArray[np.int64] = np.frombuffer(self._memory, np.int64)
        if create:
            self.words[AT["magic"]] = MAGIC
        elif self.words[AT["magic"]] != MAGIC:
            raise NotFound(f"{path} is not the page of a radio of this version")

    def write(self, values: Mapping[str, int], rings: Mapping[int, tuple[NDArray[np.intp], int]] | None = None) -> None:
        """Set some fields at once, and places in the rings of recent slots. For the one writer."""
        words = self.words
        words[0] += 1 + (words[0] & 1)
        for name, value in values.items():
            words[AT[name]] = value
        for ring, (places, value) in (rings or {}).items():
            words[ring + places] = value
        words[0] += 1

    def last(self) -> RadioState:
        """Return what a writer that is gone has left, also where it was in the middle of writing."""
        return _state(self.words.copy())

    def read(self) -> RadioState:
        """Return the radio at one moment. Raises Unavailable where the writer died in the middle of writing."""
        for attempt in range(_TRIES):
            before = int(self.words[0])
            copy = self.words.copy()
            if not before & 1 and int(self.words[0]) == before:
                return _state(copy)
            time.sleep(0 if attempt < _AT_ONCE else _NAP_S)
        raise Unavailable(f"the radio's page {self.path} stays half written: the radio died while it wrote; restart it")


def _state(words: NDArray[np.int64]) -> RadioState:
    values: dict[str, Any] = {name: int(words[at]) for name, at in AT.items() if name not in ("sequence", "magic")}
    now = values["slot"] % RECENT + 1

    def recent(at: int) -> NDArray[np.int64]:
        return np.roll(words[at : at + RECENT], -now)

    return RadioState(
        **values,
        tick_histogram=words[TICK_BINS : TICK_BINS + BINS],
        downlink_histogram=words[DOWNLINK_BINS : DOWNLINK_BINS + BINS],
        uplink_histogram=words[UPLINK_BINS : UPLINK_BINS + BINS],
        recent_work_ns=recent(RECENT_WORK),
        recent_downlink_prb=recent(RECENT_DOWNLINK),
        recent_uplink_prb=recent(RECENT_UPLINK),
    )
