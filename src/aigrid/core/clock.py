"""Time as integers of nanoseconds."""

import time
from collections.abc import Callable
from datetime import UTC, datetime

mono_ns: Callable[[], int] = time.perf_counter_ns
"""Monotonic nanoseconds: for durations; means nothing in another process."""

now_ns: Callable[[], int] = time.time_ns
"""Nanoseconds since the Unix epoch: for records; may step when the clock is set."""

SECOND = 1_000_000_000
DAY = 86_400 * SECOND


def day_start(ns: int) -> int:
    """Return the start (UTC) of the day that contains `ns`, in nanoseconds since the epoch."""
    return ns - ns % DAY


def month_start(ns: int) -> int:
    """Return the start (UTC) of the calendar month that contains `ns`, in nanoseconds since the epoch."""
    moment = datetime.fromtimestamp(ns // SECOND, UTC)
    return int(datetime(moment.year, moment.month, 1, tzinfo=UTC).timestamp()) * SECOND


def iso(ns: int) -> str:
    """Return `ns` (since the epoch) as RFC 3339 in UTC with milliseconds."""
    moment = datetime.fromtimestamp(ns // SECOND, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{ns % SECOND // 1_000_000:03d}Z"
