"""Administering knowledge: what is in it, who may read what, adding and taking out."""

from typing import Annotated

import msgspec
from msgspec import Meta

from aigrid.core.errors import BadRequest
from aigrid.gateway.admin_access import AdminGateway
from aigrid.gateway.admin_query import Name, Query, read_body
from aigrid.gateway.http import Request, Response
from aigrid.gateway.knowledge import page, span_view

_Target = Annotated[str, Meta(min_length=1, max_length=4096, pattern=r"^[^\x00]*$")]


class AddBody(msgspec.Struct, forbid_unknown_fields=True):
    """What to add: paths on the gateway's machine and URLs; without any, all that was ever added is brought up to date.

    `readers` are tenants or key ids that may read it; null leaves them as they are (everyone, where it is new).
    """

    targets: Annotated[list[_Target], Meta(max_length=1000)] = []
    readers: Annotated[list[Name], Meta(min_length=1, max_length=1000)] | None = None
    again: bool = False


class AdminKnowledge:
    """Handlers under /admin/knowledge. `actor` names who asks, for the audit log."""

    def __init__(self, gateway: AdminGateway) -> None:
        self._gateway = gateway
        self._knowledge = gateway.knowledge
        self._ingestion = gateway.ingestion

    async def show(self, request: Request) -> Response:
        """GET /admin/knowledge: how much there is, what was added with its readers, and the last job."""
        Query(request, ())
        stats, roots, folder = await self._knowledge.read(
            lambda library: (library.stats(None), library.roots(), str(library.folder))
        )
        return Response.of({"stats": stats, "roots": roots, "folder": folder, "job": self._ingestion.job})

    async def sources(self, request: Request) -> Response:
        """GET /admin/knowledge/sources?state=&after=&limit=: every source with its readers, by path."""
        query = Query(request, ("state", "after", "limit"))
        state = query.choice("state", ("indexed", "skipped"))
        found = await self._knowledge.read(lambda library: library.sources(None))
        found = [source for source in found if state is None or source.state == state]
        rows, after = page(found, query.text("after"), query.number("limit", 100, 1, 1000))
        return Response.of({"sources": rows, "next": after})

    async def source(self, request: Request) -> Response:
        """GET /admin/knowledge/sources/{id}?start=&end=: a source, whoever may read it, with its plain text."""
        source_id = request.path.rpartition("/")[2]
        found, plain = await self._knowledge.read(lambda library: library.source(source_id, None))
        return Response.of({**msgspec.to_builtins(found), **span_view(request, plain)})

    async def add(self, request: Request, actor: str) -> Response:
        """POST /admin/knowledge/sources: begin to add targets; the answer is the job, to be looked at later."""
        body = await read_body(request, AddBody)
        for target in body.targets:
            if not target.startswith(("/", "http://", "https://")):
                raise BadRequest(f"`{target[:80]}` must be an absolute path or a URL", param="targets")
        job = self._ingestion.start("add" if body.targets else "refresh", body.targets, body.readers, body.again)
        readers = "as before" if body.readers is None else ",".join(body.readers)
        await self._log(request, actor, "knowledge.add", f"{' '.join(body.targets) or 'everything'} readers={readers}")
        return Response.of({"job": job}, 202)

    async def remove(self, request: Request, actor: str) -> Response:
        """DELETE /admin/knowledge/sources/{id}: take a source out of the index; its file stays, and is left out."""
        Query(request, ())
        source_id = request.path.rpartition("/")[2]
        found, _ = await self._knowledge.read(lambda library: library.source(source_id, None))
        self._ingestion.start("remove", [found.id])
        job = await self._ingestion.wait()
        await self._log(request, actor, "knowledge.remove", found.path)
        return Response.of({"removed": job.removed, "path": found.path})

    async def job(self, request: Request) -> Response:
        """GET /admin/knowledge/job: the job that runs, or the last one."""
        Query(request, ())
        return Response.of({"job": self._ingestion.job})

    async def stop(self, request: Request, actor: str) -> Response:
        """DELETE /admin/knowledge/job: stop the job that runs after what it is writing; what is written stays."""
        Query(request, ())
        self._ingestion.stop()
        await self._log(request, actor, "knowledge.stop", "")
        return Response.of({"job": self._ingestion.job})

    async def _log(self, request: Request, actor: str, act: str, detail: str) -> None:
        await self._gateway.ledger.audit(actor, act, detail[:1000], request.address)
