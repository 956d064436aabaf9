"""The administration API over a real ledger, called as ASGI."""

import csv
import io
import json
from dataclasses import dataclass, field
from urllib.parse import urlencode, urlsplit

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aigrid.core.clock import DAY, now_ns
from aigrid.core.config import Config, GatewayConfig, PriceConfig
from aigrid.engines.echo import EchoEngine
from aigrid.gateway.admin_records import CSV_COLUMNS, csv_cell
from aigrid.gateway.app import Gateway
from aigrid.ledger import open_ledger
from aigrid.ledger.base import Limits, Order


@dataclass
class Answer:
    status: int
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def error(self):
        return self.json["error"]


class Door:
    """Calls a gateway as a client at `address` would."""

    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway
        self.ledger = gateway.ledger

    async def call(self, method, url, body=None, *, address="127.0.0.1", key=None, **headers) -> Answer:
        sent = {"host": "127.0.0.1:8470", "content-type": "application/json"} | headers
        if key:
            sent["authorization"] = f"Bearer {key}"
        parts = urlsplit(url)
        scope = {
            "type": "http",
            "method": method,
            "path": parts.path,
            "query_string": parts.query.encode(),
            "headers": [(name.replace("_", "-").encode(), value.encode()) for name, value in sent.items()],
            "client": (address, 50_000),
        }
        data = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        inbox = [{"type": "http.request", "body": data, "more_body": False}]
        answer = Answer(0, b"")

        async def receive():
            return inbox.pop() if inbox else {"type": "http.disconnect"}

        async def send(message):
            if message["type"] == "http.response.start":
                answer.status = message["status"]
                answer.headers = {name.decode(): value.decode() for name, value in message["headers"]}
            else:
                answer.body += message.get("body", b"")

        await self.gateway(scope, receive, send)
        return answer

    async def get(self, url, **options) -> Answer:
        return await self.call("GET", url, **options)

    async def settled(self, tenant="acme", *, prompt=10, completion=20, times=1, model="echo", outcome="finished"):
        """Settle some requests of a new key of the tenant; returns the key and its secret."""
        key, secret = await self.ledger.create_key(tenant, name="app")
        for _ in range(times):
            order = Order(f"req_{now_ns():032x}", key, model, "local", "fast", prompt, completion)
            hold = await self.ledger.hold(order)
            hold.count_prompt(prompt)
            hold.count(completion)
            self.ledger.settle(hold, outcome)
        await self.ledger.flush()
        return key, secret


async def open_door(host="127.0.0.1"):
    config = Config(gateway=GatewayConfig(host=host), prices=[PriceConfig()])
    ledger = open_ledger(config, owner=True)
    await ledger.open()
    return Door(Gateway(config, ledger, [EchoEngine("local")]))


@pytest.fixture
async def door():
    made = await open_door()
    yield made
    await made.ledger.close()


@pytest.fixture
async def public():
    made = await open_door("0.0.0.0")
    yield made
    await made.ledger.close()


READS = ("summary", "ledger", "series", "records", "totals", "keys", "tenants", "prices", "audit", "engines", "me")


@pytest.mark.parametrize("name", READS)
async def test_every_page_answers_on_an_empty_factory(door, name):
    answer = await door.get(f"/admin/{name}")
    assert answer.status == 200, answer.body
    assert answer.headers["content-type"] == "application/json"


@pytest.mark.parametrize("name", [*READS, "records/req_1", "records.csv"])
async def test_a_public_gateway_asks_for_an_admin_key(public, name):
    assert (await public.get(f"/admin/{name}")).status == 401
    _, secret = await public.ledger.create_key("acme")
    refused = await public.get(f"/admin/{name}", key=secret)
    assert (refused.status, refused.error["code"]) == (403, "insufficient_permissions")
    _, admin = await public.ledger.create_key("ops", scope="admin")
    assert (await public.get(f"/admin/{name}", key=admin)).status in {200, 404}


