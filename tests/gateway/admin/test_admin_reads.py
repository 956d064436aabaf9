"""Reading sums and records."""

import csv
import io
from urllib.parse import urlencode

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aigrid.core.clock import DAY, now_ns
from aigrid.core.config import PriceConfig
from aigrid.gateway.admin_records import CSV_COLUMNS, csv_cell
from tests.gateway.admin.conftest import open_door


async def test_the_summary_says_what_was_made_and_what_it_came_to(door):
    await door.settled(prompt=10, completion=20, times=4)
    summary = (await door.get("/admin/summary")).json
    minute, day = summary["windows"]["minute"], summary["windows"]["day"]
    assert (minute["tokens"], minute["tokens_per_hour"], day["tokens"]) == (120, 7200, 120)
    assert day["revenue_nusd"] == 4 * (10 * 50 + 20 * 200)
    assert day["net_nusd"] == day["revenue_nusd"] - day["cost_nusd"] - day["idle_nusd"]
    assert day["mj_per_token"] == day["energy_mj"] / 120
    assert summary["engines"][0]["name"] == "local"
    assert summary["open_holds"] == summary["running"] == 0


async def test_the_report_groups_by_what_was_asked_and_counts_what_it_left_off(door):
    for tenant, times in (("small", 1), ("large", 3), ("middle", 2)):
        await door.settled(tenant, times=times)
    report = (await door.get("/admin/ledger?by=tenant&limit=2")).json
    assert [one["name"] for one in report["groups"]["tenant"]] == ["large", "middle"]
    assert report["left_off"] == {"tenant": 1}
    assert report["totals"]["requests"] == 6
    assert set((await door.get("/admin/ledger")).json["groups"]) == {"tenant", "key", "model", "site", "tier"}


async def test_the_series_adds_up_to_the_report(door):
    await door.settled(times=5)
    series = (await door.get(f"/admin/series?bucket_ns={3600 * 10**9}")).json["buckets"]
    totals = (await door.get("/admin/ledger")).json["totals"]
    assert sum(one["completion_tokens"] for one in series) == totals["completion_tokens"] == 100
    assert 24 <= len(series) <= 25


async def test_pages_of_records_show_each_record_once(door):
    await door.settled(times=7)
    seen, before = [], ""
    while before is not None:
        page = (await door.get(f"/admin/records?limit=3{before and '&before=' + before}")).json
        seen += [one["id"] for one in page["records"]]
        before = page["next"]
    assert len(seen) == len(set(seen)) == 7
    shown = (await door.get(f"/admin/records/{seen[0]}")).json
    assert (shown["id"], shown["completion_tokens"]) == (seen[0], 20)
    assert (await door.get("/admin/records/req_unknown")).status == 404


async def test_totals_are_over_what_the_filters_let_through(door):
    await door.settled("one", times=2)
    await door.settled("two", times=3, outcome="client_gone")
    totals = (await door.get("/admin/totals?tenant=two&outcome=client_gone")).json
    assert (totals["totals"]["requests"], totals["totals"]["tokens"], totals["complete"]) == (3, 90, True)
    assert (await door.get("/admin/totals?tenant=one&outcome=client_gone")).json["totals"]["requests"] == 0
    for query, requests in (("", 5), ("tenant=two", 3), ("tenant=three", 0), ("tenant=two&tier=fast&site=local", 3)):
        answer = (await door.get(f"/admin/totals?{query}")).json
        assert (answer["totals"]["requests"], answer["totals"]["tokens"]) == (requests, 30 * requests), query


async def test_the_csv_holds_every_record_and_every_field(door):
    await door.settled("=cmd|calc", times=3)
    await door.settled("two", times=1)
    answer = await door.get("/admin/records.csv")
    rows = list(csv.DictReader(io.StringIO(answer.body.decode())))
    assert answer.headers["content-disposition"] == 'attachment; filename="aigrid-records.csv"'
    assert tuple(rows[0]) == CSV_COLUMNS
    assert sorted(row["tenant"] for row in rows) == ["'=cmd|calc"] * 3 + ["two"]
    assert sum(int(row["revenue_nusd"]) for row in rows) == 4 * 4500
    filtered = await door.get("/admin/records.csv?tenant=two")
    assert filtered.body.count(b"\r\n") == 2


@given(st.text(max_size=20))
def test_no_cell_is_a_formula(text):
    assert not str(csv_cell(text)).startswith(("=", "+", "-", "@", "\t", "\r"))


