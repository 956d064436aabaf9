"""A small pooled HTTP/1.1 client for the data path: one JSON request out, a stream of bytes back.

It does only what engines need (POST/GET, keep-alive, TLS, back-pressure, silence timeouts) on an httptools parser,
because general clients cost more per frame than everything else the gateway does.
"""

import asyncio
import ssl
from collections import deque
from types import TracebackType
from typing import cast
from urllib.parse import urlsplit

import httptools

from aigrid.core.errors import ConfigError, UpstreamError, UpstreamTimeout

HIGH_WATER = 1 << 20
LARGEST_BODY = 64 << 20


class Connection(asyncio.Protocol):
    """One connection to an upstream; carries one exchange at a time."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._loop = asyncio.get_running_loop()
        self.transport: asyncio.Transport | None = None
        self.closed = False
        self._reset()

    def _reset(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self.status = 0
        self.headers: dict[str, str] = {}
        self.started = False
        self._parts: list[bytes] = []
        self._size = 0
        self._paused = False
        self._headed = False
        self.complete = False
        self._keep = False
        self._error: Exception | None = None
        self._waiter: asyncio.Future[None] | None = None

    # asyncio's side
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self.transport = cast(asyncio.Transport, transport)  # uvloop has transports of its own

    def data_received(self, data: bytes) -> None:
        """Parse, wake the reader."""
        self.started = True
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._error = UpstreamError(f"upstream {self._name} sent what is not HTTP: {error}")
            self.close()
        self._wake()

    def eof_received(self) -> None:
        """Close with the peer."""

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the reader; a body that ends with the connection is complete then."""
        self.closed = True
        self.transport = None
        if not self.complete and self._error is None:
            if self._headed and "content-length" not in self.headers and "transfer-encoding" not in self.headers:
                self.complete = True
            else:
                self._error = UpstreamError(
                    f"upstream {self._name} closed the connection before its answer was complete"
                )
        self._wake()

    # httptools' side
    def on_status(self, _: bytes) -> None:
        """Note the status code."""
        self.status = self._parser.get_status_code()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Note a header."""
        self.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        """Headers are in; those of an informational 1xx response are not the ones."""
        self.status = self._parser.get_status_code()
        self._headed = self.status >= 200
        if not self._headed:
            self.headers.clear()

    def on_body(self, data: bytes) -> None:
        """Collect; stop reading from the socket when nobody takes it away."""
        self._parts.append(data)
        self._size += len(data)
        if self._size > HIGH_WATER and not self._paused and self.transport is not None:
            self._paused = True
            self.transport.pause_reading()

    def on_message_complete(self) -> None:
        """Note the end of the exchange (an informational 1xx response is not one)."""
        if self.status >= 200:
            self.complete = True
            self._keep = self._parser.should_keep_alive()

    # the reader's side
    def _wake(self) -> None:
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    async def _wait(self, silence: float, what: str) -> None:
        self._waiter = self._loop.create_future()
        timer = self._loop.call_later(silence, self._expire, silence, what)
        try:
            await self._waiter
        finally:
            timer.cancel()
            self._waiter = None

    def _expire(self, silence: float, what: str) -> None:
        if self._waiter is not None and not self._waiter.done():
            message = f"upstream {self._name} sent {what} for {silence:g} s; raise timeout_s if it needs longer"
            self._waiter.set_exception(UpstreamTimeout(message))

    def send(self, data: bytes) -> None:
        """Start an exchange: write a whole request."""
        self._reset()
        if self.transport is None:
            raise UpstreamError(f"upstream {self._name} closed the connection")
        self.transport.write(data)

    async def head(self, silence: float) -> int:
        """Return the status when headers are in."""
        while not self._headed:
            if self._error is not None:
                raise self._error
            await self._wait(silence, "no answer")
        return self.status

    async def read(self, silence: float) -> bytes:
        """Return the bytes that came since the last read; empty at the end."""
        while not self._parts:
            if self.complete:
                return b""
            if self._error is not None:
                raise self._error
            await self._wait(silence, "nothing")
        parts = self._parts
        data = parts[0] if len(parts) == 1 else b"".join(parts)
        self._parts = []
        self._size = 0
        if self._paused and self.transport is not None:
            self._paused = False
            self.transport.resume_reading()
        return data

    async def read_all(self, silence: float, limit: int = LARGEST_BODY) -> bytes:
        """Return the rest of the body; raises `UpstreamError` beyond `limit` bytes."""
        parts = []
        size = 0
        while data := await self.read(silence):
            size += len(data)
            if size > limit:
                raise UpstreamError(f"upstream {self._name} sent more than {limit:,} bytes, which is all we take")
            parts.append(data)
        return b"".join(parts)

    def reusable(self) -> bool:
        """Say whether another exchange may go over this connection."""
        return self.complete and self._keep and not self.closed and self._error is None

    def close(self) -> None:
        """Drop the connection, at once."""
        self.closed = True
        if self.transport is not None:
            self.transport.abort()


class Exchange:
    """One request and its response; leaving the context returns or drops the connection."""

    def __init__(self, client: "HttpClient", connection: Connection) -> None:
        self._client = client
        self.connection = connection

    async def __aenter__(self) -> Connection:
        return self.connection

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.release(self.connection)


class HttpClient:
    """A pool of connections to one origin. `base` is the URL up to, not including, the path of a request."""

    def __init__(
        self, name: str, base: str, *, headers: dict[str, str] | None = None, connect_timeout: float, timeout: float
    ) -> None:
        parts = urlsplit(base)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConfigError(f"upstream {name}: '{base}' is not an http(s) URL", param="upstreams.url")
        self.name = name
        self._timeout = timeout
        self._connect_timeout = connect_timeout
        self._host = parts.hostname
        self._port = parts.port or (443 if parts.scheme == "https" else 80)
        self._ssl = ssl.create_default_context() if parts.scheme == "https" else None
        self._path = parts.path.rstrip("/")
        lines = {"host": parts.netloc.rpartition("@")[2], "accept": "*/*", **(headers or {})}
        self._head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        self._idle: deque[Connection] = deque()

    async def _connect(self) -> Connection:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._connect_timeout):
                _, connection = await loop.create_connection(
                    lambda: Connection(self.name), self._host, self._port, ssl=self._ssl
                )
        except TimeoutError:
            raise UpstreamTimeout(f"upstream {self.name} took no connection in {self._connect_timeout:g} s") from None
        except OSError as error:
            reason = error.strerror or error
            raise UpstreamError(
                f"upstream {self.name} at {self._host}:{self._port} cannot be reached: {reason}"
            ) from None
        return connection

    async def request(self, method: str, path: str, body: bytes = b"", headers: str = "") -> Exchange:
        """Send a request and return when the response's headers are in; `headers` are further lines, each with CRLF.

        A kept connection that the server closed before its first byte is replaced by a new one, once.
        """
        head = f"{method} {self._path}{path} HTTP/1.1\r\n{self._head}content-length: {len(body)}\r\n"
        if body:
            head += "content-type: application/json\r\n"
        data = (head + headers).encode("latin-1") + b"\r\n" + body
        connection = None
        while self._idle and connection is None:
            kept = self._idle.pop()
            connection = None if kept.closed else kept
        fresh = connection is None
        connection = connection or await self._connect()
        try:
            try:
                connection.send(data)
                await connection.head(self._timeout)
            except UpstreamTimeout:
                raise
            except UpstreamError:
                if fresh or connection.started:
                    raise
                connection.close()
                connection = await self._connect()
                connection.send(data)
                await connection.head(self._timeout)
        except BaseException:
            connection.close()
            raise
        return Exchange(self, connection)

    def release(self, connection: Connection) -> None:
        """Keep a connection whose exchange is over, drop any other."""
        if connection.reusable() and len(self._idle) < 4096:
            self._idle.append(connection)
        else:
            connection.close()

    @property
    def timeout(self) -> float:
        """The longest silence, in seconds."""
        return self._timeout

    def close(self) -> None:
        """Drop all idle connections."""
        while self._idle:
            self._idle.pop().close()
