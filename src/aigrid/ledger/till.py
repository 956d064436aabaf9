"""The till: places holds, settles them, and shares out energy, in memory and in the journal; no database in sight.

A backend drives it from one thread: `tick` returns what to commit, `committed` frees it once that is done.
"""

import logging
from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec

from aigrid.core.clock import mono_ns, now_ns
from aigrid.core.errors import BudgetExceeded, Conflict, LedgerUnavailable
from aigrid.ledger.attribution import Attribution, MeterRow
from aigrid.ledger.base import Order, Outcome, Settlement
from aigrid.ledger.book import Book, cut
from aigrid.ledger.energy import Sample
from aigrid.ledger.holds import OpenHold, SettledNote
from aigrid.ledger.journal import AMOUNT, Journal
from aigrid.ledger.prices import PriceList, Tariff, usd

log = logging.getLogger(__name__)

MAX_WAITING = 200_000
"""Settled requests that may wait for a database that is down, before new holds are refused."""

FULL_NS = 10_000_000_000
"""How long a journal that could not grow is taken to be full, unless a hold finds room."""

IDLE_ROW_NS = 60_000_000_000
"""Without requests, a meter row is written once in so long."""

Row = tuple[Any, ...]
"""The fields of a `Record`, in order."""

_encode = msgspec.msgpack.Encoder().encode


class Batch(NamedTuple):
    """What to commit in one transaction: rows of usage, the meter row beside them, and the slots to free after it."""

    rows: list[Row]
    meter: MeterRow | None
    slots: list[int]


