"""What a process asks of the system to keep deadlines; each answers None, or why not and what to do."""

import ctypes
import os
import resource

PRIORITY = 50
_MCL_CURRENT_AND_FUTURE = 3
_RLIMIT_RTTIME = 15
STUCK_US = 2_000_000


def lock_memory() -> str | None:
    """Keep all pages of this process in memory."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mlockall(_MCL_CURRENT_AND_FUTURE) == 0:
        return None
    return (
        f"memory is not locked ({os.strerror(ctypes.get_errno())}), so that a slot may wait for a page; "
        "run as root, grant CAP_IPC_LOCK, or raise `ulimit -l`"
    )


def first_in_line(priority: int = PRIORITY) -> str | None:
    """Put this process into SCHED_FIFO, before everything ordinary.

    A process of that class that never sleeps would keep a processor for itself: after two seconds without a pause
    the kernel ends it.
    """
    try:
        resource.setrlimit(_RLIMIT_RTTIME, (STUCK_US, STUCK_US))
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(priority))
    except (OSError, ValueError) as error:
        return (
            f"SCHED_FIFO is not permitted ({error}), so that other programs delay slots; run as root, grant "
            "CAP_SYS_NICE, or set `ulimit -r` to 50. Going on in the ordinary class"
        )
    return None


def pin(cpu: int) -> str | None:
    """Stay on one processor."""
    try:
        os.sched_setaffinity(0, {cpu})
    except OSError as error:
        return (
            f"cannot stay on processor {cpu} ({error.strerror}); this process may use {sorted(os.sched_getaffinity(0))}"
        )
    return None
