"""OpenAirInterface: the periodic MAC statistics that nr-softmodem prints and keeps in nrMAC_stats.log.

A period begins with `Frame.Slot F.S` (every 128 frames); for each device follow `dlsch_rounds a/b/c/d` and
`ulsch_rounds a/b/c/d`, counted from its beginning. Downlink blocks are printed by recent versions only; where they are
not, each transmission is taken for the whole cell. Lines of the radio unit about lateness count as late slots.
"""

import re
from typing import ClassVar

from aigrid.ran.adapters.base import Report

_PERIOD = re.compile(r"Frame\.Slot\s+(\d+)\.(\d+)")
_ROUNDS = re.compile(r"UE ([0-9a-f]+): (d|u)lsch_rounds (\d+)/(\d+)/(\d+)/(\d+), (.*)")
_ERRORS = re.compile(r"[du]lsch_errors (\d+)")
_MCS = re.compile(r"MCS (?:\(\d+\) )?(\d+)")
_BLOCKS = re.compile(r"NPRB (\d+)")
_LATE = re.compile(
    r"\[(?:HW|PHY|NR_PHY)\]\s+(?:\S+ )?.*(?:\bLATE\b|late packet|too late|problem in rx|Lost sync)", re.I
)
FRAMES = 1024


class Oai:
    """Reads one gNB; `cell_prb` is its carrier (it is in the configuration, not in the statistics)."""

    name: ClassVar[str] = "oai"

    def __init__(self, cell_prb: int = 106, slots_per_frame: int = 20) -> None:
        self.cell_prb, self._per_frame = cell_prb, slots_per_frame
        self._at: int | None = None
        self._before: dict[tuple[str, str], tuple[int, int]] = {}
        self._sums = self._empty()
        self._late = 0

    @staticmethod
    def _empty() -> dict[str, float]:
        return {"dsent": 0, "usent": 0, "dblocks": 0, "ublocks": 0, "derrors": 0, "uerrors": 0, "dmcs": 0, "umcs": 0}

    def feed(self, line: str) -> Report | None:
        """Read one line; a period is reported when the next one begins."""
        if period := _PERIOD.search(line):
            return self._next(int(period[1]) * self._per_frame + int(period[2]))
        if rounds := _ROUNDS.search(line):
            self._device(rounds)
        elif _LATE.search(line):
            self._late += 1
        return None

    def _device(self, rounds: re.Match[str]) -> None:
        key, way, rest = (rounds[1], rounds[2]), rounds[2], rounds[7]
        errors = _ERRORS.search(rest)
        now = (sum(int(rounds[at]) for at in range(3, 7)), int(errors[1]) if errors else 0)
        before = self._before.get(key, (0, 0))
        if now[0] < before[0]:  # the device came back, and is counted anew
            before = (0, 0)
        self._before[key] = now
        sent = now[0] - before[0]
        mcs, blocks = _MCS.search(rest), _BLOCKS.search(rest)
        self._sums[f"{way}sent"] += sent
        self._sums[f"{way}blocks"] += sent * (int(blocks[1]) if blocks else self.cell_prb)
        self._sums[f"{way}errors"] += max(0, now[1] - before[1])
        if mcs:
            self._sums[f"{way}mcs"] = int(mcs[1])

    def _next(self, slot: int) -> Report | None:
        before, self._at = self._at, slot
        sums, self._sums = self._sums, self._empty()
        late, self._late = self._late, 0
        passed = 0 if before is None else (slot - before) % (FRAMES * self._per_frame)
        if not passed:
            return None
        return Report(
            slots=passed,
            cell_prb=self.cell_prb,
            downlink_prb=min(self.cell_prb, sums["dblocks"] / passed),
            uplink_prb=min(self.cell_prb, sums["ublocks"] / passed),
            downlink_mcs=int(sums["dmcs"]),
            uplink_mcs=int(sums["umcs"]),
            downlink_sent=int(sums["dsent"]),
            uplink_received=int(sums["usent"]),
            downlink_late=min(late, passed),
            bad_blocks=int(sums["uerrors"]),
            slot_ns=10_000_000 // self._per_frame,
        )
