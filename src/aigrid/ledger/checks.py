"""The auditor: derives every balance again from the rows and says where two disagree."""

from collections.abc import Sequence

from aigrid.ledger.base import Run
from aigrid.ledger.schema import DIMENSIONS, METER_SUMS, SPANS, SUMS

_SANE = (
    ("more reasoning tokens than completion tokens", "reasoning_tokens > completion_tokens"),
    ("more cached tokens than prompt tokens", "cached_tokens > prompt_tokens"),
    ("more charged than was held", "revenue_nusd > held_nusd"),
    (
        "a negative amount",
        "prompt_tokens < 0 OR cached_tokens < 0 OR completion_tokens < 0 OR reasoning_tokens < 0 OR revenue_nusd < 0 "
        "OR upstream_nusd < 0 OR energy_mj < 0 OR energy_nusd < 0 OR hardware_nusd < 0",
    ),
)


def check(run: Run) -> list[str]:
    """Return each disagreement as a sentence; empty is good. Reads every row: seconds per million."""
    return [
        *_rollup(run, "usage", "settled_ns", DIMENSIONS, SUMS),
        *_rollup(run, "meter", "at_ns", ("source",), METER_SUMS),
        *_rows(run),
        *meter(run),
    ]


def _rollup(run: Run, table: str, time: str, dimensions: Sequence[str], sums: Sequence[str]) -> list[str]:
    """Derive minutes from the rows, hours from the minutes, days from the hours."""
    found = []
    names = ", ".join(dimensions)
    source = f"SELECT {time} AS at, {names}, 1 AS requests, {', '.join(sums)} FROM {table}"
    for span in reversed(SPANS):
        signed = ", ".join(f"SUM(sign * {name}) AS {name}" for name in ("requests", *sums))
        wrong = run(
            f"SELECT COUNT(*) FROM (SELECT start, {names}, {signed} FROM ("
            f"SELECT 1 AS sign, at - at % {span} AS start, {names}, requests, {', '.join(sums)} FROM ({source}) AS a "
            f"UNION ALL SELECT -1, start_ns, {names}, requests, {', '.join(sums)} FROM {table}_rollup "
            f"WHERE span_ns = {span}) AS b GROUP BY start, {names}) AS c "
            f"WHERE {' OR '.join(f'{name} <> 0' for name in ('requests', *sums))}",
            (),
        )[0][0]
        if wrong:
            found.append(f"{table}: {wrong} of its sums over {span // 10**9} s do not follow from what they add up")
        source = (
            f"SELECT start_ns AS at, {names}, requests, {', '.join(sums)} FROM {table}_rollup WHERE span_ns = {span}"
        )
    return found


def _rows(run: Run) -> list[str]:
    found = []
    for what, condition in _SANE:
        wrong = run(f"SELECT COUNT(*) FROM usage WHERE {condition}", ())[0][0]
        if wrong:
            found.append(f"usage: {wrong} records have {what}")
    return found


def meter(run: Run) -> list[str]:
    """Check that all energy and hardware cost that was metered stands on a record, is idle, or is on an open hold."""
    found = []
    for unit, name in (("mj", "mj"), ("energy_nusd", "energy_nusd"), ("hardware_nusd", "hardware_nusd")):
        column = "energy_mj" if unit == "mj" else unit
        total, idle = run(f"SELECT COALESCE(SUM(total_{name}), 0), COALESCE(SUM(idle_{name}), 0) FROM meter", ())[0]
        used = run(f"SELECT COALESCE(SUM({column}), 0) FROM usage", ())[0][0]
        open_ = run(
            f"SELECT COALESCE(SUM(open_{name}), 0) FROM meter WHERE seq IN (SELECT MAX(seq) FROM meter GROUP BY owner)",
            (),
        )[0][0]
        if total != used + idle + open_:
            found.append(
                f"meter: {column} totals {total}, but records have {used}, idle {idle} and open holds {open_}, "
                f"{total - used - idle - open_:+} apart"
            )
    return found
