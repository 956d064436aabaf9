"""When energy is cheap: a table of prices by hours of the day, and whether now is the time to work."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import pairwise
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from aigrid.core.clock import SECOND
from aigrid.core.config import Config
from aigrid.core.errors import ConfigError

HOUR_NS = 3600 * SECOND
_SPAN = re.compile(r"([01]?\d|2[0-3]):([0-5]\d)\s*-\s*([01]?\d|2[0-4]):([0-5]\d)")


class Hours:
    """The price of energy at any time."""

    def __init__(self, config: Config) -> None:
        """Read the table; raises `ConfigError` for hours or a time zone that cannot be read."""
        self._usual = config.site.energy_usd_per_kwh
        self._spans: list[tuple[int, int, float]] = []
        try:
            self._zone = ZoneInfo(config.overnight.time_zone) if config.overnight.time_zone != "UTC" else UTC
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise ConfigError(
                f"overnight.time_zone is {config.overnight.time_zone!r}; write one like `Europe/Berlin`",
                param="overnight.time_zone",
            ) from None
        for i, line in enumerate(config.energy_prices):
            found = _SPAN.fullmatch(line.hours.strip())
            if found is None:
                raise ConfigError(
                    f"energy_prices[{i}].hours is {line.hours!r}; write from and to, like `22:00-06:00`",
                    param=f"energy_prices[{i}].hours",
                )
            first, last = (int(found[at]) * 60 + int(found[at + 1]) for at in (1, 3))
            self._spans.append((first, last % 1440, line.usd_per_kwh))

    def price(self, at_ns: int) -> float:
        """Return US dollars per kWh at a time; the first line that names it counts."""
        there = datetime.fromtimestamp(at_ns // SECOND, UTC).astimezone(self._zone)
        minute = there.hour * 60 + there.minute
        for first, last, price in self._spans:
            inside = first <= minute < last if first < last else minute >= first or minute < last
            if inside:
                return price
        return self._usual

    def until(self, now_ns: int, deadline_ns: int, work_ns: int) -> int:
        """Return when to work next, `now_ns` if at once: in the cheapest time before the deadline that is enough.

        Of equally cheap times the earliest count, so that with one price work never waits.
        """
        if not self._spans:
            return now_ns
        slots = self._slots(now_ns, deadline_ns)
        left = work_ns
        chosen: list[tuple[int, int]] = []
        for _, start, end in sorted((self.price(start), start, end) for start, end in slots):
            if left <= 0 and chosen:
                break
            chosen.append((start, end))
            left -= end - start
        return min((start for start, _ in chosen), default=now_ns)

    def _slots(self, now_ns: int, deadline_ns: int) -> Sequence[tuple[int, int]]:
        """Return the quarters of an hour from now to the deadline."""
        quarter = HOUR_NS // 4
        edges = [now_ns, *range(now_ns - now_ns % quarter + quarter, deadline_ns, quarter), max(deadline_ns, now_ns)]
        return [(first, last) for first, last in pairwise(edges) if last > first]

    def local(self, at_ns: int) -> str:
        """Return a time as hours and minutes there."""
        moment = datetime.fromtimestamp(at_ns // SECOND, UTC)
        return f"{moment.astimezone(self._zone):%H:%M}"
