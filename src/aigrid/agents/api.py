"""Agents over HTTP: a tenant sees and resumes its own runs; who administers sees all, and answers what waits."""

import asyncio
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from aigrid.agents import shelf, spec, views
from aigrid.agents.desk import Desk, State
from aigrid.agents.energy import Energy
from aigrid.agents.engine import AgentEngine
from aigrid.agents.feedback import Feedback, give, rows
from aigrid.core.errors import NotFound
from aigrid.gateway.admin_access import authorise_admin
from aigrid.gateway.admin_query import Query, read_body
from aigrid.gateway.app import Gateway
from aigrid.gateway.auth import authenticate
from aigrid.gateway.http import Handler, Request, Response

_STATES: tuple[State, ...] = ("waiting", "approved", "denied", "expired", "stale")


class Decision(msgspec.Struct, forbid_unknown_fields=True):
    """An answer to an approval. `digest` is that of the arguments that were shown; another one is refused."""

    approve: bool
    digest: Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
    reason: Annotated[str, Meta(max_length=2000)] = ""


class Stop(msgspec.Struct, forbid_unknown_fields=True):
    """What is to be done with a run: there is one thing. The reason is kept in its journal."""

    action: Literal["stop"]
    reason: Annotated[str, Meta(max_length=2000)] = ""


