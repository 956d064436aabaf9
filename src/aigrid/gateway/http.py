"""Requests and responses over raw ASGI: only what the gateway needs."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, MutableMapping
from typing import Any, Protocol
from urllib.parse import parse_qsl

import msgspec

from aigrid.core.errors import AigridError, BadRequest, LoopDetected, MethodNotAllowed, TooLarge

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Header = tuple[bytes, bytes]

JSON = (b"content-type", b"application/json")
MOST_HOPS = 4
SSE = (b"content-type", b"text/event-stream; charset=utf-8")

MAX_DEPTH = 128
MAX_CONTAINERS = 200_000
"""How deep a request body may nest."""

_encode = msgspec.json.encode
_pack = msgspec.msgpack.encode
_decode = msgspec.json.Decoder(dict[str, Any])


class ClientGone(Exception):
    """The client closed the connection."""


class Request:
    """One HTTP request. The body is read once, up to a limit."""

    __slots__ = ("_body", "_headers", "_receive", "method", "path", "scope")

    def __init__(self, scope: Scope, receive: Receive) -> None:
        self.scope = scope
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self._receive = receive
        self._headers: dict[bytes, bytes] | None = None
        self._body: bytes | None = None

    @property
    def headers(self) -> dict[bytes, bytes]:
        """Headers by lower-case name (the last one wins)."""
        if self._headers is None:
            self._headers = dict(self.scope["headers"])
        return self._headers

    def header(self, name: bytes) -> str:
        """Return a header as text, or an empty string."""
        return self.headers.get(name, b"").decode("latin-1")

    @property
    def query(self) -> dict[str, str]:
        """Parameters of the query string; raises `BadRequest` where one is there twice."""
        found: dict[str, str] = {}
        for name, value in parse_qsl(self.scope.get("query_string", b"").decode("latin-1"), keep_blank_values=True):
            if name in found:
                raise BadRequest(f"the parameter `{name[:80]}` is there twice; give it once", param=name)
            found[name] = value
        return found

    @property
    def address(self) -> str:
        """The client's IP address, or an empty string."""
        client = self.scope.get("client")
        return client[0] if client else ""

    @property
    def hops(self) -> int:
        """Gateways that the request has passed; raises `LoopDetected` when they are too many."""
        value = self.headers.get(b"x-aigrid-hops", b"0")
        hops = int(value) if value.isdigit() and len(value) < 4 else 0
        if hops >= MOST_HOPS:
            raise LoopDetected(f"this request has passed {hops} gateways; one of them is its own upstream")
        return hops

    async def body(self, limit: int) -> bytes:
        """Return the whole body; raises `TooLarge` beyond `limit` bytes and `ClientGone`."""
        if self._body is not None:
            return self._body
        declared = self.headers.get(b"content-length", b"0")
        if declared.isdigit() and int(declared) > limit:
            raise TooLarge(f"the request body has {int(declared):,} bytes; this gateway takes at most {limit:,}")
        parts: list[bytes] = []
        size = 0
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise ClientGone
            part = message.get("body", b"")
            size += len(part)
            if size > limit:
                raise TooLarge(f"the request body has more than {limit:,} bytes, which is all this gateway takes")
            parts.append(part)
            if not message.get("more_body"):
                break
        self._body = parts[0] if len(parts) == 1 else b"".join(parts)
        return self._body

    async def chunks(self, limit: int) -> AsyncIterator[bytes]:
        """Yield the body as it comes, instead of `body`; raises `TooLarge` beyond `limit` bytes and `ClientGone`."""
        size, more = 0, True
        while more:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise ClientGone
            part, more = message.get("body", b""), message.get("more_body", False)
            size += len(part)
            if size > limit:
                raise TooLarge(f"the request body has more than {limit:,} bytes, which is all this gateway takes")
            if part:
                yield part

    async def json(self, limit: int) -> dict[str, Any]:
        """Return the body as a JSON object; raises `BadRequest` when it is not one."""
        return decode_object(await self.body(limit))

    async def gone(self) -> None:
        """Return when the client closes the connection (the body must have been read)."""
        while (await self._receive())["type"] != "http.disconnect":
            pass


