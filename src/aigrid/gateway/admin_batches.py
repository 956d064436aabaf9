"""Batches for administrators: those of all tenants, and an end to one."""

from typing import Any

from aigrid.core.clock import now_ns
from aigrid.core.errors import NotFound
from aigrid.gateway.admin_access import AdminGateway
from aigrid.gateway.admin_query import Query
from aigrid.gateway.batches.api import view
from aigrid.gateway.http import Request, Response
from aigrid.ledger import shelf


class AdminBatches:
    """The handlers of `/admin/batches`."""

    def __init__(self, gateway: AdminGateway) -> None:
        self._gateway = gateway

    async def list(self, request: Request) -> Response:
        """GET /admin/batches: newest first, of all tenants; `running` are at work in this gateway."""
        query = Query(request, ("after", "limit"))
        limit, after = query.number("limit", 50, 1, 200), query.text("after")
        found = await self._gateway.ledger.read(lambda run: shelf.batches(run, None, after=after, limit=limit))
        shift = self._gateway.shift
        rows: list[dict[str, Any]] = [
            {**view(batch, shift.jobs.get(batch.id)), "tenant": batch.tenant, "key_id": batch.key_id} for batch in found
        ]
        now = now_ns()
        return Response.of({"batches": rows, "energy_usd_per_kwh": shift.hours.price(now)})

    async def cancel(self, request: Request, actor: str) -> Response:
        """POST /admin/batches/{id}/cancel: stop a batch, whoever made it; what was answered is kept."""
        Query(request, ())
        id_ = request.path.split("/")[-2][:200]
        ledger = self._gateway.ledger
        found = await ledger.read(lambda run: shelf.batch(run, id_))
        if found is None:
            raise NotFound(f"No batch found with id '{id_}'.", param="id")
        batch = await ledger.write(lambda run: shelf.cancel(run, id_, found.tenant, now_ns()))
        assert batch is not None
        await ledger.audit(actor, "batches.cancel", id_, request.address)
        self._gateway.shift.wake()
        return Response.of(view(batch, self._gateway.shift.jobs.get(id_)))
