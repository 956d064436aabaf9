"""Thinking at the door: a request whose tier asks for it is answered by a strategy, whose calls are requests within it.

Which strategy is the planner's to say: the rules of aigrid.toml, unless something better registers itself.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from contextlib import aclosing

import msgspec

from aigrid.core.clock import now_ns
from aigrid.core.config import Config
from aigrid.core.errors import BadRequest, ConfigError
from aigrid.engines.base import Chunk, Delta, Embeddings, EmbedRequest, GenerateRequest, Load, ModelInfo, Usage
from aigrid.gateway.nested import Composite, Within
from aigrid.gateway.routing import Route, Router
from aigrid.gateway.wire.base import Parsed, ThinkingBody
from aigrid.ledger.base import Hold, Settlement, Tier
from aigrid.ledger.prices import PriceList, nusd
from aigrid.thinking.base import Answer, Candidate, Models, Strategy
from aigrid.thinking.budget import Budget, BudgetSpent, Caps, Cost
from aigrid.thinking.make import make
from aigrid.thinking.policy import Planner, Policy

_SHOWN = 200
"""Characters of a candidate that a stream shows while others are made."""


class Thinking:
    """Decides which requests think, and how. `planner` may be replaced by what knows better."""

    def __init__(self, config: Config, router: Router) -> None:
        self.planner: Planner = Policy(config)
        self._config = config.thinking
        self._router = router
        self._prices = PriceList(config)
        self._most_nusd = nusd(config.thinking.max_usd, "thinking.max_usd")

    def route(self, parsed: Parsed) -> Route:
        """Return who answers a request; its tier becomes the one that it is served and priced at.

        Raises `NotFound` for the model, and `BadRequest` where it asks for what thinking cannot do.
        """
        generate, asked = parsed.generate, parsed.thinking or ThinkingBody()
        tiers = self.planner.names().get(generate.model)
        route = None if tiers else self._router.route(generate.model)
        if route is not None and isinstance(route.engines[0], Composite):
            return route
        effort = generate.body.get("reasoning_effort")
        named = generate.body.get("service_tier") not in (None, "auto")
        able = not route.model.reasons if route is not None else "think" in (tiers or ())
        wants = effort not in (None, "none", "minimal") and self._config.by_effort and able
        if parsed.tier == "fast" and not named and (wants or asked.strategy not in (None, "plain")):
            parsed.tier = "think"
        plan = self.planner.plan(generate, parsed.tier, effort)
        if plan.routed is not None and plan.instead is not None and not self._router.works(plan.model):
            plan = plan.instead
        parsed.routed = plan.routed
        if route is None or plan.model != generate.model:
            generate.model = generate.body["model"] = plan.model
            route = self._router.route(plan.model)
        changes = {"strategy": asked.strategy, "n": asked.n, "scorer": asked.scorer, "rounds": asked.rounds}
        plan = msgspec.structs.replace(plan, **{name: value for name, value in changes.items() if value is not None})
        if plan.plain and asked.caps is None and not asked.trace:
            return route
        if generate.n > 1:
            raise BadRequest(
                "a request that thinks has one answer; leave `n` out, or use service_tier `fast`", param="n"
            )
        most = [cap for cap in (asked.max_nusd, self._most_nusd) if cap]
        engine = Thinker(make(plan, generate), asked, route, self._prices, min(most, default=None))
        return Route(route.model, [engine], 1)

    def weakest(self, name: str) -> Route:
        """Return who answers for a model, or for a router's name who answers what is easy; raises `NotFound`."""
        tiers = self.planner.names().get(name)
        return self._router.route(next(iter(tiers.values()))[0] if tiers else name)

    def check(self) -> None:
        """Raise `ConfigError` where a router would choose a model that nobody here serves.

        An engine that has not said yet what it serves may serve it: then each request sees.
        """
        served = {model.id for model in self._router.models()}
        unsaid = any(not each.models() and each.load().state != "ready" for each in self._router.engines)
        for name, tiers in self.planner.names().items():
            if name in served:
                raise ConfigError(f"a model is called `{name}`, and so is a router in [[tiers]]; name that otherwise")
            missing = sorted({model for models in tiers.values() for model in models} - served)
            if missing and not unsaid:
                raise ConfigError(
                    f"the router `{name}` chooses {', '.join(missing)}, which nobody here serves (there are: "
                    f"{', '.join(sorted(served)) or 'none'}); add an upstream that does, or train it for other models"
                )


