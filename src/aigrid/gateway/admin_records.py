"""The ledger's records, one by one: list, show, and stream as CSV."""

import asyncio
import contextlib
import csv
import io
from collections.abc import AsyncGenerator, Iterable, Sequence
from operator import attrgetter
from typing import Any

import msgspec

from aigrid.core.clock import iso
from aigrid.core.errors import NotFound
from aigrid.gateway.admin_access import AdminGateway
from aigrid.gateway.admin_query import FILTERS, Query
from aigrid.gateway.admin_usage import sum_view
from aigrid.gateway.generate import until_gone
from aigrid.gateway.http import ClientGone, Header, Request, Response, Send
from aigrid.ledger.base import Filter, GroupBy, Record, Sum

CSV_COLUMNS = (*Record.__struct_fields__, "created", "settled")
MAX_SUMMED = 20_000
_GROUP_FIELDS: dict[GroupBy, str] = {
    "tenant": "tenant",
    "key": "key_id",
    "model": "model",
    "site": "site",
    "tier": "tier",
}
_SUMMED = tuple(field for field in Sum.__struct_fields__ if field not in {"name", "requests"})
CSV_HEADERS: tuple[Header, ...] = (
    (b"content-type", b"text/csv; charset=utf-8"),
    (b"content-disposition", b'attachment; filename="aigrid-records.csv"'),
    (b"cache-control", b"no-store"),
)


class StreamResponse:
    """An answer of unknown length, sent as it is made, for as long as the client is there."""

    __slots__ = ("headers", "parts", "request")

    def __init__(self, request: Request, headers: Iterable[Header], parts: AsyncGenerator[bytes, None]) -> None:
        self.request = request
        self.headers = list(headers)
        self.parts = parts

    async def send(self, send: Send) -> None:
        """Write the head, then each part; an error while making parts cuts the connection, as it must."""
        with contextlib.suppress(ClientGone):
            await until_gone(self.request, self._write(send), lambda: None)

    async def _write(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.headers})
        async with contextlib.aclosing(self.parts) as parts:
            async for part in parts:
                await send({"type": "http.response.body", "body": part, "more_body": True})
        await send({"type": "http.response.body", "body": b""})


def csv_cell(value: Any) -> Any:
    """Return a value that no spreadsheet takes for a formula: text that starts like one gets a quote in front."""
    if isinstance(value, str) and value[:1] in {"=", "+", "-", "@", "\t", "\r"}:
        return f"'{value}"
    return "" if value is None else value


def csv_lines(rows: Iterable[Iterable[Any]]) -> bytes:
    """Return rows as CSV (RFC 4180, UTF-8)."""
    out = io.StringIO(newline="")
    csv.writer(out).writerows([csv_cell(value) for value in row] for row in rows)
    return out.getvalue().encode()


def record_row(record: Record) -> list[Any]:
    """Return a record as a row of `CSV_COLUMNS`: every field, then its two times in ISO 8601."""
    return [*msgspec.structs.astuple(record), iso(record.created_ns), iso(record.settled_ns)]


def add_records(total: Sum, records: Sequence[Record]) -> None:
    """Add records to a sum."""
    total.requests += len(records)
    for field in _SUMMED:
        value = attrgetter(field)
        setattr(total, field, value(total) + sum(map(value, records)))


class Records:
    """Handlers for single records."""

    def __init__(self, gateway: AdminGateway) -> None:
        self._gateway = gateway

    async def list(self, request: Request) -> Response:
        """GET /admin/records: newest first; `next`, where not null, is the `before` of the next page."""
        where = Query(request, (*FILTERS, "before", "limit")).filter()
        found = await self._gateway.ledger.records(msgspec.structs.replace(where, limit=where.limit + 1))
        page = found[: where.limit]
        return Response.of({"records": page, "next": page[-1].id if len(found) > len(page) else None})

    async def show(self, request: Request) -> Response:
        """GET /admin/records/{id}: one record, once it is committed."""
        Query(request, ())
        record_id = request.path.rpartition("/")[2]
        record = await self._gateway.ledger.record(record_id)
        if record is None:
            raise NotFound(
                f"the ledger has no record `{record_id[:80]}` (a request appears once it is settled)", param="id"
            )
        return Response.of(record)

    async def totals(self, request: Request) -> Response:
        """GET /admin/totals: sums over all matching records.

        With an outcome or several other filters the records themselves are added up: the newest 20,000 at most, and
        `complete` says whether that was all.
        """
        where = Query(request, FILTERS).filter()
        narrow = [by for by, field in _GROUP_FIELDS.items() if getattr(where, field) is not None]
        if where.outcome is None and len(narrow) <= 1:
            report = await self._gateway.ledger.report(where.since_ns, where.until_ns)
            total = report.totals
            for by in narrow:
                name = getattr(where, _GROUP_FIELDS[by])
                total = next((one for one in report.groups.get(by, []) if one.name == name), Sum(name))
            return Response.of({"totals": sum_view(total), "complete": True})
        total = Sum()
        async for page in self._gateway.ledger.export(where):
            add_records(total, page)
            if total.requests >= MAX_SUMMED:
                break
            await asyncio.sleep(0)
        return Response.of({"totals": sum_view(total), "complete": total.requests < MAX_SUMMED})

    async def csv(self, request: Request) -> StreamResponse:
        """GET /admin/records.csv: all matching records, streamed."""
        where = Query(request, FILTERS).filter()
        return StreamResponse(request, CSV_HEADERS, self._csv_parts(where))

    async def _csv_parts(self, where: Filter) -> AsyncGenerator[bytes, None]:
        yield csv_lines([CSV_COLUMNS])
        async for page in self._gateway.ledger.export(where):
            yield csv_lines(record_row(record) for record in page)