class Till:
    """Holds and settlements of one process."""

    def __init__(
        self,
        book: Book,
        journal: Journal,
        prices: PriceList,
        site: str,
        *,
        owner: str = "",
        max_waiting: int = MAX_WAITING,
        clock: Callable[[], int] = now_ns,
        mono: Callable[[], int] = mono_ns,
    ) -> None:
        self.book = book
        self.journal = journal
        self.prices = prices
        self.site = site
        self.attribution = Attribution(prices, owner or site)
        self.open: dict[str, OpenHold] = {}
        self.settled: list[OpenHold] = []
        self.settlements = self.commits = 0
        self._max_waiting = max_waiting
        self._clock = clock
        self._mono = mono
        self._ticked = self._idle_since = mono()
        self._idle_ns = 0
        self._full_until = 0

    @property
    def refuses(self) -> bool:
        """Whether holds are refused, whoever asks: too many settlements wait, or the journal cannot grow."""
        return self.waiting >= self._max_waiting or (self._full_until > 0 and self._mono() < self._full_until)

    @property
    def waiting(self) -> int:
        """Settled requests that are not committed yet."""
        return self.settlements - self.commits

    @property
    def held_nusd(self) -> int:
        """Money held by all open holds, in nano-dollars."""
        return sum(hold.amount_nusd for hold in self.open.values())

    def hold(self, order: Order, parent: OpenHold | None = None) -> OpenHold:
        """Reserve for an order; raises `BudgetExceeded`, `RateLimited`, `Unauthorized` or `LedgerUnavailable`."""
        if self.waiting >= self._max_waiting:
            raise LedgerUnavailable(
                f"the ledger's database is down and {self.waiting:,} settled requests wait for it; "
                "see /health/ready for the reason and try again soon",
                retry_after=5.0,
            )
        if order.request_id in self.open:
            raise Conflict(f"request {order.request_id} has a hold already; give each request an id of its own")
        now, mono = self._clock(), self._mono()
        tariff = self.prices.tariff(order.model, order.tier, order.site, now)
        if parent is None:
            # The account knows newer limits than the order's key, which may have been read a moment ago.
            account = self.book.keys.get(order.key.id) or self.book.key(order.key)
            completion, amount = self.book.reserve(account, order, tariff, now, mono)
        else:
            account = parent.account
            completion, amount = _share(parent, order, tariff)
        hold = OpenHold(
            order, parent, account, tariff, amount, completion, now, mono, order.site == self.site, self._mono
        )
        if parent is not None:
            self._draw(parent, amount)
        try:
            hold.bind(*self.journal.write(_encode(hold.note()), amount))
        except OSError as error:
            self._undo(hold, now)
            self._full_until = mono + FULL_NS
            raise LedgerUnavailable(
                f"the ledger's journal {self.journal.path} cannot grow ({error.strerror or error}); free disk space",
                retry_after=5.0,
            ) from error
        self._full_until = 0
        if not self.open:
            self._idle_ns += mono - self._idle_since
        self.open[hold.id] = hold
        return hold

    def settle(
        self, hold: OpenHold, outcome: Outcome, *, site: str = "", usage_source: str = "counted", note: str = ""
    ) -> Settlement:
        """Settle a hold from its counts, once; a second call returns the first result."""
        if hold.settlement is not None:
            return hold.settlement
        now, mono = self._clock(), self._mono()
        order, tariff = hold.order, hold.tariff
        prompt, cached, completion = hold.prompt_tokens, hold.cached_tokens, hold.completion_tokens
        if hold.reasoning_tokens > completion:
            hold.reasoning_tokens = completion
        if site and site != order.site:
            tariff = repriced(tariff, self.prices.upstream(site))
            hold.local = site == self.site
        revenue, beyond = charge(
            tariff, prompt, cached, completion, order.prompt_bound, hold.completion_bound, hold.amount_nusd
        )
        if beyond:
            note = f"{note}; {beyond}" if note else beyond
        note = note.encode("utf-8", "replace").decode()  # a lone surrogate from someone's JSON must not stop us here
        settled = SettledNote(
            outcome, usage_source, revenue, tariff.upstream(prompt, completion), now, max(0, mono - hold.started),
            hold.energy_mj, hold.energy_nusd, hold.hardware_nusd, hold.energy_source, site or order.site, note,
        )  # fmt: skip
        hold.settled = True
        hold.ended = mono
        hold.settled_note = settled
        if not self.journal.settle(hold.slot, _encode(settled)):
            self._settle_short(hold.slot, settled)
        self._pay(hold, revenue, now)
        self.settled.append(hold)
        self.settlements += 1
        del self.open[hold.id]
        if not self.open:
            self._idle_since = mono
        hold.settlement = Settlement(
            hold.id, prompt, completion, hold.reasoning_tokens, cached, revenue, hold.energy_mj, hold.energy_source
        )
        return hold.settlement

    def tick(self, sample: Sample, *, last: bool = False) -> Batch | None:
        """Share out the energy since the last tick; return what is to be committed now, None if nothing.

        Idling is written down once a minute, and by the `last` tick.
        """
        mono = self._mono()
        idle = self._idle_ns if self.open else self._idle_ns + mono - self._idle_since
        self.attribution.share(sample, idle, self._ticked, mono, [*self.open.values(), *self.settled])
        # Taken only now: had sharing failed, they would wait for the next tick.
        settled, self.settled = self.settled, []
        self._idle_ns, self._idle_since, self._ticked = 0, mono, mono
        if not settled and not last and self.attribution.interval_ns < IDLE_ROW_NS:
            return None
        rows = [self._close(hold) for hold in settled]
        return Batch(rows, self.attribution.row(self._clock()), [hold.slot for hold in settled])

    def committed(self, slots: list[int]) -> None:
        """Free what a committed batch held."""
        self.commits += len(slots)
        for slot in slots:
            self.journal.free(slot)

    def close(self) -> None:
        """Stop counting: open holds stay in the journal as they are, for the next owner to settle."""
        for hold in self.open.values():
            hold.settled = True
        self.journal.close()

    def _close(self, hold: OpenHold) -> Row:
        note, order = hold.settled_note, hold.order
        assert note is not None
        self.attribution.leave(hold.energy_mj, hold.energy_nusd, hold.hardware_nusd)
        return (
            hold.id, hold.parent.id if hold.parent is not None else None, order.key.tenant, order.key.id, order.model,
            note.site, order.tier, note.outcome, note.usage_source, hold.prompt_tokens, hold.cached_tokens,
            hold.completion_tokens, hold.reasoning_tokens, hold.held_nusd, note.revenue_nusd, note.upstream_nusd,
            hold.energy_mj, hold.energy_nusd, hold.hardware_nusd, hold.energy_source, hold.first_token_ns,
            note.duration_ns, hold.created_ns, note.settled_ns, note.note,
        )  # fmt: skip

    def _settle_short(self, slot: int, settled: SettledNote) -> None:
        # The disk is full and the note too long for the slot; memory keeps all, only a crash would lose the note.
        short = msgspec.structs.replace(settled, note="")
        least = msgspec.structs.replace(short, site="", energy_source="", usage_source="counted")
        if not self.journal.settle(slot, _encode(short)) and not self.journal.settle(slot, _encode(least)):
            raise AssertionError("the shortest settlement must fit into its slot")

    def _draw(self, parent: OpenHold, amount: int) -> None:
        # The parent's slot shrinks before the child's opens: a crash in between leaves too little held, never too much.
        parent.amount_nusd -= amount
        parent._words[parent._at + AMOUNT] = parent.amount_nusd

    def _undo(self, hold: OpenHold, now: int) -> None:
        if hold.parent is not None:
            self._draw(hold.parent, -hold.amount_nusd)
        else:
            self.book.settle(hold.account, hold.amount_nusd, 0, now)
            self.book.leave(hold.account, hold.reserved_tokens, 0)

    def _pay(self, hold: OpenHold, revenue: int, now: int) -> None:
        """Move the hold's money to spent, and its rest back to where it came from."""
        amount, parent = hold.amount_nusd, hold.parent
        root = parent is None
        while parent is not None and parent.settled:
            parent = parent.parent
        tokens = hold.prompt_tokens + hold.completion_tokens
        hold.amount_nusd = 0
        if root:
            self.book.settle(hold.account, amount, revenue, now)
            self.book.leave(hold.account, hold.reserved_tokens, hold.taken_tokens)
        elif parent is None:
            self.book.settle(hold.account, amount, revenue, now)
            self.book.use(hold.account, tokens + hold.children_tokens)
        else:
            self.book.settle(hold.account, revenue, revenue, now)
            self._draw(parent, revenue - amount)
            parent.children_tokens += tokens + hold.children_tokens


