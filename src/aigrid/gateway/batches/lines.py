"""What a line of an input file must be, and what a line of an output file is."""

from collections.abc import AsyncIterator
from typing import Any

import msgspec
from msgspec import Raw, Struct

from aigrid.core.errors import AigridError
from aigrid.core.ids import new_id
from aigrid.gateway.http import error_body
from aigrid.ledger.shelf import Line, Problem

ENDPOINTS = ("/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/embeddings")
_LONGEST_ID = 512


class Envelope(Struct):
    """A line of an input file."""

    custom_id: str
    method: str
    url: str
    body: Raw


_decode = msgspec.json.Decoder(Envelope)
_plain = msgspec.json.Decoder()


def read(line: bytes, number: int, endpoint: str, seen: set[str]) -> Line | Problem:
    """Return a request, or what is wrong with its line. `seen` has the custom ids of the lines before."""
    try:
        found = _decode.decode(line)
    except msgspec.ValidationError as error:
        return _misshapen(str(error), number)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return Problem("invalid_json_line", "This line is not parseable as valid JSON.", None, number)
    if not found.custom_id or len(found.custom_id) > _LONGEST_ID:
        return Problem(
            "invalid_custom_id", f"`custom_id` must have 1 to {_LONGEST_ID} characters.", "custom_id", number
        )
    if found.custom_id in seen:
        return Problem(
            "duplicate_custom_id",
            f"The custom_id '{found.custom_id}' is on a line before this one.",
            "custom_id",
            number,
        )
    if found.method != "POST":
        return Problem("invalid_method", f"`method` is '{found.method[:40]}'; it must be 'POST'.", "method", number)
    if found.url != endpoint:
        message = f"`url` is '{found.url[:80]}', but the batch is for '{endpoint}'."
        return Problem("mismatched_endpoint" if found.url in ENDPOINTS else "invalid_url", message, "url", number)
    body = bytes(found.body)
    if not body.lstrip().startswith(b"{"):
        return Problem("invalid_type", "`body` must be a JSON object.", "body", number)
    seen.add(found.custom_id)
    return Line(number, found.custom_id, body)


def _misshapen(message: str, number: int) -> Problem:
    said, _, where = message.partition(" - at `$")
    if "missing required field `" in said:
        name = said.split("`")[1]
        return Problem("missing_required_parameter", f"Missing required parameter: '{name}'.", name, number)
    param = where.strip("`.") or None
    return Problem("invalid_type", f"{said}{f' (at `{param}`)' if param else ''}.", param, number)


async def split(pieces: AsyncIterator[bytes], longest: int) -> AsyncIterator[bytes]:
    """Yield the lines of a file; one beyond `longest` bytes comes without its end, which no JSON survives."""
    rest = bytearray()
    async for piece in pieces:
        rest += piece
        start = 0
        while (at := rest.find(b"\n", start)) >= 0:
            yield bytes(rest[start : min(at, start + longest)])
            start = at + 1
        del rest[:start]
        if len(rest) > longest + len(piece):
            del rest[longest + 1 :]
    if rest:
        yield bytes(rest[:longest])


def answered(custom_id: str, status: int, request_id: str, body: bytes) -> bytes:
    """Return a line of the output file, or of the error file where the status is not 200."""
    return msgspec.json.encode(
        {
            "id": new_id("batch_req_"),
            "custom_id": custom_id,
            "response": {"status_code": status, "request_id": request_id, "body": Raw(body)},
            "error": None,
        }
    )


def failed(custom_id: str, request_id: str, error: AigridError) -> bytes:
    """Return the line of the error file for a request that was refused or that failed."""
    return answered(custom_id, error.status, request_id, msgspec.json.encode(error_body(error)))


def unmade(custom_id: str, code: str, message: str) -> bytes:
    """Return the line of the error file for a request that nobody tried to answer."""
    row: dict[str, Any] = {"id": new_id("batch_req_"), "custom_id": custom_id, "response": None}
    return msgspec.json.encode({**row, "error": {"code": code, "message": message}})
