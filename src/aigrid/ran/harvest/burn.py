"""`python -m aigrid.ran.harvest.burn METER THREADS PARENT`: arithmetic without end, with the meter of an engine."""

import os
import sys
import threading
import time
from pathlib import Path

import numpy as np

from aigrid.engines.meter import Meter

SIZE = 320
_PAUSE_S = 0.005


def main(path: Path, threads: int, parent: int) -> None:
    """Multiply matrices on every thread until the parent is gone."""
    meter = Meter(path, create=True)
    meter["slots"] = threads
    made = [0] * threads

    def burn(at: int) -> None:
        random = np.random.default_rng(at)
        left, right = (random.random((SIZE, SIZE), np.float32) for _ in range(2))
        out = np.empty_like(left)
        while True:
            if meter.pause:
                time.sleep(_PAUSE_S)
                continue
            np.matmul(left, right, out=out)  # which lets go of the interpreter
            made[at] += 1

    for at in range(threads):
        threading.Thread(target=burn, args=(at,), daemon=True).start()
    while os.getppid() == parent:
        time.sleep(0.02)
        meter["tokens"] = sum(made)
        meter["paused"] = int(meter.pause)
        meter.look(threads, 0)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
