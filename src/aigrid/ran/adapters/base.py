"""What every adapter gives: reports of a period, and how they get onto a page of state."""

import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np

from aigrid.ran import state
from aigrid.ran.state import AT, RUNNING, Page


@dataclass(frozen=True)
class Report:
    """What a radio did since its last report: means of blocks a slot, counts, and the latest a slot was (ns)."""

    slots: int
    cell_prb: int
    downlink_prb: float = 0.0
    uplink_prb: float = 0.0
    downlink_mcs: int = 0
    uplink_mcs: int = 0
    downlink_sent: int = 0
    uplink_received: int = 0
    downlink_late: int = 0
    uplink_late: int = 0
    bad_blocks: int = 0
    latest_ns: int = 0
    slot_ns: int = 500_000

    def __post_init__(self) -> None:
        assert self.slots >= 0
        assert self.cell_prb >= 0


class Adapter(Protocol):
    """A reader of one radio's lines; `feed` returns a report where a line ends one, else None."""

    name: ClassVar[str]

    def feed(self, line: str) -> Report | None:
        """Read one line. Lines of other kinds are passed over."""
        ...


def publish(page: Page, report: Report, source: str) -> None:
    """Write a report to a page: counters grow by it, the last slots have its means, an empty one says nothing."""
    words = page.words
    slot = int(words[AT["slot"]]) + report.slots
    started = int(words[AT["started_ns"]]) or time.monotonic_ns()
    late = report.downlink_late + report.uplink_late

    def more(name: str, count: float) -> int:
        return int(words[AT[name]]) + round(count)

    values = {
        "phase": RUNNING, "updated_ns": time.monotonic_ns(), "started_ns": started, "slot": slot,
        "slot_ns": report.slot_ns, "cell_prb": report.cell_prb, "downlink_prb": round(report.downlink_prb),
        "uplink_prb": round(report.uplink_prb), "downlink_mcs": report.downlink_mcs, "uplink_mcs": report.uplink_mcs,
        "downlink_done": more("downlink_done", max(0, report.downlink_sent - report.downlink_late)),
        "downlink_missed": more("downlink_missed", report.downlink_late),
        "uplink_done": more("uplink_done", max(0, report.uplink_received - report.uplink_late)),
        "uplink_missed": more("uplink_missed", report.uplink_late),
        "bad_blocks": more("bad_blocks", report.bad_blocks), "busy_slots": more("busy_slots", report.slots),
        "late_slots": more("late_slots", min(late, report.slots)), "overruns": more("overruns", late),
        "tick_late_ns": report.latest_ns,
        "tick_late_max_ns": max(int(words[AT["tick_late_max_ns"]]), report.latest_ns),
        "downlink_prb_sum": more("downlink_prb_sum", report.downlink_prb * report.slots),
        "uplink_prb_sum": more("uplink_prb_sum", report.uplink_prb * report.slots),
        "source": state.SOURCES.index(source),
    }  # fmt: skip
    recent = (slot - np.arange(min(report.slots, state.RECENT))) % state.RECENT
    page.write(
        values,
        {
            state.RECENT_DOWNLINK: (recent, round(report.downlink_prb)),
            state.RECENT_UPLINK: (recent, round(report.uplink_prb)),
        },
    )


def follow(adapter: Adapter, lines: Iterable[str], page: Page) -> int:
    """Publish every report that lines hold; returns how many there were."""
    count = 0
    for line in lines:
        report = adapter.feed(line)
        if report is not None:
            publish(page, report, adapter.name)
            count += 1
    return count
