"""Requests within a request: what an engine that is made of other engines asks of them, on the account of the first.

Each is a request of its own on the ledger, whose hold is a part of the first one's: together they cannot cost more
than was held, and every limit of the caller holds.
"""

import random
from abc import ABC, abstractmethod
from asyncio import CancelledError, sleep
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from aigrid.core.clock import mono_ns
from aigrid.core.errors import BudgetExceeded, RateLimited, Unavailable, UpstreamError, UpstreamTimeout
from aigrid.core.ids import new_id
from aigrid.engines.base import Chunk, Engine, GenerateRequest, Usage
from aigrid.gateway.http import Header, Request
from aigrid.gateway.routing import Route
from aigrid.gateway.spent import Spent
from aigrid.gateway.wire.base import Told
from aigrid.ledger.base import Hold, Key, Order, Outcome, Settlement, Tier

if TYPE_CHECKING:
    from aigrid.gateway.app import Gateway
    from aigrid.knowledge.base import Hit
    from aigrid.knowledge.library import Library

T = TypeVar("T")
_RETRYABLE = (UpstreamError, Unavailable, RateLimited)


class Composite(ABC):
    """An engine whose answers are made of requests to others."""

    @abstractmethod
    def compose(self, request: GenerateRequest, within: "Within") -> AsyncGenerator[Chunk, None]:
        """Make tokens for one request by asking others within it."""

    @abstractmethod
    def purse_nusd(self, request: GenerateRequest, tier: Tier) -> int:
        """Return the nano-dollars that all requests within one may cost together."""


class Meter(Protocol):
    """Watches what one request within another uses."""

    def counted(self, hold: Hold) -> None:
        """Look at the counts after a chunk; raises `BudgetExceeded` to stop the request there."""

    def settled(self, settlement: Settlement) -> None:
        """Take what the request came to."""


