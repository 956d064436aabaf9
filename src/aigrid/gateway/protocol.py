"""The door's patience: a client that sends or reads too slowly, or sends too large a head, is sent away.

One sweep a second over the open connections, instead of timers for each request. Uvicorn has a timeout between
requests only.
"""

import asyncio
import resource
from typing import Any

from uvicorn import Server
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from aigrid.core.errors import AigridError, BadRequest, HeadTooLarge, RequestTimeout
from aigrid.gateway.http import error_response

HEAD_S, BODY_S, WRITE_S = 10.0, 120.0, 60.0
"""Seconds that a client has for a request's head, for its body, and to take what waits to be written."""
MAX_HEAD = 64 << 10
"""Bytes that request line and headers may have."""
SWEEP_S = 1.0


class Door(HttpToolsProtocol):
    """One connection. Times are the event loop's; 0 where nothing is awaited."""

    _head_since = _body_since = _write_since = 0.0
    _read = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Await the first head."""
        super().connection_made(transport)
        self._head_since = self.loop.time()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection now, however it ended: its timer would keep it for more than a minute."""
        super().connection_lost(exc)
        self._unset_keepalive_if_required()

    def data_received(self, data: bytes) -> None:
        """Parse; refuse a head that goes on beyond its limit."""
        self._read = self._read + len(data) if self._head_since else len(data)
        super().data_received(data)
        if self._head_since and self._read > MAX_HEAD:
            self._refuse(_too_large())

    def on_message_begin(self) -> None:
        """Await the rest of this head."""
        super().on_message_begin()
        self._head_since = self.loop.time()

    def on_headers_complete(self) -> None:
        """Await the body. Raises `ValueError`, which ends the parsing, for a head beyond its limit."""
        if self._read > MAX_HEAD and sum(len(name) + len(value) for name, value in self.headers) > MAX_HEAD:
            self._refuse(_too_large())
            raise ValueError("the head is too large")
        super().on_headers_complete()
        self._body_since, self._head_since = self._head_since, 0.0

    def on_message_complete(self) -> None:
        """Await nothing more from this client."""
        super().on_message_complete()
        self._body_since = 0.0

    def pause_writing(self) -> None:
        """Await that the client reads."""
        super().pause_writing()
        self._write_since = self.loop.time()

    def resume_writing(self) -> None:
        """Await nothing more to be read."""
        super().resume_writing()
        self._write_since = 0.0

    def send_400_response(self, msg: str) -> None:
        """Refuse what is not HTTP, in the shape of every other error."""
        self._refuse(BadRequest(f"this is not an HTTP/1.1 request: {msg}", code="invalid_http"))

    def check(self, now: float) -> None:
        """Send the client away where its time is up."""
        if self._write_since and now - self._write_since > WRITE_S:
            self.transport.abort()
        elif self._head_since and now - self._head_since > HEAD_S:
            if self._read:
                self._refuse(RequestTimeout(f"the request's head was not complete after {HEAD_S:.0f} s"))
            else:
                self.transport.close()
        elif self._body_since and now - self._body_since > BODY_S and not self.pipeline:
            self._refuse(RequestTimeout(f"the request's body was not complete after {BODY_S:.0f} s"))

    def _refuse(self, error: AigridError) -> None:
        """Answer with an error where no answer has begun, and close the connection."""
        if self.transport.is_closing():
            return
        if not self.pipeline and (self.cycle is None or self._head_since or not self.cycle.response_started):
            answer = error_response(error)
            size = str(len(answer.body)).encode()
            headers = [*answer.headers, (b"content-length", size), (b"connection", b"close")]
            lines = b"".join(name + b": " + value + b"\r\n" for name, value in headers)
            self.transport.write(STATUS_LINE[error.status] + lines + b"\r\n" + answer.body)
        self.transport.close()


def _too_large() -> HeadTooLarge:
    return HeadTooLarge(f"request line and headers have more than {MAX_HEAD:,} bytes")


async def sweep(server: Server) -> None:
    """Check every open connection once a second, for ever."""
    loop = asyncio.get_running_loop()
    while True:
        await asyncio.sleep(SWEEP_S)
        now = loop.time()
        connections: list[Any] = list(server.server_state.connections)
        for connection in connections:
            connection.check(now)


def raise_open_files() -> None:
    """Let this process have as many connections as it may: the soft limit is often 1,024."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = hard if hard != resource.RLIM_INFINITY else 1 << 20
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(most, 1 << 20), hard))
