"""The frame around every page, and the few building blocks that pages share. The look itself is `theme.css`."""

from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from fastapi import Request
from markupsafe import Markup, escape
from nicegui import ui

from aigrid.console.access import Session
from aigrid.console.gateway import GatewayAway, GatewayRefused

CSS = (Path(__file__).parent / "theme.css").read_text()
THEME_COOKIE = "aigrid_theme"


def _icon(paths: str) -> Markup:
    return Markup(
        '<svg viewBox="0 0 24 24" fill="none" stroke="currentColor" stroke-width="1.8" stroke-linecap="round" '
        f'stroke-linejoin="round" aria-hidden="true">{paths}</svg>'
    )


HALF_MOON = _icon('<circle cx="12" cy="12" r="8"/><path d="M12 4v16a8 8 0 0 0 0-16z" fill="currentColor"/>')
MARK = _icon(
    '<path d="M3 20V10l6 4v-4l6 4V4h6v16z" fill="currentColor" fill-opacity=".16"/><path d="M8 17h2M14 17h2"/>'
)
LOGO = Markup('<a class="brand" href="/">{}<span>aigrid</span></a>').format(MARK)
FAVICON = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 24 24" fill="#0a6b4b">'
    '<path d="M2 21V9.500l6.500 4.300V9.500l6.500 4.300V3h7v18z"/></svg>'
)


class Page(NamedTuple):
    """One entry of the navigation."""

    path: str
    name: str
    icon: Markup


PAGES = (
    Page("/", "Factory", _icon('<path d="M3 12h4l3-8 4 16 3-8h4"/>')),
    Page("/chat", "Chat", _icon('<path d="M4 5h16v11H9l-5 4z"/>')),
    Page(
        "/knowledge",
        "Knowledge",
        _icon('<path d="M12 6c-2-1.500-5-2-9-2v14c4 0 7 .5 9 2 2-1.500 5-2 9-2V4c-4 0-7 .5-9 2zM12 6v14"/>'),
    ),
    Page(
        "/agents",
        "Agents",
        _icon(
            '<rect x="5" y="8" width="14" height="11" rx="3"/>'
            '<path d="M12 8V4.500M9.500 13v1.200M14.500 13v1.200M2.500 12v3M21.500 12v3"/>'
        ),
    ),
    Page("/lines", "Lines", _icon('<path d="M3 20V9l5 3V9l5 3V5h3v7l5-3v11zM7 16h2M12 16h2M17 16h1"/>')),
    Page("/batches", "Batches", _icon('<path d="M20 14.500A8 8 0 0 1 9.500 4a8 8 0 1 0 10.500 10.500z"/>')),
    Page(
        "/radio",
        "Radio",
        _icon(
            '<path d="M12 13v8M8.500 21h7M8.800 15.200a4.500 4.500 0 1 1 6.400 0M6 18a8.500 8.500 0 1 1 12 0"/>'
            '<circle cx="12" cy="12" r="1"/>'
        ),
    ),
    Page("/ledger", "Ledger", _icon('<path d="M6 3h12v18l-3-2-3 2-3-2-3 2zM9.500 8h5M9.500 12h5"/>')),
    Page("/keys", "Keys", _icon('<circle cx="8" cy="15" r="4.500"/><path d="M11.500 11.500 20 3M16 7l3 3"/>')),
)


def plain_page(title: str, body: Markup) -> str:
    """Return a whole HTML page that needs no script; it follows the system's light or dark."""
    return str(
        Markup(
            '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{} – aigrid</title>'
            '<meta name="viewport" content="width=device-width, initial-scale=1"><style>{}</style></head>'
            "<body><script>if (matchMedia('(prefers-color-scheme: dark)').matches) "
            "document.body.className = 'body--dark'</script>{}</body></html>"
        ).format(title, Markup(CSS), body)
    )


def html(markup: str = "") -> ui.html:
    """Show markup that was built with `Markup.format`, which escapes whatever goes in."""
    return ui.html(markup, sanitize=False)


def panel_head(title: str, note: str = "") -> Markup:
    """Return the heading of a panel."""
    return Markup('<div class="panel-head"><h2>{}</h2><span>{}</span></div>').format(title, note)


def empty(title: str, text: Markup | str) -> Markup:
    """Return what to show where there is nothing yet: what is missing, and what to do next."""
    return Markup('<div class="empty"><b>{}</b>{}</div>').format(title, text)


