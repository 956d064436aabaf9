"""Knowledge over HTTP: search it, ask it, see what is in it, each as the caller's key may.

A caller is `*`, its tenant and its key: a source is seen by whoever is among its readers, and by nobody else is it
counted, found, quoted or named. Searching happens in threads of its own, beside the event loop.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import msgspec
from msgspec import Meta, Struct

from aigrid.core.errors import BadRequest, Unavailable
from aigrid.core.ids import new_id
from aigrid.gateway.admin_query import Query
from aigrid.gateway.auth import authenticate
from aigrid.gateway.http import Handler, Request, Response
from aigrid.gateway.spent import Spent
from aigrid.gateway.wire.base import convert
from aigrid.knowledge.base import EVERYONE, Hit, Source
from aigrid.knowledge.language import estimate_tokens
from aigrid.ledger.base import Hold, Key, Order, Outcome

if TYPE_CHECKING:
    from aigrid.gateway.app import Gateway
    from aigrid.knowledge.library import Library

T = TypeVar("T")
MAX_HITS = 50
THREADS = 2
AROUND = 20_000
"""Characters of a source shown before and after the place that is asked for."""

Question = Annotated[str, Meta(min_length=1, max_length=8000, pattern=r"\S")]


class SearchBody(Struct):
    """A search: the best `limit` passages for a question or a few words."""

    query: Question
    limit: Annotated[int, Meta(ge=1, le=MAX_HITS)] = 10


def readers_of(key: Key) -> frozenset[str]:
    """Return whom a key speaks for: everyone, its tenant, itself."""
    return frozenset((EVERYONE, key.tenant, key.id))


class Knowledge:
    """The gateway's library, opened at the first request for it, and the handlers that read it."""

    def __init__(self, gateway: "Gateway", library: "Library | None" = None) -> None:
        self._gateway = gateway
        self._library = library
        self._threads = ThreadPoolExecutor(THREADS, "knowledge")
        self._opening = asyncio.Lock()

    async def read(self, work: "Callable[[Library], T]") -> T:
        """Return what `work` makes of the library, in a thread.

        Raises `Unavailable` where this installation has no knowledge part.
        """
        return await asyncio.get_running_loop().run_in_executor(self._threads, lambda: work(self._open()))

    def _open(self) -> "Library":
        if self._library is None:
            try:
                from aigrid.knowledge.library import open_library

                self._library = open_library(self._gateway.config)
            except ImportError as error:
                raise Unavailable(
                    f"knowledge is not installed here ({error.name} is missing): pip install 'aigrid[knowledge]'",
                    code="not_installed",
                ) from None
        return self._library

    def close(self) -> None:
        """Let searches end, and the library go."""
        self._threads.shutdown(cancel_futures=True)
        if self._library is not None:
            self._library.close()

    async def find(self, key: Key, question: str, limit: int, spent: Spent, parent: Hold | None = None) -> list[Hit]:
        """Return the best passages that a key may read; see `consult`."""
        readers = readers_of(key)
        return await self.consult(
            key, question, lambda library: library.search(question, limit, readers), spent, parent
        )

    async def consult(
        self, key: Key, question: str, work: "Callable[[Library], T]", spent: Spent, parent: Hold | None = None
    ) -> T:
        """Return what `work` finds for a question in the library, held and settled as a request to the embedder.

        What is part of another request (`parent`) draws on its hold, and has its place already.
        """
        gateway = self._gateway
        order = Order(
            request_id=new_id("req_"),
            key=key,
            model=gateway.config.knowledge.embedder_model or gateway.config.knowledge.embedder,
            site=gateway.config.site.id,
            tier="fast",
            prompt_bound=len(question.encode()) + 8,
            completion_bound=0,
        )
        outcome: Outcome = "failed"
        if parent is None:
            await gateway.gate.enter()
        try:
            hold = await gateway.ledger.hold(order, parent)
            try:
                found = await self.read(work)
                hold.count_prompt(min(estimate_tokens(question) + 2, order.prompt_bound))
                outcome = "finished"
            except asyncio.CancelledError:
                outcome = "stopped"
                raise
            finally:
                spent.add(gateway.ledger.settle(hold, outcome, site=order.site, usage_source="estimated"))
        finally:
            if parent is None:
                gateway.gate.leave()
        return found

    async def search(self, request: Request) -> Response:
        """POST /v1/knowledge/search: the best passages for a question."""
        key = await authenticate(request, self._gateway.ledger)
        body = convert(await request.json(self._gateway.max_body), SearchBody)
        spent = Spent()
        hits = await self.find(key, body.query, body.limit, spent)
        answer = {"object": "list", "data": [hit_view(hit) for hit in hits], "aigrid": spent.cost}
        return Response.of(answer, headers=spent.headers)

    async def sources(self, request: Request) -> Response:
        """GET /v1/knowledge/sources?after=&limit=: what the caller may read, by path."""
        key = await authenticate(request, self._gateway.ledger)
        query = Query(request, ("after", "limit"))
        found = await self.read(lambda library: library.sources(readers_of(key)))
        rows, after = page(found, query.text("after"), query.number("limit", 100, 1, 1000))
        return Response.of({"object": "list", "data": [source_view(source) for source in rows], "next": after})

    async def source(self, request: Request) -> Response:
        """GET /v1/knowledge/sources/{id}?start=&end=: a source's plain text, around a place where one is given."""
        key = await authenticate(request, self._gateway.ledger)
        source_id = request.path.rpartition("/")[2]
        found, plain = await self.read(lambda library: library.source(source_id, readers_of(key)))
        return Response.of({**source_view(found), **span_view(request, plain)})


