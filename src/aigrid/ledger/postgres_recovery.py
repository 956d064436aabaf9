"""What a gateway left in the shared database and in its journals, settled exactly once: by itself, else by another."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

import msgspec

from aigrid.core.clock import now_ns
from aigrid.ledger import admin, journal, recovery, reports
from aigrid.ledger.base import Record, Run
from aigrid.ledger.holds import SettledNote
from aigrid.ledger.journal import Entry
from aigrid.ledger.recovery import Left, Recover
from aigrid.ledger.schema import insert_sql
from aigrid.ledger.till import charge

T = TypeVar("T")

_entries = msgspec.msgpack.Decoder(list[Entry]).decode


class Write(Protocol):
    """Runs something in one transaction."""

    def __call__(self, do: Callable[[Run], T], /) -> Awaitable[T]:
        """Run it."""


async def own(write: Write, gateway: str, paths: Sequence[Path], recover: Recover | None) -> list[Record]:
    """Settle what this gateway left in its journals and in the database; return the records of holds found open."""
    entries = [entry for path in paths for entry in await asyncio.to_thread(journal.read, path)]
    left, unreadable = recovery.left_behind(entries)
    found_open = [one.hold.id for one in left if one.settled is None]
    engine = await recovery.ask_engines(recover, found_open)

    def settle(run: Run) -> list[Record]:
        run("LOCK TABLE accounts IN EXCLUSIVE MODE", ())
        have = {one.hold.id for one in left}
        _note_late(run, left)
        note = "found open in the database and in no journal, settled from what had been reported"
        reported = [one for one in _reported(run, gateway, note) if one.hold.id not in have]
        recovered = recovery.commit(
            run, _unrecorded(run, [*left, *reported]), unreadable, engine, gateway, now_ns(), insert
        )
        found = [reports.record(run, one.hold.id) for one in reported]
        run("DELETE FROM holds WHERE gateway = ?", (gateway,))
        return [*recovered, *(record for record in found if record is not None)]

    return await write(settle)


def reap(run: Run, gateway: str, lease_s: float) -> int:
    """Settle the holds of a gateway that was silent for longer than its lease; return how many. In one transaction."""
    run("LOCK TABLE accounts IN EXCLUSIVE MODE", ())
    silent = run(
        "SELECT extract(epoch FROM clock_timestamp() - beat)::bigint FROM gateways "
        "WHERE id = ? AND beat < clock_timestamp() - make_interval(secs => ?) FOR UPDATE",
        (gateway, lease_s),
    )
    if not silent:
        return 0
    note = f"gateway {gateway} was silent for {silent[0][0]} s; settled from what it had reported"
    left = _unrecorded(run, _reported(run, gateway, note))
    # Not the owner's name: the energy of its open holds stays open on the meter until it returns.
    recovery.commit(run, left, 0, {}, "", now_ns(), insert)
    run("DELETE FROM holds WHERE gateway = ?", (gateway,))
    run("DELETE FROM gateways WHERE id = ?", (gateway,))
    return len(left)


def _reported(run: Run, gateway: str, note: str) -> list[Left]:
    """Return a gateway's open holds as it last reported them, settled from those counts."""
    found = []
    for (open_,) in run("SELECT open FROM holds WHERE gateway = ? ORDER BY id", (gateway,)):
        left, _ = recovery.left_behind(_entries(open_))
        found += [one._replace(settled=_settled(one, note)) for one in recovery.with_answers(run, left)]
    return found


def _settled(left: Left, note: str) -> SettledNote:
    entry, hold, _ = left
    revenue, beyond = charge(
        hold.tariff, entry.prompt_tokens, min(entry.cached_tokens, entry.prompt_tokens), entry.completion_tokens,
        hold.prompt_bound, hold.completion_bound, entry.amount_nusd,
    )  # fmt: skip
    upstream = hold.tariff.upstream(entry.prompt_tokens, entry.completion_tokens)
    note = f"{note}; {beyond}" if beyond else note
    return SettledNote("recovered", "counted", revenue, upstream, now_ns(), 0, note=note)


def _note_late(run: Run, left: Sequence[Left]) -> None:
    """Write down which holds another gateway has settled with other counts than this one's journal has."""
    for one in left:
        found = run("SELECT prompt_tokens, completion_tokens FROM usage WHERE id = ?", (one.hold.id,))
        counted = (one.entry.prompt_tokens, one.entry.completion_tokens)
        if found and found[0] != counted:
            detail = (
                f"hold {one.hold.id} had been settled with {found[0][0]} prompt and {found[0][1]} completion tokens; "
                f"the journal of its gateway has {counted[0]} and {counted[1]}; the difference is not charged"
            )
            admin.append_audit(run, admin.By("ledger"), "settlement.late", detail)


def _unrecorded(run: Run, left: Sequence[Left]) -> list[Left]:
    recorded = {row[0] for row in run("SELECT id FROM usage WHERE id = ANY(?)", ([one.hold.id for one in left],))}
    return [one for one in left if one.hold.id not in recorded]


def insert(run: Run, table: str, columns: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> None:
    """Insert rows, those that are there already excepted; PostgreSQL's own triggers roll them up."""
    for row in rows:
        run(insert_sql(table, columns), row)
