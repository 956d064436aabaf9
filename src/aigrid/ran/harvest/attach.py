"""The radio registers itself with a gateway: one endpoint for who administers, which the console draws."""

import asyncio
from typing import Any

from aigrid.core.clock import now_ns
from aigrid.gateway.admin_access import authorise_admin
from aigrid.gateway.admin_query import Query
from aigrid.gateway.app import Gateway
from aigrid.gateway.http import Request, Response
from aigrid.ledger.prices import MTOK
from aigrid.ran.harvest import record


class RadioApi:
    """The handler of one gateway."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def show(self, request: Request) -> Response:
        """GET /admin/radio: the radio on this machine, its harvester, and what its idle cycles earned; null without one."""
        await authorise_admin(request, self._gateway)
        Query(request, ())
        radio = await asyncio.to_thread(record.read)
        return Response.of({"radio": radio, "earned": self._earned(radio)})

    def _earned(self, radio: dict[str, Any] | None) -> dict[str, Any] | None:
        """Return what the engine made beside the radio, and what it is worth at the list price of output tokens."""
        harvest = radio and radio["harvest"]
        engine = next((each for each in self._gateway.engines if radio and each.name == radio["engine"]), None)
        models = engine.models() if engine and harvest else []
        if not harvest or engine is None or not models:
            return None
        tariff = self._gateway.prices.tariff(models[0].id, "fast", engine.site, now_ns())
        tokens = int(harvest["tokens"])
        return {
            "model": models[0].id,
            "tokens": tokens,
            "nusd": tokens * tariff.completion // MTOK,
            "nusd_per_mtok": tariff.completion,
        }


def attach(gateway: Gateway) -> None:
    """Let this gateway tell about the radio on its machine."""
    gateway.register(None, {("GET", "/admin/radio"): RadioApi(gateway).show})
