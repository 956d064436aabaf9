"""The walk of one request: understand, admit, hold, generate, count, settle.

Every way out settles the hold exactly once. Tenants pay for tokens that were sent to them, or made for them until
they left; what fails here before anything was sent costs them nothing.
"""

import asyncio
import random
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import TYPE_CHECKING

from aigrid.core.clock import mono_ns
from aigrid.core.errors import RateLimited, Unavailable, UpstreamError, UpstreamTimeout
from aigrid.core.ids import new_id
from aigrid.engines.base import Chunk, Delta, Engine, Usage
from aigrid.gateway.auth import authenticate
from aigrid.gateway.http import JSON, ClientGone, Header, Request, Send
from aigrid.gateway.nested import Composite, Within
from aigrid.gateway.routing import Route
from aigrid.gateway.wire.base import Encoder, Parsed, Wire, told_of
from aigrid.ledger.base import Hold, Key, Order, Outcome, Settlement

if TYPE_CHECKING:
    from aigrid.gateway.app import Gateway

_RETRYABLE = (UpstreamError, Unavailable, RateLimited)
_ROUTED = b"x-aigrid-routed"


class Answer:
    """One generation request on its way through the house."""

    def __init__(self, gateway: "Gateway", wire: Wire, request: Request, send: Send) -> None:
        self.gateway = gateway
        self.wire = wire
        self.request = request
        self.send = send
        self.id = new_id("req_")
        self.started = False
        self.encoder: Encoder | None = None
        self._begin_ns = mono_ns()
        self._engine_ns = self._first_ns = self._overhead_ns = 0
        self._usage = Usage()
        self._outcome: Outcome = "failed"
        self._note = ""
        self._site = ""
        self._left = False
        self._settlement: Settlement | None = None
        self._made = self._thought = 0  # tokens of an answer that is counted when it is whole
        self._within: Within | None = None
        self._rushing = False

    async def run(self) -> None:
        """Answer the request; an `AigridError` before the first byte is for the caller to write."""
        gateway = self.gateway
        key = await authenticate(self.request, gateway.ledger)
        self.parsed = self.wire.parse(await self.request.json(gateway.max_body), self.id)
        self.parsed.generate.hops = self.request.hops
        found = "" if gateway.guard is None else await gateway.guard.admit(key, self.parsed.generate)
        self.route = gateway.thinking.route(self.parsed)
        self._note = self.parsed.note
        if found:
            self._mark(found)
        await gateway.gate.enter()
        gateway.gate.rush()
        self._rushing = True
        try:
            order = order_for(self.parsed, self.route, key, gateway.config.gateway.default_max_tokens)
            self.hold = await gateway.ledger.hold(order)
            self.parsed.generate.max_tokens = self.hold.completion_bound // order.n
            try:
                await until_gone(self.request, self._tries(), self._leave)
                self._outcome = "finished"
            except (ClientGone, asyncio.CancelledError):
                self._outcome = "client_gone" if self._left else "stopped"
                self.hold.count(self._made, self._thought)
                self._count_usage()
                raise
            except UpstreamTimeout:
                self._outcome = "timeout"
                raise
            finally:
                settlement = self._settle()
                now = mono_ns()
                gateway.metrics.settled(
                    order.model, self._site, order.tier, self._outcome, settlement,
                    duration_ns=now - self._begin_ns, first_ns=self._first_ns, overhead_ns=self._overhead_ns,
                )  # fmt: skip
        finally:
            self._rest()
            gateway.gate.leave()

    def _rest(self) -> None:
        if self._rushing:
            self._rushing = False
            self.gateway.gate.rest()

    def _leave(self) -> None:
        self._left = True

    async def _tries(self) -> None:
        """Try engine after engine until one answers; after the first byte there is no way back."""
        work: Callable[[Engine], Awaitable[None]] = self._stream if self.parsed.generate.stream else self._whole
        engines = self.route.engines
        for at in range(self.route.tries):
            engine = engines[at % len(engines)]
            if at >= len(engines):
                await asyncio.sleep(0.05 * 2 ** min(at - len(engines), 5) * (0.5 + random.random()))
            self._site = engine.site
            self._engine_ns = mono_ns()
            try:
                return await work(engine)
            except _RETRYABLE as error:
                self._usage = Usage()
                self._made = self._thought = 0
                self.gateway.router.failed(engine)
                if self.started or at + 1 == self.route.tries:
                    raise
                self._note = f"{self._note}{'; ' if self._note else ''}{engine.name}: {error.message}"[:300]
        return None

    async def _stream(self, engine: Engine) -> None:
        """Send chunks as they come. Tokens are counted on the hold before their bytes are sent."""
        generate, hold, send = self.parsed.generate, self.hold, self.send
        encoder = self.wire.encoder(self.parsed, int(time.time()))
        async with aclosing(self._chunks(engine)) as chunks:
            async for chunk in chunks:
                if chunk.usage is not None:
                    self._usage = chunk.usage
                if not chunk.deltas and chunk.raw is None:
                    continue
                if not self.started:
                    await self._start(encoder)
                tokens = reasoning = 0
                for delta in chunk.deltas:
                    tokens += delta.tokens
                    reasoning += delta.reasoning_tokens
                if tokens:
                    hold.count(tokens, reasoning)
                data = encoder.chunk(chunk)
                if data:
                    await send({"type": "http.response.body", "body": data, "more_body": True})
                if hold.completion_tokens > hold.completion_bound:
                    data = encoder.chunk(Chunk([Delta(i, finish_reason="length") for i in range(generate.n)]))
                    await send({"type": "http.response.body", "body": data, "more_body": True})
                    break
        if not self.started:
            await self._start(encoder)
        self._count_usage()
        self._outcome = "finished"
        data = encoder.finish(*self._told(self._settle()))
        await send({"type": "http.response.body", "body": data})

    async def _start(self, encoder: Encoder) -> None:
        self.started = True
        self._rest()
        self.encoder = encoder
        now = mono_ns()
        self._first_ns = now - self._begin_ns
        self.hold.count_prompt(self._usage.prompt_tokens, self._usage.cached_tokens)
        self._overhead_ns = self._engine_ns - self._begin_ns
        headers = [(b"content-type", encoder.content_type), *self._headers()]
        await self.send({"type": "http.response.start", "status": 200, "headers": headers})
        data = encoder.start(self._usage)
        if data:
            await self.send({"type": "http.response.body", "body": data, "more_body": True})

    async def _whole(self, engine: Engine) -> None:
        """Collect the answer, settle, send it with what it cost in its headers."""
        encoder = self.wire.encoder(self.parsed, int(time.time()))
        async with aclosing(self._chunks(engine)) as chunks:
            async for chunk in chunks:
                if chunk.usage is not None:
                    self._usage = chunk.usage
                if chunk.deltas or chunk.raw is not None:
                    if not self._first_ns:
                        self._first_ns = mono_ns() - self._begin_ns
                        self._rest()
                        self.hold.mark_first_token()
                    for delta in chunk.deltas:
                        self._made += delta.tokens
                        self._thought += delta.reasoning_tokens
                    encoder.add(chunk)
        done = mono_ns()
        self.hold.count(self._made, self._thought)
        self._made = self._thought = 0
        self._count_usage()
        self._outcome = "finished"
        usage, settlement = self._told(self._settle())
        body = encoder.whole(usage, settlement)
        self._overhead_ns = self._engine_ns - self._begin_ns + mono_ns() - done
        self.started = True
        headers = [JSON, (b"content-length", b"%d" % len(body)), *self._headers(), *cost_headers(settlement)]
        await self.send({"type": "http.response.start", "status": 200, "headers": headers})
        await self.send({"type": "http.response.body", "body": body})

    def _chunks(self, engine: Engine) -> AsyncGenerator[Chunk, None]:
        if isinstance(engine, Composite):
            self._within = Within(self.gateway, self.request, self.hold)
            chunks = engine.compose(self.parsed.generate, self._within)
        else:
            chunks = engine.generate(self.parsed.generate)
        guard, key = self.gateway.guard, self.hold.order.key
        return chunks if guard is None or not guard.watches(key) else guard.watch(key, chunks, self._mark)

    def _mark(self, text: str) -> None:
        self._note = f"{self._note}{'; ' if self._note else ''}{text}"[:300]

    def _told(self, settlement: Settlement) -> tuple[Usage, Settlement]:
        """Return what the client is told of usage and cost: that of the requests which this one made, too."""
        usage = settled_usage(self.hold)
        if self._within is not None:
            usage, settlement = self._within.told(usage, settlement)
        return usage, told_of(self.parsed, settlement)

    def _count_usage(self) -> None:
        """Bring the hold up to what the engine says in the end; counts only grow."""
        hold, usage = self.hold, self._usage
        if usage.prompt_tokens:
            hold.count_prompt(usage.prompt_tokens, usage.cached_tokens)
        more = usage.completion_tokens - hold.completion_tokens
        if more > 0:
            hold.count(more, max(0, usage.reasoning_tokens - hold.reasoning_tokens))

    def _settle(self) -> Settlement:
        if self._settlement is None:
            self._settlement = self.gateway.ledger.settle(
                self.hold, self._outcome, site=self._site, usage_source=self._usage.source, note=self._note
            )
        return self._settlement

    def _headers(self) -> list[Header]:
        request_id = self.id.encode()
        return [
            (b"x-request-id", request_id),
            (b"request-id", request_id),
            (b"x-aigrid-site", self._site.encode("latin-1", "replace")),
            (b"x-aigrid-gateway-us", b"%d" % (self._overhead_ns // 1000)),
            *((_ROUTED, str(routed).encode("latin-1", "replace")) for routed in (self.parsed.routed,) if routed),
            *(self._within.headers if self._within is not None else ()),
        ]


def order_for(parsed: Parsed, route: Route, key: Key, default_max_tokens: int) -> Order:
    """Return the order for the most that a request can use; sets the limit of one that has none."""
    generate = parsed.generate
    first = route.engines[0]
    flexible = generate.max_tokens == 0
    generate.max_tokens = min(generate.max_tokens or default_max_tokens, max(1, route.model.context - 1))
    return Order(
        request_id=generate.id,
        key=key,
        model=generate.model,
        site=first.site,
        tier=parsed.tier,
        prompt_bound=max(engine.token_bound(generate) for engine in route.engines),
        completion_bound=generate.max_tokens * generate.n,
        n=generate.n,
        flexible=flexible,
        purse_nusd=first.purse_nusd(generate, parsed.tier) if isinstance(first, Composite) else None,
    )


def settled_usage(hold: Hold) -> Usage:
    """Return the usage that stands on the ledger, which is what the client is told."""
    return Usage(hold.prompt_tokens, hold.completion_tokens, hold.reasoning_tokens, hold.cached_tokens)


def cost_headers(settlement: Settlement) -> list[Header]:
    """Return what a request cost, as headers."""
    return [
        (b"x-aigrid-cost-nusd", b"%d" % settlement.revenue_nusd),
        (b"x-aigrid-energy-mj", b"%d" % settlement.energy_mj),
        (b"x-aigrid-energy-source", settlement.energy_source.encode()),
    ]


async def until_gone(request: Request, work: Awaitable[None], leave: Callable[[], None]) -> None:
    """Do `work`, but cancel it when the client closes the connection; then call `leave` and raise `ClientGone`."""
    task = asyncio.current_task()
    assert task is not None

    def gone(_: asyncio.Task[None]) -> None:
        leave()
        task.cancel()

    watcher = asyncio.create_task(request.gone())
    watcher.add_done_callback(gone)
    try:
        await work
    except asyncio.CancelledError:
        if watcher.done() and task.uncancel() == 0:
            raise ClientGone from None
        raise
    finally:
        watcher.remove_done_callback(gone)
        watcher.cancel()
