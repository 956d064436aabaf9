"""What this gateway's open requests reserve, as the shared database sees it: one row per request and its children."""

from dataclasses import dataclass, field

from aigrid.ledger.account import Account
from aigrid.ledger.base import Key, Order
from aigrid.ledger.book import Book
from aigrid.ledger.holds import OpenHold
from aigrid.ledger.journal import Entry
from aigrid.ledger.postgres_desk import Family, Grant, encode
from aigrid.ledger.prices import Tariff


class GrantedBook(Book):
    """The book of one gateway among many: what the database has granted is entered as it is, not judged again."""

    def __init__(self) -> None:
        super().__init__()
        self._asked: set[str] = set()
        self._granted: dict[str, Grant] = {}

    def limited(self, key: Key) -> tuple[bool, bool]:
        """Return whether a key or its tenant has a budget, and whether one has a rate or concurrency limit."""
        account = self.keys.get(key.id) or self.key(key)
        both = [one for one in (account, account.payer) if one is not None]
        rates = any(
            limit is not None
            for one in both
            for limit in (one.limits.requests_per_minute, one.limits.tokens_per_minute, one.limits.concurrency)
        )
        return any(one.budgets for one in both), rates

    def ask(self, hold_id: str) -> bool:
        """Note that the database is being asked; False if it is already."""
        new = hold_id not in self._asked
        self._asked.add(hold_id)
        return new

    def asked(self, hold_id: str) -> bool:
        """Return whether the database is being asked, or its grant was not taken yet."""
        return hold_id in self._asked

    def grant(self, hold_id: str, granted: Grant) -> None:
        """Keep what the database granted until it is taken."""
        self._granted[hold_id] = granted

    def forget(self, hold_id: str) -> bool:
        """Stop waiting for a grant; return whether there was one that nobody took."""
        self._asked.discard(hold_id)
        return self._granted.pop(hold_id, None) is not None

    def reserve(self, account: Account, order: Order, tariff: Tariff, now_ns: int, mono: int) -> Grant:
        """Enter a hold: as the database granted it, else by this gateway's own rules."""
        granted = self._granted.pop(order.request_id, None)
        if granted is None:
            return super().reserve(account, order, tariff, now_ns, mono)
        self._asked.discard(order.request_id)
        completion, amount = granted
        for one in (account, account.payer):
            assert one is not None
            one.held += amount
            one.running += 1
            if one.limits.requests_per_minute is not None:
                one.requests.add(1)
            if one.limits.tokens_per_minute is not None:
                one.tokens.add(order.prompt_bound + completion)
        return granted


@dataclass(slots=True)
class _Open:
    """One request: its open members with their descriptions, and what the database knows of it."""

    root: OpenHold
    known: bool
    members: dict[str, tuple[OpenHold, bytes]] = field(default_factory=dict)
    used: int = 0
    said: bytes = b""


class Families:
    """All open requests of this gateway."""

    def __init__(self) -> None:
        self._open: dict[str, _Open] = {}
        self._changed: dict[str, _Open] = {}

    def opened(self, hold: OpenHold, *, asked: bool) -> None:
        """Take in a new hold; `asked` says that the database has granted it, and so knows it."""
        root = _root(hold)
        family = self._open.get(root.id)
        if family is None:
            family = self._open[root.id] = _Open(root, asked)
        family.members[hold.id] = (hold, encode(hold.note()))

    def settled(self, hold: OpenHold) -> None:
        """Take out a hold that has ended."""
        root = _root(hold)
        family = self._open[root.id]
        del family.members[hold.id]
        family.used += hold.prompt_tokens + hold.completion_tokens
        self._changed[root.id] = family
        if not family.members:
            del self._open[root.id]

    def knows(self, root_id: str) -> bool:
        """Return whether a request is open here, or its end is not handed on yet."""
        return root_id in self._open or root_id in self._changed

    def changed(self) -> dict[str, Family]:
        """Return what the requests reserve now of which a hold ended since the last call.

        To be committed together with the records of those holds. The database need not hear of a request that began
        and ended between two reports.
        """
        changed, self._changed = self._changed, {}
        return {root_id: _family(one) for root_id, one in changed.items() if one.known}

    def report(self) -> dict[str, Family]:
        """Return the requests whose counts changed since the last report, the new ones among them."""
        found = {}
        for root_id, one in self._open.items():
            if root_id not in self._changed:
                entries = [_entry(hold, note) for hold, note in one.members.values()]
                said = encode(entries)
                if said != one.said:
                    one.said, one.known = said, True
                    found[root_id] = _family(one)._replace(open=said)
        return found


def _root(hold: OpenHold) -> OpenHold:
    while hold.parent is not None:
        hold = hold.parent
    return hold


def _family(one: _Open) -> Family:
    key = one.root.order.key
    amount = sum(hold.amount_nusd for hold, _ in one.members.values()) if one.members else None
    return Family(key.tenant, key.id, amount, one.root.reserved_tokens, max(one.used, one.root.taken_tokens))


def _entry(hold: OpenHold, note: bytes) -> Entry:
    return Entry(
        0, hold.amount_nusd, hold.prompt_tokens, hold.cached_tokens, hold.completion_tokens, hold.reasoning_tokens,
        hold.first_token_ns, note, None,
    )  # fmt: skip