class Thinker(Composite):
    """A strategy over a route, for one request."""

    def __init__(
        self, strategy: Strategy, asked: ThinkingBody, route: Route, prices: PriceList, cap: int | None
    ) -> None:
        first = route.engines[0]
        self.name, self.site = first.name, first.site
        self._strategy, self._asked, self._route, self._prices, self._cap = strategy, asked, route, prices, cap

    async def start(self) -> None:
        """Nothing to start."""

    async def stop(self) -> None:
        """Nothing to stop."""

    def models(self) -> list[ModelInfo]:
        """Return the model that it thinks with."""
        return [self._route.model]

    def generate(self, request: GenerateRequest) -> AsyncGenerator[Chunk, None]:
        """Refuse: its tokens are made by requests within a request."""
        raise BadRequest("thinking is done by a gateway only", param="model")

    async def embed(self, request: EmbedRequest) -> Embeddings:
        """Refuse: thinking has no vectors."""
        raise BadRequest("thinking embeds nothing", param="model")

    def token_bound(self, request: GenerateRequest) -> int:
        """Return the bound of one prompt: the rate of tokens admits one answer, and is told of the rest afterwards."""
        return max(engine.token_bound(request) for engine in self._route.engines)

    async def count(self, request: GenerateRequest) -> int:
        """Return the tokens of one prompt."""
        return await self._route.engines[0].count(request)

    def load(self) -> Load:
        """Return the load of the engine below."""
        return self._route.engines[0].load()

    def purse_nusd(self, request: GenerateRequest, tier: Tier) -> int:
        """Return the most that all candidates may cost: each with a prompt that may hold two others."""
        tariff = self._prices.tariff(request.model, tier, self.site, now_ns())
        prompt = self.token_bound(request) + 2 * request.max_tokens
        most = self._strategy.most * tariff.bound(prompt, request.max_tokens)
        return most if self._cap is None else min(most, self._cap)

    async def compose(self, request: GenerateRequest, within: Within) -> AsyncGenerator[Chunk, None]:
        """Think, then say the winner's answer; who watches a stream sees the candidates as reasoning."""
        asked, shows = self._asked, request.stream and self._asked.trace and request.wire == "chat"
        made: asyncio.Queue[Candidate | None] = asyncio.Queue()
        asks = _Asks(within, self._prices, made)

        async def work() -> Answer:
            try:
                caps = msgspec.structs.replace(asked.caps or Caps(), nusd=within.hold.amount_nusd)
                with Budget(caps) as budget:
                    return await self._strategy.run(request, budget, asks)
            finally:
                made.put_nowait(None)

        task = asyncio.create_task(work())
        try:
            while (candidate := await made.get()) is not None:
                if shows:
                    yield Chunk([Delta(reasoning=_line(candidate))])
            answer = await task
        finally:
            task.cancel()
            await asyncio.wait([task])
        winner, trace = answer.winner, answer.trace
        within.shown_tokens = winner.tokens
        if asked.trace:
            within.thinking = trace.public()
        for delta in winner.deltas(request.sampling.logprobs):
            yield Chunk([delta], Usage())


class _Asks(Models):
    """Whom strategies ask at a gateway: requests within the request, counted on their draw."""

    def __init__(self, within: Within, prices: PriceList, made: asyncio.Queue[Candidate | None]) -> None:
        self._within, self._prices, self._made = within, prices, made

    def bound(self, request: GenerateRequest) -> Cost:
        """Return the most that a call can use."""
        route = self._within.route(request.model)
        prompt = max(engine.token_bound(request) for engine in route.engines)
        completion = request.n * min(request.max_tokens, max(1, route.model.context - 1))
        tariff = self._prices.tariff(request.model, self._within.tier, route.engines[0].site, now_ns())
        return Cost(prompt + completion, tariff.bound(prompt, completion))

    def told(self, candidate: Candidate) -> None:
        """Pass a candidate on to who watches."""
        self._made.put_nowait(candidate)

    async def generate(self, request: GenerateRequest, draw: Budget) -> AsyncGenerator[Chunk, None]:
        """Make tokens as a request within the request."""
        meter = _Meter(draw)
        request = msgspec.structs.replace(request)
        try:
            async with aclosing(self._within.generate(request, meter)) as chunks:
                async for chunk in chunks:
                    yield chunk
        finally:
            with contextlib.suppress(BudgetSpent):
                draw.count_to(meter.total)


class _Meter:
    """Counts one request within another on its draw: tokens and energy while it runs, money when it is settled."""

    def __init__(self, draw: Budget) -> None:
        self.draw = draw
        self.total = Cost()

    def counted(self, hold: Hold) -> None:
        """Count what a chunk brought; raises `BudgetSpent` where a cap is reached."""
        self.draw.count_to(Cost(hold.prompt_tokens + hold.completion_tokens, 0, hold.energy_mj))

    def settled(self, settlement: Settlement) -> None:
        """Take what it came to."""
        tokens = settlement.prompt_tokens + settlement.completion_tokens
        self.total = Cost(tokens, settlement.revenue_nusd, settlement.energy_mj)


def _line(candidate: Candidate) -> str:
    said = " ".join(candidate.text.split())
    said = said if len(said) <= _SHOWN else f"…{said[-_SHOWN:]}"
    return f"{candidate.role or 'candidate'} {candidate.number}: {said}\n"
