"""Keys, tenants, prices and the audit log in the database. Each change is a new row; the newest row of an id counts.

Who made it is written down in the same transaction. The statements are plain SQL with `?` for parameters; a backend
passes in what runs one and returns its rows.
"""

from typing import Any, NamedTuple

import msgspec

from aigrid.core.clock import now_ns
from aigrid.core.errors import BadRequest, NotFound
from aigrid.core.ids import new_id
from aigrid.ledger.base import AuditEntry, Key, Limits, Run, Scope, Tenant
from aigrid.ledger.keys import digest, new_secret
from aigrid.ledger.prices import PriceList

_KEY = "id, digest, tenant, name, scope, hint, limits, created_ns, revoked_ns"
_NAME_MAX = 200


class Changes(msgspec.Struct):
    """Keys (with digests) and tenants changed since some revision, oldest first, and the revision they lead to."""

    keys: list[tuple[bytes, Key]]
    tenants: list[Tenant]
    revision: tuple[int, int]


def changes(run: Run, since: tuple[int, int] = (0, 0)) -> Changes:
    """Return what changed since a revision (the last row numbers of keys and of tenants)."""
    keys = run(f"SELECT seq, {_KEY} FROM keys WHERE seq > ? ORDER BY seq", (since[0],))
    tenants = run("SELECT seq, name, limits, created_ns FROM tenants WHERE seq > ? ORDER BY seq", (since[1],))
    return Changes(
        [(bytes(row[2]), _key(row[1:])) for row in keys],
        [_tenant(row[1:]) for row in tenants],
        (keys[-1][0] if keys else since[0], tenants[-1][0] if tenants else since[1]),
    )


class By(NamedTuple):
    """Who does something, and from where."""

    actor: str
    address: str = ""


def create_key(run: Run, tenant: str, name: str, scope: Scope, limits: Limits, by: By) -> tuple[Key, str]:
    """Make a key, and its tenant if new; raises `BadRequest` for names that cannot be."""
    _check_name("tenant", tenant)
    if len(name) > _NAME_MAX:
        raise BadRequest(f"name has {len(name)} characters; use at most {_NAME_MAX}", param="name")
    _check_limits(limits)
    if not run("SELECT 1 FROM tenants WHERE name = ? LIMIT 1", (tenant,)):
        _put_tenant(run, Tenant(tenant, Limits(), now_ns()))
    secret = new_secret()
    key = Key(new_id("key_"), tenant, name, scope, secret[-4:], limits, now_ns())
    _put_key(run, key, digest(secret))
    append_audit(run, by, "keys.create", f"{key.id} tenant={tenant} scope={scope} limits={_json(limits)}")
    return key, secret


def revoke_key(run: Run, key_id: str, by: By) -> Key:
    """Revoke a key; revoking it again changes nothing. Raises `NotFound`."""
    found = run(f"SELECT {_KEY} FROM keys WHERE id = ? ORDER BY seq DESC LIMIT 1", (key_id,))
    if not found:
        raise NotFound(f"there is no key {key_id}; `aigrid keys list` shows those there are", param="id")
    key = _key(found[0])
    if key.revoked_ns is None:
        key = msgspec.structs.replace(key, revoked_ns=now_ns())
        _put_key(run, key, bytes(found[0][1]))
        append_audit(run, by, "keys.revoke", f"{key.id} tenant={key.tenant}")
    return key


def set_tenant(run: Run, name: str, limits: Limits, by: By) -> Tenant:
    """Make a tenant or change its limits; raises `BadRequest`."""
    _check_name("tenant", name)
    _check_limits(limits)
    found = run("SELECT created_ns FROM tenants WHERE name = ? ORDER BY seq LIMIT 1", (name,))
    tenant = Tenant(name, limits, found[0][0] if found else now_ns())
    _put_tenant(run, tenant)
    append_audit(run, by, "tenants.set", f"{name} limits={_json(limits)}")
    return tenant


def append_audit(run: Run, by: By, act: str, detail: str) -> None:
    """Append one administrative act."""
    run(
        "INSERT INTO audit (id, at_ns, actor, act, detail, address) VALUES (?, ?, ?, ?, ?, ?)",
        (new_id("aud_"), now_ns(), by.actor, act, detail, by.address),
    )


def audit_log(run: Run, limit: int) -> list[AuditEntry]:
    """Return the newest acts first."""
    rows = run("SELECT id, at_ns, actor, act, detail, address FROM audit ORDER BY seq DESC LIMIT ?", (limit,))
    return [AuditEntry(*row) for row in rows]


def note_prices(run: Run, prices: PriceList) -> None:
    """Write down the prices now in force, if they differ from the last ones written."""
    text = msgspec.json.encode(prices.as_dict()).decode()
    last = run("SELECT list FROM prices ORDER BY seq DESC LIMIT 1", ())
    if not last or last[0][0] != text:
        run("INSERT INTO prices (at_ns, list) VALUES (?, ?)", (now_ns(), text))


def _put_key(run: Run, key: Key, hashed: bytes) -> None:
    run(
        f"INSERT INTO keys ({_KEY}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (key.id, hashed, key.tenant, key.name, key.scope, key.hint, _json(key.limits), key.created_ns, key.revoked_ns),
    )


def _put_tenant(run: Run, tenant: Tenant) -> None:
    values = (tenant.name, _json(tenant.limits), tenant.created_ns)
    run("INSERT INTO tenants (name, limits, created_ns) VALUES (?, ?, ?)", values)


def _key(row: tuple[Any, ...]) -> Key:
    id_, _, tenant, name, scope, hint, limits, created_ns, revoked_ns = row
    return Key(id_, tenant, name, scope, hint, _limits(limits), created_ns, revoked_ns)


def _tenant(row: tuple[Any, ...]) -> Tenant:
    return Tenant(row[0], _limits(row[1]), row[2])


def _json(limits: Limits) -> str:
    return msgspec.json.encode(limits).decode()


def _limits(text: str) -> Limits:
    return msgspec.json.decode(text, type=Limits)


def _check_name(what: str, name: str) -> None:
    if not name.strip() or len(name) > _NAME_MAX or not name.isprintable():
        raise BadRequest(f"{what} {name[:40]!r} is no name: use 1 to {_NAME_MAX} printable characters", param=what)


def _check_limits(limits: Limits) -> None:
    for field in Limits.__struct_fields__:
        value = getattr(limits, field)
        if value is not None and not 0 <= value < 1 << 62:
            raise BadRequest(f"limit {field} is {value}; use a number from 0 up to 2^62", param=field)