def table(columns: Sequence[tuple[str, str]], rows: Iterable[Sequence[str | Markup]], caption: str) -> Markup:
    """Return a table from (name, class) columns; on a phone each row becomes a card."""
    head = Markup("").join(Markup('<th scope="col" class="{}">{}</th>').format(kind, name) for name, kind in columns)
    body = Markup("").join(
        Markup("<tr>{}</tr>").format(
            Markup("").join(
                Markup('<td class="{}" data-label="{}">{}</td>').format(kind, name, cell)
                for (name, kind), cell in zip(columns, row, strict=True)
            )
        )
        for row in rows
    )
    return Markup(
        '<table class="cards"><caption class="sr">{}</caption><thead><tr>{}</tr></thead><tbody>{}</tbody></table>'
    ).format(caption, head, body)


def meter(part: float, whole: float, label: str) -> Markup:
    """Return a thin bar for `part` of `whole`; it turns red from 95 %."""
    share = min(1.0, part / whole) if whole > 0 else 0.0
    return Markup('<span class="meter {}" role="img" aria-label="{}"><i style="width:{}%"></i></span>').format(
        "full" if share >= 0.95 else "", label, round(100 * share, 1)
    )


def button(text: str, on_click: object = None, *, kind: str = "") -> ui.button:
    """Make a button; `kind` is `primary`, `danger`, `plain`, `small` or several of them."""
    made = ui.button(text, on_click=on_click, color=None)  # type: ignore[arg-type]
    made.props("unelevated no-caps").classes(f"btn {kind}")
    return made


class Link:
    """Whether the gateway answers, as the page shows it: a banner on top and a dot in the navigation."""

    def __init__(self, session: Session, status: ui.html, banner: ui.html) -> None:
        self._session = session
        self._status = status
        self._banner = banner
        self._show("starting", "connecting", "")

    async def run(self, work: Callable[[], Awaitable[None]]) -> bool:
        """Do something that calls the gateway and return whether it went well; if not, the page says why.

        An absent gateway becomes a banner that goes away by itself, an ended session leads to the login.
        """
        try:
            if not self._session.live:
                self._session.end()
            if self._session.gateway.closed or self._session.gateway.needs_key:
                raise GatewayRefused(401, "You are signed out.")
            await work()
        except GatewayAway:
            away = Markup(
                "The gateway at <code>{}</code> does not answer. Start it with <code>aigrid up</code>: this page goes "
                "on by itself as soon as it is there."
            )
            self._show("away", "no answer", away.format(self._session.gateway.base))
        except GatewayRefused as refusal:
            if refusal.status == 401:
                ui.navigate.to("/login")
            self._show("away", "refused", escape(refusal.message))
        else:
            self._show("", "connected", "")
            return True
        return False

    def _show(self, dot: str, word: str, problem: str) -> None:
        base = self._session.gateway.base.partition("://")[2]
        self._status.content = Markup(
            '<span class="link"><span class="dot {}"></span><span>{}<br>{}</span></span>'
        ).format(dot, base, word)
        self._banner.content = problem
        self._banner.set_visibility(bool(problem))


_TOGGLE = (
    "() => { const dark = !Quasar.Dark.isActive; Quasar.Dark.set(dark); document.cookie = "
    f"`{THEME_COOKIE}=${{dark ? 'dark' : 'light'}}; path=/; max-age=31536000; samesite=strict`; }}"
)


@contextmanager
def frame(request: Request, current: str) -> Iterator[Link]:
    """Build a page: navigation, then whatever is made inside, in a `<main>`."""
    session = session_of(request)
    chosen = request.cookies.get(THEME_COOKIE)
    if chosen in {"dark", "light"}:
        ui.dark_mode(chosen == "dark")
    with ui.element("div").classes("frame"):
        with ui.element("nav").classes("nav").props('aria-label="Pages"'):
            html(LOGO + _links(current)).classes("nav-main")
            with ui.element("div").classes("nav-foot"):
                status = html()
                with ui.element("div").classes("row"):
                    toggle = button("", kind="plain small").props('aria-label="Switch between light and dark"')
                    toggle.on("click", js_handler=_TOGGLE)
                    with toggle:
                        html(HALF_MOON)
                    if not session.local:
                        html(SIGN_OUT)
        with ui.element("main").classes("main"):
            banner = html().classes("banner").props('role="alert"')
            yield Link(session, status, banner)


SIGN_OUT = Markup('<form method="post" action="/logout"><button class="sign-out">Sign out</button></form>')


def _links(current: str) -> Markup:
    items = (
        Markup('<li><a href="{}"{}>{}<span>{}</span></a></li>').format(
            page.path, Markup(' aria-current="page"') if page.path == current else "", page.icon, page.name
        )
        for page in PAGES
    )
    return Markup("<ul>{}</ul>").format(Markup("").join(items))


def session_of(request: Request) -> Session:
    """Return the session that the guard found for this request."""
    session: Session = request.scope["aigrid.session"]
    return session