async def test_a_wrong_key_is_refused_even_where_none_is_needed(door):
    answer = await door.get("/admin/summary", key="sk-aigrid-wrong")
    assert (answer.status, answer.error["code"]) == (401, "invalid_api_key")
    assert answer.headers["www-authenticate"] == "Bearer"


async def test_a_revoked_admin_key_is_refused_at_once(public):
    key, admin = await public.ledger.create_key("ops", scope="admin")
    assert (await public.get("/admin/me", key=admin)).json == {"actor": key.id, "needs_key": True}
    assert (await public.call("DELETE", f"/admin/keys/{key.id}", key=admin)).status == 200
    assert (await public.get("/admin/me", key=admin)).status == 401


@pytest.mark.parametrize("address", ["10.0.0.7", "", "::ffff:10.0.0.7", "169.254.1.1"])
async def test_another_machine_needs_a_key_whatever_the_gateway_listens_on(door, address):
    assert (await door.get("/admin/summary", address=address)).status == 401


@pytest.mark.parametrize("address", ["127.0.0.1", "127.9.9.9", "::1"])
@pytest.mark.parametrize("host", ["127.0.0.1:8470", "localhost", "LOCALHOST:1", "[::1]:8470"])
async def test_this_machine_needs_none(door, address, host):
    assert (await door.get("/admin/summary", address=address, host=host)).status == 200


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "", "localhost.evil.example:8470", "[::1"])
async def test_a_rebound_name_is_refused(door, host):
    answer = await door.get("/admin/summary", host=host)
    assert (answer.status, answer.error["code"]) == (403, "cross_site_request")


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"origin": "http://127.0.0.1:3000"},
        {"origin": "null"},
        {"sec_fetch_site": "cross-site"},
        {"sec_fetch_site": "same-site"},
    ],
)
async def test_a_page_of_another_site_is_refused(door, headers):
    for method, path, body in (("GET", "/admin/keys", None), ("POST", "/admin/keys", {"tenant": "evil"})):
        answer = await door.call(method, path, body, **headers)
        assert (answer.status, answer.error["code"]) == (403, "cross_site_request")
    assert await door.ledger.tenants() == []


async def test_our_own_origin_is_let_in(door):
    assert (
        await door.get("/admin/summary", origin="http://127.0.0.1:8470", sec_fetch_site="same-origin")
    ).status == 200


@pytest.mark.parametrize("header", ["x_forwarded_for", "forwarded", "x_real_ip"])
async def test_a_proxy_on_this_machine_opens_nothing(door, header):
    assert (await door.get("/admin/summary", **{header: "203.0.113.9"})).status == 401


async def test_a_form_cannot_change_anything(door):
    answer = await door.call("POST", "/admin/keys", b'{"tenant": "evil"}', content_type="text/plain")
    assert (answer.status, answer.error["param"]) == (400, "content-type")
    assert await door.ledger.tenants() == []


async def test_a_key_is_shown_once_and_works(door):
    limits = {"total_nusd": 5_000_000_000, "requests_per_minute": 60}
    made = await door.call("POST", "/admin/keys", {"tenant": "acme", "name": "app", "limits": limits})
    assert made.status == 201
    assert made.headers["cache-control"] == "no-store"
    key = await door.ledger.lookup(made.json["key"])
    assert (key.id, key.tenant, key.limits) == (made.json["id"], "acme", Limits(**limits))
    listed = (await door.get("/admin/keys")).json["keys"]
    assert [one["id"] for one in listed] == [key.id]
    assert made.json["key"] not in (await door.get("/admin/keys")).body.decode()
    assert made.json["key"] not in (await door.get("/admin/audit")).body.decode()