def decode_object(body: bytes) -> dict[str, Any]:
    """Parse a JSON object; raises `BadRequest` that says what is wrong and where."""
    containers = body.count(b"[") + body.count(b"{")
    if containers > MAX_CONTAINERS:  # each would take some hundred bytes of memory
        raise BadRequest(f"the request body has more than {MAX_CONTAINERS:,} brackets", code="invalid_json")
    try:
        value = _decode.decode(body)
    except msgspec.ValidationError as error:
        if "out of range" in str(error):
            raise BadRequest("the request body has a number that is out of range", code="invalid_json") from None
        raise BadRequest("the request body must be a JSON object") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadRequest(f"the request body is not valid JSON: {error}", code="invalid_json") from None
    if containers > MAX_DEPTH:
        _refuse_deep(value)
    try:
        _pack(value)
    except OverflowError:
        _refuse_huge(value, "")
    return value


def _refuse_huge(value: Any, at: str) -> None:
    """Raise `BadRequest` that names the first integer beyond 64 bits: engines in other processes cannot get it."""
    if isinstance(value, dict):
        for name, item in value.items():
            _refuse_huge(item, f"{at}.{name}" if at else name)
    elif isinstance(value, list):
        for i, item in enumerate(value):
            _refuse_huge(item, f"{at}[{i}]")
    elif isinstance(value, int) and not -(2**63) <= value < 2**64:
        raise BadRequest(f"the integer at `{at}` in the request body does not fit into 64 bits", param=at)


def _refuse_deep(value: dict[str, Any]) -> None:
    """Raise `BadRequest` where values nest so deep that encoding them again would fail."""
    level: list[Any] = [value]
    for _ in range(MAX_DEPTH):
        level = [
            item
            for holder in level
            for item in (holder.values() if isinstance(holder, dict) else holder)
            if isinstance(item, dict | list)
        ]
        if not level:
            return
    raise BadRequest(f"the request body is nested more than {MAX_DEPTH} deep", code="invalid_json")


class Response:
    """A complete answer: status, headers, body."""

    __slots__ = ("body", "headers", "status")

    def __init__(self, body: bytes, status: int = 200, headers: Iterable[Header] = (JSON,)) -> None:
        self.body = body
        self.status = status
        self.headers = list(headers)

    @classmethod
    def of(cls, value: Any, status: int = 200, headers: Iterable[Header] = ()) -> "Response":
        """Return a JSON response of any value that msgspec encodes."""
        return cls(_encode(value), status, [JSON, *headers])

    async def send(self, send: Send) -> None:
        """Write the whole response."""
        self.headers.append((b"content-length", str(len(self.body)).encode()))
        await send({"type": "http.response.start", "status": self.status, "headers": self.headers})
        await send({"type": "http.response.body", "body": self.body})


def error_body(error: AigridError) -> dict[str, Any]:
    """Return the one error shape: OpenAI's."""
    return {"error": {"message": error.message, "type": error.type, "param": error.param, "code": error.code}}


def error_response(error: AigridError) -> Response:
    """Return an error as a response with its status and, where it has one, `Retry-After`."""
    headers: list[Header] = []
    if error.retry_after is not None:
        headers.append((b"retry-after", str(max(1, round(error.retry_after))).encode()))
    if isinstance(error, MethodNotAllowed):
        headers.append((b"allow", error.allow.encode()))
    if error.status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    return Response.of(error_body(error), error.status, headers)


class Sendable(Protocol):
    """What a handler returns: it can write itself."""

    async def send(self, send: Send) -> None:
        """Write the whole response."""


Handler = Callable[[Request], Awaitable[Sendable]]
"""A plain endpoint: one request in, one response out; raises `AigridError`."""
