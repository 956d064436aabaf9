"""Who is let in to administer, and who is not."""

import base64

import pytest

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


PROXIES = ["x_forwarded_for", "x_forwarded_proto", "x_forwarded_host", "forwarded", "via", "x_real_ip", "cf_ray",
           "cf_connecting_ip"]  # fmt: skip


@pytest.mark.parametrize("header", PROXIES)
async def test_a_proxy_on_this_machine_opens_nothing(door, header):
    for path in ("/admin/summary", "/metrics"):
        assert (await door.get(path, **{header: "203.0.113.9"})).status == 401


def basic(text):
    return "Basic " + base64.b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    "headers",
    [
        {"x_api_key": "sk-aigrid-wrong"},
        {"x_api_key": ""},
        {"authorization": basic("admin:sk-aigrid-wrong")},
        {"authorization": basic("sk-aigrid-wrong")},
        {"authorization": "Basic ?"},
        {"authorization": "Digest sk-aigrid-wrong"},
        {"authorization": "sk-aigrid-wrong"},
        {"authorization": "Bearer "},
    ],
)
async def test_a_wrong_key_is_refused_in_whatever_form_it_is_shown(door, headers):
    assert (await door.get("/admin/summary", **headers)).status == 401


async def test_a_good_key_is_known_in_every_form(public):
    _, admin = await public.ledger.create_key("ops", scope="admin")
    _, other = await public.ledger.create_key("ops")
    for key, status in ((admin, 200), (other, 403)):
        for headers in ({"x_api_key": key}, {"authorization": basic(f"me:{key}")}, {"authorization": basic(key)}):
            assert (await public.get("/admin/summary", **headers)).status == status


async def test_figures_beyond_loopback_are_for_administrators(public):
    assert (await public.get("/metrics")).status == 401
    _, admin = await public.ledger.create_key("ops", scope="admin")
    answer = await public.get("/metrics", key=admin)
    assert (answer.status, answer.headers["content-type"]) == (200, "text/plain; version=0.0.4")