async def test_a_revoked_key_is_gone_from_the_list_unless_asked_for(door):
    key, secret = await door.ledger.create_key("acme")
    assert (await door.call("DELETE", f"/admin/keys/{key.id}")).json["revoked_ns"] > 0
    assert await door.ledger.lookup(secret) is None
    assert (await door.get("/admin/keys")).json["keys"] == []
    assert len((await door.get("/admin/keys?include_revoked=true")).json["keys"]) == 1
    assert (await door.call("DELETE", "/admin/keys/key_unknown")).status == 404


async def test_every_change_is_in_the_audit_log_with_who_what_and_where_from(door):
    key, admin = await door.ledger.create_key("ops", name="alice", scope="admin")
    made = (await door.call("POST", "/admin/keys", {"tenant": "acme"}, key=admin, address="10.0.0.7")).json
    await door.call("PUT", "/admin/tenants/acme", {"limits": {"day_nusd": 7}})
    await door.call("DELETE", f"/admin/keys/{made['id']}")
    await door.call("DELETE", "/admin/keys/key_unknown")
    entries = (await door.get("/admin/audit")).json["entries"]
    assert [(one["act"], one["actor"], one["address"]) for one in entries] == [
        ("keys.revoke", "local", "127.0.0.1"),
        ("tenants.set", "local", "127.0.0.1"),
        ("keys.create", f"alice ({key.id})", "10.0.0.7"),
    ]
    assert made["id"] in entries[0]["detail"]
    assert '"day_nusd":7' in entries[1]["detail"]
    assert made["id"] in entries[2]["detail"]


async def test_limits_of_a_tenant_are_replaced_whole(door):
    for limits in ({"day_nusd": 5, "concurrency": 2}, {"month_nusd": 9}):
        assert (await door.call("PUT", "/admin/tenants/r&d team", {"limits": limits})).status == 200
    (tenant,) = (await door.get("/admin/tenants")).json["tenants"]
    assert (tenant["name"], tenant["limits"]) == ("r&d team", {"month_nusd": 9})


async def test_what_was_used_stands_beside_each_key_and_tenant(door):
    key, _ = await door.settled(prompt=10, completion=20, times=3)
    (shown,) = (await door.get("/admin/keys")).json["keys"]
    (tenant,) = (await door.get("/admin/tenants")).json["tenants"]
    revenue = 3 * (10 * 50 + 20 * 200)
    for used in (shown["used"], tenant["used"]):
        assert used["total_nusd"] == used["day_nusd"] == used["month_nusd"] == revenue
        assert (used["total_tokens"], used["total_requests"]) == (90, 3)
    assert shown["id"] == key.id


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


BAD_KEYS = [
    ({}, "tenant"),
    ({"tenant": ""}, "tenant"),
    ({"tenant": " acme"}, "tenant"),
    ({"tenant": "a/b"}, "tenant"),
    ({"tenant": "a\nb"}, "tenant"),
    ({"tenant": "x" * 65}, "tenant"),
    ({"tenant": 7}, "tenant"),
    ({"tenant": "acme", "scope": "root"}, "scope"),
    ({"tenant": "acme", "limits": {"total_nusd": -1}}, "limits.total_nusd"),
    ({"tenant": "acme", "limits": {"total_nusd": 1.5}}, "limits.total_nusd"),
    ({"tenant": "acme", "limits": {"total_nusd": 2**60}}, "limits.total_nusd"),
    ({"tenant": "acme", "limits": {"monthly": 5}}, "limits"),
    ({"tenant": "acme", "colour": "red"}, "colour"),
]


@pytest.mark.parametrize(("body", "param"), BAD_KEYS)
async def test_a_bad_field_is_named_and_nothing_is_made(door, body, param):
    answer = await door.call("POST", "/admin/keys", body)
    assert (answer.status, answer.error["param"]) == (400, param), answer.error
    assert await door.ledger.keys() == []


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'"x"', b"\xff", b"[" * 10_000, b"{" + b" " * 70_000 + b"}"])
async def test_a_body_that_is_no_object_is_refused(door, body):
    assert (await door.call("POST", "/admin/keys", body)).status in {400, 413}


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
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