def charge(
    tariff: Tariff, prompt: int, cached: int, completion: int, prompt_bound: int, completion_bound: int, amount: int
) -> tuple[int, str]:
    """Return what is charged, at most what is held, and a note where more was counted than held for."""
    beyond = []
    if prompt > prompt_bound:
        beyond.append(f"{prompt - prompt_bound} prompt")
        prompt = prompt_bound
        cached = min(cached, prompt)
    if completion > completion_bound:
        beyond.append(f"{completion - completion_bound} completion")
        completion = completion_bound
    revenue = tariff.revenue(prompt, cached, completion)
    note = f"{' and '.join(beyond)} tokens beyond the hold, not charged" if beyond else ""
    if revenue > amount:
        short = f"{usd(revenue - amount)} beyond the hold, not charged"
        note = f"{note}; {short}" if note else short
        revenue = amount
    return revenue, note


def repriced(tariff: Tariff, upstream: tuple[int, int]) -> Tariff:
    """Return the tariff with another site's upstream prices."""
    return Tariff(tariff.prompt, tariff.cached, tariff.completion, *upstream)


def _share(parent: OpenHold, order: Order, tariff: Tariff) -> tuple[int, int]:
    """Return (completion tokens, nano-dollars) that a child may take out of its parent's hold."""
    if parent.settled:
        raise Conflict(f"hold {parent.id} is settled; a child needs an open parent")
    if order.key.id != parent.order.key.id:
        raise Conflict(f"hold {parent.id} belongs to key {parent.order.key.id}; its children must too")
    completion = order.completion_bound
    if order.purse_nusd is not None and parent.amount_nusd > 0:
        return completion, min(order.purse_nusd, parent.amount_nusd)
    amount = tariff.bound(order.prompt_bound, completion)
    if amount > parent.amount_nusd:
        fits = tariff.affordable(order.prompt_bound, parent.amount_nusd) if order.flexible else -1
        if fits < order.n:
            raise BudgetExceeded(
                f"this step may cost up to {usd(amount)} and {usd(parent.amount_nusd)} is left of what the request "
                "holds; lower max_tokens of the step, or hold more for the request",
                param="max_tokens",
            )
        completion = cut(completion, fits, order.n)
        amount = tariff.bound(order.prompt_bound, completion)
    return completion, amount
