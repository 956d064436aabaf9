"""One transaction on the shared accounts: records in, reservations down, new holds out, for many requests at once.

The accounts concerned are locked first, always in the order of their names: what is read after that is true until the
commit, and gateways cannot wait for each other in a circle. Holds are granted by the rules of the `Book`, on accounts
loaded from the database. One round trip, two where holds are asked for, whatever the number of requests. All of it
may be repeated: records have ids, reservations are set rather than added, and a hold that is gone stays gone.
"""

from asyncio import Future
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, cast

import msgspec
from psycopg import AsyncConnection, AsyncCursor

from aigrid.core.clock import day_start, month_start
from aigrid.core.errors import AigridError, Conflict
from aigrid.ledger.attribution import MeterRow
from aigrid.ledger.base import Key, Limits, Order
from aigrid.ledger.book import Book
from aigrid.ledger.holds import HoldNote
from aigrid.ledger.journal import Entry
from aigrid.ledger.prices import Tariff
from aigrid.ledger.schema import METER, USAGE
from aigrid.ledger.till import Row
from aigrid.ledger.windows import Rate

Connection = AsyncConnection[tuple[Any, ...]]
Grant = tuple[int, int]
"""Completion tokens, and the nano-dollars held for them and the prompt."""

_ID, _TENANT, _KEY = (USAGE.index(name) for name in ("id", "tenant", "key_id"))

encode = msgspec.msgpack.Encoder().encode
_limits = msgspec.json.Decoder(Limits).decode


class Ask(NamedTuple):
    """A request for a hold, and where its answer goes."""

    order: Order
    tariff: Tariff
    created_ns: int
    answer: "Future[Grant]"


class Family(NamedTuple):
    """What a request and its children reserve together now; `amount_nusd` None when all of them have ended.

    `units` are the tokens that were reserved and `used` those that ended members took. With `open` (journal entries,
    as msgpack) the row is made if it is not there, and its counts are reported.
    """

    tenant: str
    key_id: str
    amount_nusd: int | None
    units: int = 0
    used: int = 0
    open: bytes = b""


@dataclass
class Work:
    """What one flush wants to be true in the database, and the journal's slots to free when it is."""

    rows: list[Row] = field(default_factory=list)
    families: dict[str, Family] = field(default_factory=dict)
    meters: list[MeterRow] = field(default_factory=list)
    slots: list[int] = field(default_factory=list)
    alone: bool = False
    """Not to be merged with others: the database refused them together."""

    def add(self, later: "Work") -> None:
        """Take in what came after this."""
        self.rows += later.rows
        for root, family in later.families.items():
            before = self.families.get(root)
            if before is not None and not family.open:
                family = family._replace(open=before.open)
            self.families[root] = family
        self.meters += later.meters
        self.slots += later.slots


async def transact(connection: Connection, gateway: str, asks: Sequence[Ask], work: Work) -> list[Grant | AigridError]:
    """Commit `work` and decide on `asks`, in order. An error may mean nothing happened, or all of it, unheard."""
    who = {(str(row[_TENANT]), str(row[_KEY])) for row in work.rows}
    who |= {(family.tenant, family.key_id) for family in work.families.values()}
    who |= {(ask.order.key.tenant, ask.order.key.id) for ask in asks}
    names = sorted({*(f"tenant {tenant}" for tenant, _ in who), *(f"key {key_id}" for _, key_id in who)})
    async with connection.pipeline():
        await connection.execute("BEGIN")
        await connection.execute(_LOCK, [names])
        if work.rows:
            rows = _json(USAGE, work.rows)
            await connection.execute(_NOTE_LATE, [rows])
            await connection.execute(_INSERT_USAGE, [rows])
        if work.meters:
            await connection.execute(_INSERT_METER, [_json(METER, [msgspec.structs.astuple(m) for m in work.meters])])
        if work.families:
            await _reserve(connection, gateway, work.families)
        if not asks:
            await connection.execute("COMMIT")
            return []
        cursors = await _look(connection, asks, names)
    book, now, taken = _load(asks, [await cursor.fetchall() for cursor in cursors])
    answers: list[Grant | AigridError] = []
    for ask in asks:
        try:
            answers.append(_admit(book, ask, now, taken))
        except AigridError as error:
            answers.append(error)
    async with connection.pipeline():
        await _grant(connection, gateway, asks, answers)
        rated = [one for one in (*book.keys.values(), *book.tenants.values()) if one.requests._at or one.tokens._at]
        if rated:
            values = [(one.label, *_rate(one.requests), *_rate(one.tokens)) for one in rated]
            await connection.execute(_CHANGE_RATES, _columns(values, 5))
        await connection.execute("COMMIT")
    return answers


