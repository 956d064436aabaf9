"""`/v1/batches`, with OpenAI's fields, statuses and errors; and what a batch would cost, before it is made."""

import asyncio
import re
from typing import TYPE_CHECKING, Annotated, Any, Literal

from msgspec import Meta, Struct

from aigrid.core.clock import SECOND, now_ns
from aigrid.core.errors import BadRequest, Conflict, NotFound
from aigrid.core.ids import new_id
from aigrid.gateway.admin_query import Query
from aigrid.gateway.auth import authenticate
from aigrid.gateway.batches import lines
from aigrid.gateway.batches.files import content, named, page
from aigrid.gateway.batches.job import Check, Job
from aigrid.gateway.http import Handler, Request, Response, Sendable
from aigrid.gateway.wire.base import convert
from aigrid.gateway.wire.sampling import Metadata
from aigrid.ledger import shelf
from aigrid.ledger.base import Key
from aigrid.ledger.shelf import Batch, Plan

if TYPE_CHECKING:
    from aigrid.gateway.app import Gateway

_WINDOW = re.compile(r"([1-9]\d{0,4})([smh])")
_UNIT_S = {"s": 1, "m": 60, "h": 3600}
_LONGEST_S = 86400
_MAX_BODY = 1 << 20
_STATUSES = ("in_progress", "finalizing", "completed", "failed", "expired", "cancelling", "cancelled")


class ExpiresAfter(Struct):
    """How long the output and error files are kept after they are made."""

    anchor: Literal["created_at"]
    seconds: Annotated[int, Meta(ge=3600, le=30 * 86400)]


class QuoteBody(Struct, kw_only=True):
    """A batch that somebody thinks of making."""

    input_file_id: str
    endpoint: str


class BatchBody(QuoteBody, kw_only=True):
    """A batch to make. `completion_window` is `24h`; shorter ones (`90m`, `6h`) are an earlier deadline."""

    completion_window: str
    metadata: Metadata | None = None
    output_expires_after: ExpiresAfter | None = None


class Batches:
    """The handlers of `/v1/batches`."""

    def __init__(self, gateway: "Gateway") -> None:
        self._gateway = gateway

    def routes(self) -> dict[tuple[str, str], Handler]:
        """Return handlers by (method, path)."""
        return {
            ("GET", "/v1/batches"): self._list,
            ("POST", "/v1/batches"): self._create,
            ("POST", "/v1/batches/quote"): self._quote,
            ("GET", "/v1/batches/*"): self._retrieve,
            ("POST", "/v1/batches/*/cancel"): self._cancel,
        }

    async def _create(self, request: Request) -> Sendable:
        key, asked = await self._asked(request, BatchBody)
        now = now_ns()
        expires = asked.output_expires_after.seconds if asked.output_expires_after is not None else 0
        plan = Plan(
            asked.endpoint, asked.input_file_id, asked.completion_window, asked.metadata, {"validating": now},
            output_expires_s=expires,
        )  # fmt: skip
        deadline = now + _window_s(asked.completion_window) * SECOND
        batch = Batch(
            new_id("batch_"), key.tenant, key.id, "validating", now, deadline, "", 0, 0, 0, 0, 0, 0, 0, 0, 0, plan
        )
        await self._gateway.ledger.write(lambda run: shelf.put_batch(run, batch))
        self._gateway.shift.wake()
        return Response.of(self._view(batch))

    async def _quote(self, request: Request) -> Sendable:
        key, asked = await self._asked(request, QuoteBody)
        now = now_ns()
        plan = Plan(asked.endpoint, asked.input_file_id, "24h")
        batch = Batch("", key.tenant, key.id, "validating", now, now, "", 0, 0, 0, 0, 0, 0, 0, 0, 0, plan)
        check = Check(self._gateway, batch, self._gateway.config.overnight.max_requests)
        number = 0
        pieces = content(self._gateway.ledger, asked.input_file_id)
        async for text in lines.split(pieces, self._gateway.max_body):
            number += 1
            if text.strip():
                check.line(text, number)
            if number % 8 == 0:
                await asyncio.sleep(0)
        errors = check.finish()
        quote = {
            "object": "batch.quote",
            "requests": check.total,
            "completion_tokens_bound": check.tokens_bound,
            "cost_bound_nusd": check.bound_nusd,
            "errors": _errors(errors),
        }
        return Response.of(quote)

    async def _asked(self, request: Request, kind: type[Any]) -> tuple[Key, Any]:
        ledger = self._gateway.ledger
        key = await authenticate(request, ledger)
        asked = convert(await request.json(_MAX_BODY), kind)
        if asked.endpoint not in lines.ENDPOINTS:
            raise BadRequest(
                f"Invalid value: '{asked.endpoint[:80]}'. Supported values are: "
                f"{', '.join(repr(each) for each in lines.ENDPOINTS)}.",
                param="endpoint",
                code="invalid_value",
            )
        if isinstance(asked, BatchBody):
            _window_s(asked.completion_window)
            for name, value in (asked.metadata or {}).items():
                if len(name) > 64 or len(value) > 512:
                    raise BadRequest(
                        "keys of metadata have at most 64 characters, values at most 512", param="metadata"
                    )
        file = await named(ledger, key.tenant, asked.input_file_id, "input_file_id")
        if file.purpose != "batch":
            raise BadRequest(
                f"{file.id} has the purpose '{file.purpose}'; a batch needs a file with the purpose 'batch'",
                param="input_file_id",
                code="invalid_purpose",
            )
        return key, asked

    async def _retrieve(self, request: Request) -> Sendable:
        key = await authenticate(request, self._gateway.ledger)
        return Response.of(self._view(await self._named(key, request.path.rpartition("/")[2])))

    async def _cancel(self, request: Request) -> Sendable:
        ledger = self._gateway.ledger
        key = await authenticate(request, ledger)
        id_ = request.path.split("/")[-2][:200]
        batch = await ledger.write(lambda run: shelf.cancel(run, id_, key.tenant, now_ns()))
        if batch is None:
            raise _missing(id_)
        if batch.status not in ("cancelling", "cancelled"):
            raise Conflict(f"Cannot cancel a batch with status '{batch.status}'.", code="batch_not_cancellable")
        self._gateway.shift.wake()
        return Response.of(self._view(batch))

    async def _list(self, request: Request) -> Sendable:
        key = await authenticate(request, self._gateway.ledger)
        query = Query(request, ("after", "limit"))
        limit, after = query.number("limit", 20, 1, 100), query.text("after")
        found = await self._gateway.ledger.read(
            lambda run: shelf.batches(run, key.tenant, after=after, limit=limit + 1)
        )
        return Response.of(page([self._view(batch) for batch in found], limit))

    def _view(self, batch: Batch) -> dict[str, Any]:
        return view(batch, self._gateway.shift.jobs.get(batch.id))

    async def _named(self, key: Key, id_: str) -> Batch:
        batch = await self._gateway.ledger.read(lambda run: shelf.batch(run, id_[:200], key.tenant))
        if batch is None:
            raise _missing(id_[:200])
        return batch