def span_view(request: Request, plain: str) -> dict[str, Any]:
    """Return the text around the place in `start` and `end`, and what stands at that place (its offsets in `text`)."""
    query = Query(request, ("start", "end"))
    start = query.number("start", 0, 0, 2**31)
    end = query.number("end", start, start, 2**31)
    first = max(0, min(start, len(plain)) - AROUND)
    last = min(len(plain), max(end, start) + AROUND)
    return {
        "characters": len(plain),
        "text": plain[first:last],
        "offset": first,
        "cited": {"start": start, "end": end, "text": plain[start:end]} if end > start else None,
    }


def page(sources: list[Source], after: str | None, limit: int) -> tuple[list[Source], str | None]:
    """Return the sources after the id `after`, at most `limit`, and the id to go on after.

    Raises `BadRequest` for an id that is not in the list, whatever the reason.
    """
    start = 0
    if after is not None:
        ids = [source.id for source in sources]
        if after not in ids:
            raise BadRequest(f"after names `{after[:80]}`, which is not in this list", param="after")
        start = ids.index(after) + 1
    rows = sources[start : start + limit]
    return rows, rows[-1].id if start + limit < len(sources) else None


def source_view(source: Source) -> dict[str, Any]:
    """Return a source as its readers see it: who else may read it is not their affair."""
    view: dict[str, Any] = msgspec.to_builtins(source)
    del view["readers"], view["digest"]
    return {**view, "object": "knowledge.source"}


def hit_view(hit: Hit) -> dict[str, Any]:
    """Return a passage as its readers see it."""
    view: dict[str, Any] = msgspec.to_builtins(hit.chunk)
    del view["readers"], view["position"]
    ranks = {name: getattr(hit, name) for name in ("lexical_rank", "vector_rank", "similarity", "rerank_score")}
    return {**view, "object": "knowledge.passage", "score": hit.score, **ranks}


def knowledge_routes(knowledge: Knowledge) -> dict[tuple[str, str], Handler]:
    """Return the handlers by (method, path)."""
    return {
        ("POST", "/v1/knowledge/search"): knowledge.search,
        ("GET", "/v1/knowledge/sources"): knowledge.sources,
        ("GET", "/v1/knowledge/sources/*"): knowledge.source,
    }