async def _reserve(connection: Connection, gateway: str, families: dict[str, Family]) -> None:
    gone = [(root, family.used) for root, family in families.items() if family.amount_nusd is None]
    kept = [(root, f.amount_nusd, f.open) for root, f in families.items() if f.amount_nusd is not None]
    made = [
        (root, f.tenant, f.key_id, f.amount_nusd, f.units, f.open)
        for root, f in families.items()
        if f.amount_nusd is not None and f.open
    ]
    if gone:
        await connection.execute(_END_HOLDS, _columns(gone, 2))
    if kept:
        await connection.execute(_CHANGE_HOLDS, _columns(kept, 3))
    if made:
        await connection.execute(_MAKE_HOLDS, [gateway, *_columns(made, 6)])


async def _look(connection: Connection, asks: Sequence[Ask], names: Sequence[str]) -> list[AsyncCursor[Any]]:
    asked = [ask.order.request_id for ask in asks]
    return [
        await connection.execute(_ACCOUNTS, [names]),
        await connection.execute(_WINDOWS, [names]),
        await connection.execute(_TENANTS, [[ask.order.key.tenant for ask in asks]]),
        await connection.execute(_KEYS, [[ask.order.key.id for ask in asks]]),
        await connection.execute(_TAKEN, [asked, asked]),
    ]


def _load(asks: Sequence[Ask], found: Sequence[list[tuple[Any, ...]]]) -> tuple[Book, int, set[str]]:
    """Return a book of the accounts that were read, the time to decide at, and the ids that are taken."""
    accounts, windows, tenants, keys, taken = found
    book = Book()
    for name, limits in tenants:
        book.tenant(name, _limits(limits))
    for id_, tenant, limits, revoked_ns in keys:
        book.key(Key(id_, tenant, limits=_limits(limits), revoked_ns=revoked_ns))
    for ask in asks:
        if ask.order.key.id not in book.keys:
            book.key(ask.order.key)
    # The database's clock is the one that all gateways share; rates must not see it go back.
    now = max((max(clock, *rates[1::2]) for clock, _, _, _, _, *rates in accounts), default=0)
    day, month = day_start(now), month_start(now)
    spent = {(account, kind, start): amount for account, kind, start, amount in windows}
    by_name = {one.label: one for one in (*book.keys.values(), *book.tenants.values())}
    for _, name, total, held, running, *rates in accounts:
        account = by_name.get(name)
        if account is not None:
            account.load(total, spent.get((name, "day", day), 0), spent.get((name, "month", month), 0), now)
            account.held, account.running = held, running
            _set_rate(account.requests, rates[0], rates[1])
            _set_rate(account.tokens, rates[2], rates[3])
    return book, now, {id_ for (id_,) in taken}


def _admit(book: Book, ask: Ask, now: int, taken: set[str]) -> Grant:
    id_ = ask.order.request_id
    if id_ in taken:
        raise Conflict(f"request {id_} has a hold already; give each request an id of its own")
    granted = book.reserve(book.keys[ask.order.key.id], ask.order, ask.tariff, now, now)
    taken.add(id_)
    return granted


async def _grant(
    connection: Connection, gateway: str, asks: Sequence[Ask], answers: Sequence[Grant | AigridError]
) -> None:
    made = []
    for ask, answer in zip(asks, answers, strict=True):
        if not isinstance(answer, AigridError):
            order, (completion, amount) = ask.order, answer
            note = HoldNote(
                order.request_id, None, order.key.tenant, order.key.id, order.model, order.site, order.tier,
                order.prompt_bound, completion, amount, ask.created_ns, ask.tariff,
            )  # fmt: skip
            open_ = encode([Entry(0, amount, 0, 0, 0, 0, 0, encode(note), None)])
            units = order.prompt_bound + completion
            made.append((order.request_id, order.key.tenant, order.key.id, amount, units, open_))
    if made:
        await connection.execute(_MAKE_HOLDS, [gateway, *_columns(made, 6)])


# A rate's state is its own; only here does it have to travel.
def _rate(rate: Rate) -> tuple[int, int]:
    return rate._level, rate._at


def _set_rate(rate: Rate, level: object, at: int) -> None:
    rate._level, rate._at = int(cast("int", level)), at


def _columns(rows: Iterable[tuple[Any, ...]], width: int) -> list[list[Any]]:
    return [[row[i] for row in rows] for i in range(width)]


def _json(names: Sequence[str], rows: Sequence[Row]) -> str:
    """Return rows as a JSON array of objects, free of what PostgreSQL's text cannot hold."""
    return msgspec.json.encode([dict(zip(names, map(clean, row), strict=True)) for row in rows]).decode()


def clean(value: object) -> object:
    """Return text without NUL and lone surrogates, anything else as it is."""
    if isinstance(value, str) and ("\0" in value or not value.isascii()):
        return value.encode("utf-8", "replace").decode().replace("\0", "\ufffd")
    return value


