"""The ledger: every settled request, filtered, summed and exported."""

from typing import Any, get_args
from urllib.parse import urlencode

from fastapi import Request
from markupsafe import Markup
from nicegui import ui

from aigrid.console import theme
from aigrid.console.gateway import Gateway
from aigrid.console.records import records_table, totals_view
from aigrid.core.clock import DAY, SECOND, now_ns
from aigrid.ledger.base import Outcome, Tier

PAGE = 50
REFRESH_S = 5.0
SPANS = {
    "1 hour": 3600 * SECOND,
    "24 hours": DAY,
    "7 days": 7 * DAY,
    "30 days": 30 * DAY,
    "1 year": 366 * DAY,
}
FILTERS = {"tenant": "Tenant", "key_id": "Key", "model": "Model", "site": "Site", "tier": "Tier", "outcome": "Outcome"}


async def build(request: Request) -> None:
    """Build the page; filters may come in the address, e.g. `/ledger?tenant=acme`."""
    with theme.frame(request, "/ledger") as link:
        chosen = {name: request.query_params[name] for name in FILTERS if request.query_params.get(name)}
        LedgerPage(theme.session_of(request).gateway, link, chosen)


class LedgerPage:
    """The page's live parts. Only the first page of records refreshes by itself."""

    def __init__(self, gateway: Gateway, link: theme.Link, chosen: dict[str, str]) -> None:
        self._gateway = gateway
        self._link = link
        self._names: dict[str, str] = {}
        self._pages: list[str | None] = [None]
        self._next: str | None = None
        with ui.element("header").classes("head"):
            theme.html("<h1>Ledger</h1><p>Every request, settled once, from tokens that were counted.</p>")
            with ui.element("div").classes("tools"):
                self._csv = ui.link("Export CSV", "/download/aigrid-records.csv").classes("btn-link")
                self._csv.props('download="aigrid-records.csv"')
        with ui.element("section").classes("panel").props('aria-label="Filters"'), ui.element("div").classes("filters"):
            self._span = self._select("Time", list(SPANS), "24 hours", clearable=False)
            self._selects = {
                name: self._select(label, {chosen[name]: chosen[name]} if name in chosen else {}, chosen.get(name))
                for name, label in FILTERS.items()
            }
        self._totals = theme.html().classes("panel strip six")
        with ui.element("section").classes("panel").props('aria-label="Records"'):
            self._table = theme.html().classes("scroll")
            with ui.element("div").classes("pager"):
                self._newer = theme.button("Newer", self._back, kind="small")
                self._where = ui.label()
                self._older = theme.button("Older", self._forward, kind="small")
        ui.timer(REFRESH_S, self._tick, immediate=True)

    def _select(self, label: str, options: Any, value: str | None, *, clearable: bool = True) -> ui.select:
        made = ui.select(options, label=label, value=value, clearable=clearable, on_change=self._changed)
        made.props("outlined dense options-dense")
        return made

    async def _changed(self) -> None:
        self._pages = [None]
        await self._link.run(self._refresh)

    async def _back(self) -> None:
        if len(self._pages) > 1:
            self._pages.pop()
            await self._link.run(self._refresh)

    async def _forward(self) -> None:
        if self._next is not None:
            self._pages.append(self._next)
            await self._link.run(self._refresh)

    async def _tick(self) -> None:
        if len(self._pages) == 1:
            await self._link.run(self._refresh)

    async def _refresh(self) -> None:
        now = now_ns()
        since = now - SPANS[self._span.value]
        where = {name: select.value for name, select in self._selects.items() if select.value}
        await self._offer(since)
        totals = await self._gateway.get("/admin/totals", {"since": since, **where})
        answer = await self._gateway.get(
            "/admin/records", {"since": since, **where, "before": self._pages[-1], "limit": PAGE}
        )
        self._next = answer["next"]
        self._totals.content = totals_view(totals["totals"])
        self._table.content = (
            records_table(answer["records"], self._names, now) if answer["records"] else nothing(bool(where))
        )
        self._csv.props(f'href="/download/aigrid-records.csv?{urlencode({"since": since, **where})}"')
        self._newer.set_enabled(len(self._pages) > 1)
        self._older.set_enabled(self._next is not None)
        more = "" if totals["complete"] else "; sums cover the newest only"
        self._where.text = f"Page {len(self._pages)}{more}"

    async def _offer(self, since: int) -> None:
        """Offer as filters what is there in this time."""
        report = await self._gateway.get("/admin/ledger", {"since": since, "limit": 1000})
        keys = await self._gateway.get("/admin/keys", {"include_revoked": "true", "limit": 1000})
        self._names = {key["id"]: key["name"] or f"…{key['hint']}" for key in keys["keys"]}
        groups = {
            name: [each["name"] for each in report["groups"][name]] for name in ("tenant", "key", "model", "site")
        }
        offers = {
            "tenant": {name: name for name in groups["tenant"]},
            "key_id": {name: self._names.get(name, name) for name in groups["key"]},
            "model": {name: name for name in groups["model"]},
            "site": {name: name for name in groups["site"]},
            "tier": {name: name for name in get_args(Tier)},
            "outcome": {name: name.replace("_", " ") for name in get_args(Outcome)},
        }
        for name, offer in offers.items():
            select = self._selects[name]
            if select.value and select.value not in offer:
                offer[select.value] = select.value
            if select.options != offer:
                select.set_options(offer)


def nothing(filtered: bool) -> Markup:
    """Return what to show where no record matches."""
    if filtered:
        return theme.empty("Nothing matches these filters", "Clear one of them, or look at a longer time.")
    hint = Markup(
        'Ask a question on the <a href="/chat">chat page</a>, '
        'or call the API with a key from the <a href="/keys">keys page</a>.'
    )
    return theme.empty("Nothing was settled in this time", hint)
