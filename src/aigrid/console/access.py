"""Who may see the console: sessions, login throttling, and a guard in front of every page, file and websocket.

On loopback with a gateway that asks for no key, everyone on this machine is let in. Anywhere else a visitor shows an
admin key once; a random cookie stands for it from then on, and the key stays in this process's memory.
"""

import hashlib
import secrets
import time
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass, field
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import quote, urlsplit

from aigrid.console.gateway import Gateway
from aigrid.gateway.admin_access import host_name, is_loopback, is_proxied

COOKIE = "aigrid_session"
SESSION_S = 12 * 3600.0
MAX_SESSIONS = 1000

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

HEADERS = {
    "content-security-policy": (
        "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
        "img-src 'self' data:; font-src 'self' data:; connect-src 'self'; frame-src 'none'; frame-ancestors 'none'; "
        "form-action 'self'; base-uri 'none'; object-src 'none'"
    ),
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
}
OPEN_PATHS = ("/login", "/favicon.ico")


@dataclass
class Session:
    """One signed-in visitor, or everyone on this machine. `gateway` calls with the visitor's own key."""

    gateway: Gateway
    actor: str = "local"
    local: bool = False
    until: float = field(default_factory=lambda: time.monotonic() + SESSION_S)
    ended: bool = False

    @property
    def live(self) -> bool:
        """Whether the session still counts."""
        return self.local or (not self.ended and time.monotonic() < self.until)

    def end(self) -> None:
        """Sign out: open pages can do nothing more with the visitor's key."""
        self.ended = self.gateway.closed = True


class Sessions:
    """Signed-in visitors, by the hash of their cookie, in memory only: a restart signs everyone out."""

    def __init__(self) -> None:
        self._by_hash: dict[bytes, Session] = {}

    def begin(self, session: Session) -> str:
        """Keep a session and return its cookie's value (256 random bits)."""
        self._by_hash = {key: kept for key, kept in self._by_hash.items() if kept.live}
        while len(self._by_hash) >= MAX_SESSIONS:
            self._by_hash.pop(next(iter(self._by_hash))).end()
        token = secrets.token_urlsafe(32)
        self._by_hash[_hash(token)] = session
        return token

    def find(self, token: str) -> Session | None:
        """Return the live session of a cookie."""
        session = self._by_hash.get(_hash(token)) if token else None
        return session if session is not None and session.live else None

    def end(self, token: str) -> None:
        """Sign out."""
        session = self._by_hash.pop(_hash(token), None)
        if session is not None:
            session.end()


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()


class Throttle:
    """Slows down guessing: so many failed logins per address and minute, and so many from everywhere."""

    def __init__(self, per_address: int = 5, overall: int = 60, window_s: float = 60.0) -> None:
        self._limits = (per_address, overall)
        self._window_s = window_s
        self._failures: list[tuple[float, str]] = []

    def wait_s(self, address: str) -> float:
        """Return how long this address must wait before its next try, 0 for not at all."""
        now = time.monotonic()
        self._failures = [each for each in self._failures if each[0] > now - self._window_s]
        own = [at for at, who in self._failures if who == address]
        waits = [0.0]
        for times, limit in zip((own, [at for at, _ in self._failures]), self._limits, strict=True):
            if len(times) >= limit:
                waits.append(times[-limit] + self._window_s - now)
        return max(waits)

    def failed(self, address: str) -> None:
        """Note a failed login."""
        self._failures.append((time.monotonic(), address))

    def succeeded(self, address: str) -> None:
        """Forget the newest failure of an address: each try counts as one until it is known to be good."""
        for at in range(len(self._failures) - 1, -1, -1):
            if self._failures[at][1] == address:
                del self._failures[at]
                return


class Guard:
    """ASGI middleware: refuses other sites' requests, asks strangers to sign in, and sets the security headers.

    The session of the request is left in `scope["aigrid.session"]`. `open_session` is what everyone gets when no
    login is needed, else None; it is asked on every request because the gateway may change its mind.
    """

    def __init__(self, app: App, *, sessions: Sessions, open_session: Callable[[], Session | None], host: str) -> None:
        self._app = app
        self._sessions = sessions
        self._open_session = open_session
        self._host = host.lower()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request or websocket, or refuse it."""
        if scope["type"] not in {"http", "websocket"}:
            await self._app(scope, receive, send)
            return
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        if problem := self._foreign(scope, headers):
            await _refuse(scope, send, 403, problem)
            return
        session = None if is_proxied(headers) else self._open_session()
        session = session or self._sessions.find(cookie(headers.get(b"cookie", "")))
        path: str = scope["path"]
        if session is None and path not in OPEN_PATHS and not path.startswith("/_nicegui/"):
            if scope["type"] == "http" and scope["method"] == "GET" and path.count("/") == 1:
                await _refuse(scope, send, 303, "sign in first", [(b"location", f"/login?next={quote(path)}".encode())])
            else:
                await _refuse(scope, send, 401, "sign in first")
            return
        scope["aigrid.session"] = session
        await self._app(scope, receive, _with_headers(send, private=not path.startswith("/_nicegui/")))

    def _foreign(self, scope: Scope, headers: dict[bytes, str]) -> str | None:
        """Return why a request is refused as another site's, or None."""
        host = headers.get(b"host", "").lower()
        name = host_name(host)
        if is_loopback(self._host) and not (is_loopback(name) or name == self._host):
            return "this console answers to localhost only"
        origin = headers.get(b"origin", "").lower()
        if origin and urlsplit(origin).netloc != host:
            return "a page of another web site asked for this"
        fetch_site = headers.get(b"sec-fetch-site", "")
        navigates = headers.get(b"sec-fetch-mode") == "navigate" and scope.get("method") == "GET"
        if fetch_site in {"cross-site", "same-site"} and not navigates:
            return "a page of another web site asked for this"
        return None


def cookie(header: str) -> str:
    """Return the session token in a `Cookie` header, or an empty string."""
    try:
        morsel = SimpleCookie(header).get(COOKIE)
    except CookieError:
        return ""
    return morsel.value if morsel else ""


def set_cookie(token: str, *, secure: bool, max_age: int = int(SESSION_S)) -> str:
    """Return the `Set-Cookie` header for a session token; an empty token forgets it."""
    age = max_age if token else 0
    return f"{COOKIE}={token}; Path=/; Max-Age={age}; HttpOnly; SameSite=Strict" + ("; Secure" if secure else "")


def _with_headers(send: Send, *, private: bool) -> Send:
    async def wrapped(message: Message) -> None:
        if message["type"] == "http.response.start":
            extra = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
            kept = [pair for pair in message["headers"] if pair[0].lower() != b"access-control-allow-origin"]
            if private and not any(name.lower() == b"cache-control" for name, _ in kept):
                extra.append((b"cache-control", b"no-store"))
            message = {**message, "headers": [*kept, *extra]}
        await send(message)

    return wrapped


async def _refuse(
    scope: Scope, send: Send, status: int, text: str, headers: list[tuple[bytes, bytes]] | None = None
) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008, "reason": text})
        return
    body = text.encode()
    plain = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", str(len(body)).encode())]
    reply = _with_headers(send, private=True)
    await reply({"type": "http.response.start", "status": status, "headers": [*plain, *(headers or [])]})
    await reply({"type": "http.response.body", "body": body})
