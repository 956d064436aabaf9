"""srsRAN Project: the `[METRICS ]` lines of gnb.log (`metrics: enable_log: true`) and its real-time warnings.

A period ends with the line `Scheduler cell pci=N metrics: …`. Warnings `Real-time failure in low-phy: …` and
`Real-time failure in RF: late` between two such lines are late slots of that period.
"""

import re
from typing import ClassVar

from aigrid.ran.adapters.base import Report

_CELL = re.compile(r"Scheduler cell pci=(\d+) metrics: (.*)")
_UE = re.compile(r"Scheduler UE ue=\d+ pci=(\d+) rnti=\S+ metrics: (.*)")
_PAIR = re.compile(r"(\w+)= ?(\[[^\]]*\]|\S+)")
_SLOT = re.compile(r"MAC cell pci=(\d+) metrics: .*?nof_slots=(\d+) slot_duration=(\d+)usec")
_LATE = re.compile(r"Real-time failure in (?:RF: (?:late|underflow|overflow)|low-phy: (.*))")


def number(text: str) -> float:
    """Read `271`, `58usec`, `5%`; 0 where nothing was measured (`n/a`, `nan`)."""
    found = re.match(r"-?\d+(?:\.\d+)?", text)
    return float(found[0]) if found else 0.0


class SrsRan:
    """Reads one cell: that named, or the first that reports."""

    name: ClassVar[str] = "srsran"

    def __init__(self, pci: int | None = None) -> None:
        self.pci = pci
        self._slots, self._slot_us = 0, 500
        self._late_down = self._late_up = self._bad = 0
        self._mcs = [0, 0]

    def feed(self, line: str) -> Report | None:
        """Read one line of gnb.log."""
        if late := _LATE.search(line):
            down = late[1] is None or late[1].startswith("Downlink")
            self._late_down += down
            self._late_up += not down
        elif (slot := _SLOT.search(line)) and self._own(slot[1]):
            self._slots, self._slot_us = int(slot[2]), int(slot[3]) or 500
        elif (user := _UE.search(line)) and self._own(user[1]):
            values = dict(_PAIR.findall(user[2]))
            self._mcs = [int(number(values.get(name, "0"))) for name in ("dl_mcs", "ul_mcs")]
            self._bad += int(number(values.get("ul_nof_nok", "0")))
        elif (cell := _CELL.search(line)) and self._own(cell[1]):
            return self._report(dict(_PAIR.findall(cell[2])))
        return None

    def _own(self, pci: str) -> bool:
        if self.pci is None:
            self.pci = int(pci)
        return int(pci) == self.pci

    def _report(self, values: dict[str, str]) -> Report | None:
        down, up = (int(number(values.get(name, "0"))) for name in ("nof_dl_slots", "nof_ul_slots"))
        total = self._slots or down + up
        if not total or "nof_prbs" not in values:
            return None
        report = Report(
            slots=total,
            cell_prb=int(number(values["nof_prbs"])),
            # blocks are told per slot of that direction
            downlink_prb=number(values.get("pdsch_rbs_per_slot", "0")) * down / total,
            uplink_prb=number(values.get("pusch_rbs_per_slot", "0")) * up / total,
            downlink_mcs=self._mcs[0],
            uplink_mcs=self._mcs[1],
            downlink_sent=round(number(values.get("pdschs_per_slot", "0")) * down),
            uplink_received=round(number(values.get("puschs_per_slot", "0")) * up),
            downlink_late=self._late_down,
            uplink_late=self._late_up,
            bad_blocks=self._bad,
            latest_ns=round(number(values.get("max_latency", "0")) * 1000),
            slot_ns=self._slot_us * 1000,
        )
        self._late_down = self._late_up = self._bad = self._slots = 0
        return report
