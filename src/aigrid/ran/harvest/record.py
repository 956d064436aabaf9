"""What a co-run tells the rest of the factory: one small file in AIGRID_HOME, written twice a second, read by anyone."""

import contextlib
import dataclasses
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aigrid.core.clock import SECOND, now_ns
from aigrid.core.config import home

if TYPE_CHECKING:
    from aigrid.ran.harvest.harvester import Harvester
    from aigrid.ran.state import RadioState

FRESH_NS = 3 * SECOND
BARS = 64
"""Pieces of the last second of load that are told."""


def path() -> Path:
    """Return where the record of this machine's co-run is."""
    return home() / "run" / "radio.json"


def write(radio: "RadioState", harvester: "Harvester | None", began_ns: int, engine: str = "") -> None:
    """Tell how radio and harvester do; `engine` is the name of the one that is governed, `began_ns` when that began."""
    from aigrid.ran.state import SOURCES, bin_edges_us

    load = (radio.recent_downlink_prb + radio.recent_uplink_prb).reshape(BARS, -1).mean(axis=1)
    value: dict[str, Any] = {
        "updated_ns": now_ns(),
        "began_ns": began_ns,
        "source": SOURCES[radio.source],
        "real_time": bool(radio.real_time),
        "processor": radio.cpu,
        "processors": len(os.sched_getaffinity(0)),
        "slot": radio.slot,
        "slot_ns": radio.slot_ns,
        "cell_prb": radio.cell_prb,
        "busy_slots": radio.busy_slots,
        "late_slots": radio.late_slots,
        "on_time": radio.on_time,
        "load": [round(float(each), 2) for each in load],
        "edges_us": [round(float(each), 2) for each in bin_edges_us()],
        "tick": radio.tick_histogram.tolist(),
        "downlink": radio.downlink_histogram.tolist(),
        "uplink": radio.uplink_histogram.tolist(),
        "engine": engine,
        "harvest": None,
    }
    if harvester is not None:
        value["harvest"] = {
            **dataclasses.asdict(harvester.co),
            "coverage": harvester.forecast.coverage(0.95),
            "history": [[round(each, 3) for each in second] for second in harvester.history],
        }
    target = path()
    target.parent.mkdir(exist_ok=True, mode=0o700)
    rough = target.with_name(f".radio-{os.getpid()}.json")
    rough.write_text(json.dumps(value))
    rough.replace(target)


def forget() -> None:
    """Take the record away: the co-run has ended."""
    with contextlib.suppress(OSError):
        path().unlink()


def read() -> dict[str, Any] | None:
    """Return the newest record; None where no radio runs here, or nothing was heard for `FRESH_NS`."""
    try:
        value: dict[str, Any] = json.loads(path().read_text())
        return value if now_ns() - value["updated_ns"] < FRESH_NS else None
    except (OSError, ValueError, KeyError, TypeError):
        return None
