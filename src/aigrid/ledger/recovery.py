"""What a crash left behind: the journal's holds turned into records, exactly once.

A hold that was settled is committed as it was. One found open is settled from its durable counts, with outcome
`recovered` and a note; what the engine itself reports stands in the note, so that any difference can be seen.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from aigrid.core.ids import new_id
from aigrid.ledger import admin, reports, shelf
from aigrid.ledger.attribution import MeterRow
from aigrid.ledger.base import Outcome, Record, Run
from aigrid.ledger.holds import HoldNote, SettledNote
from aigrid.ledger.journal import Entry
from aigrid.ledger.schema import METER, USAGE
from aigrid.ledger.till import Row, charge

log = logging.getLogger(__name__)

_hold = msgspec.msgpack.Decoder(HoldNote).decode
_settled = msgspec.msgpack.Decoder(SettledNote).decode


Recover = Callable[[list[str]], Awaitable[dict[str, int]]]
"""Asks the engines how many completion tokens they made for each of these holds; ids they do not know are left out."""

ENGINES_WAIT_S = 3.0


class Left(NamedTuple):
    """One hold that a crash left: its description, its counts, and its settlement if it had one."""

    entry: Entry
    hold: HoldNote
    settled: SettledNote | None


def left_behind(entries: Sequence[Entry]) -> tuple[list[Left], int]:
    """Return the readable holds of a journal, and the number of slots that a power cut made unreadable."""
    left = []
    unreadable = 0
    for entry in entries:
        try:
            hold = _hold(entry.hold) if entry.hold is not None else None
            settled = _settled(entry.settlement) if entry.settlement is not None else None
        except msgspec.DecodeError:
            hold = settled = None
        if hold is None:
            unreadable += 1
        else:
            left.append(Left(entry, hold, settled))
    return left, unreadable


async def ask_engines(recover: Recover | None, holds: list[str]) -> dict[str, int]:
    """Return what the engines say about holds found open; without an answer in `ENGINES_WAIT_S` seconds, nothing."""
    if recover is None or not holds:
        return {}
    try:
        async with asyncio.timeout(ENGINES_WAIT_S):
            return await recover(holds)
    except Exception as error:  # what the engines say is a note; the journal's own counts are what is settled
        reason = "no answer in time" if isinstance(error, TimeoutError) else repr(error)
        log.warning("the engines could not be asked about %d open holds: %s", len(holds), reason)
        return {}


Insert = Callable[[Run, str, Sequence[str], Sequence[tuple[Any, ...]]], None]
"""Inserts rows into a table (run, table, columns, rows), those that are there already excepted."""


def commit(
    run: Run,
    left: Sequence[Left],
    unreadable: int,
    engine: Mapping[str, int],
    owner: str,
    now: int,
    insert: Insert,
) -> list[Record]:
    """Write the records of what was left, those that have one excepted; return those that were found open.

    To be called in one transaction. `engine` has the completion tokens that engines report by hold id. Doing it
    again (a crash may come between this and emptying the journal) changes nothing.
    """
    left = with_answers(run, left)
    known = reports.known(run, [(one.hold.id, one.hold.created_ns) for one in left])
    new = [one for one in left if (one.hold.id, one.hold.created_ns) not in known]
    rows = [_row(one, engine.get(one.hold.id), now) for one in new]
    insert(run, "usage", USAGE, rows)
    last = run(
        "SELECT open_mj, open_energy_nusd, open_hardware_nusd FROM meter WHERE owner = ? ORDER BY seq DESC LIMIT 1",
        (owner,),
    )
    open_before = last[0] if last else (0, 0, 0)
    taken = [sum(row[USAGE.index(name)] for row in rows) for name in ("energy_mj", "energy_nusd", "hardware_nusd")]
    if any(open_before) or any(taken):
        insert(run, "meter", METER, [msgspec.structs.astuple(meter_row(owner, now, open_before, taken))])
    if unreadable:
        detail = f"{unreadable} holds in the journal were unreadable after a power cut and could not be settled"
        admin.append_audit(run, admin.By("ledger"), "journal.unreadable", detail)
    return [Record(*row) for row, one in zip(rows, new, strict=True) if one.settled is None]


def with_answers(run: Run, left: Sequence[Left]) -> list[Left]:
    """Return what was left with the counts of requests of batches whose answers are written.

    Their counts reach the journal only after that, so that no crash can charge for an answer that is not there.
    """
    found = shelf.counted(run, [one.hold.id for one in left if one.settled is None and one.hold.tier == "overnight"])
    return [one._replace(entry=_at_least(one.entry, found.get(one.hold.id))) for one in left]


def _at_least(entry: Entry, counts: tuple[int, int, int, int] | None) -> Entry:
    if counts is None:
        return entry
    prompt, cached, completion, reasoning = counts
    return entry._replace(
        prompt_tokens=max(entry.prompt_tokens, prompt), cached_tokens=max(entry.cached_tokens, cached),
        completion_tokens=max(entry.completion_tokens, completion),
        reasoning_tokens=max(entry.reasoning_tokens, reasoning),
    )  # fmt: skip


def _row(left: Left, reported: int | None, now: int) -> Row:
    entry, hold, settled = left
    prompt, completion = entry.prompt_tokens, entry.completion_tokens
    cached, reasoning = min(entry.cached_tokens, prompt), min(entry.reasoning_tokens, completion)
    if settled is None:
        revenue, beyond = charge(
            hold.tariff, prompt, cached, completion, hold.prompt_bound, hold.completion_bound, entry.amount_nusd
        )
        said = "the engine did not report" if reported is None else f"engine said {reported} completion tokens"
        note = f"found open at start, settled from {completion} counted completion tokens; {said}"
        outcome: Outcome = "recovered"
        upstream = hold.tariff.upstream(prompt, completion)
        note = f"{note}; {beyond}" if beyond else note
        settled = SettledNote(outcome, "counted", revenue, upstream, now, 0, note=note)
    return (
        hold.id, hold.parent, hold.tenant, hold.key_id, hold.model, settled.site or hold.site, hold.tier,
        settled.outcome, settled.usage_source, prompt, cached, completion, reasoning, hold.held_nusd,
        settled.revenue_nusd, settled.upstream_nusd, settled.energy_mj, settled.energy_nusd, settled.hardware_nusd,
        settled.energy_source, entry.first_token_ns, settled.duration_ns, hold.created_ns, settled.settled_ns,
        settled.note,
    )  # fmt: skip


def meter_row(owner: str, now: int, open_before: Sequence[int], taken: Sequence[int]) -> MeterRow:
    """Return the meter row that closes what an owner's crash left open, so that the meter's identity holds again.

    `open_before` is what its last row says open holds had gathered, `taken` what the recovered records have of it,
    as (energy, energy cost, hardware cost). What no record has is idle; what was gathered after that row is added.
    """
    sums: list[int] = []
    for had, has in zip(open_before, taken, strict=True):
        sums += [max(0, has - had), max(0, had - has), 0]
    return MeterRow(new_id("mtr_"), owner, now, 0, "recovered", "closes what a crash left open", *sums)
