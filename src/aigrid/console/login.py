"""Signing in and out: plain HTML, so that nothing else of the console is there for a stranger."""

from collections.abc import Callable
from urllib.parse import parse_qs

from fastapi import Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from markupsafe import Markup

from aigrid.console import theme
from aigrid.console.access import Session, Sessions, Throttle, cookie, set_cookie
from aigrid.console.gateway import Gateway, GatewayAway, GatewayRefused

MAX_FORM = 4096
MAX_KEY = 256

_FORM = Markup(
    """<main class="login"><div class="login-card">{logo}
<h1>Sign in</h1>
<p class="muted">This console is open to other machines, so it asks for an admin key. Make one on the factory's
machine:</p>
<pre class="command">aigrid keys create --tenant ops --scope admin</pre>
<form method="post" action="/login?next={next}">
<label for="key">Admin key</label>
<input id="key" name="key" type="password" autocomplete="current-password" required autofocus maxlength="256"
 aria-describedby="problem">
<p id="problem" class="problem" role="alert">{problem}</p>
<button type="submit">Sign in</button>
</form>{warning}</div></main>"""
)
_WARNING = Markup(
    '<p class="muted small">This page came over plain http: others on this network can read what you type. '
    "Start the console with <code>--tls-cert</code> and <code>--tls-key</code>, or put it behind https.</p>"
)


class Login:
    """Routes of signing in and out. `connect` makes a gateway client that uses the given admin key."""

    def __init__(self, sessions: Sessions, connect: Callable[[str], Gateway], pages: frozenset[str]) -> None:
        self._sessions = sessions
        self._connect = connect
        self._pages = pages
        self._throttle = Throttle()

    async def show(self, request: Request) -> Response:
        """GET /login: the form; those already in go on."""
        if request.scope.get("aigrid.session") is not None:
            return RedirectResponse(self._next(request), 303)
        return self._form(request, "")

    async def enter(self, request: Request) -> Response:
        """POST /login: check the key with the gateway, then give out a cookie."""
        address = request.client.host if request.client else ""
        wait_s = self._throttle.wait_s(address)
        if wait_s > 0:
            form = self._form(request, f"Too many tries. Wait {wait_s:.0f} s and try again.", 429)
            form.headers["retry-after"] = str(max(1, round(wait_s)))
            return form
        key = await _posted_key(request)
        if not key:
            return self._form(request, "Type an admin key.", 400)
        self._throttle.failed(address)
        gateway = self._connect(key)
        try:
            me = await gateway.get("/admin/me")
        except GatewayAway:
            return self._form(request, f"The gateway at {gateway.base} does not answer. Is it running?", 503)
        except GatewayRefused as refusal:
            return self._form(request, refusal.message, 403)
        self._throttle.succeeded(address)
        token = self._sessions.begin(Session(gateway, actor=me["actor"]))
        answer = RedirectResponse(self._next(request), 303)
        answer.headers["set-cookie"] = set_cookie(token, secure=request.url.scheme == "https")
        return answer

    async def leave(self, request: Request) -> Response:
        """POST /logout: forget the session and its cookie."""
        self._sessions.end(cookie(request.headers.get("cookie", "")))
        answer = RedirectResponse("/login", 303)
        answer.headers["set-cookie"] = set_cookie("", secure=request.url.scheme == "https")
        return answer

    def _next(self, request: Request) -> str:
        page = request.query_params.get("next", "/")
        return page if page in self._pages else "/"

    def _form(self, request: Request, problem: str, status: int = 200) -> HTMLResponse:
        body = _FORM.format(
            logo=theme.LOGO,
            next=self._next(request),
            problem=problem,
            warning="" if request.url.scheme == "https" else _WARNING,
        )
        return HTMLResponse(theme.plain_page("Sign in", body), status)


async def _posted_key(request: Request) -> str:
    """Return the key in a posted form, or an empty string for anything that cannot be one."""
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > MAX_FORM:
            return ""
    try:
        key = parse_qs(body.decode("ascii")).get("key", [""])[0].strip()
    except (UnicodeDecodeError, ValueError):
        return ""
    return key if len(key) <= MAX_KEY and key.isascii() and key.isprintable() and " " not in key else ""
