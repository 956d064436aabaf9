"""Agents as an engine: `model: "agent:NAME"` through any door that the gateway has.

The request's hold is the run's purse: each step of the model and each search is a request within it. A run that needs
a person says so and ends the request; it goes on with `metadata: {"run": ID}`.
"""

import asyncio
import contextlib
import os
from collections.abc import AsyncGenerator
from typing import Any

import msgspec

from aigrid.agents import shelf, spec
from aigrid.agents.asked import World, task_of
from aigrid.agents.desk import Desk
from aigrid.agents.events import Called, Event, Outcome, Returned, Text, Thought
from aigrid.agents.journal import opening
from aigrid.agents.spec import Agent
from aigrid.agents.stopping import stop_all
from aigrid.agents.team_books import spent_nusd
from aigrid.agents.team_run import Account, Errand, Recruiter, serves
from aigrid.agents.tools.base import Site
from aigrid.agents.traces import Exporter
from aigrid.core.clock import now_ns
from aigrid.core.config import Config
from aigrid.core.errors import BadRequest, NotFound, Unavailable
from aigrid.engines.base import (
    Chunk,
    Delta,
    Embeddings,
    EmbedRequest,
    GenerateRequest,
    Load,
    ModelInfo,
    Usage,
)
from aigrid.gateway.nested import Composite, Within
from aigrid.ledger.base import Tier
from aigrid.ledger.prices import MTOK, PriceList, nusd

PREFIX = "agent:"
SHOWN = 300
"""Characters of a call or its outcome that a stream shows."""
_CONTEXT = 1 << 20


class Sitting:
    """A run at work in this process, and who wants it stopped and why, where somebody does."""

    def __init__(self, task: asyncio.Task[Outcome]) -> None:
        self.task = task
        self.stopped_by: tuple[str, str] | None = None


