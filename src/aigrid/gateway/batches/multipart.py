"""`multipart/form-data` (RFC 7578), read as it comes: a file of any size takes no more memory than a piece of it."""

import re
from collections.abc import AsyncGenerator, AsyncIterator

from msgspec import Struct

from aigrid.core.errors import BadRequest

_MAX_HEAD = 16 << 10
_BOUNDARY = re.compile(r'boundary=(?:"([^"]{1,200})"|([^;\s]{1,200}))', re.IGNORECASE)
_NAME = re.compile(r'[;\s]name="([^"]*)"', re.IGNORECASE)
_FILENAME = re.compile(r'[;\s]filename="((?:[^"\\]|\\.)*)"', re.IGNORECASE)


class Part(Struct, frozen=True):
    """The beginning of a part; its bytes follow. `filename` is None for a plain field."""

    name: str
    filename: str | None


def boundary_of(content_type: str) -> bytes:
    """Return the boundary that a content type names; raises `BadRequest` where it is no form."""
    found = _BOUNDARY.search(content_type)
    if not content_type.lower().startswith("multipart/form-data") or found is None:
        raise BadRequest(
            "send a form: `content-type: multipart/form-data; boundary=…`, with the fields `purpose` and `file`",
            param="content-type",
        )
    return (found[1] or found[2]).encode("latin-1", "replace")


async def parts(body: AsyncIterator[bytes], boundary: bytes) -> AsyncGenerator[Part | bytes, None]:
    """Yield each part and then its bytes, piece by piece; raises `BadRequest` where the form is broken."""
    mark = b"\r\n--" + boundary
    buffer = bytearray(b"\r\n")
    inside = heading = ended = False
    async for piece in body:
        if ended:
            continue  # what follows the last boundary means nothing
        buffer += piece
        while True:
            if heading:
                end = buffer.find(b"\r\n\r\n")
                if end < 0:
                    if len(buffer) > _MAX_HEAD:
                        raise BadRequest("the head of a part of the form is too long")
                    break
                yield _part(bytes(buffer[:end]))
                del buffer[: end + 4]
                heading, inside = False, True
                continue
            at = buffer.find(mark)
            keep = len(mark) + 1
            if at < 0 or len(buffer) < at + len(mark) + 2:
                ready = at if at >= 0 else len(buffer) - keep
                if ready > 0:
                    if inside:
                        yield bytes(buffer[:ready])
                    del buffer[:ready]
                break
            if inside and at:
                yield bytes(buffer[:at])
            after = bytes(buffer[at + len(mark) : at + len(mark) + 2])
            del buffer[: at + len(mark) + 2]
            if after == b"--":
                ended = True
                break
            if after != b"\r\n":
                raise BadRequest("a boundary of the form is followed by something else than a line's end")
            heading, inside = True, False
    if not ended:
        raise BadRequest("the form ends before its last boundary")


def _part(head: bytes) -> Part:
    for line in head.decode("utf-8", "replace").split("\r\n"):
        name, _, value = line.partition(":")
        if name.strip().lower() == "content-disposition":
            field, filename = _NAME.search(value), _FILENAME.search(value)
            if field is not None:
                return Part(field[1], re.sub(r"\\(.)", r"\1", filename[1]) if filename else None)
    raise BadRequest("a part of the form has no name: give it `Content-Disposition: form-data; name=…`")
