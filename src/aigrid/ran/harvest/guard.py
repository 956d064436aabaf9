"""The guard: looks at every slot, and halts the engine within one when the radio's lateness grows.

A sign is a slot whose work reached into the next, uplink that waits, a tick served late, or a radio that has said
nothing for twenty slots (after a second that is the harvester's matter; of other vendors' radios, which report less
often, only the first counts). One alone costs no deadline and is mostly the machine's own: three in a row, or more of
them further apart, are trouble (a leaky bucket: a sign puts four drops in, a slot without takes one out).

The engine is stopped (SIGSTOP) for 5 ms, and twice as long each time trouble is back within 50 ms of its going on, at
most half a second: trouble that comes later need not be of the engine's making. Neither is trouble that goes on while
the engine stands still: slots that are too heavy by themselves, or a host that takes the processor away. After that the
engine is not stopped again for 50 ms. A stop costs AI more than its length (docs/explanation/harvester.md).

A compiled loop in a thread of its own, where permitted in SCHED_FIFO before the radio on its processor, and just ahead
of its tick: it takes some microseconds a slot, and AI is sent from there once, not twice.
"""

import contextlib
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
SILENT_NS, GIVEN_UP_NS = 20 * SLOT_NS, 1_000_000_000
FIRST_HOLD_NS, LONGEST_HOLD_NS, AGAIN_NS = 5_000_000, 500_000_000, 50_000_000
SIGN, TROUBLE = 4, 12
AFTERMATH_NS = 4 * SLOT_NS
"""How long what the engine has done may show after it was stopped."""
AHEAD_NS = 30_000
"""How long before the radio's tick it looks."""
_MONOTONIC = 1
_STOP, _CONT = int(signal.SIGSTOP), int(signal.SIGCONT)
_kill: Any = types.ExternalFunction("kill", types.int32(types.int32, types.int32))
PHASE, UPDATED, OVERRUNS, PENDING, LATE, SLOT, SOURCE, STARTED, CPU = (
    state.AT[name]
    for name in ("phase", "updated_ns", "overruns", "pending", "tick_late_ns", "slot", "source", "started_ns", "cpu")
)
END, PID, HALTED, HALTS, HELD_NS, BY_OVERRUN, BY_PENDING, BY_LATE, BY_SILENCE, REACTED_NS, OVER = range(11)
SINCE, UNTIL, RELEASED, HOLD, NOT_ITS, DROPS = range(11, 17)
CONTROL = 17
HALT, GO_ON = 1, 2


@kernel
def weigh(control, cause, running, now):  # type: ignore[no-untyped-def]
    """Return whether to halt the engine, to let it go on, or neither (0), after a slot with a sign of trouble or none."""
    control[DROPS] = min(control[DROPS] + SIGN, 2 * TROUBLE) if cause else max(0, control[DROPS] - 1)
    if control[HALTED] == 1:
        if cause and cause != BY_SILENCE and now - control[SINCE] > AFTERMATH_NS:
            control[NOT_ITS] = 1
        if cause == BY_SILENCE:
            control[UNTIL] = max(control[UNTIL], now + FIRST_HOLD_NS)
        if running and now < control[UNTIL]:
            return 0
        control[HALTED], control[RELEASED] = 0, now
        control[HELD_NS] += now - control[SINCE]
        return GO_ON
    if cause == 0:
        return 0
    soon = now - control[RELEASED] < AGAIN_NS
    if control[DROPS] < TROUBLE or (soon and control[NOT_ITS] == 1):
        return 0
    control[HALTED], control[SINCE], control[NOT_ITS] = 1, now, 0
    control[HALTS] += 1
    control[cause] += 1
    control[HOLD] = min(2 * control[HOLD], LONGEST_HOLD_NS) if soon else FIRST_HOLD_NS
    control[UNTIL] = now + control[HOLD]
    return HALT


@kernel
def watch(page, control, timespec):  # type: ignore[no-untyped-def]
    """Look at every slot until `control[END]` is set."""
    due = page[STARTED] - AHEAD_NS if page[CPU] >= 0 else 0
    due += (now_ns(_MONOTONIC, timespec) - due) // SLOT_NS * SLOT_NS
    over, slot = control[OVER], page[SLOT]
    while control[END] == 0:
        due += SLOT_NS
        now = sleep_until(due, timespec)
        if now > due + 20 * SLOT_NS:
            due += (now - due) // SLOT_NS * SLOT_NS
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
        act = weigh(control, cause, running, now)
        if act == HALT:
            _kill(control[PID], _STOP)
            control[REACTED_NS] = now_ns(_MONOTONIC, timespec) - now
        elif act == GO_ON:
            _kill(control[PID], _CONT)
    if weigh(control, 0, False, now_ns(_MONOTONIC, timespec)) == GO_ON:
        _kill(control[PID], _CONT)


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
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(PRIORITY + 1))
        except OSError as error:
            self.note = (
                f"the guard is not permitted SCHED_FIFO ({error.strerror}): it may look late; run as root, "
                "grant CAP_SYS_NICE, or set `ulimit -r` to 50"
            )
        if self._page.words[CPU] >= 0:
            with contextlib.suppress(OSError):
                os.sched_setaffinity(0, {int(self._page.words[CPU])})
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
