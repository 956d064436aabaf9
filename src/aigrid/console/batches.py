"""Batches: how far each is, when it is due, what it costs and what it waits for."""

from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import Request
from markupsafe import Markup
from nicegui import ui

from aigrid.console import figures, theme
from aigrid.console.gateway import Gateway
from aigrid.core.clock import SECOND, now_ns

REFRESH_S = 2.0
COLUMNS = (
    ("Batch", "title"), ("State", ""), ("Progress", ""), ("Due", "num nowrap"), ("Cost", "num"), ("At most", "num"),
    ("Tokens out", "num"),
)  # fmt: skip
STATES = {
    "in_progress": ("at work", "good live"),
    "validating": ("being read", "live"),
    "finalizing": ("being written", "live"),
    "completed": ("done", "good"),
    "failed": ("refused", "bad"),
    "expired": ("too late", "bad"),
    "cancelling": ("being stopped", "warm"),
    "cancelled": ("stopped", "warm"),
}


async def build(request: Request) -> None:
    """Build the page."""
    with theme.frame(request, "/batches") as link:
        BatchesPage(theme.session_of(request).gateway, link)


class BatchesPage:
    """The page's live parts."""

    def __init__(self, gateway: Gateway, link: theme.Link) -> None:
        self._gateway, self._link = gateway, link
        with ui.element("header").classes("head"):
            theme.html("<h1>Batches</h1><p>Work for the overnight shift: it runs in what live requests leave idle.</p>")
        with ui.element("div").classes("grid"):
            self._list = theme.html('<p class="muted">Looking …</p>').classes("panel w12")
        ui.timer(REFRESH_S, self._tick, immediate=True)

    async def _tick(self) -> None:
        await self._link.run(self._refresh)

    async def _refresh(self) -> None:
        found = await self._gateway.get("/admin/batches", {"limit": 100})
        price = f"energy is at ${found['energy_usd_per_kwh']:g} per kWh now"
        rows = found["batches"]
        self._list.content = theme.panel_head("Newest first", price) + table(rows, now_ns()) if rows else _none()


def _none() -> Markup:
    return theme.empty(
        "No batches yet",
        Markup("Hand in a file of requests: <code>aigrid batch submit FILE</code>. It is done within a day, for less."),
    )


def table(rows: Sequence[Mapping[str, Any]], now: int) -> Markup:
    """Return batches as a table."""
    return theme.table(COLUMNS, (_row(row, now) for row in rows), "Batches, newest first")


def _row(row: Mapping[str, Any], now: int) -> tuple[str | Markup, ...]:
    counts, ours = row["request_counts"], row["aigrid"]
    word, kind = STATES.get(row["status"], (row["status"], ""))
    waits = f"waits for {ours['waits_for']}" if ours["waits_for"] else ""
    running = f"{ours['running']} at once" if ours["running"] else ""
    done, total = counts["completed"] + counts["failed"], counts["total"]
    failed = f", {counts['failed']:,} failed" if counts["failed"] else ""
    problems = (row["errors"] or {}).get("data") or ()
    text = f"line {problems[0]['line']}: {problems[0]['message']}" if problems else f"{done:,} of {total:,}{failed}"
    return (
        Markup('<b>{}</b><span class="sub">{} · {}</span>').format(
            row["id"], row["tenant"], row["model"] or row["endpoint"]
        ),
        Markup('<span class="tag {}">{}</span><span class="sub">{}</span>').format(kind, word, waits or running),
        _bar(done, total, text) + Markup('<span class="sub">{}</span>').format(text),
        figures.moment(row["expires_at"] * SECOND, now),
        figures.dollars(ours["cost_nusd"]),
        figures.dollars(ours["cost_bound_nusd"] or None),
        f"{row['usage']['output_tokens']:,}",
    )


def _bar(done: int, total: int, label: str) -> Markup:
    """Return how much is done as a bar; unlike a budget's, it is good news when it is full."""
    return Markup('<span class="meter" role="img" aria-label="{}"><i style="width:{:.1f}%"></i></span>').format(
        label, 100 * done / max(1, total)
    )
