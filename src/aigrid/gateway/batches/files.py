"""`/v1/files`: what batches read and write. Each belongs to a tenant and is seen by nobody else."""

from collections.abc import AsyncIterator
from functools import partial
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from aigrid.core.clock import DAY, SECOND, now_ns
from aigrid.core.errors import BadRequest, NotFound, TooLarge
from aigrid.core.ids import new_id
from aigrid.gateway.admin_query import Query
from aigrid.gateway.auth import authenticate
from aigrid.gateway.batches.multipart import Part, boundary_of, parts
from aigrid.gateway.http import Handler, Request, Response, Send, Sendable
from aigrid.ledger import shelf
from aigrid.ledger.base import Ledger
from aigrid.ledger.shelf import PART_BYTES, File

if TYPE_CHECKING:
    from aigrid.gateway.app import Gateway

PURPOSES = ("batch",)
"""What clients may upload; `batch_output` is written here only."""
KEPT_NS = 30 * DAY
_LONGEST_FIELD = 4096
_SHORTEST_S, _LONGEST_S = 3600, 30 * 86400


class Files:
    """The handlers of `/v1/files`."""

    def __init__(self, gateway: "Gateway") -> None:
        self._gateway = gateway

    def routes(self) -> dict[tuple[str, str], Handler]:
        """Return handlers by (method, path)."""
        return {
            ("GET", "/v1/files"): self._list,
            ("POST", "/v1/files"): self._upload,
            ("GET", "/v1/files/*"): self._retrieve,
            ("DELETE", "/v1/files/*"): self._delete,
            ("GET", "/v1/files/*/content"): self._content,
        }

    async def _upload(self, request: Request) -> Sendable:
        ledger = self._gateway.ledger
        key = await authenticate(request, ledger)
        boundary = boundary_of(request.header(b"content-type"))
        limit = self._gateway.config.overnight.max_file_mb << 20
        writer = FileWriter(ledger, key.tenant, "batch")
        fields: dict[str, str] = {}
        try:
            await self._read(parts(request.chunks(limit + 65536), boundary), writer, fields, limit)
            purpose = fields.get("purpose")
            if purpose not in PURPOSES:
                raise BadRequest(
                    f"'{purpose}' is not a purpose that files have here; use 'batch'"
                    if purpose
                    else "say `purpose`: batch",
                    param="purpose",
                )
            if writer.filename is None:
                raise BadRequest("the form has no file: send it as the field `file`", param="file")
            if writer.bytes == 0:
                raise BadRequest("the file is empty", param="file", code="empty_file")
            file = await writer.finish(_expiry(fields))
        except BaseException:
            await writer.abandon()
            raise
        return Response.of(view(file))

    async def _read(self, form: Any, writer: "FileWriter", fields: dict[str, str], limit: int) -> None:
        field = ""
        async for item in form:
            if isinstance(item, Part):
                field = item.name
                if field == "file":
                    if writer.filename is not None:
                        raise BadRequest("the form has more than one file; send each by itself", param="file")
                    await writer.begin((item.filename or "file")[:255])
                elif len(fields) >= 16:
                    raise BadRequest("the form has too many fields")
                elif field in fields:
                    raise BadRequest(f"the form has `{field[:40]}` twice", param=field[:40])
                else:
                    fields[field] = ""
            elif field == "file":
                if writer.bytes + len(item) > limit:
                    raise TooLarge(
                        f"the file has more than {limit >> 20} MiB, which is all this gateway takes", param="file"
                    )
                await writer.write(item)
            else:
                fields[field] += item.decode("utf-8", "replace")
                if len(fields[field]) > _LONGEST_FIELD:
                    raise BadRequest(f"`{field[:40]}` is too long", param=field[:40])

    async def _list(self, request: Request) -> Sendable:
        ledger = self._gateway.ledger
        key = await authenticate(request, ledger)
        query = Query(request, ("after", "limit", "order", "purpose"))
        limit = query.number("limit", 10_000, 1, 10_000)
        found = await ledger.read(
            partial(
                shelf.files,
                tenant=key.tenant,
                now=now_ns(),
                purpose=query.text("purpose"),
                after=query.text("after"),
                newest=query.choice("order", ("asc", "desc")) != "asc",
                limit=limit + 1,
            )
        )
        return Response.of(page([view(file) for file in found], limit))

    async def _retrieve(self, request: Request) -> Sendable:
        return Response.of(view(await self._named(request, request.path.rpartition("/")[2])))

    async def _delete(self, request: Request) -> Sendable:
        file = await self._named(request, request.path.rpartition("/")[2])
        await self._gateway.ledger.write(lambda run: shelf.erase_file(run, file.id))
        return Response.of({"id": file.id, "object": "file", "deleted": True})

    async def _content(self, request: Request) -> Sendable:
        return Download(self._gateway.ledger, await self._named(request, request.path.split("/")[-2]))

    async def _named(self, request: Request, id_: str) -> File:
        key = await authenticate(request, self._gateway.ledger)
        return await named(self._gateway.ledger, key.tenant, id_)