def _insert(table: str, names: Sequence[str]) -> str:
    columns = ", ".join(names)
    rows = f"jsonb_populate_recordset(null::{table}, %s::jsonb)"
    # sorted, so that two gateways inserting the same records do not wait for each other
    return f"INSERT INTO {table} ({columns}) SELECT {columns} FROM {rows} ORDER BY id ON CONFLICT (id) DO NOTHING"


_LOCK = "SELECT 1 FROM accounts WHERE name = ANY(%s) ORDER BY name FOR UPDATE"
_ACCOUNTS = """
SELECT (extract(epoch FROM clock_timestamp()) * 1000000000)::bigint, name, spent_nusd, held_nusd, running,
    requests_level, requests_at, tokens_level, tokens_at
FROM accounts WHERE name = ANY(%s)
"""
_WINDOWS = """
SELECT account, kind, start_ns, spent_nusd FROM windows
WHERE account = ANY(%s) AND start_ns > extract(epoch FROM clock_timestamp()) * 1000000000
    - CASE kind WHEN 'day' THEN 2 ELSE 32 END * 86400000000000
"""
_TENANTS = "SELECT DISTINCT ON (name) name, limits FROM tenants WHERE name = ANY(%s) ORDER BY name, seq DESC"
_KEYS = "SELECT DISTINCT ON (id) id, tenant, limits, revoked_ns FROM keys WHERE id = ANY(%s) ORDER BY id, seq DESC"
_TAKEN = "SELECT id FROM holds WHERE id = ANY(%s) UNION ALL SELECT id FROM usage WHERE id = ANY(%s)"
_INSERT_USAGE = _insert("usage", USAGE)
_INSERT_METER = _insert("meter", METER)
_END_HOLDS = """
WITH ended AS (
    DELETE FROM holds USING unnest(%s::text[], %s::bigint[]) AS v (id, used) WHERE holds.id = v.id
    RETURNING tenant, key_id, v.used - units AS more
), sums AS (
    SELECT name, sum(more) AS more
    FROM ended, LATERAL (VALUES ('tenant ' || tenant), ('key ' || key_id)) AS both_ (name) GROUP BY name
)
UPDATE accounts SET tokens_level = greatest(0, tokens_level + sums.more * 60000000000)
FROM sums WHERE accounts.name = sums.name AND tokens_at > 0
"""
_CHANGE_HOLDS = """
UPDATE holds SET amount_nusd = v.amount, open = CASE WHEN v.open = '' THEN holds.open ELSE v.open END
FROM unnest(%s::text[], %s::bigint[], %s::bytea[]) AS v (id, amount, open) WHERE holds.id = v.id
"""
_MAKE_HOLDS = """
INSERT INTO holds (id, gateway, tenant, key_id, amount_nusd, units, open)
SELECT v.id, %s, v.tenant, v.key_id, v.amount, v.units, v.open
FROM unnest(%s::text[], %s::text[], %s::text[], %s::bigint[], %s::bigint[], %s::bytea[])
    AS v (id, tenant, key_id, amount, units, open)
WHERE NOT EXISTS (SELECT 1 FROM usage WHERE usage.id = v.id) ON CONFLICT (id) DO NOTHING
"""
_CHANGE_RATES = """
UPDATE accounts SET requests_level = v.rl, requests_at = v.ra, tokens_level = v.tl, tokens_at = v.ta
FROM unnest(%s::text[], %s::numeric[], %s::bigint[], %s::numeric[], %s::bigint[]) AS v (name, rl, ra, tl, ta)
WHERE accounts.name = v.name
"""
# Another gateway has settled it: the record stands, what was counted later is noted, and its energy counts as idle.
_NOTE_LATE = """
WITH late AS (
    SELECT late.*, usage.prompt_tokens AS had_prompt, usage.completion_tokens AS had_completion
    FROM jsonb_populate_recordset(null::usage, %s::jsonb) AS late JOIN usage USING (id)
    WHERE usage.settled_ns <> late.settled_ns
), unused AS (
    INSERT INTO meter (id, owner, at_ns, interval_ns, source, note, total_mj, idle_mj, open_mj, total_energy_nusd,
        idle_energy_nusd, open_energy_nusd, total_hardware_nusd, idle_hardware_nusd, open_hardware_nusd)
    SELECT 'late_' || id, 'late', settled_ns, 0, 'recovered', 'settled by another gateway before', 0, energy_mj, 0,
        0, energy_nusd, 0, 0, hardware_nusd, 0
    FROM late WHERE energy_mj > 0 OR energy_nusd > 0 OR hardware_nusd > 0 ON CONFLICT (id) DO NOTHING
)
INSERT INTO audit (id, at_ns, actor, act, detail, address)
SELECT 'late_' || id, settled_ns, 'ledger', 'settlement.late', 'hold ' || id || ' had been settled with ' || had_prompt
    || ' prompt and ' || had_completion || ' completion tokens; then its gateway had counted ' || prompt_tokens
    || ' and ' || completion_tokens || '; the difference is not charged', ''
FROM late ON CONFLICT (id) DO NOTHING
"""
