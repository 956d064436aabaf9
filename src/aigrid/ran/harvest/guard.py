"""The guard: looks at every slot, and halts the engine within one when the radio is in trouble.

Trouble is a slot whose work reached into the next, uplink that waits, a tick served late, or a radio that has said
nothing for four slots (after a second that is the harvester's matter; of other vendors' radios, which report less often,
only the first counts). The engine is stopped (SIGSTOP), and goes on a while after the last sign of it: at first 5 ms,
twice as long each time trouble is back within 50 ms of that, at most half a second: trouble that comes later need not
be of the engine's making. A compiled loop in a thread of its own,
one place behind the radio in SCHED_FIFO where permitted; it takes some microseconds a slot.
"""

import os
import signal
import threading
from typing import Any

import numpy as np
from numba.core import types
from numpy.typing import NDArray

from aigrid.ran import state
from aigrid.ran.kernels.compile import kernel
from aigrid.ran.realtime import PRIORITY
from aigrid.ran.slots import SLOT_NS, now_ns, sleep_until
from aigrid.ran.state import RUNNING, Page

LATE_NS = 250_000
SILENT_NS, GIVEN_UP_NS = 4 * SLOT_NS, 1_000_000_000
FIRST_HOLD_NS, LONGEST_HOLD_NS, AGAIN_NS = 5_000_000, 500_000_000, 50_000_000
_MONOTONIC = 1
_STOP, _CONT = int(signal.SIGSTOP), int(signal.SIGCONT)
_kill: Any = types.ExternalFunction("kill", types.int32(types.int32, types.int32))
PHASE, UPDATED, OVERRUNS, PENDING, LATE, SLOT, SOURCE = (
    state.AT[name] for name in ("phase", "updated_ns", "overruns", "pending", "tick_late_ns", "slot", "source")
)
END, PID, HALTED, HALTS, HELD_NS, BY_OVERRUN, BY_PENDING, BY_LATE, BY_SILENCE, REACTED_NS, OVER = range(11)
CONTROL = 16


@kernel
def watch(page, control, timespec):  # type: ignore[no-untyped-def]
    """Look at every slot until `control[END]` is set."""
    due = now_ns(_MONOTONIC, timespec)
    over, slot = control[OVER], page[SLOT]
    hold, until, since, released = FIRST_HOLD_NS, 0, 0, 0
    while control[END] == 0:
        due += SLOT_NS
        now = sleep_until(due, timespec)
        if now > due + 20 * SLOT_NS:
            due = now
        running = page[PHASE] == RUNNING
        ours = running and page[SOURCE] == 0
        if running and page[OVERRUNS] > over:
            cause = BY_OVERRUN
        elif ours and page[PENDING] > 0:
            cause = BY_PENDING
        elif ours and page[LATE] > LATE_NS and page[SLOT] != slot:
            cause = BY_LATE
        elif ours and SILENT_NS < now - page[UPDATED] < GIVEN_UP_NS:
            cause = BY_SILENCE
        else:
            cause = 0
        over, slot = page[OVERRUNS], page[SLOT]
        if cause:
            if control[HALTED] == 0:
                _kill(control[PID], _STOP)
                control[HALTED] = 1
                control[HALTS] += 1
                control[cause] += 1
                control[REACTED_NS] = now_ns(_MONOTONIC, timespec) - now
                hold = min(2 * hold, LONGEST_HOLD_NS) if now - released < AGAIN_NS else FIRST_HOLD_NS
                since = now
            until = now + hold
        elif control[HALTED] == 1 and (now >= until or not running):
            _kill(control[PID], _CONT)
            control[HALTED] = 0
            control[HELD_NS] += now - since
            released = now
    if control[HALTED] == 1:
        _kill(control[PID], _CONT)
        control[HALTED] = 0
        control[HELD_NS] += now_ns(_MONOTONIC, timespec) - since


def warm() -> None:
    """Compile the loop, or find it compiled: a second or so that is better spent before a radio runs."""
    ended = np.zeros(CONTROL, np.int64)
    ended[END] = 1
    watch(np.zeros(state.WORDS, np.int64), ended, np.zeros(2, np.int64))


class Guard:
    """Guards a radio from one engine process, between `start` and `stop`."""

    def __init__(self, page: Page, pid: int) -> None:
        self.control: NDArray[np.int64] = np.zeros(CONTROL, np.int64)
        self.control[PID] = pid
        self.note: str | None = None
        self._page = page
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="ran-guard", daemon=True)

    def start(self) -> None:
        """Begin to look; returns once it does. What overruns from now on is seen, however late the thread begins."""
        self.control[OVER] = self._page.words[OVERRUNS]
        self._thread.start()
        self._ready.wait()

    def _run(self) -> None:
        timespec = np.zeros(2, np.int64)
        warm()
        try:
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(PRIORITY - 1))
        except OSError as error:
            self.note = (
                f"the guard is not permitted SCHED_FIFO ({error.strerror}): it may look late; run as root, "
                "grant CAP_SYS_NICE, or set `ulimit -r` to 50"
            )
        self._ready.set()
        watch(self._page.words, self.control, timespec)

    def stop(self) -> None:
        """End it; an engine that it halted goes on."""
        self.control[END] = 1
        self._thread.join()

    @property
    def halts(self) -> int:
        """Return how often the engine was halted."""
        return int(self.control[HALTS])

    @property
    def held_ns(self) -> int:
        """Return how long the engine was halted, in all."""
        return int(self.control[HELD_NS])

    @property
    def reacted_ns(self) -> int:
        """Return how long the last halt took, from waking for the slot to the engine being stopped."""
        return int(self.control[REACTED_NS])

    def causes(self) -> dict[str, int]:
        """Return how often the engine was halted, by the first sign of trouble."""
        names = {"overrun": BY_OVERRUN, "waiting uplink": BY_PENDING, "late tick": BY_LATE, "silence": BY_SILENCE}
        return {name: int(self.control[at]) for name, at in names.items()}
