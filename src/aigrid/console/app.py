"""The console's process: NiceGUI, the guard in front of it, and the pages."""

import os
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
from fastapi import Request
from fastapi.responses import PlainTextResponse, Response, StreamingResponse

from aigrid.console.access import Guard, Session, Sessions
from aigrid.console.gateway import Gateway, GatewayAway, GatewayRefused
from aigrid.console.settings import ConsoleSettings
from aigrid.core.config import home
from aigrid.gateway.admin_access import is_loopback


def serve(settings: ConsoleSettings) -> None:
    """Serve the console until interrupted."""
    os.environ["NICEGUI_STORAGE_PATH"] = str(home() / "console")  # read once, when NiceGUI is imported
    from nicegui import app, ui

    from aigrid.console import (
        agents,
        agents_memory,
        agents_run,
        batches,
        chat,
        keys,
        knowledge,
        ledger,
        lines,
        radio,
        theme,
    )
    from aigrid.console import home as factory
    from aigrid.console.login import Login

    sessions = Sessions()
    everyone: list[Session] = []
    http: list[aiohttp.ClientSession] = []

    def connect(key: str | None = None) -> Gateway:
        return Gateway(http[0], settings.base, key)

    async def start() -> None:
        http.append(
            aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(total=10, connect=3),
                connector=aiohttp.TCPConnector(limit=200),
                cookie_jar=aiohttp.DummyCookieJar(),
            )
        )
        if is_loopback(settings.host):
            everyone.append(Session(connect(), local=True))

    async def stop() -> None:
        await http[0].close()

    def open_session() -> Session | None:
        return everyone[0] if everyone and not everyone[0].gateway.needs_key else None

    app.on_startup(start)
    app.on_shutdown(stop)
    app.add_middleware(Guard, sessions=sessions, open_session=open_session, host=settings.host)
    login = Login(sessions, connect, frozenset(page.path for page in theme.PAGES))
    app.get("/login")(login.show)
    app.post("/login")(login.enter)
    app.post("/logout")(login.leave)
    app.get("/download/aigrid-records.csv")(download_records)
    ui.add_css(theme.CSS, shared=True)
    builders = {
        "/": factory.build,
        "/chat": chat.build,
        "/knowledge": knowledge.build,
        "/agents": agents.build,
        "/lines": lines.build,
        "/batches": batches.build,
        "/radio": radio.build,
        "/ledger": ledger.build,
        "/keys": keys.build,
    }
    for page in theme.PAGES:
        ui.page(page.path, title=f"{page.name} – aigrid", dark=None)(builders[page.path])
    ui.page("/knowledge/source/{source_id}", title="Source – aigrid", dark=None)(knowledge.build_source)
    ui.page("/agents/memory", title="Memory – aigrid", dark=None)(agents_memory.build)
    ui.page("/agents/run/{run}", title="Run – aigrid", dark=None)(agents_run.build)
    tls: dict[str, Any] = (
        {"ssl_certfile": settings.tls_cert, "ssl_keyfile": settings.tls_key} if settings.tls_cert else {}
    )
    ui.run(
        host=settings.host,
        port=settings.port,
        title="aigrid",
        favicon=theme.FAVICON,
        language="en-US",
        reload=False,
        show=False,
        show_welcome_message=False,
        tailwind=False,
        reconnect_timeout=15.0,
        **tls,
    )


async def download_records(request: Request) -> Response:
    """GET /download/aigrid-records.csv: the gateway's CSV for the same filters, streamed."""
    session: Session = request.scope["aigrid.session"]
    parts = session.gateway.csv(request.url.query)
    try:
        first = await anext(parts, b"")
    except GatewayAway:
        return PlainTextResponse("The gateway does not answer; try again when it runs.", 503)
    except GatewayRefused as refusal:
        return PlainTextResponse(refusal.message, refusal.status)

    async def whole() -> AsyncIterator[bytes]:
        yield first
        async for part in parts:
            yield part

    return StreamingResponse(
        whole(),
        media_type="text/csv; charset=utf-8",
        headers={"content-disposition": 'attachment; filename="aigrid-records.csv"'},
    )
