"""Changing keys and tenants."""

import pytest

from aigrid.ledger.base import Limits


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
        ("keys.create", "aigrid", ""),
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
