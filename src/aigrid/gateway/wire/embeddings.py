"""POST /v1/embeddings."""

import asyncio
import base64
import struct
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from aigrid.core.errors import BadRequest
from aigrid.engines.base import Embeddings, EmbedRequest
from aigrid.gateway.wire.base import convert, tier_of
from aigrid.gateway.wire.sampling import Model, TierName
from aigrid.ledger.base import Tier

MAX_INPUTS = 2048
_TURN = 16
TokenId = Annotated[int, Meta(ge=0, le=2**31 - 1)]


class EmbeddingBody(Struct, kw_only=True):
    """A request for vectors."""

    model: Model
    input: str | Annotated[list[Any], Meta(min_length=1, max_length=MAX_INPUTS)]
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: Annotated[int, Meta(ge=1, le=65536)] | None = None
    service_tier: TierName | None = None
    user: str | None = None


class ParsedEmbedding(Struct):
    """A request understood."""

    request: EmbedRequest
    base64: bool = False
    tier: Tier = "fast"


def parse(body: dict[str, Any], request_id: str) -> ParsedEmbedding:
    """Understand the client's object; raises `BadRequest` naming the field."""
    asked = convert(body, EmbeddingBody)
    request = EmbedRequest(request_id, asked.model, _inputs(asked.input), asked.dimensions)
    return ParsedEmbedding(request, asked.encoding_format == "base64", tier_of(asked.service_tier))


class _Texts(Struct):
    input: list[Annotated[str, Meta(min_length=1)]]


class _TokenIds(Struct):
    input: list[TokenId]


class _TokenLists(Struct):
    input: list[Annotated[list[TokenId], Meta(min_length=1)]]


def _inputs(given: str | list[Any]) -> list[str] | list[list[int]]:
    """Return one or many texts or lists of token ids as many, none of them empty."""
    if isinstance(given, str):
        if not given:
            raise BadRequest("`input` is empty", param="input")
        return [given]
    if isinstance(given[0], str):
        return convert({"input": given}, _Texts).input
    if isinstance(given[0], list):
        return convert({"input": given}, _TokenLists).input
    return [convert({"input": given}, _TokenIds).input]


async def encode(parsed: ParsedEmbedding, made: Embeddings) -> bytes:
    """Return the response: vectors as numbers, or as base64 of little-endian 32-bit floats.

    Between pieces of a large one others get their turn.
    """
    parts = [b'{"object":"list","data":[']
    for i, vector in enumerate(made.vectors):
        if i and i % _TURN == 0:
            await asyncio.sleep(0)
        row = {"object": "embedding", "index": i, "embedding": _packed(vector) if parsed.base64 else vector}
        parts += [b"," if i else b"", msgspec.json.encode(row)]
    usage = {"prompt_tokens": made.usage.prompt_tokens, "total_tokens": made.usage.prompt_tokens}
    end = msgspec.json.encode({"model": parsed.request.model, "usage": usage})
    return b"".join([*parts, b"],", end[1:]])


def _packed(vector: list[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
