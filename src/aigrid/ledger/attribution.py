"""Who used the energy: each interval's energy and hardware cost shared among the holds open in it, to the last unit.

An interval's energy is first cut in two by time: what fell while nothing was open is idle. The rest goes to the
holds that this machine served itself (to those it only relayed, where there were no others) by the tokens they made
in the interval, a completion token weighing ten prompt tokens; without any tokens, by the time they were open.
"""

from collections.abc import Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Protocol

import msgspec

from aigrid.core.clock import mono_ns
from aigrid.core.ids import new_id
from aigrid.ledger.energy import Sample

if TYPE_CHECKING:
    from aigrid.ledger.holds import OpenHold

COMPLETION_WEIGHT = 10
MJ_PER_KWH = 3_600_000_000
NS_PER_HOUR = 3_600_000_000_000


class MeterRow(msgspec.Struct, frozen=True):
    """What the meter showed in one interval, where it went, and what open holds had gathered at its end.

    Over all rows, `sum(total) == sum(records) + sum(idle) + open of the last row of each owner`, for energy and for
    both costs. `id` makes writing it twice harmless.
    """

    id: str
    owner: str
    at_ns: int
    interval_ns: int
    source: str
    note: str = ""
    total_mj: int = 0
    idle_mj: int = 0
    open_mj: int = 0
    total_energy_nusd: int = 0
    idle_energy_nusd: int = 0
    open_energy_nusd: int = 0
    total_hardware_nusd: int = 0
    idle_hardware_nusd: int = 0
    open_hardware_nusd: int = 0


class NoMeter:
    """The meter where there is none: it measures time only."""

    source = "none"

    def __init__(self) -> None:
        self._at = mono_ns()

    def sample(self) -> Sample:
        """Return an interval without energy."""
        before, self._at = self._at, mono_ns()
        return Sample(0, self._at - before, self.source)

    def describe(self) -> str:
        """Say that nothing is measured."""
        return "Energy is not measured."


class Priced(Protocol):
    """The cost side of a price list."""

    energy_nusd_per_kwh: int
    hardware_nusd_per_hour: int


class Attribution:
    """Shares intervals out and keeps the sums of the meter row to be written next."""

    def __init__(self, prices: Priced, owner: str) -> None:
        self._prices = prices
        self._owner = owner
        self._energy_carry = 0
        self._hardware_carry = 0
        self._open = [0, 0, 0]
        self._clear()

    def _clear(self) -> None:
        self._source = self._note = ""
        self._interval_ns = 0
        self._total = [0, 0, 0]
        self._idle = [0, 0, 0]

    @property
    def interval_ns(self) -> int:
        """Length of the intervals that no meter row tells of yet."""
        return self._interval_ns

    def share(self, sample: Sample, idle_ns: int, since: int, now: int, holds: Sequence["OpenHold"]) -> None:
        """Share out one interval, [since, now) on the monotonic clock, of which `idle_ns` saw no hold open."""
        energy, self._energy_carry = divmod(
            sample.energy_mj * self._prices.energy_nusd_per_kwh + self._energy_carry, MJ_PER_KWH
        )
        hardware, self._hardware_carry = divmod(
            sample.interval_ns * self._prices.hardware_nusd_per_hour + self._hardware_carry, NS_PER_HOUR
        )
        span = max(now - since, 1)
        idle_ns = min(max(idle_ns, 0), span) if holds else span
        self._source = sample.source if self._source in ("", sample.source) else "mixed"
        self._note = self._note or sample.reason[:200]
        self._interval_ns += sample.interval_ns
        busy = [0, 0, 0]
        for i, total in enumerate((sample.energy_mj, energy, hardware)):
            idle = total * idle_ns // span
            self._total[i] += total
            self._idle[i] += idle
            self._open[i] += total - idle
            busy[i] = total - idle
        if holds:
            _spread(busy, sample.source, holds, _weights(holds, since, now))

    def leave(self, energy_mj: int, energy_nusd: int, hardware_nusd: int) -> None:
        """Take out what a hold gathered: its record will stand beside the next meter row."""
        self._open[0] -= energy_mj
        self._open[1] -= energy_nusd
        self._open[2] -= hardware_nusd

    def row(self, at_ns: int) -> MeterRow:
        """Return the meter row of all intervals since the last one."""
        sums = [value for i in range(3) for value in (self._total[i], self._idle[i], self._open[i])]
        row = MeterRow(new_id("mtr_"), self._owner, at_ns, self._interval_ns, self._source or "none", self._note, *sums)
        self._clear()
        return row


def _weights(holds: Sequence["OpenHold"], since: int, now: int) -> list[int]:
    local = False
    weights = []
    for hold in holds:
        mark = hold.completion_tokens * COMPLETION_WEIGHT + hold.prompt_tokens
        weights.append(mark - hold.weight_mark if mark > hold.weight_mark else 0)
        hold.weight_mark = mark
        local = local or hold.local
    if local:
        weights = [weight if hold.local else 0 for weight, hold in zip(weights, holds, strict=True)]
    if any(weights):
        return weights
    return [max(1, (hold.ended or now) - max(hold.started, since)) if hold.local or not local else 0 for hold in holds]


def _spread(amounts: Sequence[int], source: str, holds: Sequence["OpenHold"], weights: Sequence[int]) -> None:
    """Add to each hold its share of three amounts; rounding the running sum makes the shares exact in one pass."""
    whole = sum(weights)
    energy, money, hardware = amounts
    energy_before = money_before = hardware_before = 0
    for hold, weight, until in zip(holds, weights, accumulate(weights), strict=True):
        if weight:
            energy_until = energy * until // whole
            money_until = money * until // whole
            hardware_until = hardware * until // whole
            hold.energy_mj += energy_until - energy_before
            hold.energy_nusd += money_until - money_before
            hold.hardware_nusd += hardware_until - hardware_before
            energy_before, money_before, hardware_before = energy_until, money_until, hardware_until
            if hold.energy_source != source:
                hold.energy_source = "mixed" if hold.energy_source else source
