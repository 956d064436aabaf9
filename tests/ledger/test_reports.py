"""Reports put together from rollups say what adding up every record says, wherever the edges fall."""

import random
import sqlite3

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from aigrid.core.errors import BadRequest
from aigrid.ledger import checks, reports
from aigrid.ledger.attribution import MeterRow
from aigrid.ledger.base import Record, Sum
from aigrid.ledger.reports import FAR_NS, cover
from aigrid.ledger.schema import DAY_NS, HOUR_NS, MINUTE_NS, SPANS, SUMS, migrate
from aigrid.ledger.sqlite import SqliteLedger
from aigrid.ledger.writer import insert_meter, insert_usage

START = 20_000 * DAY_NS
EDGES = [
    START + days * DAY_NS + hours * HOUR_NS + minutes * MINUTE_NS + ns
    for days in (0, 1, 3)
    for hours in (0, 1, 23)
    for minutes in (0, 1, 59)
    for ns in (-1, 0, 1, 12_345_678_901)
]


def make_records() -> list[Record]:
    dice = random.Random(3)
    records = []
    for number, at in enumerate(sorted(dice.choices(EDGES, k=400))):
        tokens = [dice.randrange(1000) for _ in range(12)]
        records.append(
            Record(
                f"r{number}", None, f"t{dice.randrange(3)}", f"k{dice.randrange(5)}", dice.choice("ab"), "local",
                dice.choice(["fast", "think"]), "finished", "counted", *tokens[:10], "x", *tokens[10:], 0, at,
            )
        )  # fmt: skip
    return records


RECORDS = make_records()
METERED = [MeterRow(f"m{n}", "local", at, 1, "rapl", "", n + 1, n, 1, 5, 3, 0, 7, 6, 1) for n, at in enumerate(EDGES)]


@pytest.fixture(scope="module")
def run():
    connection = sqlite3.connect(":memory:", isolation_level=None)
    migrate(connection)
    fields = Record.__struct_fields__
    insert_usage(connection, [tuple(getattr(record, field) for field in fields) for record in RECORDS])
    for row in METERED:
        insert_meter(connection, row)
    return lambda sql, params: connection.execute(sql, params).fetchall()


def added(name: str, records: list[Record]) -> Sum:
    return Sum(name, len(records), *(sum(getattr(record, field) for record in records) for field in SUMS))


times = st.one_of(st.sampled_from(EDGES), st.integers(START - DAY_NS, START + 5 * DAY_NS))


@settings(deadline=None, max_examples=150)
@given(since=times, until=st.one_of(times, st.none(), st.just(2**63 - 1)))
@example(since=0, until=None)
@example(since=START, until=START + DAY_NS)
@example(since=START + 1, until=START + 1)
def test_a_report_is_the_sum_over_its_records(run, since, until):
    inside = [record for record in RECORDS if since <= record.settled_ns < (until or FAR_NS)]
    totals, groups = reports.sums(run, since, until)
    assert totals == added("", inside)
    for by, field in [("tenant", "tenant"), ("key", "key_id"), ("model", "model"), ("site", "site"), ("tier", "tier")]:
        names = {getattr(record, field) for record in inside}
        expected = [added(name, [record for record in inside if getattr(record, field) == name]) for name in names]
        assert groups[by] == sorted(expected, key=lambda one: (-one.requests, one.name))
    idle, source = reports.idle(run, since, until)
    rows = [row for row in METERED if since <= row.at_ns < (until or FAR_NS)]
    assert idle.energy_mj == sum(row.idle_mj for row in rows)
    assert idle.energy_nusd == sum(row.idle_energy_nusd for row in rows)
    assert idle.hardware_nusd == sum(row.idle_hardware_nusd for row in rows)
    assert source == ("rapl" if rows else "")


@settings(deadline=None, max_examples=100)
@given(
    since=times,
    bucket=st.sampled_from([DAY_NS, HOUR_NS, 6 * HOUR_NS, 5 * MINUTE_NS, MINUTE_NS * 7, 3_700 * 10**9 + 1]),
    count=st.integers(0, 40),
    aligned=st.booleans(),
)
def test_a_series_has_every_bucket_and_each_is_the_sum_over_its_records(run, since, bucket, count, aligned):
    if aligned:
        since -= since % bucket
    buckets = reports.series(run, since, since + count * bucket, bucket)
    assert [one.start_ns for one in buckets] == [since + number * bucket for number in range(count)]
    for one in buckets:
        inside = [record for record in RECORDS if one.start_ns <= record.settled_ns < one.start_ns + bucket]
        total = added("", inside)
        assert (one.requests, one.prompt_tokens, one.completion_tokens) == (
            total.requests, total.prompt_tokens, total.completion_tokens,
        )  # fmt: skip
        assert (one.revenue_nusd, one.cost_nusd, one.energy_mj) == (
            total.revenue_nusd, total.cost_nusd, total.energy_mj,
        )  # fmt: skip


@given(times, times)
def test_a_stretch_of_time_is_covered_once_with_few_pieces(since, until):
    pieces = list(cover(since, until))
    at = since
    for span, first, last in sorted(pieces, key=lambda piece: piece[1]):
        assert first == at
        assert first < last
        assert span in (0, *SPANS)
        assert span == 0 or (first % span == 0 and last % span == 0)
        at = last
    assert at == max(since, until) or (since >= until and not pieces)
    assert len(pieces) <= 2 * len(SPANS) + 1
    assert sum(last - first for span, first, last in pieces if span == 0) < 2 * MINUTE_NS


def test_the_check_finds_a_wrong_sum_at_every_level(run):
    assert [line for line in checks.check(run) if "sums over" in line] == []
    for span in SPANS:
        key = run("SELECT MIN(start_ns), tenant, key_id, model, tier FROM usage_rollup WHERE span_ns = ?", (span,))[0]
        where = "span_ns = ? AND start_ns = ? AND tenant = ? AND key_id = ? AND model = ? AND tier = ?"
        run(f"UPDATE usage_rollup SET completion_tokens = completion_tokens + 1 WHERE {where}", (span, *key))
        found = [line for line in checks.check(run) if "sums over" in line]
        assert f"usage: 1 of its sums over {span // 10**9} s do not follow from what they add up" in found
        run(f"UPDATE usage_rollup SET completion_tokens = completion_tokens - 1 WHERE {where}", (span, *key))


async def test_a_series_of_too_many_buckets_is_refused(tmp_path):
    from aigrid.core.config import Config

    ledger = SqliteLedger(tmp_path, Config(), owner=False)
    await ledger.open()
    for bucket in (0, -5, 1):
        with pytest.raises(BadRequest, match="buckets"):
            await ledger.series(0, DAY_NS, bucket)
    await ledger.close()
