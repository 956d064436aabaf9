"""Keys and tenants: who may use the factory, up to how much, and what they have used."""

from typing import Any

from fastapi import Request
from markupsafe import Markup
from nicegui import ui

from aigrid.console import figures, theme
from aigrid.console.gateway import Gateway, segment
from aigrid.console.key_dialogs import create_key, edit_tenant, revoke_key
from aigrid.core.clock import now_ns

REFRESH_S = 5.0


async def build(request: Request) -> None:
    """Build the page."""
    with theme.frame(request, "/keys") as link:
        KeysPage(theme.session_of(request).gateway, link)


class KeysPage:
    """The page's live parts. Rows are rebuilt only when something changed, so that focus stays."""

    def __init__(self, gateway: Gateway, link: theme.Link) -> None:
        self._gateway = gateway
        self._link = link
        self._seen: Any = None
        with ui.element("header").classes("head"):
            theme.html(
                "<h1>Keys</h1><p>A key lets a program in; its tenant pays. "
                "Limits hold for each request before it starts.</p>"
            )
            with ui.element("div").classes("tools"):
                self._revoked = ui.switch("Show revoked", on_change=self._changed)
                theme.button("New key", self._create, kind="primary")
        with ui.element("div").classes("grid"):
            self._keys = ui.element("section").classes("panel w12").props('aria-label="Keys"')
            self._tenants = ui.element("section").classes("panel w12").props('aria-label="Tenants"')
            self._audit = theme.html().classes("panel w12 scroll")
        ui.timer(REFRESH_S, self._changed, immediate=True)

    async def _changed(self) -> None:
        await self._link.run(self._refresh)

    async def _create(self) -> None:
        if await self._link.run(self._refresh):
            _, tenants = self._seen
            if await create_key(self._gateway, [tenant["name"] for tenant in tenants["tenants"]]):
                await self._changed()

    async def _revoke(self, key: dict[str, Any]) -> None:
        if await revoke_key(self._gateway, key):
            await self._changed()

    async def _edit(self, tenant: dict[str, Any]) -> None:
        if await edit_tenant(self._gateway, tenant):
            await self._changed()

    async def _refresh(self) -> None:
        shown = "true" if self._revoked.value else "false"
        keys = await self._gateway.get("/admin/keys", {"include_revoked": shown, "limit": 500})
        tenants = await self._gateway.get("/admin/tenants", {"limit": 500})
        audit = await self._gateway.get("/admin/audit", {"limit": 20})
        if (keys, tenants) != self._seen:
            self._seen = (keys, tenants)
            self._show_keys(keys["keys"], keys["next"] is not None)
            self._show_tenants(tenants["tenants"])
        self._audit.content = audit_view(audit["entries"])

    def _show_keys(self, keys: list[dict[str, Any]], more: bool) -> None:
        self._keys.clear()
        with self._keys:
            theme.html(theme.panel_head("Keys", "the first 500" if more else f"{len(keys)}"))
            if not keys:
                theme.html(
                    theme.empty("No keys yet", "Make one with New key, then give it to a program as its API key.")
                )
            for key in keys:
                with ui.element("article").classes("item"):
                    theme.html(key_view(key)).classes("cells")
                    if key["revoked_ns"] is None:
                        name = key["name"] or key["hint"]
                        theme.button("Revoke", lambda key=key: self._revoke(key), kind="small").props(
                            f'aria-label="Revoke {segment(name)}"'
                        )

    def _show_tenants(self, tenants: list[dict[str, Any]]) -> None:
        self._tenants.clear()
        with self._tenants:
            theme.html(theme.panel_head("Tenants", "limits hold for all keys of a tenant together"))
            if not tenants:
                theme.html(theme.empty("No tenants yet", "A tenant is made with its first key."))
            for tenant in tenants:
                with ui.element("article").classes("item"):
                    theme.html(tenant_view(tenant)).classes("cells")
                    theme.button("Limits", lambda tenant=tenant: self._edit(tenant), kind="small").props(
                        f'aria-label="Limits of {segment(tenant["name"])}"'
                    )


def key_view(key: dict[str, Any]) -> Markup:
    """Return one key: its name, whose it is, what it may, what it used."""
    tags = Markup('<span class="tag warm">admin</span>') if key["scope"] == "admin" else Markup("")
    if key["revoked_ns"] is not None:
        tags += Markup(' <span class="tag bad">revoked {}</span>').format(figures.day(key["revoked_ns"]))
    title = Markup(
        '<b>{}</b> <code class="muted">…{}</code> {}<br><span class="muted small">{} · since {}</span>'
    ).format(key["name"] or "unnamed", key["hint"], tags, key["tenant"], figures.day(key["created_ns"]))
    return Markup('<div class="who">{}</div>{}').format(title, use_view(key))


def tenant_view(tenant: dict[str, Any]) -> Markup:
    """Return one tenant: its name and what it used of its limits."""
    return Markup('<div class="who"><b>{}</b></div>{}').format(tenant["name"], use_view(tenant))


def use_view(owner: dict[str, Any]) -> Markup:
    """Return what a key or tenant used today, this month and in all, beside its limits."""
    limits, used = owner["limits"], owner["used"]
    spans = Markup("").join(
        _spent(name, used[f"{span}_nusd"], limits.get(f"{span}_nusd"))
        for name, span in (("today", "day"), ("month", "month"), ("total", "total"))
    )
    rates = [
        f"{limits[field]:,} {unit}"
        for field, unit in (
            ("requests_per_minute", "requests/min"),
            ("tokens_per_minute", "tokens/min"),
            ("concurrency", "at once"),
        )
        if limits.get(field) is not None
    ]
    tokens = f"{figures.count(used['total_tokens'])} tokens"
    return Markup('<div class="use">{}</div><div class="rates muted small">{}</div>').format(
        spans, " · ".join([tokens, *rates])
    )


def _spent(name: str, used_nusd: int, limit_nusd: int | None) -> Markup:
    if limit_nusd is None:
        return Markup('<span><b>{}</b> <span class="muted small">{}</span></span>').format(
            figures.dollars(used_nusd), name
        )
    return Markup('<span><b>{}</b> <span class="muted small">of {} {}</span>{}</span>').format(
        figures.dollars(used_nusd),
        figures.dollars(limit_nusd),
        name,
        theme.meter(used_nusd, limit_nusd, f"{figures.percent(used_nusd, limit_nusd)} used {name}"),
    )


def audit_view(entries: list[dict[str, Any]]) -> Markup:
    """Return the newest administrative acts."""
    title = theme.panel_head("Administrative acts", "newest first, kept for good")
    if not entries:
        return title + theme.empty("Nothing was changed yet", "Each key and limit that is changed is noted here.")
    columns = (("Time (UTC)", "nowrap"), ("Who", ""), ("From", ""), ("Act", ""), ("What", ""))
    rows = (
        (
            figures.moment(entry["at_ns"], now_ns()),
            entry["actor"],
            entry["address"] or "–",
            Markup("<b>{}</b>").format(entry["act"]),
            Markup('<span class="small">{}</span>').format(entry["detail"]),
        )
        for entry in entries
    )
    return title + theme.table(columns, rows, "Administrative acts")
