"""Limits in time: money per calendar window, units per minute. Integer arithmetic only."""

from collections.abc import Callable

from aigrid.core.clock import DAY, SECOND, day_start

MINUTE = 60 * SECOND
_WINDOWS_KEPT = 4


class Window:
    """Money spent in the calendar window that contains now.

    The clock may step either way: windows seen a moment ago are kept, so going back finds what was spent there.
    """

    __slots__ = ("_begin", "_others", "end", "spent", "start")

    def __init__(self, begin: Callable[[int], int]) -> None:
        self._begin = begin
        self._others: dict[int, int] = {}
        self.start = self.end = self.spent = 0

    def at(self, now_ns: int) -> int:
        """Return what was spent in the window of `now_ns`, in nano-dollars."""
        if not self.start <= now_ns < self.end:
            self._turn(now_ns)
        return self.spent

    def add(self, amount: int, now_ns: int) -> None:
        """Spend in the window of `now_ns`."""
        if not self.start <= now_ns < self.end:
            self._turn(now_ns)
        self.spent += amount

    def _turn(self, now_ns: int) -> None:
        if self.end:
            self._others[self.start] = self.spent
            if len(self._others) > _WINDOWS_KEPT:
                del self._others[next(iter(self._others))]
        self.start = self._begin(now_ns)
        self.end = self._begin(self.start + (DAY if self._begin is day_start else 32 * DAY))
        self.spent = self._others.pop(self.start, 0)


class Rate:
    """A bucket that holds one minute's allowance and drains evenly. Level is in units x nanoseconds of a minute."""

    __slots__ = ("_at", "_level")

    def __init__(self) -> None:
        self._level = 0
        self._at = 0

    def wait_ns(self, units: int, limit: int, mono: int) -> int:
        """Return how long until `units` fit, in nanoseconds; 0 is now."""
        drained = (mono - self._at) * limit
        self._level = self._level - drained if self._level > drained else 0
        self._at = mono
        over = self._level + (units - limit) * MINUTE
        return -(-over // limit) if over > 0 and limit > 0 else MINUTE if over > 0 else 0

    def after(self, units: int, limit: int, mono: int) -> int:
        """Return the level once `units` are taken; -1 where they do not fit yet."""
        level = self._level - (mono - self._at) * limit
        level = units * MINUTE + (level if level > 0 else 0)
        return level if level <= limit * MINUTE else -1

    def take(self, level: int, mono: int) -> None:
        """Take what `after` was asked for at the same moment."""
        self._level = level
        self._at = mono

    def add(self, units: int) -> None:
        """Take `units` (negative gives back)."""
        self._level = max(0, self._level + units * MINUTE)
