"""What a wire format is: a parser and an encoder.

A format turns the client's JSON object into a `GenerateRequest` and what the engine makes into the client's bytes.
It neither admits, nor counts, nor settles: `gateway/generate.py` does that once for all formats.
"""

from typing import Any, Protocol, TypeVar

import msgspec

from aigrid.core.errors import AigridError, BadRequest
from aigrid.engines.base import Chunk, GenerateRequest, Usage
from aigrid.ledger.base import Settlement, Tier

T = TypeVar("T")


class Parsed(msgspec.Struct):
    """A request understood: `generate.max_tokens` is 0 when the client set no limit."""

    generate: GenerateRequest
    tier: Tier = "fast"


class Encoder(Protocol):
    """Writes one answer. Streaming: `start`, `chunk`…, `finish` (or `error`). Otherwise: `add`…, `whole`."""

    content_type: bytes

    def start(self, usage: Usage) -> bytes:
        """Return the bytes before the first chunk (may be empty); `usage` is what is known of the prompt by now."""

    def chunk(self, chunk: Chunk) -> bytes:
        """Return the bytes of one chunk (may be empty)."""

    def finish(self, usage: Usage, settlement: Settlement) -> bytes:
        """Return the bytes that end a good stream."""

    def error(self, error: AigridError) -> bytes:
        """Return the bytes that tell of a failure after the stream began."""

    def add(self, chunk: Chunk) -> None:
        """Collect a chunk of an answer that is not streamed."""

    def whole(self, usage: Usage, settlement: Settlement) -> bytes:
        """Return the body of an answer that is not streamed."""


class Wire(Protocol):
    """One generation endpoint."""

    path: str

    def parse(self, body: dict[str, Any], request_id: str) -> Parsed:
        """Understand the client's object; raises `BadRequest` naming the field."""

    def encoder(self, parsed: Parsed, created: int) -> Encoder:
        """Return a new encoder for one answer; `created` is in Unix seconds."""

    def error_body(self, error: AigridError) -> dict[str, Any]:
        """Return an error in this format's shape."""


def convert(body: Any, shape: type[T], at: str = "") -> T:
    """Check `body` (found `at` a path) against a Struct; raises `BadRequest` whose `param` names the bad field."""
    try:
        return msgspec.convert(body, shape)
    except msgspec.ValidationError as error:
        message, _, path = str(error).partition(" - at `")
        param = at + path.rstrip("`").removeprefix("$")
        if "missing required field `" in message:
            param += "." + message.split("`")[1]
        param = param.removeprefix(".")
        where = f" (at `{param}`)" if param else ""
        raise BadRequest(f"{message}{where}", param=param or None) from None


def tier_of(service_tier: str | None) -> Tier:
    """Return our tier for a `service_tier`: ours by name, OpenAI's by what they mean."""
    if service_tier in ("think", "overnight"):
        return service_tier  # type: ignore[return-value]
    if service_tier == "flex":
        return "overnight"
    if service_tier in (None, "auto", "default", "priority", "scale", "fast", "ultrafast"):
        return "fast"
    raise BadRequest(
        f"service_tier '{service_tier}' is not known; use fast, think, overnight, auto, default, flex or priority",
        param="service_tier",
    )
