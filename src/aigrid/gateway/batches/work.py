"""The walk of one request of a batch: understand, hold, generate, keep the answer, settle.

The answer is written before anything is counted on the hold, and the hold is settled right after: an attempt that
ends before its answer is written costs nothing, and one whose answer is written is charged, whatever is killed when.
"""

import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Struct

from aigrid.core.clock import mono_ns
from aigrid.core.errors import BadRequest, RateLimited, Unavailable, UpstreamError, UpstreamTimeout
from aigrid.core.ids import new_id
from aigrid.engines.base import Chunk, Engine, GenerateRequest, Usage
from aigrid.gateway.batches import lines
from aigrid.gateway.generate import order_for
from aigrid.gateway.http import Request, decode_object
from aigrid.gateway.nested import Composite, Within
from aigrid.gateway.routing import Route
from aigrid.gateway.wire import chat, completions, embeddings, responses
from aigrid.gateway.wire.base import Parsed, Wire, told_of
from aigrid.gateway.wire.embeddings import ParsedEmbedding
from aigrid.ledger.base import Hold, Key, Order, Outcome
from aigrid.ledger.shelf import DONE, Line, Result

if TYPE_CHECKING:
    from aigrid.gateway.app import Gateway

_WIRES: dict[str, Wire] = {wire.path: wire for wire in (chat.WIRE, completions.WIRE, responses.WIRE)}
_RETRYABLE = (UpstreamError, Unavailable, RateLimited)

Keep = Callable[[Result], Awaitable[bool]]
"""Writes an answer durably; returns whether it counts: False where the request has one, or is not ours any more."""
Turn = Callable[[], Awaitable[None]]
"""Waits until interactive requests let others have the engine."""


class Asked(Struct):
    """A request of a batch, understood: what it is, who can answer it, and the most that it can use."""

    parsed: Parsed | ParsedEmbedding
    route: Route
    order: Order


def understand(gateway: "Gateway", endpoint: str, body: bytes, key: Key) -> Asked:
    """Read the body of a request; raises what the endpoint itself would raise."""
    request_id = new_id("req_")
    asked = decode_object(body)
    if asked.get("stream"):
        raise BadRequest("a request of a batch cannot stream; leave `stream` out", param="stream")
    if endpoint not in _WIRES:
        embedding = embeddings.parse(asked, request_id)
        route = gateway.router.route(embedding.request.model)
        able = [each for each in route.engines if any(m.embeddings for m in each.models() if m.id == route.model.id)]
        if not able:
            raise BadRequest(
                f"the model '{route.model.id}' makes no embeddings", param="model", code="model_not_supported"
            )
        route.engines = able
        inputs = embedding.request.inputs
        bound = sum(len(item.encode()) + 8 if isinstance(item, str) else len(item) + 8 for item in inputs)
        return Asked(embedding, route, Order(request_id, key, route.model.id, able[0].site, "overnight", bound, 0))
    parsed = _WIRES[endpoint].parse(asked, request_id)
    parsed.tier = "overnight"
    parsed.generate.patient = True
    route = gateway.thinking.route(parsed)
    parsed.tier = "overnight"
    return Asked(parsed, route, order_for(parsed, route, key, gateway.config.gateway.default_max_tokens))


