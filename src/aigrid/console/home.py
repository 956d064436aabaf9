"""The factory at a glance: what it makes now, what that takes, what it earns, and for whom."""

from typing import Any
from urllib.parse import urlencode

from fastapi import Request
from markupsafe import Markup
from nicegui import ui

from aigrid.console import figures, theme
from aigrid.console.charts import SPANS, TokenChart
from aigrid.console.gateway import Gateway

REFRESH_S = 1.5
UNBOUNDED = 100_000
"""An engine that takes this many requests at once has no limit worth showing."""


async def build(request: Request) -> None:
    """Build the page."""
    with theme.frame(request, "/") as link:
        Home(theme.session_of(request).gateway, link)


class Home:
    """The page's live parts."""

    def __init__(self, gateway: Gateway, link: theme.Link) -> None:
        self._gateway = gateway
        self._link = link
        self._round = 0
        with ui.element("header").classes("head"):
            self._head = theme.html()
        self._body = ui.element("div").classes("grid")
        self._body.set_visibility(False)
        with self._body:
            self._strip = theme.html().classes("panel strip w12")
            with ui.element("section").classes("panel w8").props('aria-label="Output over time"'):
                with ui.element("div").classes("panel-head"):
                    theme.html("<h2>Output</h2>")
                    with ui.element("div").classes("segments").props('role="group" aria-label="Time span"'):
                        self._choices = {
                            name: ui.button(name, color=None, on_click=lambda name=name: self._choose(name)).props(
                                "unelevated no-caps"
                            )
                            for name in SPANS
                        }
                self._chart = TokenChart()
            self._account = theme.html().classes("panel w4")
            self._engines = theme.html().classes("panel w12")
            self._tenants = theme.html().classes("panel w6")
            self._models = theme.html().classes("panel w6")
        self._span = "24 h"
        self._mark()
        ui.timer(REFRESH_S, self._tick, immediate=True)

    async def _choose(self, span: str) -> None:
        self._span = span
        self._mark()
        await self._link.run(self._draw)

    def _mark(self) -> None:
        for name, choice in self._choices.items():
            choice.props(f'aria-pressed="{"true" if name == self._span else "false"}"')

    async def _tick(self) -> None:
        if await self._link.run(self._refresh):
            self._round += 1

    async def _draw(self) -> None:
        await self._chart.draw(self._gateway, self._span)

    async def _refresh(self) -> None:
        summary = await self._gateway.get("/admin/summary")
        self._head.content = head(summary)
        self._strip.content = strip(summary)
        self._account.content = account(summary)
        self._engines.content = engines(summary)
        if self._round == 0 and summary["windows"]["day"]["tokens"] == summary["windows"]["hour"]["tokens"]:
            self._span = "1 h"  # all there is lies in the last hour
            self._mark()
        if self._round % 4 == 0:
            self._body.set_visibility(True)
            await self._draw()
            day = summary["windows"]["day"]["window_ns"]
            report = await self._gateway.get(
                "/admin/ledger", {"since": summary["now_ns"] - day, "by": "tenant,model", "limit": 6}
            )
            self._tenants.content = users(report, "tenant", "Tenants", "No tenant has used the factory yet")
            self._models.content = users(report, "model", "Models", "No model has made tokens yet")


def head(summary: dict[str, Any]) -> Markup:
    """Return the page's title, and what is going on this second."""
    busy = f"{summary['running']:,} running" + (f", {summary['waiting']:,} waiting" if summary["waiting"] else "")
    up = figures.duration(summary["now_ns"] - summary["started_ns"])
    return Markup(
        "<h1>Factory <span class='muted'>{}</span></h1><p>{} · up for {} · {} held for open requests</p>"
    ).format(summary["site"], busy, up, figures.dollars(summary["held_nusd"]))


def strip(summary: dict[str, Any]) -> Markup:
    """Return the four figures that matter most."""
    minute, hour, day = (summary["windows"][name] for name in ("minute", "hour", "day"))
    energy = next((w["mj_per_token"] for w in (minute, hour, day) if w["mj_per_token"] is not None), None)
    cells = (
        (
            "lead",
            "Output now",
            figures.tokens_per_hour(minute["tokens_per_hour"]),
            f"{figures.count(hour['tokens'])} tokens in the last hour, {figures.count(day['tokens'])} in 24 h",
        ),
        (
            "energy",
            "Energy",
            figures.joules_per_token(energy),
            f"{figures.energy_source(summary['energy_source'])}; {figures.joules(day['energy_mj'])} in 24 h",
        ),
        (
            "",
            "Revenue, 24 h",
            figures.dollars(day["revenue_nusd"]),
            f"{figures.count(day['requests'])} requests, {figures.per_mtok(day['revenue_nusd'], day['tokens'])}",
        ),
        (
            "",
            "Margin, 24 h",
            figures.dollars(day["net_nusd"]),
            margin_note(day),
        ),
    )
    return Markup("").join(
        Markup('<div class="{}"><dl><dt>{}</dt><dd class="value {}">{}</dd><dd class="note">{}</dd></dl></div>').format(
            kind, name, "loss" if value.startswith("−") else "", unit_small(value), note
        )
        for kind, name, value, note in cells
    )


