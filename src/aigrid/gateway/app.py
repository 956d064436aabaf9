"""The gateway: one ASGI application in front of all engines."""

import asyncio
import contextlib
import logging
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from aigrid import __version__
from aigrid.core.clock import SECOND, mono_ns, now_ns
from aigrid.core.config import Config
from aigrid.core.errors import AigridError, MethodNotAllowed, NotFound, Unavailable
from aigrid.engines.base import Engine
from aigrid.gateway import openapi
from aigrid.gateway.admin import admin_routes
from aigrid.gateway.admin_access import authorise_admin, is_local
from aigrid.gateway.ask import ask
from aigrid.gateway.auth import authenticate
from aigrid.gateway.batches.api import Batches
from aigrid.gateway.batches.files import Files
from aigrid.gateway.batches.shift import Shift
from aigrid.gateway.embed import embed
from aigrid.gateway.gate import Gate
from aigrid.gateway.generate import Answer
from aigrid.gateway.guarding import Door
from aigrid.gateway.http import ClientGone, Handler, Receive, Request, Response, Scope, Send, Sendable, error_response
from aigrid.gateway.ingestion import Ingestion
from aigrid.gateway.knowledge import Knowledge, knowledge_routes
from aigrid.gateway.mcp import Mcp, Offered
from aigrid.gateway.metrics import Metrics
from aigrid.gateway.routing import Router
from aigrid.gateway.think import Thinking
from aigrid.gateway.wire import chat, completions, messages, responses
from aigrid.gateway.wire.base import Wire
from aigrid.ledger.base import Ledger
from aigrid.ledger.prices import PriceList

log = logging.getLogger("aigrid.gateway")
_TICK_S = 0.1
_MOST_TO_COUNT = 2 << 20
"""Bytes whose tokens are counted for nothing; more would keep the event loop from everyone else."""