class Api:
    """The handlers of one gateway."""

    def __init__(self, gateway: Gateway, engine: AgentEngine) -> None:
        self._gateway = gateway
        self._engine = engine
        self._desk: Desk | None = None
        self._energy = Energy(gateway.ledger)

    @property
    def desk(self) -> Desk:
        """The desk, opened at the first request for it."""
        self._desk = self._desk or Desk()
        return self._desk

    def routes(self) -> dict[tuple[str, str], Handler]:
        """Return the handlers by (method, path)."""
        return {
            ("GET", "/v1/agents/runs"): self.own_runs,
            ("GET", "/v1/agents/runs/*"): self.own_run,
            ("POST", "/v1/agents/runs/*"): self.stop_own,
            ("POST", "/v1/agents/feedback"): self.feedback,
            ("GET", "/admin/agents"): self.agents,
            ("GET", "/admin/agents/runs"): self.runs,
            ("GET", "/admin/agents/runs/*"): self.run,
            ("POST", "/admin/agents/runs/*"): self.stop,
            ("GET", "/admin/agents/feedback"): self.all_feedback,
            ("POST", "/admin/agents/feedback"): self.any_feedback,
            ("GET", "/admin/agents/approvals"): self.approvals,
            ("GET", "/admin/agents/approvals/*"): self.approval,
            ("POST", "/admin/agents/approvals/*"): self.decide,
        }

    async def own_runs(self, request: Request) -> Response:
        """GET /v1/agents/runs?limit=: the caller's tenant's runs, newest first."""
        key = await authenticate(request, self._gateway.ledger)
        limit = Query(request, ("limit",)).number("limit", 20, 1, 100)
        found = await asyncio.to_thread(views.runs, limit, key.tenant)
        await self._energy.measure(found)
        return Response.of({"object": "list", "data": found})

    async def own_run(self, request: Request) -> Response:
        """GET /v1/agents/runs/{id}: a run of the caller's tenant, with its steps."""
        key = await authenticate(request, self._gateway.ledger)
        return Response.of(await self._run(_last(request), key.tenant))

    async def stop_own(self, request: Request) -> Response:
        """POST /v1/agents/runs/{id}: stop a run of the caller's tenant for good; what it was doing is cut off."""
        key = await authenticate(request, self._gateway.ledger)
        body = await read_body(request, Stop)
        await self._run(_last(request), key.tenant)
        await self._engine.end(_last(request), f"key {key.id}", body.reason)
        return Response.of(await self._run(_last(request), key.tenant))

    async def feedback(self, request: Request) -> Response:
        """POST /v1/agents/feedback: a rating, correction or comment on a step of the caller's tenant's run."""
        key = await authenticate(request, self._gateway.ledger)
        body = await read_body(request, Feedback)
        await self._run(body.run, key.tenant)
        row = await asyncio.to_thread(give, body, by=key.id)
        return Response.of({"object": "agents.feedback", "id": row.id}, 201)

    async def agents(self, request: Request) -> Response:
        """GET /admin/agents: the agents there are, and what is wrong with files that are none."""
        await authorise_admin(request, self._gateway)
        Query(request, ())
        found, wrong = await asyncio.to_thread(spec.every)
        rows = [{**msgspec.to_builtins(each.agent), "path": str(each.path)} for each in found]
        return Response.of({"agents": rows, "wrong": wrong})

    async def runs(self, request: Request) -> Response:
        """GET /admin/agents/runs?agent=&tenant=&limit=: runs, newest first."""
        await authorise_admin(request, self._gateway)
        query = Query(request, ("agent", "tenant", "limit"))
        limit = query.number("limit", 50, 1, 500)
        found = await asyncio.to_thread(views.runs, limit, query.text("tenant"), query.text("agent"))
        await self._energy.measure(found)
        return Response.of({"runs": found})

    async def run(self, request: Request) -> Response:
        """GET /admin/agents/runs/{id}: a run with its steps."""
        await authorise_admin(request, self._gateway)
        return Response.of(await self._run(_last(request)))

    async def stop(self, request: Request) -> Response:
        """POST /admin/agents/runs/{id}: stop a run of any tenant for good; what it was doing is cut off."""
        actor = await authorise_admin(request, self._gateway)
        body = await read_body(request, Stop)
        await self._engine.end(_last(request), actor, body.reason)
        await self._gateway.ledger.audit(
            actor, "agents.stop", f"{_last(request)} {body.reason}".strip(), request.address
        )
        return Response.of(await self._run(_last(request)))

    async def all_feedback(self, request: Request) -> Response:
        """GET /admin/agents/feedback?run=: what people said about the steps of all runs, or of one; oldest first."""
        await authorise_admin(request, self._gateway)
        run = Query(request, ("run",)).text("run")
        found = await asyncio.to_thread(lambda: [row for row in rows() if run in (None, row.feedback.run)])
        return Response.of({"feedback": found})

    async def any_feedback(self, request: Request) -> Response:
        """POST /admin/agents/feedback: a rating, correction or comment on a step of any run."""
        actor = await authorise_admin(request, self._gateway)
        body = await read_body(request, Feedback)
        row = await asyncio.to_thread(give, body, by=actor)
        return Response.of({"object": "agents.feedback", "id": row.id}, 201)

    async def approvals(self, request: Request) -> Response:
        """GET /admin/agents/approvals?state=&limit=: what waits and what was decided, newest first."""
        await authorise_admin(request, self._gateway)
        query = Query(request, ("state", "limit"))
        state: Any = query.choice("state", _STATES)
        return Response.of({"approvals": self.desk.all(state, query.number("limit", 100, 1, 1000))})

    async def approval(self, request: Request) -> Response:
        """GET /admin/agents/approvals/{id}: one approval, with the exact arguments and their digest."""
        await authorise_admin(request, self._gateway)
        return Response.of(self.desk.get(_last(request)))

    async def decide(self, request: Request) -> Response:
        """POST /admin/agents/approvals/{id}: approve or deny; the same answer twice is one answer."""
        actor = await authorise_admin(request, self._gateway)
        body = await read_body(request, Decision)
        one = self.desk.decide(_last(request), body.approve, approver=actor, reason=body.reason, bound=body.digest)
        detail = f"{one.id} {one.state} {one.tool} {one.digest[:16]}"
        await self._gateway.ledger.audit(actor, "agents.decide", detail, request.address)
        return Response.of(one)

    async def _run(self, run: str, tenant: str | None = None) -> dict[str, Any]:
        view, steps = await asyncio.to_thread(lambda: views.run_view(shelf.find(run)))
        if tenant is not None and view.tenant != tenant:
            raise NotFound(f"there is no run `{run[:80]}` here", param="run")
        await self._energy.measure([view])
        await self._energy.measure_steps(steps)
        journal = [views.as_dict(step) for step in steps]
        return {**msgspec.to_builtins(view), "object": "agents.run", "journal": journal}


def _last(request: Request) -> str:
    return request.path.rpartition("/")[2]