def view(batch: Batch, job: Job | None) -> dict[str, Any]:
    """Return a batch as OpenAI shows it; `aigrid` has what it costs and what it waits for."""
    plan = batch.plan
    ended = batch.status in ("completed", "expired", "cancelled")
    at = {f"{status}_at": plan.times.get(status, 0) // SECOND or None for status in _STATUSES}
    return {
        "id": batch.id,
        "object": "batch",
        "endpoint": plan.endpoint,
        "model": plan.model or None,
        "errors": _errors(plan.errors),
        "input_file_id": plan.input_file,
        "completion_window": plan.window,
        "status": batch.status,
        "output_file_id": plan.output_file or None if ended else None,
        "error_file_id": plan.error_file or None if ended else None,
        "created_at": batch.created_ns // SECOND,
        "expires_at": batch.deadline_ns // SECOND,
        **at,
        "request_counts": {"total": batch.total, "completed": batch.completed, "failed": batch.failed},
        "metadata": plan.metadata,
        "usage": {
            "input_tokens": batch.prompt_tokens,
            "input_tokens_details": {"cached_tokens": batch.cached_tokens},
            "output_tokens": batch.completion_tokens,
            "output_tokens_details": {"reasoning_tokens": batch.reasoning_tokens},
            "total_tokens": batch.prompt_tokens + batch.completion_tokens,
        },
        "aigrid": {
            "cost_nusd": batch.cost_nusd,
            "cost_bound_nusd": plan.bound_nusd,
            "waits_for": job.waits_for if job is not None and not job.busy else "",
            "running": len(job.busy) if job is not None else 0,
        },
    }


def _errors(problems: list[shelf.Problem]) -> dict[str, Any] | None:
    return {"object": "list", "data": problems} if problems else None


def _missing(id_: str) -> NotFound:
    return NotFound(f"No batch found with id '{id_}'.", param="id")


def _window_s(text: str) -> int:
    """Return a completion window in seconds."""
    found = _WINDOW.fullmatch(text)
    seconds = int(found[1]) * _UNIT_S[found[2]] if found else 0
    if not 0 < seconds <= _LONGEST_S:
        raise BadRequest(
            f"Invalid value: '{text[:40]}'. Use '24h', or a shorter time such as '90m' or '6h'.",
            param="completion_window",
            code="invalid_value",
        )
    return seconds
