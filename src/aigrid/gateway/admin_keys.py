"""Who may use the factory, and up to how much: keys, tenants, and the log of every change to them."""

from collections.abc import Sequence
from functools import partial
from typing import Any, Literal, TypeVar

import msgspec

from aigrid.core.clock import day_start, month_start, now_ns
from aigrid.core.errors import BadRequest
from aigrid.gateway.admin_access import AdminGateway
from aigrid.gateway.admin_query import KeyBody, Query, TenantBody, read_body, read_name
from aigrid.gateway.admin_usage import Cache
from aigrid.gateway.http import Request, Response
from aigrid.ledger.base import Key, Sum, Tenant

Spent = dict[str, dict[str, int]]
T = TypeVar("T", Key, Tenant)


class Keys:
    """Handlers for keys, tenants and the audit log. `actor` names who asks, for the log."""

    def __init__(self, gateway: AdminGateway) -> None:
        self._gateway = gateway
        self._cache = Cache()

    async def _spent(self, by: Literal["key", "tenant"]) -> Spent:
        """Return what each key or tenant has settled in all, this month and today, in nano-dollars and tokens."""
        ledger, now = self._gateway.ledger, now_ns()
        spent: Spent = {}
        for span, since_ns in (("total", 0), ("month", month_start(now)), ("day", day_start(now))):
            report = await self._cache.get(f"{span} {since_ns}", partial(ledger.report, since_ns))
            for each in report.groups.get(by, []):
                spent.setdefault(each.name, {}).update(_used(span, each))
        return spent

    async def list(self, request: Request) -> Response:
        """GET /admin/keys?include_revoked=&tenant=&after=&limit=: keys, oldest first, with what each has used."""
        query = Query(request, ("include_revoked", "tenant", "after", "limit"))
        keys = await self._gateway.ledger.keys(include_revoked=query.flag("include_revoked"))
        tenant = query.text("tenant")
        keys = [key for key in keys if tenant is None or key.tenant == tenant]
        page, after = _page(keys, query, [key.id for key in keys])
        spent = await self._spent("key")
        return Response.of({"keys": [{**_view(key), "used": _of(spent, key.id)} for key in page], "next": after})

    async def create(self, request: Request, actor: str) -> Response:
        """POST /admin/keys: make a key; `key` in the answer is the secret, shown this once."""
        body = await read_body(request, KeyBody)
        key, secret = await self._gateway.ledger.create_key(
            body.tenant, name=body.name, scope=body.scope, limits=body.limits.limits(),
            actor=actor, address=request.address,
        )  # fmt: skip
        return Response.of({**_view(key), "key": secret}, 201, [(b"cache-control", b"no-store")])

    async def revoke(self, request: Request, actor: str) -> Response:
        """DELETE /admin/keys/{id}: revoke a key; what it has open still settles."""
        Query(request, ())
        key_id = request.path.rpartition("/")[2]
        key = await self._gateway.ledger.revoke_key(key_id, actor=actor, address=request.address)
        return Response.of(_view(key))

    async def tenants(self, request: Request) -> Response:
        """GET /admin/tenants?after=&limit=: tenants by name, with what each has used."""
        query = Query(request, ("after", "limit"))
        tenants = await self._gateway.ledger.tenants()
        page, after = _page(tenants, query, [tenant.name for tenant in tenants])
        spent = await self._spent("tenant")
        views = [{**msgspec.to_builtins(tenant), "used": _of(spent, tenant.name)} for tenant in page]
        return Response.of({"tenants": views, "next": after})

    async def set_tenant(self, request: Request, actor: str) -> Response:
        """PUT /admin/tenants/{name}: make a tenant or replace its limits."""
        name = read_name(request.path.removeprefix("/admin/tenants/"), "name")
        limits = (await read_body(request, TenantBody)).limits.limits()
        tenant = await self._gateway.ledger.set_tenant(name, limits, actor=actor, address=request.address)
        return Response.of(tenant)

    async def audit(self, request: Request) -> Response:
        """GET /admin/audit?limit=: the newest administrative acts first."""
        limit = Query(request, ("limit",)).number("limit", 100, 1, 1000)
        return Response.of({"entries": await self._gateway.ledger.audit_log(limit)})


def _view(key: Key) -> dict[str, Any]:
    view: dict[str, Any] = msgspec.to_builtins(key)
    return view


def _used(span: str, each: Sum) -> dict[str, int]:
    return {f"{span}_nusd": each.revenue_nusd, f"{span}_tokens": each.tokens, f"{span}_requests": each.requests}


def _of(spent: Spent, name: str) -> dict[str, int]:
    nothing = {**_used("total", Sum()), **_used("month", Sum()), **_used("day", Sum())}
    return nothing | spent.get(name, {})


def _page(items: Sequence[T], query: Query, ids: Sequence[str]) -> tuple[Sequence[T], str | None]:
    """Return the items after the id `after`, at most `limit`, and the id to go on after."""
    after, limit = query.text("after"), query.number("limit", 100, 1, 1000)
    start = 0
    if after is not None:
        if after not in ids:
            raise BadRequest(f"after names `{after[:80]}`, which is not in this list", param="after")
        start = ids.index(after) + 1
    page = items[start : start + limit]
    return page, ids[start + limit - 1] if start + limit < len(items) else None
