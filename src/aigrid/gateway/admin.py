"""The administration API: what the console and operators read and change, as JSON under `/admin/`.

Money is in integer nano-dollars (`*_nusd`), energy in millijoules (`*_mj`), time in nanoseconds (`*_ns`). Every list
is bounded and paged. Every change is in the audit log.
"""

from collections.abc import Awaitable, Callable
from typing import Any

from aigrid.gateway.admin_access import AdminGateway, authorise_admin, is_loopback
from aigrid.gateway.admin_batches import AdminBatches
from aigrid.gateway.admin_keys import Keys
from aigrid.gateway.admin_knowledge import AdminKnowledge
from aigrid.gateway.admin_query import Query
from aigrid.gateway.admin_records import Records, StreamResponse
from aigrid.gateway.admin_usage import Usage
from aigrid.gateway.http import Request, Response

AdminHandler = Callable[[Request], Awaitable[Response | StreamResponse]]
_Reader = Callable[[Request], Awaitable[Any]]
_Writer = Callable[[Request, str], Awaitable[Any]]


def admin_routes(gateway: AdminGateway) -> dict[tuple[str, str], AdminHandler]:
    """Return handlers by (method, path); `*` stands for a last path segment that the handler reads itself.

    Each handler authorises its caller first, so no route can be added without it.
    """
    usage, records, keys = Usage(gateway), Records(gateway), Keys(gateway)
    knowledge = AdminKnowledge(gateway)
    batches = AdminBatches(gateway)

    def reads(read: _Reader) -> AdminHandler:
        async def handler(request: Request) -> Any:
            await authorise_admin(request, gateway)
            return await read(request)

        return handler

    def writes(write: _Writer) -> AdminHandler:
        async def handler(request: Request) -> Any:
            return await write(request, await authorise_admin(request, gateway))

        return handler

    async def me(request: Request, actor: str) -> Response:
        """GET /admin/me: who the caller is, and whether this gateway asks for a key."""
        Query(request, ())
        return Response.of({"actor": actor, "needs_key": not is_loopback(gateway.config.gateway.host)})

    return {
        ("GET", "/admin/me"): writes(me),
        ("GET", "/admin/summary"): reads(usage.summary),
        ("GET", "/admin/ledger"): reads(usage.ledger),
        ("GET", "/admin/series"): reads(usage.series),
        ("GET", "/admin/engines"): reads(usage.engines),
        ("GET", "/admin/prices"): reads(usage.prices),
        ("GET", "/admin/records"): reads(records.list),
        ("GET", "/admin/totals"): reads(records.totals),
        ("GET", "/admin/records.csv"): reads(records.csv),
        ("GET", "/admin/records/*"): reads(records.show),
        ("GET", "/admin/keys"): reads(keys.list),
        ("POST", "/admin/keys"): writes(keys.create),
        ("DELETE", "/admin/keys/*"): writes(keys.revoke),
        ("GET", "/admin/tenants"): reads(keys.tenants),
        ("PUT", "/admin/tenants/*"): writes(keys.set_tenant),
        ("GET", "/admin/audit"): reads(keys.audit),
        ("GET", "/admin/batches"): reads(batches.list),
        ("POST", "/admin/batches/*/cancel"): writes(batches.cancel),
        ("GET", "/admin/knowledge"): reads(knowledge.show),
        ("GET", "/admin/knowledge/sources"): reads(knowledge.sources),
        ("POST", "/admin/knowledge/sources"): writes(knowledge.add),
        ("GET", "/admin/knowledge/sources/*"): reads(knowledge.source),
        ("DELETE", "/admin/knowledge/sources/*"): writes(knowledge.remove),
        ("GET", "/admin/knowledge/job"): reads(knowledge.job),
        ("DELETE", "/admin/knowledge/job"): writes(knowledge.stop),
    }
