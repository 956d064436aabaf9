"""What agents remember, over HTTP: a tenant sees, corrects and erases what is remembered for it, and nothing else."""

import asyncio
from typing import Any

import msgspec

from aigrid.agents import memory, spec
from aigrid.agents.memory import About, AgentName, Memories, Memory, Text, User
from aigrid.core.errors import BadRequest
from aigrid.gateway.admin_access import authorise_admin
from aigrid.gateway.admin_query import Query, read_body
from aigrid.gateway.app import Gateway
from aigrid.gateway.auth import authenticate
from aigrid.gateway.http import Handler, Request, Response


class MemoryBody(msgspec.Struct, forbid_unknown_fields=True):
    """Something for an agent to remember: for the whole tenant, or for one `user` of it."""

    agent: AgentName
    text: Text
    about: About = ""
    user: User = ""


class MemoryChange(msgspec.Struct, forbid_unknown_fields=True):
    """What a memory is to say instead; without `about`, that stays."""

    text: Text
    about: About | None = None


class MemoryApi:
    """The handlers of one gateway."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    def routes(self) -> dict[tuple[str, str], Handler]:
        """Return the handlers by (method, path)."""
        return {
            ("GET", "/v1/agents/memory"): self.own,
            ("POST", "/v1/agents/memory"): self.add,
            ("DELETE", "/v1/agents/memory"): self.forget_all,
            ("GET", "/v1/agents/memory/*"): self.one,
            ("PATCH", "/v1/agents/memory/*"): self.edit,
            ("DELETE", "/v1/agents/memory/*"): self.forget,
            ("GET", "/admin/agents/memory"): self.everyones,
            ("DELETE", "/admin/agents/memory"): self.erase_all,
            ("PATCH", "/admin/agents/memory/*"): self.correct,
            ("DELETE", "/admin/agents/memory/*"): self.erase,
        }

    async def own(self, request: Request) -> Response:
        """GET /v1/agents/memory?agent=&user=&limit=: what is remembered for the caller's tenant, newest first."""
        key = await authenticate(request, self._gateway.ledger)
        query = Query(request, ("agent", "user", "limit"))
        limit = query.number("limit", 100, 1, 1000)
        found = await asyncio.to_thread(_all, key.tenant, query.text("agent"), query.text("user"))
        return Response.of({"object": "list", "data": [view(each) for each in found[:limit]]})

    async def add(self, request: Request) -> Response:
        """POST /v1/agents/memory: have an agent that has a memory remember something."""
        key = await authenticate(request, self._gateway.ledger)
        body = await read_body(request, MemoryBody)
        agent = (await asyncio.to_thread(spec.find, body.agent)).agent
        if agent.memory is None:
            raise BadRequest(f"the agent `{body.agent}` has no memory; its file needs the key `memory`", param="agent")
        memories, most = Memories(key.tenant, body.agent), agent.memory.most
        made = await asyncio.to_thread(
            memories.remember, body.text, body.about, body.user, origin=f"key {key.id}", most=most
        )
        return Response.of(view(made), 201)

    async def one(self, request: Request) -> Response:
        """GET /v1/agents/memory/{id}: one of them."""
        key = await authenticate(request, self._gateway.ledger)
        _, found = await asyncio.to_thread(memory.find, _last(request), key.tenant)
        return Response.of(view(found))

    async def edit(self, request: Request) -> Response:
        """PATCH /v1/agents/memory/{id}: put another text in its place."""
        key = await authenticate(request, self._gateway.ledger)
        return Response.of(view(await _change(request, key.tenant)))

    async def forget(self, request: Request) -> Response:
        """DELETE /v1/agents/memory/{id}: erase one."""
        key = await authenticate(request, self._gateway.ledger)
        return Response.of(await asyncio.to_thread(_erase, _last(request), key.tenant))

    async def forget_all(self, request: Request) -> Response:
        """DELETE /v1/agents/memory?agent=&user=: erase all that an agent remembers, or all about a user; one must be named."""
        key = await authenticate(request, self._gateway.ledger)
        query = Query(request, ("agent", "user"))
        agent, user = query.text("agent"), query.text("user")
        if agent is None and user is None:
            raise BadRequest("name the agent, or the user, whose memories are to be erased", param="agent")
        gone = await asyncio.to_thread(erase_all, key.tenant, agent, user)
        return Response.of({"object": "agents.memory.erased", "erased": gone})

    async def everyones(self, request: Request) -> Response:
        """GET /admin/agents/memory?tenant=&agent=&user=&query=&limit=: what agents remember, newest first.

        With a query only what holds each of its words, in whatever case.
        """
        await authorise_admin(request, self._gateway)
        query = Query(request, ("tenant", "agent", "user", "query", "limit"))
        limit = query.number("limit", 100, 1, 1000)
        found = await asyncio.to_thread(_all, query.text("tenant"), query.text("agent"), query.text("user"))
        words = (query.text("query") or "").casefold().split()
        found = [each for each in found if all(word in _words(each) for word in words)]
        return Response.of({"memories": found[:limit], "count": len(found)})

    async def correct(self, request: Request) -> Response:
        """PATCH /admin/agents/memory/{id}: put another text in its place, of any tenant."""
        actor = await authorise_admin(request, self._gateway)
        changed = await _change(request, None)
        await self._gateway.ledger.audit(actor, "agents.correct", changed.id, request.address)
        return Response.of(changed)

    async def erase_all(self, request: Request) -> Response:
        """DELETE /admin/agents/memory?tenant=&agent=&user=: erase all that these choose; one must be named."""
        actor = await authorise_admin(request, self._gateway)
        query = Query(request, ("tenant", "agent", "user"))
        chosen = {name: query.text(name) for name in ("tenant", "agent", "user")}
        if not any(chosen.values()):
            raise BadRequest("name the tenant, the agent or the user whose memories are to be erased", param="tenant")
        gone = await asyncio.to_thread(erase_all, **chosen)
        named = " ".join(f"{name}={value}" for name, value in chosen.items() if value is not None)
        await self._gateway.ledger.audit(actor, "agents.forget", f"{gone} of {named}", request.address)
        return Response.of({"object": "agents.memory.erased", "erased": gone})

    async def erase(self, request: Request) -> Response:
        """DELETE /admin/agents/memory/{id}: erase one, of any tenant."""
        actor = await authorise_admin(request, self._gateway)
        done = await asyncio.to_thread(_erase, _last(request), None)
        await self._gateway.ledger.audit(actor, "agents.forget", _last(request), request.address)
        return Response.of(done)


