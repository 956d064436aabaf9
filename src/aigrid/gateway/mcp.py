"""aigrid as an MCP server: POST /mcp, with the caller's key as the only login.

Its tools are knowledge, the caller's own usage, and whatever stands above the gateway and offers itself (`add`).

Both ages of the protocol are spoken on the one path: from 2026-07-28 on each request says in `_meta` which version it
is and nothing is remembered; before, a client says `initialize` first, which needs no memory here either.
"""

import base64
import binascii
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import msgspec

from aigrid import __version__
from aigrid.core.errors import AigridError, BadRequest, Forbidden
from aigrid.gateway.ask import AskBody, Asking
from aigrid.gateway.auth import authenticate
from aigrid.gateway.http import JSON, Request, Response
from aigrid.gateway.knowledge import SearchBody, hit_view
from aigrid.gateway.spent import Spent
from aigrid.gateway.usage import UsageBody, usage
from aigrid.gateway.wire.base import convert
from aigrid.ledger.base import Key

if TYPE_CHECKING:
    from aigrid.gateway.app import Gateway

MODERN = ("2026-07-28",)
LEGACY = ("2025-11-25", "2025-06-18", "2025-03-26")
META = "io.modelcontextprotocol/"
TTL_MS = 300_000

INVALID_REQUEST, NO_METHOD, INVALID_PARAMS = -32600, -32601, -32602
HEADER_MISMATCH, UNSUPPORTED_VERSION = -32020, -32022

SERVER = {"name": "aigrid", "title": "aigrid", "version": __version__}
INSTRUCTIONS = (
    "Knowledge of an organisation's own documents. Use knowledge_search to find passages and read them yourself; use "
    "knowledge_ask for a short answer with citations, which says so when the documents do not hold the answer. "
    "ledger_usage says what your own key has used and what that cost."
)
_TEXT = {"type": "string", "minLength": 1, "maxLength": 8000}
_READS = {"readOnlyHint": True, "openWorldHint": False}
TOOLS: list[dict[str, Any]] = [
    {
        "name": "knowledge_search",
        "title": "Search the documents",
        "description": "Find the passages of the documents that suit a question, best first, with their places.",
        "inputSchema": {
            "type": "object",
            "properties": {
                "query": {**_TEXT, "description": "A question, or a few words."},
                "limit": {"type": "integer", "minimum": 1, "maximum": 50, "default": 10},
            },
            "required": ["query"],
        },
        "annotations": _READS,
    },
    {
        "name": "knowledge_ask",
        "title": "Ask the documents",
        "description": "Answer a question from the documents, with citations; says so where they do not hold it.",
        "inputSchema": {
            "type": "object",
            "properties": {
                "question": _TEXT,
                "model": {"type": "string", "description": "The model that writes; the first one, unless named."},
            },
            "required": ["question"],
        },
        "annotations": _READS,
    },
    {
        "name": "ledger_usage",
        "title": "What the own key has used",
        "description": "Sum up the requests, tokens, money and energy of the caller's own key, by model.",
        "inputSchema": {
            "type": "object",
            "properties": {"days": {"type": "integer", "minimum": 1, "maximum": 366, "default": 30}},
        },
        "annotations": _READS,
    },
]

Tool = Callable[[Request, Key, dict[str, Any]], Awaitable[tuple[str, dict[str, Any]]]]


class Offered(msgspec.Struct):
    """A tool that is registered with a gateway: how it is listed, and what answers it."""

    listed: dict[str, Any]
    answer: Tool


class RpcError(Exception):
    """A JSON-RPC error and the HTTP status that goes with it."""

    def __init__(self, code: int, message: str, status: int = 400, data: Any = None) -> None:
        super().__init__(message)
        self.status = status
        self.body = {"code": code, "message": message, **({} if data is None else {"data": data})}


