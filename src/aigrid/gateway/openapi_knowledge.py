"""Knowledge in the published document: its answers as types, its query parameters, and the MCP endpoint."""

from typing import Any, Literal

from msgspec import Struct

from aigrid.gateway.openapi_shapes import UsageObject

_COUNT = {"type": "integer", "minimum": 0, "maximum": 2**31}
PAGING: dict[str, dict[str, Any]] = {
    "after": {"type": "string", "maxLength": 200},
    "limit": {"type": "integer", "minimum": 1, "maximum": 1000, "default": 100},
}
PLACE: dict[str, dict[str, Any]] = {"start": _COUNT, "end": _COUNT}


class KnowledgeCost(Struct):
    """What it cost: its records on the ledger, nano-dollars, millijoules and how they were measured."""

    records: list[str]
    cost_nusd: int
    energy_mj: int
    energy_source: str


class Passage(Struct):
    """A passage of a document: `start` and `end` are offsets of `text` in the document's plain text, in characters."""

    object: Literal["knowledge.passage"]
    id: str
    source_id: str
    path: str
    title: str
    heading: list[str]
    page: int | None
    line: int | None
    last_line: int | None
    start: int
    end: int
    kind: str
    text: str
    score: float
    lexical_rank: int | None
    vector_rank: int | None
    similarity: float | None
    rerank_score: float | None


class PassageList(Struct):
    """An answer to /v1/knowledge/search, best first."""

    object: Literal["list"]
    data: list[Passage]
    aigrid: KnowledgeCost


class CitationObject(Struct):
    """A quoted place: [1] in the answer is `number` 1; `quote` stands at `start` to `end` of the document."""

    number: int
    chunk_id: str
    source_id: str
    path: str
    start: int
    end: int
    quote: str
    title: str
    heading: list[str]
    page: int | None
    line: int | None
    last_line: int | None


class KnowledgeAnswer(Struct):
    """An answer to /v1/knowledge/ask. Where the documents do not say, `known` is false and `nearest` comes closest."""

    object: Literal["knowledge.answer"]
    id: str
    created: int
    model: str
    question: str
    answer: str
    known: bool
    confidence: float
    citations: list[CitationObject]
    nearest: list[CitationObject]
    written: Literal["model", "quote"]
    usage: UsageObject
    aigrid: KnowledgeCost


class SourceObject(Struct):
    """A document. `skipped` ones could not be read; `note` says why. Times are nanoseconds since the epoch."""

    object: Literal["knowledge.source"]
    id: str
    path: str
    title: str
    kind: str
    bytes: int
    chunks: int
    modified_ns: int
    indexed_ns: int
    state: Literal["indexed", "skipped"]
    note: str


class SourceList(Struct):
    """The documents that the caller may read, by path; `next` goes on with `after`."""

    object: Literal["list"]
    data: list[SourceObject]
    next: str | None


class CitedPlace(Struct):
    """What stands at the place that was asked for."""

    start: int
    end: int
    text: str


class SourceText(SourceObject):
    """A document with its plain text around a place; `offset` says where `text` begins in all its `characters`."""

    characters: int
    text: str
    offset: int
    cited: CitedPlace | None


class McpMessage(Struct):
    """A JSON-RPC request, or a notification (without `id`), as the Model Context Protocol describes them."""

    jsonrpc: Literal["2.0"]
    method: str
    id: str | int | None = None
    params: dict[str, Any] = {}


def mcp(operation: str, message: dict[str, Any]) -> dict[str, Any]:
    """Return the operation of the MCP endpoint, which takes `message`."""
    answer = {"content": {"application/json": {"schema": {"type": "object"}}}}
    meanings = {
        "200": "The answer to a request.",
        "202": "A notification was taken.",
        "400": "The message is malformed, or of a version that is not spoken here.",
        "401": "No API key, or one that is unknown or revoked.",
        "403": "A page of another web site asked.",
        "404": "There is no such method.",
        "405": "The path exists, the method does not.",
        "413": "The request body is too large.",
    }
    return {
        "summary": "Model Context Protocol: knowledge, agents and the own usage as tools",
        "operationId": operation,
        "requestBody": {"required": True, "content": {"application/json": {"schema": message}}},
        "responses": {
            status: {"description": text, **({} if status == "202" else answer)} for status, text in meanings.items()
        },
    }