class Gateway:
    """The door: routes, queue, engines, ledger. Use as an ASGI application between `start` and `stop`."""

    def __init__(self, config: Config, ledger: Ledger, engines: Sequence[Engine]) -> None:
        self.config = config
        self.ledger = ledger
        self.engines = list(engines)
        self.router = Router(engines, {upstream.name: upstream.retries for upstream in config.upstreams})
        limits = config.gateway
        self.thinking = Thinking(config, self.router)
        self.gate = Gate(limits.max_running, limits.max_waiting, limits.max_wait_s)
        self.metrics = Metrics()
        self.guard = Door.of(config, self.metrics)
        self.max_body = limits.max_body_mb << 20
        self.knowledge = Knowledge(self)
        self.ingestion = Ingestion(config)
        self.mcp = Mcp(self)
        self.prices = PriceList(config)
        self.shift = Shift(self)
        self._described: list[openapi.Described] = []
        self.started_ns = now_ns()
        self.lag_s = 0.0
        self._heart: asyncio.Task[None] | None = None
        wires: list[Wire] = [chat.WIRE, completions.WIRE, responses.WIRE, messages.WIRE]
        self._wires = {wire.path: wire for wire in wires}
        self._routes: dict[tuple[str, str], Handler] = {
            ("GET", "/v1/models"): self._models,
            ("GET", "/v1/models/*"): self._model,
            ("POST", "/v1/embeddings"): self._embeddings,
            ("POST", "/v1/messages/count_tokens"): self._count_tokens,
            ("GET", "/health/live"): self._live,
            ("GET", "/health/ready"): self._ready,
            ("GET", "/metrics"): self._metrics,
            ("GET", "/openapi.json"): self._openapi,
            ("GET", "/"): self._about,
            **knowledge_routes(self.knowledge),
            ("POST", "/v1/knowledge/ask"): self._ask,
            ("POST", "/mcp"): self.mcp.handle,
            **Files(self).routes(),
            **Batches(self).routes(),
            **admin_routes(self),
        }
        self._methods: dict[str, set[str]] = {path: {"POST"} for path in self._wires}
        for method, path in self._routes:
            self._methods.setdefault(path, set()).add(method)

    @property
    def running(self) -> int:
        """Requests being worked on."""
        return self.gate.running

    @property
    def waiting(self) -> int:
        """Requests waiting for a place."""
        return self.gate.waiting

    def register(
        self,
        engine: Engine | None,
        routes: Mapping[tuple[str, str], Handler],
        described: Sequence[openapi.Described] = (),
        tools: Sequence[Offered] = (),
    ) -> None:
        """Take in what stands above the gateway: an engine, the last to be asked for a model, and more endpoints.

        `described` are those endpoints in the published document, `tools` are more tools of the MCP server.
        """
        self._described += described
        for tool in tools:
            self.mcp.add(tool)
        if engine is not None:
            self.engines.append(engine)
            self.router.engines.append(engine)
        for (method, path), handler in routes.items():
            self._routes[(method, path)] = handler
            self._methods.setdefault(path, set()).add(method)

    async def start(self) -> None:
        """Watch the event loop's backlog, and begin to work on batches. Ledger and engines are started by whoever made them.

        Raises `ConfigError` where a router would choose what is not served.
        """
        self.thinking.check()
        self._heart = asyncio.create_task(self._beat())
        await self.shift.start()

    async def stop(self) -> None:
        """Let running requests finish, within `drain_s`."""
        await self.shift.stop()
        if not await self.gate.drain(self.config.gateway.drain_s):
            log.warning("%d requests were still running after %g s", self.running, self.config.gateway.drain_s)
        await self.ingestion.close()
        await asyncio.to_thread(self.knowledge.close)
        if self._heart is not None:
            self._heart.cancel()

    async def _beat(self) -> None:
        while True:
            due = mono_ns() + int(_TICK_S * SECOND)
            await asyncio.sleep(_TICK_S)
            self.lag_s = max(0, mono_ns() - due) / SECOND

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one HTTP request."""
        if scope["type"] != "http":
            if scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 1008})
            return
        request = Request(scope, receive)
        wire = self._wires.get(request.path)
        try:
            if wire is not None and request.method == "POST":
                await self._generate(wire, request, send)
                return
            response = await self._handler(request)(request)
        except ClientGone:
            return
        except AigridError as error:
            self.metrics.refused(error)
            response = self._refusal(request, error)
        except Exception:
            log.exception("unexpected error on %s %s", request.method, request.path)
            response = self._refusal(request, AigridError("something went wrong in the gateway; its log says what"))
        await response.send(send)

    def _refusal(self, request: Request, error: AigridError) -> Response:
        response = error_response(error)
        if request.path.startswith(messages.WIRE.path):
            response.body = msgspec.json.encode(messages.WIRE.error_body(error))
        return response

    async def _generate(self, wire: Wire, request: Request, send: Send) -> None:
        answer = Answer(self, wire, request, send)
        try:
            await answer.run()
        except ClientGone:
            pass
        except Exception as raised:
            error = raised if isinstance(raised, AigridError) else None
            if error is None:
                log.exception("unexpected error on %s (%s)", request.path, answer.id)
                error = AigridError("something went wrong in the gateway; its log says what")
            if answer.started:
                data = answer.encoder.error(error) if answer.encoder is not None else b""
                await send({"type": "http.response.body", "body": data})
                return
            self.metrics.refused(error)
            response = error_response(error)
            response.body = msgspec.json.encode(wire.error_body(error))
            response.headers.append((b"x-request-id", answer.id.encode()))
            await response.send(send)

    def _handler(self, request: Request) -> Handler:
        method = "GET" if request.method == "HEAD" else request.method
        path = request.path
        handler = self._routes.get((method, path))
        if handler is not None:
            return handler
        models = "/v1/models/"  # whose ids may have slashes
        pattern = (models if path.startswith(models) else path.rpartition("/")[0] + "/") + "*"
        handler = self._routes.get((method, pattern))
        if handler is not None and path not in self._methods:
            return handler
        if pattern not in self._methods and path.count("/") > 2:  # such as /v1/files/ID/content
            head, _, last = path.rpartition("/")
            pattern = head.rpartition("/")[0] + "/*/" + last
            if (handler := self._routes.get((method, pattern))) is not None:
                return handler
        allowed = self._methods.get(path) or self._methods.get(pattern)
        if allowed:
            error = MethodNotAllowed(f"{request.method} {path} is not allowed; use {' or '.join(sorted(allowed))}")
            error.allow = ", ".join(sorted(allowed | {"HEAD"} if "GET" in allowed else allowed))
            raise error
        raise NotFound(f"there is nothing at {path}; the API is described at /openapi.json")

    async def _models(self, request: Request) -> Response:
        await authenticate(request, self.ledger)
        names = [(model.id, model) for model in self.router.models()]
        for name in self.thinking.planner.names():
            with contextlib.suppress(NotFound, Unavailable):
                names.append((name, self.thinking.weakest(name).model))
        return Response.of({"object": "list", "data": [self._model_row(name, model) for name, model in names]})

    async def _model(self, request: Request) -> Response:
        await authenticate(request, self.ledger)
        name = request.path.removeprefix("/v1/models/")
        return Response.of(self._model_row(name, self.thinking.weakest(name).model))

    def _model_row(self, name: str, model: Any) -> dict[str, Any]:
        created = self.started_ns // SECOND
        row = {"id": name, "object": "model", "created": created, "owned_by": model.owned_by}
        does = [each for each in ("chat", "completions", "embeddings") if getattr(model, each)]
        return {**row, "context_length": model.context, "capabilities": does, "display_name": name, "type": "model"}

    async def _embeddings(self, request: Request) -> Response:
        return await embed(self, request)

    async def _count_tokens(self, request: Request) -> Response:
        await authenticate(request, self.ledger)
        parsed = messages.parse_count(await request.json(min(self.max_body, _MOST_TO_COUNT)))
        route = self.thinking.weakest(parsed.model)
        await self.gate.enter()
        try:
            return Response.of({"input_tokens": await route.engines[0].count(parsed)})
        finally:
            self.gate.leave()

    async def _ask(self, request: Request) -> Sendable:
        return await ask(self, request)

    async def _live(self, request: Request) -> Response:
        return Response.of({"status": "live", "version": __version__})

    async def _ready(self, request: Request) -> Response:
        engines = {engine.name: engine.load().state for engine in self.engines}
        ledger = self.ledger.health()
        works = "ready" in engines.values() and not ledger.get("refuses_holds")
        ready = works and not self.gate.closed and self.lag_s < 1.0
        state = {
            "status": "ready" if ready else "not ready",
            "engines": engines,
            "ledger": ledger,
            "requests": {"running": self.running, "waiting": self.waiting},
            "event_loop_lag_ms": round(self.lag_s * 1000, 3),
        }
        return Response.of(state, 200 if ready else 503)

    async def _metrics(self, request: Request) -> Response:
        if not is_local(request, self):
            await authorise_admin(request, self)
        return Response(self.metrics.expose(self), headers=[(b"content-type", b"text/plain; version=0.0.4")])

    async def _openapi(self, request: Request) -> Response:
        return Response(openapi.document(tuple(self._described)))

    async def _about(self, request: Request) -> Response:
        return Response.of(
            {"name": "aigrid", "version": __version__, "api": "/openapi.json", "health": "/health/ready"}
        )
