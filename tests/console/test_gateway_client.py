"""The console's side of its talk with the gateway."""

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from aigrid.console.gateway import Gateway, GatewayRefused


async def test_a_gateway_that_lets_us_in_again_needs_no_key_any_more():
    closed = True

    async def me(request: web.Request) -> web.Response:
        return web.json_response({"error": {"message": "no"}} if closed else {}, status=401 if closed else 200)

    app = web.Application()
    app.router.add_get("/admin/me", me)
    async with TestServer(app) as server, aiohttp.ClientSession() as http:
        gateway = Gateway(http, str(server.make_url("")).rstrip("/"))
        with pytest.raises(GatewayRefused):
            await gateway.get("/admin/me")
        assert gateway.needs_key
        closed = False
        await gateway.get("/admin/me")
        assert not gateway.needs_key