BAD_QUERIES = [
    ("records?limit=0", "limit"),
    ("records?limit=1001", "limit"),
    ("records?limit=-1", "limit"),
    ("records?limit=", "limit"),
    ("records?limit=1&limit=2", "limit"),
    ("records?outcome=", "outcome"),
    ("records?limit=٣", "limit"),
    ("records?tier=slow", "tier"),
    ("records?outcome=lost", "outcome"),
    ("records?since=yesterday", "since"),
    ("records?until=99999999999999999999", "until"),
    ("records?colour=red", "colour"),
    ("records?tenant=" + "x" * 201, "tenant"),
    ("records.csv?limit=5", "limit"),
    ("ledger?by=colour", "by"),
    ("ledger?since=2&until=1", "since"),
    ("series?bucket_ns=1", "bucket_ns"),
    ("series?since=0&bucket_ns=1000000000", "bucket_ns"),
    ("keys?after=key_unknown", "after"),
    ("keys?include_revoked=perhaps", "include_revoked"),
    ("audit?limit=many", "limit"),
    ("summary?x=1", "x"),
]


@pytest.mark.parametrize(("query", "param"), BAD_QUERIES)
async def test_a_bad_parameter_is_named(door, query, param):
    answer = await door.get(f"/admin/{query}")
    assert (answer.status, answer.error["param"], answer.error["type"]) == (400, param, "invalid_request_error")


@pytest.mark.parametrize(
    ("text", "same"),
    [("2026-01-02", "2026-01-02T00:00:00Z"), ("2026-01-02T03:04:05+02:00", "2026-01-02T01:04:05"), ("1970-01-01", "0")],
)
async def test_times_are_nanoseconds_or_iso(door, text, same):
    until = f"&until={now_ns() + DAY}"
    reports = [(await door.get(f"/admin/ledger?since={one.replace('+', '%2B')}{until}")).json for one in (text, same)]
    assert reports[0]["since_ns"] == reports[1]["since_ns"]


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(
    method=st.sampled_from(["GET", "POST", "PUT", "DELETE"]),
    path=st.sampled_from(
        ["keys", "keys/x", "tenants/x", "records/x", "records", "totals", "ledger", "series", "audit"]
    ),
    query=st.dictionaries(
        st.sampled_from(["since", "until", "limit", "before", "after", "by", "tier", "tenant", "bucket_ns", "x"]),
        st.text(st.characters(codec="latin-1"), max_size=12),
        max_size=3,
    ),
    body=st.recursive(
        st.none() | st.integers() | st.text(max_size=8),
        lambda inner: (
            st.lists(inner, max_size=2)
            | st.dictionaries(st.sampled_from(["tenant", "name", "scope", "limits", "total_nusd"]), inner, max_size=4)
        ),
        max_leaves=6,
    ),
)
async def test_no_input_is_a_server_error(door, method, path, query, body):
    answer = await door.call(method, f"/admin/{path}?{urlencode(query)}", body)
    assert answer.status < 500, answer.body
    if answer.status >= 400:
        assert set(answer.error) == {"message", "type", "param", "code"}


async def test_prices_are_whole_nano_dollars(door):
    prices = msgspec.json.decode((await door.get("/admin/prices")).body)
    assert prices["revenue"][0]["completion_nusd_per_mtok"] == 200_000_000
    assert prices["cost"]["energy_nusd_per_kwh"] == 150_000_000


async def test_the_built_in_price_is_listed_beside_ones_own_as_it_still_holds_for_other_models():
    own = PriceConfig(model="m", prompt_usd_per_mtok=0.0000003, completion_usd_per_mtok=1, valid_from="2026-11-01")
    door = await open_door(prices=[own])
    try:
        default, line = (await door.get("/admin/prices")).json["revenue"]
    finally:
        await door.ledger.close()
    assert (default["model"], default["prompt_nusd_per_mtok"]) == ("*", 50_000_000)
    assert (line["valid_from"], line["prompt_nusd_per_mtok"], line["cached_nusd_per_mtok"]) == ("2026-11-01", 300, 300)


async def test_an_export_ends_when_its_client_leaves(door, monkeypatch):
    monkeypatch.setattr("aigrid.ledger.answers.PAGE", 2)
    await door.settled(times=40)
    records, pages = door.ledger.records, 0

    async def counted(where):
        nonlocal pages
        pages += 1
        return await records(where)

    monkeypatch.setattr(door.ledger, "records", counted)
    await door.call("GET", "/admin/records.csv", stays=3)
    assert pages <= 4
