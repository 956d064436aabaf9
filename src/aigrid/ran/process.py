"""`python -m aigrid.ran.process FOLDER`: the radio's own process. Started by `radio.Radio`, not by people."""

import gc
import json
import math
import os
import shutil
import signal
import sys
import time
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np

from aigrid.ran import realtime, slots, waves
from aigrid.ran.kernels import ofdm
from aigrid.ran.kernels.tables import scratch, tables
from aigrid.ran.kernels.transport import Format
from aigrid.ran.state import RUNNING, STOPPED, WORDS, Page

CHUNK = 20
"""Slots from one look at signals and at the parent to the next: 10 ms."""
LEAD_S = 0.02
EARLY_EVERY, EARLY_AT = 10, 4
"""Which uplink slots want an early HARQ answer: slot 4 of every 10."""
MOST_BITS = 60_000


class Ended(SystemExit):
    """The process was asked to end."""


def _asked(number: int, frame: FrameType | None) -> None:
    raise Ended(0)


def layout(options: dict[str, Any], loads: Any) -> tuple[Any, Any, Any, Any, list[Format]]:
    """Lay a trace out by slot: (load, mcs, early, kind of each, the formats), see slots.run."""
    pattern = options["pattern"]
    expanded = np.repeat(loads, options["step_slots"], axis=1)
    length = len(pattern)
    if expanded.shape[1] >= 100 * length:
        expanded = expanded[:, : expanded.shape[1] // length * length]
    else:
        expanded = np.tile(expanded, (1, math.lcm(length, expanded.shape[1]) // expanded.shape[1]))
    count = expanded.shape[1]
    turn = np.array(list(pattern))[np.arange(count) % length]
    load, mcs = expanded[[0, 2]].astype(np.int64), expanded[[1, 3]].astype(np.int64)
    load[0, ~np.isin(turn, ["D", "F"])] = 0
    load[1, ~np.isin(turn, ["U", "F"])] = 0
    keys = np.where(load > 0, load * 64 + mcs, -1)
    found = [int(key) for key in np.unique(keys) if key >= 0]
    formats = [Format(key // 64, key % 64) for key in found] or [Format(1, 0)]
    kinds = np.where(keys >= 0, np.searchsorted(np.array(found or [0]), keys), -1)
    early = (np.arange(count) % EARLY_EVERY == EARLY_AT).astype(np.uint8)
    return load, mcs, early, kinds, formats


def main(folder: Path) -> int:
    """Prepare everything, say so in one line, and run slots until the plan is done, the parent is gone or asks."""
    options = json.loads((folder / "plan.json").read_text())
    signal.signal(signal.SIGTERM, _asked)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    page = Page(folder / "page")
    load, mcs, early, kinds, formats = layout(options, np.load(folder / "trace.npz")["loads"])
    random = np.random.default_rng(options["seed"])
    payload = random.integers(0, 2, 4 * MOST_BITS).astype(np.int8)
    fixed, memory = tables(formats), scratch()
    heard = np.zeros((len(formats), ofdm.SAMPLES, 2), np.int16)
    scale = np.ones(len(formats), np.float32)
    for at in sorted(set(kinds[1][kinds[1] >= 0].tolist())):
        form = formats[at]
        heard[at], scale[at] = waves.wave(form, fixed.formats[at], fixed, memory, payload[: form.size], at)
    job = slots.Job(
        load, mcs, kinds, early, fixed, memory, heard, scale, payload, np.zeros((ofdm.SAMPLES, 2), np.int16),
        np.zeros(slots.MEMORY, np.int64), np.zeros(2, np.int64), not options["empty"],
    )  # fmt: skip
    notes = [] if options["cpu"] is None else [realtime.pin(options["cpu"])]
    slots.run(0, 100, slots.ticks_ahead(0), job, np.zeros(WORDS, np.int64))
    job.memory[:] = 0
    notes.append(realtime.lock_memory())
    locked = notes[-1] is None
    if options["real_time"]:
        notes.append(realtime.first_in_line())
    first_in_line = options["real_time"] and notes[-1] is None
    gc.collect()
    gc.freeze()
    gc.disable()
    print(json.dumps({"notes": [note for note in notes if note]}), flush=True)
    begin = slots.ticks_ahead(LEAD_S)
    page.write({
        "pid": os.getpid(), "phase": RUNNING, "updated_ns": begin, "started_ns": begin, "slot": 0,
        "slot_ns": slots.SLOT_NS, "real_time": first_in_line, "locked": locked,
        "cpu": -1 if options["cpu"] is None else options["cpu"], "cpu_ns": 0,
    })  # fmt: skip
    job.memory[slots.CPU_BEFORE] = time.thread_time_ns()
    total = round(options["seconds"] / (slots.SLOT_NS / 1e9))
    try:
        for first in range(0, total, CHUNK):
            slots.run(first, min(CHUNK, total - first), begin, job, page.words)
            if os.getppid() != options["parent"]:
                shutil.rmtree(folder, ignore_errors=True)  # who would have removed it was killed
                break
            if time.monotonic_ns() > begin + (first + CHUNK) * slots.SLOT_NS:
                time.sleep(20e-6)  # a process of the real-time class that never sleeps would be ended
    finally:
        page.write({"phase": STOPPED})
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