class Within:
    """A request that makes others. `spent` is what they came to; `headers` go with the answer. `tier` is theirs.

    Where only one of them is the answer, `shown_tokens` are its tokens: all others are reasoning. `thinking` says how
    it came about, where the client wants to know.
    """

    def __init__(self, gateway: "Gateway", request: Request, hold: Hold) -> None:
        self.gateway = gateway
        self.hold = hold
        self.tier = hold.order.tier
        self.spent = Spent()
        self.headers: list[Header] = []
        self.shown_tokens: int | None = None
        self.thinking: dict[str, Any] | None = None
        self._request = request
        self._reasoning = 0

    def cost_nusd(self) -> int:
        """Return what has been spent until now."""
        return self.spent.cost_nusd

    def records(self) -> list[str]:
        """Return the ids of the ledger's records until now, oldest first."""
        return self.spent.records

    @property
    def key(self) -> Key:
        """Who asks, and pays."""
        return self.hold.order.key

    def route(self, model: str) -> Route:
        """Return who can answer; raises `NotFound`."""
        return self.gateway.router.route(model)

    async def count(self, request: GenerateRequest) -> int:
        """Return the number of prompt tokens."""
        return await self.route(request.model).engines[0].count(request)

    async def search(self, question: str, limit: int) -> "list[Hit]":
        """Return the passages that the caller may read."""
        return await self.gateway.knowledge.find(self.key, question, limit, self.spent, self.hold)

    async def consult(self, question: str, work: "Callable[[Library], T]") -> T:
        """Return what `work` finds for a question in the library."""
        return await self.gateway.knowledge.consult(self.key, question, work, self.spent, self.hold)

    async def generate(self, request: GenerateRequest, meter: Meter | None = None) -> AsyncGenerator[Chunk, None]:
        """Make tokens: held out of the first request's hold, counted, settled. Fails over before the first chunk.

        Raises `BudgetExceeded` where what is left of the hold is not enough.
        """
        gateway, began = self.gateway, mono_ns()
        route = self.route(request.model)
        request.id, request.hops = new_id("req_"), self._request.hops
        request.max_tokens = min(request.max_tokens, max(1, route.model.context - 1))
        order = self._order(request, route)
        hold = await gateway.ledger.hold(order, self.hold)
        request.max_tokens = hold.completion_bound // order.n
        outcome: Outcome = "failed"
        step = _Step(hold)
        try:
            async with aclosing(self._tries(request, route, step)) as chunks:
                async for chunk in chunks:
                    step.count(chunk)
                    if meter is not None:
                        meter.counted(hold)
                    yield chunk
                    if hold.completion_tokens > hold.completion_bound:
                        break
            step.close()
            outcome = "finished"
        except (CancelledError, GeneratorExit, BudgetExceeded):
            step.close()
            outcome = "stopped"
            raise
        except UpstreamTimeout:
            outcome = "timeout"
            raise
        finally:
            source = step.usage.source
            settlement = gateway.ledger.settle(hold, outcome, site=step.site, usage_source=source, note=step.note)
            if meter is not None:
                meter.settled(settlement)
            self.spent.add(settlement)
            self.spent.cached_tokens += settlement.cached_tokens
            self._reasoning += settlement.reasoning_tokens
            gateway.metrics.settled(
                order.model, step.site, order.tier, outcome, settlement,
                duration_ns=mono_ns() - began, first_ns=step.first_ns and step.first_ns - began, overhead_ns=0,
            )  # fmt: skip

    def told(self, usage: Usage, settlement: Settlement) -> tuple[Usage, Settlement]:
        """Return usage and settlement of the whole request: its own and all within it."""
        spent = self.spent
        completion = usage.completion_tokens + spent.completion_tokens
        reasoning = usage.reasoning_tokens + self._reasoning
        if self.shown_tokens is not None:
            reasoning = max(0, completion - self.shown_tokens)
        whole = Usage(
            usage.prompt_tokens + spent.prompt_tokens,
            completion,
            reasoning,
            usage.cached_tokens + spent.cached_tokens,
        )
        revenue, energy = settlement.revenue_nusd + spent.cost_nusd, settlement.energy_mj + spent.energy_mj
        source = settlement.energy_source or spent.energy_source
        if self.thinking is not None:
            self.thinking["spent"] = {"tokens": whole.total_tokens, "nusd": revenue, "mj": energy}
        return whole, Told(
            settlement.hold_id, whole.prompt_tokens, whole.completion_tokens, whole.reasoning_tokens,
            whole.cached_tokens, revenue, energy, source, self.thinking,
        )  # fmt: skip

    def _order(self, request: GenerateRequest, route: Route) -> Order:
        first, tier = route.engines[0], self.tier
        return Order(
            request_id=request.id,
            key=self.key,
            model=request.model,
            site=first.site,
            tier=tier,
            prompt_bound=max(engine.token_bound(request) for engine in route.engines),
            completion_bound=request.max_tokens * request.n,
            n=request.n,
            flexible=True,
            purse_nusd=first.purse_nusd(request, tier) if isinstance(first, Composite) else None,
        )

    async def _tries(self, request: GenerateRequest, route: Route, step: "_Step") -> AsyncGenerator[Chunk, None]:
        engines = route.engines
        for at in range(route.tries):
            engine = engines[at % len(engines)]
            if at >= len(engines):
                await sleep(0.05 * 2 ** min(at - len(engines), 5) * (0.5 + random.random()))
            step.site = engine.site
            try:
                async with aclosing(self._chunks(engine, request, step.hold)) as chunks:
                    async for chunk in chunks:
                        yield chunk
                return
            except _RETRYABLE as error:
                self.gateway.router.failed(engine)
                if step.first_ns or at + 1 == route.tries:
                    raise
                step.note = f"{step.note}{'; ' if step.note else ''}{engine.name}: {error.message}"[:300]

    def _chunks(self, engine: Engine, request: GenerateRequest, hold: Hold) -> AsyncGenerator[Chunk, None]:
        if not isinstance(engine, Composite):
            return engine.generate(request)
        inner = Within(self.gateway, self._request, hold)
        inner.spent = self.spent
        return engine.compose(request, inner)


class _Step:
    """The counts of one request within another."""

    def __init__(self, hold: Hold) -> None:
        self.hold = hold
        self.usage = Usage()
        self.site = self.note = ""
        self.first_ns = 0

    def count(self, chunk: Chunk) -> None:
        """Count what a chunk brings."""
        if chunk.usage is not None:
            self.usage = chunk.usage
            self.hold.count_prompt(chunk.usage.prompt_tokens, chunk.usage.cached_tokens)
        if chunk.deltas:
            self.first_ns = self.first_ns or mono_ns()
            tokens = sum(delta.tokens for delta in chunk.deltas)
            if tokens:
                self.hold.count(tokens, sum(delta.reasoning_tokens for delta in chunk.deltas))

    def close(self) -> None:
        """Bring the hold up to what the engine says in the end; counts only grow."""
        more = self.usage.completion_tokens - self.hold.completion_tokens
        if more > 0:
            self.hold.count(more, max(0, self.usage.reasoning_tokens - self.hold.reasoning_tokens))
