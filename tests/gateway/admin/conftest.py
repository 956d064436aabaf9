"""A gateway with a real ledger and the echo engine, called as ASGI."""

import asyncio
import json
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import pytest

from aigrid.core.clock import now_ns
from aigrid.core.config import Config, GatewayConfig
from aigrid.engines.echo import EchoEngine
from aigrid.gateway.app import Gateway
from aigrid.ledger import open_ledger
from aigrid.ledger.base import Order


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

    async def call(self, method, url, body=None, *, address="127.0.0.1", key=None, stays=None, **headers) -> Answer:
        """Call as a client that closes the connection when it has the answer, or has `stays` parts of it."""
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
        answer, gone, parts = Answer(0, b""), asyncio.Event(), 0

        async def receive():
            if inbox:
                return inbox.pop()
            await gone.wait()
            return {"type": "http.disconnect"}

        async def send(message):
            nonlocal parts
            if gone.is_set():
                return
            parts += 1
            if parts == stays or (parts > 1 and not message.get("more_body")):
                gone.set()
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


async def open_door(host="127.0.0.1", prices=()):
    config = Config(gateway=GatewayConfig(host=host), prices=list(prices))
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