class Attempt:
    """One try to answer a request of a batch."""

    def __init__(
        self, gateway: "Gateway", batch: str, endpoint: str, line: Line, turn: Turn, keep: Keep, *, idle: bool
    ) -> None:
        self._gateway, self._idle = gateway, idle
        self._batch, self._endpoint, self._line = batch, endpoint, line
        self._turn, self._keep = turn, keep
        self._began = mono_ns()
        self._first_ns = 0
        self._site = self._note = ""
        self._usage = Usage()
        self._tokens = self._reasoning = 0
        self.request_id = ""

    async def run(self, key: Key) -> int:
        """Answer; return the tokens that it took. Raises what kept it from being answered; that cost nothing."""
        gateway = self._gateway
        asked = understand(gateway, self._endpoint, self._line.body, key)
        order = asked.order
        self.request_id = order.request_id
        routed = asked.parsed.note if isinstance(asked.parsed, Parsed) else ""
        self._note = f"{self._batch} line {self._line.line}{'; ' if routed else ''}{routed}"[:300]
        if gateway.guard is not None and isinstance(asked.parsed, Parsed):
            self._mark(await gateway.guard.admit(key, asked.parsed.generate))
        hold = await gateway.ledger.hold(order)
        outcome: Outcome = "stopped"
        try:
            if isinstance(asked.parsed, ParsedEmbedding):
                make = self._embedded(asked, asked.parsed, hold)
            else:
                asked.parsed.generate.idle = self._idle
                asked.parsed.generate.max_tokens = hold.completion_bound // order.n
                make = self._generated(asked, asked.parsed, hold)
            result = await make
            if await self._keep(result):
                hold.count_prompt(result.prompt_tokens, result.cached_tokens)
                hold.count(result.completion_tokens, result.reasoning_tokens)
                outcome = "finished"
            return result.prompt_tokens + result.completion_tokens
        except UpstreamTimeout:
            outcome = "timeout"
            raise
        except Exception:
            outcome = "failed"
            raise
        finally:
            settlement = gateway.ledger.settle(
                hold, outcome, site=self._site, usage_source=self._usage.source, note=self._note
            )
            gateway.metrics.settled(
                order.model, self._site or order.site, order.tier, outcome, settlement,
                duration_ns=mono_ns() - self._began, first_ns=self._first_ns, overhead_ns=0,
            )  # fmt: skip

    async def _generated(self, asked: Asked, parsed: Parsed, hold: Hold) -> Result:
        encoder = _WIRES[self._endpoint].encoder(parsed, int(time.time()))
        within = Within(self._gateway, _alone(self._endpoint), hold)
        made = self._tries(asked, parsed.generate, within)
        guard, key = self._gateway.guard, hold.order.key
        if guard is not None and guard.watches(key):
            made = guard.watch(key, made, self._mark)
        async with aclosing(made) as chunks:
            async for chunk in chunks:
                if chunk.deltas or chunk.raw is not None:
                    self._first_ns = self._first_ns or mono_ns() - self._began
                    encoder.add(chunk)
                await self._turn()
        usage = self._counted()
        settlement = self._gateway.ledger.forecast(
            hold, usage.prompt_tokens, usage.cached_tokens, usage.completion_tokens, usage.reasoning_tokens
        )
        cost = settlement.revenue_nusd
        if within.spent.records:
            usage_told, settlement = within.told(usage, settlement)
        else:
            usage_told = usage
        return self._result(hold, encoder.whole(usage_told, told_of(parsed, settlement)), usage, cost)

    def _mark(self, text: str) -> None:
        if text:
            self._note = f"{self._note}; {text}"[:300]

    async def _embedded(self, asked: Asked, parsed: ParsedEmbedding, hold: Hold) -> Result:
        for engine in asked.route.engines:
            self._site = engine.site
            try:
                made = await engine.embed(parsed.request)
                break
            except _RETRYABLE:
                self._gateway.router.failed(engine)
                if engine is asked.route.engines[-1]:
                    raise
        self._usage = made.usage
        usage = Usage(prompt_tokens=made.usage.prompt_tokens, source=made.usage.source)
        body = await embeddings.encode(parsed, made)
        cost = self._gateway.ledger.forecast(hold, usage.prompt_tokens, 0, 0, 0).revenue_nusd
        return self._result(hold, body, usage, cost)

    def _result(self, hold: Hold, body: bytes, usage: Usage, cost: int) -> Result:
        answer = lines.answered(self._line.custom_id, 200, self.request_id, body)
        return Result(
            self._batch, self._line.line, DONE, answer, hold.id, usage.prompt_tokens, usage.cached_tokens,
            usage.completion_tokens, usage.reasoning_tokens, cost,
        )  # fmt: skip

    def _counted(self) -> Usage:
        """Return what is charged: as the engine says in the end, and no fewer tokens than were seen."""
        usage = self._usage
        more = usage.completion_tokens - self._tokens
        reasoning = self._reasoning + (max(0, usage.reasoning_tokens - self._reasoning) if more > 0 else 0)
        return msgspec.structs.replace(
            usage, completion_tokens=max(usage.completion_tokens, self._tokens), reasoning_tokens=reasoning
        )

    async def _tries(self, asked: Asked, request: GenerateRequest, within: Within) -> AsyncGenerator[Chunk, None]:
        """Yield what the first engine makes that does not fail; before its first chunk another one is asked."""
        engines = asked.route.engines
        for engine in engines:
            self._site = engine.site
            begun = False
            try:
                async with aclosing(_chunks(engine, request, within)) as chunks:
                    async for chunk in chunks:
                        begun = True
                        if chunk.usage is not None:
                            self._usage = chunk.usage
                        self._tokens += sum(delta.tokens for delta in chunk.deltas)
                        self._reasoning += sum(delta.reasoning_tokens for delta in chunk.deltas)
                        yield chunk
                return
            except _RETRYABLE as error:
                self._gateway.router.failed(engine)
                if begun or engine is engines[-1]:
                    raise
                self._note = f"{self._note}; {engine.name}: {error.message}"[:300]


def _chunks(engine: Engine, request: GenerateRequest, within: Within) -> AsyncGenerator[Chunk, None]:
    return engine.compose(request, within) if isinstance(engine, Composite) else engine.generate(request)


def _alone(path: str) -> Request:
    """Return the request that a client would have sent, of which nothing is needed but that nobody waits for it."""

    async def receive() -> Any:
        raise AssertionError("the request of a batch has no client")

    return Request({"type": "http", "method": "POST", "path": path, "headers": []}, receive)
