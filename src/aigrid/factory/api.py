"""The factory's endpoints: what lines did, which packs serve, and what people say about their answers."""

import asyncio
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from aigrid.core.errors import BadRequest
from aigrid.factory import ratings, record, run, trial
from aigrid.factory.ratings import Rating
from aigrid.gateway.admin_access import authorise_admin
from aigrid.gateway.admin_query import Query, read_body
from aigrid.gateway.app import Gateway
from aigrid.gateway.auth import authenticate
from aigrid.gateway.http import Handler, Request, Response
from aigrid.gateway.openapi import Described
from aigrid.packs import Shelf

_MOST = 32_000
_BUILDS = 50


class RatingKept(msgspec.Struct):
    """A rating that was kept."""

    object: Literal["rating"]
    id: str


DESCRIBED = [Described("post", "/v1/ratings", "Say whether a pack's answer was right", RatingKept, Rating, 201)]


class Act(msgspec.Struct, forbid_unknown_fields=True):
    """A decision about what is in service; `version` is of the pack to serve."""

    action: Literal["serve", "roll_back", "withdraw", "stop_trial"]
    version: Annotated[str, Meta(max_length=128)] = ""
    reason: Annotated[str, Meta(max_length=1000)] = ""


class Api:
    """The handlers of one gateway."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    def routes(self) -> dict[tuple[str, str], Handler]:
        """Return the handlers by (method, path)."""
        return {
            ("POST", "/v1/ratings"): self.rate,
            ("GET", "/admin/ratings"): self.ratings,
            ("POST", "/admin/ratings"): self.rate_any,
            ("GET", "/admin/lines"): self.lines,
            ("GET", "/admin/lines/*"): self.line,
            ("GET", "/admin/packs"): self.packs,
            ("POST", "/admin/packs/*"): self.act,
        }

    async def rate(self, request: Request) -> Response:
        """POST /v1/ratings: whether a pack's answer was right, or what would have been."""
        key = await authenticate(request, self._gateway.ledger)
        return await self._keep(request, f"key {key.id}")

    async def rate_any(self, request: Request) -> Response:
        """POST /admin/ratings: the same, by who administers."""
        return await self._keep(request, await authorise_admin(request, self._gateway))

    async def _keep(self, request: Request, by: str) -> Response:
        body = await read_body(request, Rating)
        if len(msgspec.json.encode([body.said, body.correction])) > _MOST:
            raise BadRequest(f"`said` and `correction` may have {_MOST:,} bytes together", param="correction")
        kept = await asyncio.to_thread(ratings.give, body, by=by)
        return Response.of({"object": "rating", "id": kept.id}, 201)

    async def ratings(self, request: Request) -> Response:
        """GET /admin/ratings?model=&limit=: what people said, newest first."""
        await authorise_admin(request, self._gateway)
        query = Query(request, ("model", "limit"))
        model, limit = query.text("model"), query.number("limit", 100, 1, 1000)
        found = await asyncio.to_thread(
            lambda: [kept for kept in ratings.all_kept() if model in (None, kept.rating.model)]
        )
        return Response.of({"ratings": found[::-1][:limit], "total": len(found)})

    async def lines(self, request: Request) -> Response:
        """GET /admin/lines: the newest build of each line."""
        await authorise_admin(request, self._gateway)
        Query(request, ())
        root = run.root()
        found = await asyncio.to_thread(lambda: [record.builds(root, name)[0] for name in record.lines(root)])
        return Response.of({"lines": [record.told(build) for build in found]})

    async def line(self, request: Request) -> Response:
        """GET /admin/lines/{name}?build=: one build of a line (the newest), and what other builds there are."""
        await authorise_admin(request, self._gateway)
        number = Query(request, ("build",)).number("build", 0, 0, 10**6)
        name = _last(request)
        found = await asyncio.to_thread(record.builds, run.root(), name)
        chosen = next((build for build in found if number in (0, build.number)), None)
        if chosen is None:
            raise BadRequest(f"there is no build {number} of `{name}`; the newest is {found[0].number}", param="build")
        others = [
            {"number": build.number, "started_ns": build.started_ns, "ended": build.ended_ns is not None}
            for build in found[:_BUILDS]
        ]
        return Response.of({"build": record.told(chosen), "builds": others})

    async def packs(self, request: Request) -> Response:
        """GET /admin/packs: the packs here, what is in service, what is on trial, and every decision."""
        await authorise_admin(request, self._gateway)
        Query(request, ())
        return Response.of({"packs": await asyncio.to_thread(_packs)})

    async def act(self, request: Request) -> Response:
        """POST /admin/packs/{name}: serve a version, go back to the one before, withdraw, or stop a trial."""
        actor = await authorise_admin(request, self._gateway)
        body = await read_body(request, Act)
        name = _last(request)
        why = body.reason or "decided by hand"
        made = await asyncio.to_thread(_decide, name, body, why, actor)
        await self._gateway.ledger.audit(actor, f"packs.{body.action}", f"{name} {body.version} {why}", request.address)
        return Response.of(made)


def _decide(name: str, body: Act, why: str, actor: str) -> Any:
    shelf = Shelf()
    match body.action:
        case "serve":
            if not body.version:
                raise BadRequest("say which version to serve", param="version")
            return shelf.serve(name, body.version, why=why, by=actor)
        case "roll_back":
            return shelf.roll_back(name, why=why, by=actor)
        case "withdraw":
            return shelf.withdraw(name, why=why, by=actor)
        case "stop_trial":
            return trial.stop(name, why)


def _packs() -> list[dict[str, Any]]:
    shelf = Shelf()
    names: dict[str, list[dict[str, Any]]] = {}
    for pack in shelf.packs():
        said = pack.manifest
        names.setdefault(said.name, []).append(
            {
                "version": said.version,
                "digest": pack.digest,
                "size": said.size,
                "summary": said.summary,
                "evidence": msgspec.to_builtins(said.evidence),
            }
        )
    return [
        {
            "name": name,
            "versions": versions,
            "in_service": shelf.in_service(name),
            "trial": trial.read(name),
            "history": shelf.history(name),
        }
        for name, versions in sorted(names.items())
    ]


def _last(request: Request) -> str:
    return request.path.rpartition("/")[2]
