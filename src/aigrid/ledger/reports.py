"""Questions to the ledger, in SQL that SQLite and PostgreSQL both understand (parameters are `?`).

Sums over a stretch of time are put together from rollups of whole days, of hours and minutes at its edges, and single
records at the edges of those, so a report costs the same after a thousand records and after a hundred million.
"""

from collections.abc import Iterator, Sequence
from typing import Any, get_args

from aigrid.ledger.base import Bucket, Filter, GroupBy, Idle, Record, Run, Sum
from aigrid.ledger.schema import DAY_NS, DIMENSIONS, METER_SUMS, SPANS, SUMS, USAGE

FAR_NS = 106_000 * DAY_NS
"""The end of time: midnight, some 290 years after 1970."""

_COLUMN = {"tenant": "tenant", "key": "key_id", "model": "model", "site": "site", "tier": "tier"}


def cover(since_ns: int, until_ns: int, spans: Sequence[int] = SPANS) -> Iterator[tuple[int, int, int]]:
    """Yield (span, since, until) that make up [since, until): whole spans in the middle, then finer; 0 is records."""
    if since_ns >= until_ns:
        return
    if not spans:
        yield 0, since_ns, until_ns
        return
    span = spans[0]
    first, last = -(-since_ns // span) * span, until_ns // span * span
    if first >= last:
        yield from cover(since_ns, until_ns, spans[1:])
        return
    yield span, first, last
    yield from cover(since_ns, first, spans[1:])
    yield from cover(last, until_ns, spans[1:])


def _pieces(
    table: str, time: str, dimensions: Sequence[str], sums: Sequence[str], since_ns: int, until_ns: int
) -> tuple[str, list[int]]:
    """Return SQL (and its parameters) of rows that add up to a stretch of time."""
    parts, params = [], []
    for span, since, until in cover(since_ns, until_ns):
        names = ", ".join(dimensions)
        added = ", ".join(sums)
        if span:
            parts.append(
                f"SELECT {names}, requests, {added} FROM {table}_rollup "
                "WHERE span_ns = ? AND start_ns >= ? AND start_ns < ?"
            )
            params += [span, since, until]
        else:
            parts.append(f"SELECT {names}, 1 AS requests, {added} FROM {table} WHERE {time} >= ? AND {time} < ?")
            params += [since, until]
    if not parts:
        return _pieces(table, time, dimensions, sums, FAR_NS, FAR_NS + DAY_NS)
    return " UNION ALL ".join(parts), params


def _added(names: Sequence[str]) -> str:
    return ", ".join(f"SUM({name}) AS {name}" for name in names)


def sums(run: Run, since_ns: int, until_ns: int | None) -> tuple[Sum, dict[GroupBy, list[Sum]]]:
    """Return totals and groups of the records settled in [since, until), the largest group (by requests) first."""
    rows, params = _pieces("usage", "settled_ns", DIMENSIONS, SUMS, max(0, since_ns), min(until_ns or FAR_NS, FAR_NS))
    names = ", ".join(DIMENSIONS)
    added = _added(("requests", *SUMS))
    groups: tuple[GroupBy, ...] = get_args(GroupBy)
    parts = [f"SELECT '' AS dimension, '' AS name, {added} FROM grouped HAVING COUNT(*) > 0"]
    parts += [f"SELECT '{by}', {_COLUMN[by]}, {added} FROM grouped GROUP BY {_COLUMN[by]}" for by in groups]
    found = run(
        f"WITH pieces AS ({rows}), grouped AS MATERIALIZED (SELECT {names}, {added} FROM pieces GROUP BY {names}) "
        + " UNION ALL ".join(parts),
        params,
    )
    totals = Sum()
    grouped: dict[GroupBy, list[Sum]] = {by: [] for by in groups}
    for dimension, name, *values in found:
        total = _sum(name, values)
        if dimension:
            grouped[dimension].append(total)
        else:
            totals = total
    for listed in grouped.values():
        listed.sort(key=lambda one: (-one.requests, one.name))
    return totals, grouped


def _sum(name: str, values: Sequence[Any]) -> Sum:
    return Sum(name, **{field: int(value) for field, value in zip(("requests", *SUMS), values, strict=True)})


def idle(run: Run, since_ns: int, until_ns: int | None) -> tuple[Idle, str]:
    """Return what idling cost in [since, until), and the source of the energy figures: `mixed` for several."""
    rows, params = _pieces("meter", "at_ns", ("source",), METER_SUMS, max(0, since_ns), min(until_ns or FAR_NS, FAR_NS))
    found = run(f"SELECT source, {_added(METER_SUMS)} FROM ({rows}) AS pieces GROUP BY source ORDER BY source", params)
    by_source = {row[0]: dict(zip(METER_SUMS, map(int, row[1:]), strict=True)) for row in found}
    sources = [source for source in by_source if source != "recovered"]
    total = Idle(
        sum(one["idle_mj"] for one in by_source.values()),
        sum(one["idle_energy_nusd"] for one in by_source.values()),
        sum(one["idle_hardware_nusd"] for one in by_source.values()),
    )
    return total, sources[0] if len(sources) == 1 else "mixed" if sources else ""


def series(run: Run, since_ns: int, until_ns: int, bucket_ns: int) -> list[Bucket]:
    """Return sums by bucket, oldest first, empty ones included; cost is that of the requests, idling apart."""
    span = next((s for s in SPANS if since_ns % s == 0 and until_ns % s == 0 and bucket_ns % s == 0), 0)
    table, time, count = ("usage_rollup", "start_ns", "SUM(requests)") if span else ("usage", "settled_ns", "COUNT(*)")
    where = f"span_ns = {span} AND " if span else ""
    found = run(
        f"SELECT ({time} - ?) / ? AS bucket, {count}, SUM(prompt_tokens), SUM(completion_tokens), SUM(revenue_nusd), "
        f"SUM(upstream_nusd + energy_nusd + hardware_nusd), SUM(energy_mj) FROM {table} "
        f"WHERE {where}{time} >= ? AND {time} < ? GROUP BY 1",
        (since_ns, bucket_ns, since_ns, until_ns),
    )
    by_bucket = {int(row[0]): [int(value) for value in row[1:]] for row in found}
    empty = [0] * 6
    count_ = -(-(until_ns - since_ns) // bucket_ns)
    return [Bucket(since_ns + i * bucket_ns, *by_bucket.get(i, empty)) for i in range(count_)]


def records(run: Run, where: Filter) -> list[Record]:
    """List records, newest first."""
    clauses, params = ["settled_ns >= ?"], [where.since_ns]  # type: tuple[list[str], list[Any]]
    if where.until_ns is not None:
        clauses.append("settled_ns < ?")
        params.append(where.until_ns)
    for field in ("tenant", "key_id", "model", "site", "tier", "outcome"):
        value = getattr(where, field)
        if value is not None:
            clauses.append(f"{field} = ?")
            params.append(value)
    if where.before is not None:
        clauses.append("seq < (SELECT MAX(seq) FROM usage WHERE id = ?)")
        params.append(where.before)
    found = run(
        f"SELECT {', '.join(USAGE)} FROM usage WHERE {' AND '.join(clauses)} ORDER BY seq DESC LIMIT ?",
        (*params, max(0, where.limit)),
    )
    return [Record(*row) for row in found]


def record(run: Run, hold_id: str) -> Record | None:
    """Return one record by its id."""
    found = run(f"SELECT {', '.join(USAGE)} FROM usage WHERE id = ? ORDER BY seq DESC LIMIT 1", (hold_id,))
    return Record(*found[0]) if found else None


def known(run: Run, holds: Sequence[tuple[str, int]]) -> set[tuple[str, int]]:
    """Return those (id, created) that have a record."""
    return {
        (id_, created)
        for id_, created in holds
        if run("SELECT 1 FROM usage WHERE id = ? AND created_ns = ?", (id_, created))
    }


def spent(run: Run, since_ns: int = 0) -> dict[tuple[str, str], int]:
    """Return revenue by (tenant, key id) since a midnight (UTC), in nano-dollars."""
    found = run(
        "SELECT tenant, key_id, SUM(revenue_nusd) FROM usage_rollup WHERE span_ns = ? AND start_ns >= ? "
        "GROUP BY tenant, key_id",
        (DAY_NS, since_ns),
    )
    return {(tenant, key): int(total) for tenant, key, total in found}
