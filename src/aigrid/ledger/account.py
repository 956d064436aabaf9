"""One key's or tenant's account: what it has spent, holds, and may still use."""

from aigrid.core.clock import day_start, month_start
from aigrid.ledger.base import Limits
from aigrid.ledger.windows import Rate, Window

_NONE = Limits()
_ENDLESS = 1 << 62


class Account:
    """One key or tenant. `payer` of a key is its tenant.

    `ceiling` is the sum of all that was ever spent at which the tightest budget is used up. It holds in
    [`since`, `until`), where no calendar window ends: there spending moves every budget alike.
    """

    __slots__ = (
        "_day",
        "_month",
        "_posted",
        "bounded",
        "budgets",
        "ceiling",
        "held",
        "label",
        "limits",
        "live",
        "most_running",
        "payer",
        "requests",
        "running",
        "since",
        "spent",
        "tokens",
        "until",
    )

    def __init__(self, label: str, limits: Limits, payer: "Account | None" = None) -> None:
        self.label = label
        self.payer = payer
        self.live = True
        self.spent = self._posted = 0
        self.held = 0
        self.running = 0
        self._day = Window(day_start)
        self._month = Window(month_start)
        self.requests = Rate()
        self.tokens = Rate()
        self.limit(limits)

    @property
    def day(self) -> Window:
        """What was spent by the day."""
        self._post()
        return self._day

    @property
    def month(self) -> Window:
        """What was spent by the month."""
        self._post()
        return self._month

    def limit(self, limits: Limits) -> None:
        """Put new limits in force; what is held stays held."""
        self.limits = limits
        self.bounded = limits != _NONE
        self.most_running = _ENDLESS if limits.concurrency is None else limits.concurrency
        wanted = [
            ("total", limits.total_nusd, None),
            ("day", limits.day_nusd, self._day),
            ("month", limits.month_nusd, self._month),
        ]
        self.budgets: list[tuple[str, int, Window | None]] = [(n, most, w) for n, most, w in wanted if most is not None]
        self._forget()

    def load(self, total: int, day: int, month: int, now_ns: int) -> None:
        """Add what was spent until now, from the records."""
        self.day.add(day, now_ns)
        self.month.add(month, now_ns)
        self.spent += total
        self._posted = self.spent
        self._forget()

    def room(self, now_ns: int) -> tuple[int, str, int, int] | None:
        """Return (money left, budget's name, limit, spent) of the tightest budget; None if there is none."""
        self._post()
        tightest: tuple[int, str, int, int] | None = None
        for name, most, window in self.budgets:
            spent = self.spent if window is None else window.at(now_ns)
            left = most - spent - self.held
            if tightest is None or left < tightest[0]:
                tightest = (left, name, most, spent)
        return tightest

    def enter(self, amount: int, units: int, now_ns: int, mono: int) -> bool:
        """Hold money, tokens and a place if every limit allows just that; else change nothing."""
        if not self.since <= now_ns < self.until:
            self._turn(now_ns)
        if self.spent + self.held + amount > self.ceiling or self.running >= self.most_running:
            return False
        limits = self.limits
        requests = tokens = -1
        if limits.requests_per_minute is not None:
            requests = self.requests.after(1, limits.requests_per_minute, mono)
            if requests < 0:
                return False
        if limits.tokens_per_minute is not None:
            tokens = self.tokens.after(units, limits.tokens_per_minute, mono)
            if tokens < 0:
                return False
            self.tokens.take(tokens, mono)
        if requests >= 0:
            self.requests.take(requests, mono)
        self.held += amount
        self.running += 1
        return True

    def settle(self, released: int, spent: int, now_ns: int) -> None:
        """Turn `released` held nano-dollars into `spent` ones (at most as many)."""
        if not self.since <= now_ns < self.until:
            self._turn(now_ns)
        self.held -= released
        self.spent += spent

    def _post(self) -> None:
        """Enter what was spent since the last time into the windows in which it was."""
        amount, self._posted = self.spent - self._posted, self.spent
        if amount:
            self._day.add(amount, self.since)
            self._month.add(amount, self.since)

    def _forget(self) -> None:
        self._post()
        self.since = self.until = 0

    def _turn(self, now_ns: int) -> None:
        room = self.room(now_ns)
        self.ceiling = self.spent + self.held + room[0] if room is not None else _ENDLESS
        for window in (self._day, self._month):
            window.at(now_ns)
        # Every month begins with a day.
        self.since, self.until = self._day.start, self._day.end