def view(one: Memory) -> dict[str, Any]:
    """Return a memory as its tenant sees it."""
    found: dict[str, Any] = msgspec.to_builtins(one)
    del found["tenant"]
    return {**found, "object": "agents.memory"}


def erase_all(tenant: str | None, agent: str | None, user: str | None) -> int:
    """Erase what an agent remembers, or what is one user's; returns how many there were."""
    return sum(each.forget(one.id for one in each.all(user)) for each in memory.every(tenant, agent))


def _all(tenant: str | None, agent: str | None, user: str | None) -> list[Memory]:
    found = [one for each in memory.every(tenant, agent) for one in each.all(user)]
    return sorted(found, key=lambda each: (each.written_ns, each.id), reverse=True)


def _words(one: Memory) -> str:
    return "\n".join((one.text, one.about, one.user, one.id)).casefold()


async def _change(request: Request, tenant: str | None) -> Memory:
    body = await read_body(request, MemoryChange)

    def change() -> Memory:
        memories, _ = memory.find(_last(request), tenant)
        return memories.edit(_last(request), body.text, body.about)

    return await asyncio.to_thread(change)


def _erase(id_: str, tenant: str | None) -> dict[str, Any]:
    memories, _ = memory.find(id_, tenant)
    return {"object": "agents.memory.erased", "erased": memories.forget([id_])}


def _last(request: Request) -> str:
    return request.path.rpartition("/")[2]
