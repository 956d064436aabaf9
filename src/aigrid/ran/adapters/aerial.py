"""NVIDIA Aerial: the Prometheus page of cuPHY-CP (`aerial_cuphycp_*`), scraped every second or so.

A page is a report when its last line, `# EOF` or an empty one, has been fed. Packets of the radio unit that came after
their window (`late_uplane_rx_packets_total`) and slots whose PUSCH or PDSCH took longer than the gates are late. Used
blocks are not on the page: a slot with work is taken for the whole cell.
"""

import re
from typing import ClassVar

from aigrid.ran.adapters.base import Report

_SAMPLE = re.compile(r"^(aerial_\w+?)(?:\{([^}]*)\})?\s+([0-9.eE+-]+)(?:\s+\d+)?\s*$")
_LABEL = re.compile(r'(\w+)="([^"]*)"')
GATES_US = {"pdsch": 1155.0, "pusch": 4500.0}


class Aerial:
    """Reads one cell of a page: that named, or all together."""

    name: ClassVar[str] = "aerial"

    def __init__(self, cell_prb: int = 273, cell: str | None = None) -> None:
        self.cell_prb, self.cell = cell_prb, cell
        self._now: dict[str, float] = {}
        self._before: dict[str, float] | None = None

    def feed(self, line: str) -> Report | None:
        """Read one line of the page."""
        text = line.strip()
        if not text or text == "# EOF":
            return self._page()
        if found := _SAMPLE.match(text):
            labels = dict(_LABEL.findall(found[2] or ""))
            if self.cell is None or labels.get("cell", self.cell) == self.cell:
                key = found[1]
                if key.endswith("_bucket"):
                    key = f"{key}:{labels.get('channel', '')}:{labels.get('le', '')}"
                elif way := labels.get("direction") or labels.get("channel"):
                    key = f"{key}:{way}"
                self._now[key] = self._now.get(key, 0.0) + float(found[3])
        return None

    def _page(self) -> Report | None:
        now, self._now = self._now, {}
        if not now:
            return None
        before, self._before = self._before, now
        if before is None:
            return None

        def more(name: str) -> float:
            return max(0.0, now.get(name, 0.0) - before.get(name, 0.0))

        prefix = "aerial_cuphycp_"
        down, up = more(f"{prefix}slots_total:DL"), more(f"{prefix}slots_total:UL")
        sent, received = more("aerial_cuphy_pdsch_tx_tb_total"), more(f"{prefix}pusch_rx_tb_total")
        slots = round(max(down, up))
        if not slots:
            return None
        late = {channel: self._beyond(now, before, channel) for channel in GATES_US}
        return Report(
            slots=slots,
            cell_prb=self.cell_prb,
            downlink_prb=self.cell_prb * min(1.0, sent / slots),
            uplink_prb=self.cell_prb * min(1.0, received / slots),
            downlink_sent=round(down),
            uplink_received=round(up),
            downlink_late=min(slots, late["pdsch"]),
            uplink_late=min(slots, late["pusch"] + round(more(f"{prefix}late_uplane_rx_packets_total"))),
            bad_blocks=round(more(f"{prefix}pusch_rx_tb_crc_error_total")),
        )

    @staticmethod
    def _beyond(now: dict[str, float], before: dict[str, float], channel: str) -> int:
        """Count the slots of a histogram beyond the gate: in the bins whose lower edge is not below it."""
        name = f"aerial_cuphycp_slot_processing_duration_us_bucket:{channel}:"
        edges = sorted((float(key.removeprefix(name)), key) for key in now if key.startswith(name) and "Inf" not in key)
        within = [key for edge, key in edges if edge >= GATES_US[channel]][:1]
        total = now.get(f"{name}+Inf", 0.0) - before.get(f"{name}+Inf", 0.0)
        if not within or total <= 0:
            return 0
        return round(max(0.0, total - (now[within[0]] - before.get(within[0], 0.0))))