async def named(ledger: Ledger, tenant: str, id_: str, param: str = "id") -> File:
    """Return a tenant's file; raises `NotFound`."""
    file = await ledger.read(lambda run: shelf.file(run, tenant, id_[:200], now_ns()))
    if file is None:
        raise NotFound(f"No such File object: {id_[:200]}; GET /v1/files lists those there are", param=param)
    return file


def view(file: File) -> dict[str, Any]:
    """Return a file as OpenAI shows it."""
    return {
        "id": file.id,
        "object": "file",
        "bytes": file.bytes,
        "created_at": file.created_ns // SECOND,
        "filename": file.filename,
        "purpose": file.purpose,
        "status": "processed",
        "expires_at": file.expires_ns // SECOND or None,
    }


def page(rows: list[dict[str, Any]], limit: int) -> dict[str, Any]:
    """Return one page of a list, of which one row more than `limit` was asked for."""
    data = rows[:limit]
    return {
        "object": "list",
        "data": data,
        "first_id": data[0]["id"] if data else None,
        "last_id": data[-1]["id"] if data else None,
        "has_more": len(rows) > limit,
    }


def _expiry(fields: dict[str, str]) -> int:
    """Return for how many nanoseconds a file is kept."""
    anchor, seconds = fields.get("expires_after[anchor]"), fields.get("expires_after[seconds]")
    if anchor is None and seconds is None:
        return KEPT_NS
    if anchor != "created_at":
        raise BadRequest("`expires_after[anchor]` must be `created_at`", param="expires_after.anchor")
    if seconds is None or not (seconds.isdecimal() and len(seconds) <= 9 and _SHORTEST_S <= int(seconds) <= _LONGEST_S):
        raise BadRequest(
            f"`expires_after[seconds]` must be a number from {_SHORTEST_S} to {_LONGEST_S}",
            param="expires_after.seconds",
        )
    return int(seconds) * SECOND


class FileWriter:
    """Writes a file part by part; it is seen once it is finished."""

    def __init__(self, ledger: Ledger, tenant: str, purpose: str, id_: str = "") -> None:
        self.id = id_ or new_id("file-")
        self.filename: str | None = None
        self.bytes = 0
        self._ledger, self._tenant, self._purpose = ledger, tenant, purpose
        self._created_ns = now_ns()
        self._parts = 0
        self._rest = bytearray()

    async def begin(self, filename: str) -> None:
        """Make the file, in place of one with this id that was begun before."""
        self.filename = "".join(c if c.isprintable() else "_" for c in filename)
        file = File(self.id, self._tenant, self._purpose, self.filename, 0, self._created_ns, 0, 0)

        def make(run: Any) -> None:
            shelf.erase_file(run, self.id)
            shelf.put_file(run, file)

        await self._ledger.write(make)

    async def write(self, data: bytes) -> None:
        """Add bytes."""
        self._rest += data
        self.bytes += len(data)
        while len(self._rest) >= PART_BYTES:
            await self._put(bytes(self._rest[:PART_BYTES]))
            del self._rest[:PART_BYTES]

    async def close(self) -> None:
        """Write what is left; the file is not seen yet."""
        if self._rest:
            await self._put(bytes(self._rest))
            self._rest.clear()

    def finished(self, kept_ns: int) -> File:
        """Return the file as it is once `finish_file` has been run for it."""
        assert self.filename is not None
        expires = self._created_ns + kept_ns if kept_ns else 0
        return File(self.id, self._tenant, self._purpose, self.filename, self.bytes, self._created_ns, expires)

    async def finish(self, kept_ns: int) -> File:
        """Let the file be seen."""
        await self.close()
        file = self.finished(kept_ns)
        await self._ledger.write(lambda run: shelf.finish_file(run, file))
        return file

    async def abandon(self) -> None:
        """Erase what was written."""
        if self.filename is not None:
            await self._ledger.write(lambda run: shelf.erase_file(run, self.id))

    async def _put(self, data: bytes) -> None:
        number, self._parts = self._parts, self._parts + 1
        await self._ledger.write(lambda run: shelf.put_part(run, self.id, number, data))


async def content(ledger: Ledger, file: str) -> AsyncIterator[bytes]:
    """Yield the bytes of a file, part by part."""
    number = 0
    while (data := await ledger.read(lambda run, n=number: shelf.part(run, file, n))) is not None:  # type: ignore[misc]
        yield data
        number += 1


class Download(Struct):
    """A file as the answer to a request."""

    ledger: Any
    file: File

    async def send(self, send: Send) -> None:
        """Write it, part by part."""
        name = self.file.filename.encode("ascii", "replace").replace(b'"', b"'").replace(b"\\", b"_")
        headers = [
            (b"content-type", b"application/octet-stream"),
            (b"content-length", str(self.file.bytes).encode()),
            (b"content-disposition", b'attachment; filename="' + name + b'"'),
        ]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        async for data in content(self.ledger, self.file.id):
            await send({"type": "http.response.body", "body": data, "more_body": True})
        await send({"type": "http.response.body", "body": b""})