def margin_note(day: dict[str, Any]) -> str:
    """Return what share of revenue is left, or why there is none."""
    if not day["revenue_nusd"]:
        return "nothing sold yet; idling costs all the same" if day["idle_nusd"] else "nothing sold yet"
    return f"{figures.percent(day['net_nusd'], day['revenue_nusd'])} of revenue, after idle time"


def unit_small(text: str) -> Markup:
    """Return a figure whose unit is set smaller than its number."""
    number, gap, unit = text.partition(figures.NBSP)
    return Markup("{}{}").format(number, Markup("<small>{}</small>").format(unit) if gap else "")


def account(summary: dict[str, Any]) -> Markup:
    """Return revenue, each cost, and what is left, over 24 hours."""
    day = summary["windows"]["day"]
    lines = (
        ("first", "Revenue", day["revenue_nusd"]),
        ("", "Energy", -day["energy_nusd"]),
        ("", "Hardware", -day["hardware_nusd"]),
        ("", "Upstream servers", -day["upstream_nusd"]),
        ("", "Idle time", -day["idle_nusd"]),
        ("sum", "Margin", day["net_nusd"]),
    )
    amounts = figures.dollars_column([value for _, _, value in lines])
    rows = Markup("").join(
        Markup('<div class="{}"><dt>{}</dt><dd class="{}">{}</dd></div>').format(
            kind, name, "loss" if kind == "sum" and value < 0 else "", amount
        )
        for (kind, name, value), amount in zip(lines, amounts, strict=True)
    )
    return theme.panel_head("Money", "last 24 h") + Markup('<dl class="account">{}</dl>').format(rows)


def engines(summary: dict[str, Any]) -> Markup:
    """Return the engines and how busy they are."""
    title = theme.panel_head("Engines", "now")
    if not summary["engines"]:
        hint = Markup("Start one with <code>aigrid up</code>, or add a server with <code>--upstream NAME=URL</code>.")
        return title + theme.empty("No engine is connected", hint)
    columns = (("Engine", "title"), ("State", ""), ("Models", ""), ("Output", "num"), ("Load", ""), ("Requests", "num"))
    rows = []
    for engine in summary["engines"]:
        load = engine["load"]
        models = ", ".join(model["id"] for model in engine["models"][:3])
        more = len(engine["models"]) - 3
        bounded = 0 < load["capacity"] < UNBOUNDED
        at_once = f" of {load['capacity']:,}" if bounded else ""
        waiting = f", {load['waiting']:,} waiting" if load["waiting"] else ""
        rows.append(
            (
                Markup("<b>{}</b>").format(engine["name"]),
                tag(load["state"]),
                (models or "none yet") + (f" and {more} more" if more > 0 else ""),
                figures.si(load["tokens_per_second"], "tok/s"),
                theme.meter(load["running"], load["capacity"], f"{load['running']}{at_once} places taken")
                if bounded
                else Markup('<span class="muted">no limit</span>'),
                f"{load['running']:,}{at_once}{waiting}",
            )
        )
    return title + theme.table(columns, rows, "Engines and their load")


def tag(state: str) -> Markup:
    """Return an engine's state as a coloured word."""
    kind = {"ready": "good", "starting": "warm", "down": "bad"}.get(state, "")
    return Markup('<span class="tag {}">{}</span>').format(kind, state)


def users(report: dict[str, Any], group: str, title: str, nothing: str) -> Markup:
    """Return who used most, largest first, each with its share."""
    sums = [each for each in report["groups"][group] if each["requests"]]
    heading = theme.panel_head(title, "last 24 h")
    if not sums:
        hint = Markup(
            'Ask a first question on the <a href="/chat">chat page</a>, '
            'or make a key on the <a href="/keys">keys page</a>.'
        )
        return heading + theme.empty(nothing, hint)
    total = report["totals"]["tokens"]
    items = Markup("").join(
        Markup(
            '<li><div class="line"><a class="name" href="/ledger?{}">{}</a>'
            '<span class="what"><b>{}</b> tokens · {} · {}</span></div>{}</li>'
        ).format(
            urlencode({group: each["name"]}),
            each["name"],
            figures.count(each["tokens"]),
            figures.joules_per_token(each["mj_per_token"]),
            figures.dollars(each["revenue_nusd"]),
            theme.meter(
                each["tokens"], max(total, 1) / 0.94, f"{figures.percent(each['tokens'], total)} of all tokens"
            ),
        )
        for each in sums
    )
    more = report["left_off"][group]
    rest = (
        Markup('<p class="muted small">and {} more in the <a href="/ledger">ledger</a></p>').format(more)
        if more
        else ""
    )
    return heading + Markup('<ul class="bars">{}</ul>{}').format(items, rest)
