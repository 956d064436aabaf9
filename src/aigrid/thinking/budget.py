"""Budgets: a tree in which every part draws on the one above before it starts, and returns what it leaves.

A part that has a cap of a kind reserves all of it; what it spends is then certain to be there. A part without one
spends straight from the nearest cap above. So no cap in the tree can be overrun, whatever runs at once.
"""

from types import TracebackType
from typing import Literal, Self

import msgspec

from aigrid.core.clock import SECOND, mono_ns
from aigrid.core.errors import BudgetExceeded

Kind = Literal["tokens", "nusd", "mj", "ns"]
Drawn = Literal["tokens", "nusd", "mj"]
DRAWN: tuple[Drawn, ...] = ("tokens", "nusd", "mj")


class Cost(msgspec.Struct, frozen=True):
    """Tokens (prompt and completion), nano-dollars, millijoules."""

    tokens: int = 0
    nusd: int = 0
    mj: int = 0


class Caps(msgspec.Struct, frozen=True, omit_defaults=True):
    """The most of each kind; None is no cap of its own. `ns` is wall time from the start, in nanoseconds."""

    tokens: int | None = None
    nusd: int | None = None
    mj: int | None = None
    ns: int | None = None

    def __post_init__(self) -> None:
        for kind in self.__struct_fields__:
            cap = getattr(self, kind)
            if cap is not None and cap < 0:
                raise ValueError(f"a cap of {kind} is {cap}; it cannot be negative")


class BudgetSpent(BudgetExceeded):
    """A budget does not allow what was asked of it: `value` of a `kind` where `limit` was left, asked by `source`."""

    default_code = "thinking_budget_spent"

    def __init__(self, kind: Kind, value: int, limit: int, source: str) -> None:
        super().__init__(f"{source} needs {said(kind, value)} and its budget has {said(kind, limit)} left; allow more")
        self.kind = kind
        self.value = value
        self.limit = limit
        self.source = source


def said(kind: Kind, value: int) -> str:
    """Return an amount in the unit that people use for it."""
    match kind:
        case "tokens":
            return f"{value:,} tokens"
        case "nusd":
            return f"${value / 1e9:.9f}".rstrip("0").rstrip(".")
        case "mj":
            return f"{value / 1000:,.3f} J"
        case "ns":
            return f"{value / SECOND:,.3f} s" if value >= SECOND else f"{value / 1e6:,.1f} ms"


class Budget:
    """What may be used, and what was. Use as a context manager; `part` makes one that draws on this one."""

    def __init__(self, caps: Caps = Caps(), source: str = "the request", parent: "Budget | None" = None) -> None:
        self.caps = caps
        self.source = source
        self.deadline_ns: int | None = None
        self._parent = parent
        self._open = False
        self._spent = dict.fromkeys(DRAWN, 0)
        self._held = dict.fromkeys(DRAWN, 0)

    @property
    def spent(self) -> Cost:
        """What was used until now, in this budget and in parts of it that have ended."""
        return Cost(**self._spent)

    def part(self, caps: Caps, source: str) -> "Budget":
        """Return a budget that reserves its caps here when it is entered, and gives back what it leaves."""
        return Budget(caps, source, self)

    def left(self, kind: Drawn) -> int | None:
        """Return what a new part could reserve of a kind; None where nothing limits it."""
        cap = getattr(self.caps, kind)
        if cap is None:
            return None if self._parent is None else self._parent.left(kind)
        return int(cap) - self._spent[kind] - self._held[kind]

    def time_left_s(self) -> float | None:
        """Return the seconds until the deadline, at least 0; None where there is none."""
        return None if self.deadline_ns is None else max(0, self.deadline_ns - mono_ns()) / SECOND

    def late(self) -> BudgetSpent:
        """Return the error that says that the time is over."""
        cap, node = self.caps.ns, self
        while cap is None and node._parent is not None:
            node = node._parent
            cap = node.caps.ns
        limit = cap or 0
        over = 0 if self.deadline_ns is None else mono_ns() - self.deadline_ns
        return BudgetSpent("ns", limit + max(0, over), limit, self.source)

    def __enter__(self) -> Self:
        """Reserve; raises `BudgetSpent`, and then nothing is reserved."""
        parent, now = self._parent, mono_ns()
        if parent is not None:
            assert parent._open, "the budget that this one draws on is not open"
            if parent.deadline_ns is not None and now >= parent.deadline_ns:
                raise parent.late()
            for kind in DRAWN:
                cap, left = getattr(self.caps, kind), parent.left(kind)
                wanted = 1 if cap is None else cap  # without a cap of its own it needs at least something to be left
                if left is not None and wanted > left:
                    raise BudgetSpent(kind, wanted, max(0, left), self.source)
            for kind in DRAWN:
                parent._reserve(kind, getattr(self.caps, kind) or 0)
        ends = [] if self.caps.ns is None else [now + self.caps.ns]
        if parent is not None and parent.deadline_ns is not None:
            ends.append(parent.deadline_ns)
        self.deadline_ns = min(ends, default=None)
        self._open = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give back what is left."""
        self._open = False
        if self._parent is not None:
            for each in DRAWN:
                cap = getattr(self.caps, each)
                if cap is not None:
                    self._parent._release(each, cap, self._spent[each])

    def spend(self, cost: Cost) -> None:
        """Count what was used. Raises `BudgetSpent` for what does not fit: whoever spends must stop then."""
        over: BudgetSpent | None = None
        for kind in DRAWN:
            amount = getattr(cost, kind)
            left = self.left(kind)
            if left is not None and amount > left:
                over = over or BudgetSpent(kind, amount, max(0, left), self.source)
                amount = max(0, left)
            self._count(kind, amount)
        if over is not None:
            raise over

    def count_to(self, total: Cost) -> None:
        """Bring what was used up to a total; amounts only grow. Raises `BudgetSpent` as `spend` does."""
        self.spend(Cost(**{kind: max(0, getattr(total, kind) - self._spent[kind]) for kind in DRAWN}))

    def _count(self, kind: Drawn, amount: int) -> None:
        self._spent[kind] += amount
        if getattr(self.caps, kind) is None and self._parent is not None:
            self._parent._count(kind, amount)

    def _reserve(self, kind: Drawn, amount: int) -> None:
        if getattr(self.caps, kind) is not None:
            self._held[kind] += amount
        elif self._parent is not None:
            self._parent._reserve(kind, amount)

    def _release(self, kind: Drawn, reserved: int, spent: int) -> None:
        self._spent[kind] += spent
        if getattr(self.caps, kind) is not None:
            self._held[kind] -= reserved
        elif self._parent is not None:
            self._parent._release(kind, reserved, spent)
