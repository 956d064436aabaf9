"""The guard in front of the console, as ASGI, and what it stands on."""

import pytest

from aigrid.console import access
from aigrid.console.access import COOKIE, Guard, Session, Sessions, Throttle, cookie, set_cookie
from aigrid.console.gateway import Gateway, GatewayRefused


def session(**options):
    return Session(Gateway(None, "http://127.0.0.1:8470"), **options)


class Front:
    """A guard with a page behind it that says 200."""

    def __init__(self, host="127.0.0.1", everyone=None):
        self.sessions = Sessions()
        self.everyone = everyone
        self.reached = None
        self.guard = Guard(self._page, sessions=self.sessions, open_session=lambda: self.everyone, host=host)

    async def _page(self, scope, receive, send):
        self.reached = scope
        if scope["type"] == "http":
            headers = [(b"access-control-allow-origin", b"*")]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": b"page"})
        else:
            await send({"type": "websocket.accept"})

    async def ask(self, path="/", kind="http", method="GET", **headers):
        self.reached, sent = None, []
        headers = {"host": "127.0.0.1:8471"} | headers
        scope = {
            "type": kind,
            "path": path,
            "headers": [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()],
        } | ({"method": method} if kind == "http" else {})

        async def send(message):
            sent.append(message)

        await self.guard(scope, None, send)
        self.headers = {name.decode(): value.decode() for name, value in sent[0].get("headers", [])}
        return sent[0].get("status") or sent[0]["type"]


@pytest.fixture
def local():
    return Front(everyone=session(local=True))


@pytest.fixture
def public():
    return Front(host="0.0.0.0")


async def test_on_this_machine_it_opens_as_it_is(local):
    assert await local.ask() == 200
    assert local.reached["aigrid.session"].actor == "local"
    assert await local.ask("/_nicegui_ws/socket.io/", "websocket", origin="http://127.0.0.1:8471") == "websocket.accept"


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8471", "", "127.0.0.1.evil.example"])
async def test_a_rebound_name_reaches_nothing(local, host):
    assert await local.ask(host=host) == 403
    assert await local.ask("/_nicegui_ws/", "websocket", host=host) == "websocket.close"
    assert local.reached is None


@pytest.mark.parametrize("origin", ["https://evil.example", "http://127.0.0.1:3000", "null"])
async def test_a_foreign_page_opens_no_websocket_and_posts_nothing(local, origin):
    assert await local.ask("/_nicegui_ws/", "websocket", origin=origin) == "websocket.close"
    assert await local.ask("/login", method="POST", origin=origin) == 403
    assert await local.ask("/_nicegui_ws/", origin=origin) == 403
    assert local.reached is None


async def test_a_foreign_page_may_link_here_but_not_embed_or_fetch(local):
    assert await local.ask(sec_fetch_site="cross-site", sec_fetch_mode="navigate") == 200
    assert await local.ask(sec_fetch_site="cross-site", sec_fetch_mode="no-cors") == 403
    assert await local.ask(sec_fetch_site="cross-site", sec_fetch_mode="navigate", method="POST") == 403


async def test_a_proxy_on_this_machine_does_not_let_everyone_in(local):
    assert await local.ask(x_forwarded_for="203.0.113.9") == 303


@pytest.mark.parametrize("path", ["/", "/chat", "/ledger", "/keys"])
async def test_a_stranger_is_asked_to_sign_in(public, path):
    assert await public.ask(path) == 303
    assert public.headers["location"] == f"/login?next={path}"


@pytest.mark.parametrize("path", ["/download/aigrid-records.csv", "/_nicegui_ws/socket.io/", "/a/b"])
async def test_a_stranger_gets_no_data(public, path):
    assert await public.ask(path) == 401
    assert await public.ask("/", method="POST") == 401
    assert await public.ask(path, "websocket") == "websocket.close"
    assert public.reached is None


async def test_a_cookie_lets_in_until_the_session_ends(public):
    token = public.sessions.begin(session(actor="alice"))
    assert await public.ask(cookie=f"a=b; {COOKIE}={token}") == 200
    assert public.reached["aigrid.session"].actor == "alice"
    assert await public.ask("/_nicegui_ws/", "websocket", cookie=f"{COOKIE}={token}") == "websocket.accept"
    gateway = public.sessions.find(token).gateway
    public.sessions.end(token)
    assert await public.ask(cookie=f"{COOKIE}={token}") == 303
    with pytest.raises(GatewayRefused, match="signed out"):
        await gateway.delete("/admin/keys/key_1")


async def test_a_session_runs_out(public, monkeypatch):
    token = public.sessions.begin(session())
    now = access.time.monotonic()
    monkeypatch.setattr(access.time, "monotonic", lambda: now + access.SESSION_S + 1)
    assert await public.ask(cookie=f"{COOKIE}={token}") == 303


@pytest.mark.parametrize("sent", ["", f"{COOKIE}=", f"{COOKIE}=guess", "aigrid_session", "=;;=", "\xff=\xff"])
async def test_a_made_up_cookie_is_no_session(public, sent):
    public.sessions.begin(session())
    assert cookie(sent) in {"", "guess"}
    assert public.sessions.find(cookie(sent)) is None


async def test_every_answer_forbids_third_parties_and_frames(local):
    await local.ask()
    policy = local.headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "http" not in policy
    assert "frame-ancestors 'none'" in policy
    assert local.headers["x-content-type-options"] == "nosniff"
    assert local.headers["cache-control"] == "no-store"
    assert "access-control-allow-origin" not in local.headers


def test_the_cookie_is_out_of_reach_of_scripts_and_other_sites():
    assert set_cookie("t", secure=False) == f"{COOKIE}=t; Path=/; Max-Age=43200; HttpOnly; SameSite=Strict"
    assert set_cookie("t", secure=True).endswith("; Secure")
    assert "Max-Age=0" in set_cookie("", secure=True)


def test_sessions_are_bounded_and_the_oldest_goes_first():
    sessions = Sessions()
    tokens = [sessions.begin(session()) for _ in range(access.MAX_SESSIONS + 1)]
    assert len(set(tokens)) == len(tokens)
    assert sessions.find(tokens[0]) is None
    assert sessions.find(tokens[1]) is not None


def test_guessing_is_slowed_down_per_address_and_overall(monkeypatch):
    now = 1000.0
    monkeypatch.setattr(access.time, "monotonic", lambda: now)
    throttle = Throttle(per_address=3, overall=5, window_s=60)
    for _ in range(3):
        assert throttle.wait_s("a") == 0
        throttle.failed("a")
    assert throttle.wait_s("a") == 60
    assert throttle.wait_s("b") == 0
    throttle.failed("b")
    throttle.failed("c")
    assert throttle.wait_s("d") == 60
    now += 61
    assert throttle.wait_s("a") == 0


def test_a_good_login_does_not_count():
    throttle = Throttle(per_address=1)
    throttle.failed("a")
    throttle.succeeded("a")
    assert throttle.wait_s("a") == 0
