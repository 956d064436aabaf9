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
    """One connection. What it awaits of its client is looked at once a second, so that no request pays for it."""

    _head = 0
    """Bytes read of a head that is not complete."""
    _awaited: Any = None
    _since = 0.0
    _write_since = 0.0

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection now, however it ended: its timer would keep it for more than a minute."""
        super().connection_lost(exc)
        self._unset_keepalive_if_required()

    def data_received(self, data: bytes) -> None:
        """Parse; refuse a head that goes on beyond its limit."""
        if len(data) > MAX_HEAD and not self._in_body and data.find(b"\r\n\r\n", 0, MAX_HEAD) < 0:
            self._refuse(_too_large())
            return
        super().data_received(data)
        if not self._in_head:
            self._head = 0
            return
        self._head += len(data)
        if self._head > MAX_HEAD:
            self._refuse(_too_large())

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
            return
        what: Any = self.scope if self._in_head else self.cycle if self._in_body else self.scope or self
        if what is not self._awaited:
            self._awaited, self._since = what, now
        elif self._in_head and now - self._since > HEAD_S:
            self._refuse(RequestTimeout(f"the request's head was not complete after {HEAD_S:.0f} s"))
        elif self._in_body and now - self._since > BODY_S:
            self._refuse(RequestTimeout(f"the request's body was not complete after {BODY_S:.0f} s"))
        elif what is self and now - self._since > HEAD_S:
            self.transport.close()  # it has never said a word

    @property
    def _in_head(self) -> bool:
        """Whether a head has begun and is not complete: each has a scope, which its cycle gets at its end."""
        return self.scope is not None and (self.cycle is None or self.cycle.scope is not self.scope)

    @property
    def _in_body(self) -> bool:
        """Whether the body of the request now answered is awaited."""
        return self.cycle is not None and self.cycle.more_body and not self._in_head and not self.pipeline

    def _refuse(self, error: AigridError) -> None:
        """Answer with an error where no answer has begun, and close the connection."""
        if self.transport.is_closing():
            return
        if not self.pipeline and (self.cycle is None or self._in_head or not self.cycle.response_started):
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