class Mcp:
    """The MCP endpoint of a gateway."""

    def __init__(self, gateway: "Gateway") -> None:
        self._gateway = gateway
        self._listed = list(TOOLS)
        self._tools: dict[str, Tool] = {
            "knowledge_search": self._search,
            "knowledge_ask": self._ask,
            "ledger_usage": self._usage,
        }

    def add(self, tool: Offered) -> None:
        """Offer another tool."""
        self._listed.append(tool.listed)
        self._tools[tool.listed["name"]] = tool.answer

    async def handle(self, request: Request) -> Response:
        """POST /mcp: one JSON-RPC request or notification."""
        _refuse_foreign_origin(request)
        key = await authenticate(request, self._gateway.ledger)
        try:
            message = await request.json(self._gateway.max_body)
        except BadRequest as error:
            code = -32700 if error.code == "invalid_json" else INVALID_REQUEST
            return _answer(None, {"error": {"code": code, "message": error.message}}, 400)
        identifier = message.get("id")
        try:
            method, params = _check(message)
            if "id" not in message:
                return Response(b"", 202, [])
            modern = _era(request, method, params)
            result = await self._call(request, key, method, params, modern)
        except RpcError as error:
            return _answer(identifier, {"error": error.body}, error.status)
        if modern:
            result = {"resultType": "complete", **result, "_meta": {f"{META}serverInfo": SERVER}}
        return _answer(identifier, {"result": result}, 200)

    async def _call(
        self, request: Request, key: Key, method: str, params: dict[str, Any], modern: bool
    ) -> dict[str, Any]:
        if method == "tools/list":
            return {"tools": self._listed, **({"ttlMs": TTL_MS, "cacheScope": "public"} if modern else {})}
        if method == "tools/call":
            return await self._tool(request, key, params)
        if modern and method == "server/discover":
            return {
                "supportedVersions": [*MODERN, *LEGACY],
                "capabilities": {"tools": {}},
                "instructions": INSTRUCTIONS,
                "ttlMs": TTL_MS,
                "cacheScope": "public",
            }
        if not modern and method == "initialize":
            wanted = params.get("protocolVersion")
            return {
                "protocolVersion": wanted if wanted in LEGACY else LEGACY[0],
                "capabilities": {"tools": {}},
                "serverInfo": SERVER,
                "instructions": INSTRUCTIONS,
            }
        if not modern and method == "ping":
            return {}
        raise RpcError(NO_METHOD, f"there is no method `{method[:80]}`", 404 if modern else 200)

    async def _tool(self, request: Request, key: Key, params: dict[str, Any]) -> dict[str, Any]:
        """Run a tool; what goes wrong in it is its result, so that the model can read it and do better."""
        name, arguments = params.get("name"), params.get("arguments", {})
        tool = self._tools.get(name) if isinstance(name, str) else None
        if tool is None:
            raise RpcError(INVALID_PARAMS, f"there is no tool `{str(name)[:80]}`; there are {', '.join(self._tools)}")
        if not isinstance(arguments, dict):
            raise RpcError(INVALID_PARAMS, "`arguments` must be an object")
        try:
            text, structured = await tool(request, key, arguments)
        except AigridError as error:
            return {"content": [{"type": "text", "text": error.message}], "isError": True}
        return {"content": [{"type": "text", "text": text}], "structuredContent": structured, "isError": False}

    async def _search(self, request: Request, key: Key, arguments: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        body, spent = convert(arguments, SearchBody), Spent()
        hits = await self._gateway.knowledge.find(key, body.query, body.limit, spent)
        found = {"passages": [hit_view(hit) for hit in hits], "aigrid": spent.cost}
        return _json(found), found

    async def _ask(self, request: Request, key: Key, arguments: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        answer = await Asking(self._gateway, request, key, convert(arguments, AskBody)).whole()
        return _json(answer), answer

    async def _usage(self, request: Request, key: Key, arguments: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        found = await usage(self._gateway.ledger, key, convert(arguments, UsageBody).days)
        return _json(found), found


def _check(message: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return method and parameters of a JSON-RPC message; raises `RpcError` where it is none."""
    method, params, identifier = message.get("method"), message.get("params", {}), message.get("id", 0)
    if message.get("jsonrpc") != "2.0" or not isinstance(method, str):
        raise RpcError(INVALID_REQUEST, 'this is no JSON-RPC 2.0 request: it needs "jsonrpc": "2.0" and a method')
    if isinstance(identifier, bool) or not isinstance(identifier, str | int):
        raise RpcError(INVALID_REQUEST, "the id must be a string or an integer")
    if not isinstance(params, dict):
        raise RpcError(INVALID_PARAMS, "`params` must be an object")
    return method, params


def _era(request: Request, method: str, params: dict[str, Any]) -> bool:
    """Return whether a request is of the stateless protocol; raises `RpcError` where headers or `_meta` are wrong."""
    meta = params.get("_meta")
    meta = meta if isinstance(meta, dict) else {}
    header = request.header(b"mcp-protocol-version")
    version = meta.get(f"{META}protocolVersion")
    if version is None and header not in MODERN and method != "server/discover":
        if header and header not in LEGACY:
            raise _unsupported(header)
        return False
    if not isinstance(version, str) or not isinstance(meta.get(f"{META}clientCapabilities"), dict):
        needed = f"`{META}protocolVersion` and `{META}clientCapabilities`"
        raise RpcError(INVALID_PARAMS, f"`params._meta` needs {needed}")
    if version not in MODERN:
        raise _unsupported(version)
    mirrored = {"MCP-Protocol-Version": version, "Mcp-Method": method}
    if method == "tools/call":
        mirrored["Mcp-Name"] = str(params.get("name"))
    for name, value in mirrored.items():
        said = _plain(request.header(name.lower().encode()))
        if said != value:
            raise RpcError(HEADER_MISMATCH, f"the header {name} is `{said[:80]}`, but the body says `{value[:80]}`")
    return True


def _unsupported(version: str) -> RpcError:
    data = {"supported": [*MODERN, *LEGACY], "requested": version[:80]}
    return RpcError(UNSUPPORTED_VERSION, "unsupported protocol version", data=data)


def _plain(value: str) -> str:
    """Return a header's value, decoded where it is wrapped as `=?base64?…?=`."""
    if value.startswith("=?base64?") and value.endswith("?="):
        try:
            return base64.b64decode(value[9:-2], validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            return ""
    return value


def _refuse_foreign_origin(request: Request) -> None:
    origin = request.header(b"origin").lower()
    if origin and origin.partition("://")[2] != request.header(b"host").lower():
        raise Forbidden("a page of another web site asked for this; it is refused", code="cross_site_request")


def _answer(identifier: Any, body: dict[str, Any], status: int) -> Response:
    known = {"id": identifier} if identifier is not None else {}
    return Response(msgspec.json.encode({"jsonrpc": "2.0", **known, **body}), status, [JSON])


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()