class AgentEngine(Composite):
    """Every agent in AIGRID_HOME/agents; a file that is added or changed counts at once."""

    def __init__(self, config: Config) -> None:
        self.name = "agents"
        self.site = config.site.id
        self._prices = PriceList(config)
        self._seen = -1
        self._models: list[ModelInfo] = []
        self._running = 0
        self._sittings: dict[str, Sitting] = {}
        self._desk: Desk | None = None
        self._traces = Exporter(config.traces)

    async def start(self) -> None:
        """Nothing to load before the first run."""

    async def stop(self) -> None:
        """Let go of the desk, when the last traces are sent."""
        await self._traces.stop()
        if self._desk is not None:
            self._desk.close()
            self._desk = None

    def models(self) -> list[ModelInfo]:
        """Return the agents there are."""
        folder = spec.agents_folder()
        try:
            seen = os.stat(folder).st_mtime_ns
        except OSError:
            return []
        if seen != self._seen:
            names = sorted(path.stem for path in folder.glob("*.yaml"))
            self._models = [
                ModelInfo(
                    f"{PREFIX}{name}", _CONTEXT, completions=False, tools=False, grammar=False, logprobs=False,
                    owned_by="agents",
                )
                for name in names
            ]  # fmt: skip
            self._seen = seen
        return self._models

    def generate(self, request: GenerateRequest) -> AsyncGenerator[Chunk, None]:
        """Refuse: an agent's tokens are made by requests within a request."""
        raise BadRequest("an agent answers through a gateway only", param="model")

    async def embed(self, request: EmbedRequest) -> Embeddings:
        """Refuse: agents have no vectors."""
        raise BadRequest("an agent embeds nothing; ask an embedding model", param="model")

    def token_bound(self, request: GenerateRequest) -> int:
        """Return the tokens that the agent's budget allows its run."""
        return _named(request.model).agent.budget.tokens

    async def count(self, request: GenerateRequest) -> int:
        """Return the most that the prompts of a run may come to: nobody can know how many steps it takes."""
        return self.token_bound(request)

    def load(self) -> Load:
        """Return the runs at work."""
        return Load(running=self._running, capacity=1_000)

    def purse_nusd(self, request: GenerateRequest, tier: Tier) -> int:
        """Return the most that a run may still cost: of `budget.usd`, else its tokens at the dearer of its prices."""
        agent, run, spent = _named(request.model).agent, _run_of(request), 0
        if run is not None:
            spent = spent_nusd(shelf.find(run))
        budget, tier = agent.budget, agent.tier or tier
        if budget.usd is not None:
            return max(0, nusd(f"{budget.usd:.9f}", "budget.usd") - spent)
        tariff = self._prices.tariff(agent.model, tier, self.site, now_ns())
        most = -(-budget.tokens * max(tariff.prompt, tariff.cached, tariff.completion) // MTOK)
        return max(0, most - spent)

    async def end(self, run: str, by: str, reason: str = "") -> None:
        """End a run as a person wants it, with those that it recruited; returns when it has ended.

        Raises `NotFound`, and `Conflict` where it is done, or another gateway works on it.
        """
        sitting = self._sittings.get(run)
        if sitting is not None and not sitting.task.done():
            sitting.stopped_by = (by, reason)
            sitting.task.cancel()
            await asyncio.wait([sitting.task])
        self._desk = self._desk or Desk()
        await stop_all(run, by, reason, self._desk)

    async def compose(self, request: GenerateRequest, within: Within) -> AsyncGenerator[Chunk, None]:
        """Run the agent, or go on with a run; what it says comes as text, what it does as reasoning."""
        try:
            loop = await asyncio.to_thread(_loop)
        except ImportError as error:
            raise Unavailable(
                f"agents are not installed here ({error.name} is missing): pip install 'aigrid[agents]'",
                code="not_installed",
            ) from None
        events: asyncio.Queue[Event | None] = asyncio.Queue()
        self._desk = self._desk or Desk()
        desk = self._desk
        world = World(within)
        found = _named(request.model)
        run, errand = _run_of(request), request if isinstance(request, Errand) else None
        account = Account(within)
        self._running += 1
        try:
            async with contextlib.AsyncExitStack() as stack:
                if run is not None:
                    journal = stack.enter_context(await opening(lambda: shelf.find(run).open()))
                    began = loop.begun(journal)
                    if began.task.tenant != within.key.tenant or began.agent.name != found.agent.name:
                        raise NotFound(f"there is no run `{run}` of {request.model} here", param="metadata.run")
                    agent = began.agent
                    box = await loop.pack(agent, Site(found.folder, world))
                else:
                    agent = _capped(found.agent, request)
                    box = await loop.pack(agent, Site(found.folder, world))
                    task = await task_of(agent, request, within, world)
                    model = agent.model or _first_model(within)
                    within.route(model)
                    place = shelf.place(errand.run) if errand is not None else None
                    parent = errand.parent if errand is not None else None
                    journal = stack.enter_context(
                        await opening(lambda: loop.begin(agent, found.folder, model, task, box, place, parent))
                    )
                    began = loop.begun(journal)
                within.tier = agent.tier or within.tier
                world.team = Recruiter(began, journal, within, account, serves(within))
                within.headers.append((b"x-aigrid-run", journal.run.encode()))

                async def work() -> Outcome:
                    outcome: Outcome
                    try:
                        outcome = await loop.walk(journal, box, account, desk, events.put_nowait)
                    except asyncio.CancelledError:
                        if sitting.stopped_by is None:
                            raise
                        outcome = await loop.stop(journal, *sitting.stopped_by)
                    finally:
                        events.put_nowait(None)
                    return outcome

                task_ = asyncio.create_task(work())
                sitting = self._sittings[journal.run] = Sitting(task_)
                try:
                    said = False
                    while (event := await events.get()) is not None:
                        said = said or isinstance(event, Text)
                        yield Chunk([_delta(event)])
                    outcome = await task_
                    if errand is not None:
                        errand.outcome = outcome
                    elif began.parent is None and outcome.state in ("done", "stopped"):
                        self._traces.ended(outcome.run)
                finally:
                    task_.cancel()
                    await asyncio.wait([task_])
                    del self._sittings[journal.run]
            if outcome.state != "done" or not said:
                yield Chunk([Delta(text=_last_words(outcome))])
            limited = outcome.state == "stopped" and not outcome.stopped_by
            yield Chunk([Delta(finish_reason="length" if limited else "stop")], Usage())
        finally:
            self._running -= 1


def _loop() -> Any:
    from aigrid.agents import loop

    return loop


def _named(model: str) -> spec.Found:
    return spec.find(model.removeprefix(PREFIX))


def _capped(agent: Agent, request: GenerateRequest) -> Agent:
    agent = msgspec.structs.replace(agent, max_tokens=min(agent.max_tokens, request.max_tokens))
    return request.limited(agent) if isinstance(request, Errand) else agent


def _first_model(within: Within) -> str:
    models = within.gateway.router.models()
    name = next((each.id for each in models if each.chat and not each.id.startswith(PREFIX)), None)
    if name is None:
        raise Unavailable("no model is served that an agent could think with; try again soon", retry_after=2)
    return name


def _run_of(request: GenerateRequest) -> str | None:
    if isinstance(request, Errand):
        return request.run if request.begun() else None
    metadata = request.body.get("metadata")
    run = metadata.get("run") if isinstance(metadata, dict) else None
    return run if isinstance(run, str) and run else None


def _delta(event: Event) -> Delta:
    match event:
        case Text(text):
            return Delta(text=text)
        case Thought(text):
            return Delta(reasoning=text)
        case Called(_, tool, arguments):
            return Delta(reasoning=f"\n→ {tool} {msgspec.json.encode(arguments).decode()[:SHOWN]}\n")
        case Returned(_, _, _, result):
            return Delta(reasoning=f"← {result[:SHOWN]}\n")


def _last_words(outcome: Outcome) -> str:
    if outcome.state == "done":
        return outcome.output
    again = f" Go on with the run {outcome.run}." if outcome.state in ("waiting", "unknown") else ""
    return f"[{outcome.state}: {outcome.reason}{f' ({outcome.approval})' if outcome.approval else ''}.{again}]"
