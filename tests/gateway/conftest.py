import asyncio
import socket
from contextlib import AsyncExitStack, asynccontextmanager

import msgspec
import pytest
import uvicorn

from aigrid.core.config import Config, GatewayConfig, LedgerConfig
from aigrid.engines.http import HttpClient
from aigrid.gateway.app import Gateway
from aigrid.ledger import open_ledger


class Door:
    """A gateway that listens on loopback, with a ledger of its own and a client that has a key."""

    def __init__(self, gateway: Gateway, url: str, key, secret: str) -> None:
        self.gateway = gateway
        self.ledger = gateway.ledger
        self.url = url
        self.key = key
        self.secret = secret

    def client(self, secret: str | None = None) -> HttpClient:
        headers = {"authorization": f"Bearer {secret or self.secret}"}
        return HttpClient("door", self.url, headers=headers, connect_timeout=60, timeout=60)

    async def ask(self, method: str, path: str, body=None, secret: str | None = None):
        """Return status, headers and body (parsed where it is JSON)."""
        data = body if isinstance(body, bytes) else b"" if body is None else msgspec.json.encode(body)
        async with await self.client(secret).request(method, path, data) as answer:
            raw = await answer.read_all(60)
            kind = answer.headers.get("content-type", "")
            return answer.status, answer.headers, msgspec.json.decode(raw) if kind.endswith("json") and raw else raw

    async def chat(self, text: str = "one two three", secret: str | None = None, **more):
        body = {"model": "echo", "messages": [{"role": "user", "content": text}], **more}
        return await self.ask("POST", "/v1/chat/completions", body, secret)

    async def records(self):
        await self.ledger.flush()
        return await self.ledger.records()


@asynccontextmanager
async def open_door(engines, attach=(), url="sqlite", **limits):
    config = Config(ledger=LedgerConfig(url=url), gateway=GatewayConfig(port=0, drain_s=1.0, **limits))
    ledger = open_ledger(config, owner=True)
    async with AsyncExitStack() as stack:
        await ledger.open()
        stack.push_async_callback(ledger.close)
        for engine in engines:
            await engine.start()
            stack.push_async_callback(engine.stop)
        gateway = Gateway(config, ledger, engines)
        for each in attach:
            each(gateway)
        await gateway.start()
        listener = socket.create_server(("127.0.0.1", 0))
        settings = uvicorn.Config(gateway, ws="none", lifespan="off", log_level="error", http="httptools")
        server = uvicorn.Server(settings)
        task = asyncio.create_task(server.serve([listener]))
        while not server.started:
            await asyncio.sleep(0.01)
        key, secret = await ledger.create_key("acme")
        yield Door(gateway, f"http://127.0.0.1:{listener.getsockname()[1]}", key, secret)
        await gateway.stop()
        server.should_exit = True
        await task


@pytest.fixture
def door():
    """`async with door([engine, …], max_running=…) as door:`."""
    return open_door
