"""Lines: the factory's plant floor. What each stage did, what it cost, where the time goes, which pack serves."""

from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import Request
from markupsafe import Markup
from nicegui import ui

from aigrid.console import dialogs, figures, theme
from aigrid.console.gateway import Gateway, segment
from aigrid.core.clock import now_ns

LIVE_S, CALM_S = 1.0, 5.0
STATES = {
    "running": ("at work", "live"),
    "done": ("done", "good"),
    "kept": ("kept", ""),
    "failed": ("failed", "bad"),
    "stopped": ("stopped", "warm"),
}
_SHOWN = 5


async def build(request: Request, line: str = "") -> None:
    """Build the page; `line` is the one to show first."""
    with theme.frame(request, "/lines") as link:
        LinesPage(theme.session_of(request).gateway, link, line)


class LinesPage:
    """The page's live parts."""

    def __init__(self, gateway: Gateway, link: theme.Link, line: str) -> None:
        self._gateway, self._link, self._line = gateway, link, line
        self._packs: dict[str, Any] = {}
        with ui.element("header").classes("head"):
            theme.html("<h1>Lines</h1><p>From data to a pack that has earned its place.</p>")
            self._tabs = ui.element("div").classes("segments").props('role="group" aria-label="Line"')
        self._named: list[str] = []
        self._top = theme.html('<p class="muted">Looking …</p>').classes("above")
        with ui.element("div").classes("grid"):
            self._floor = theme.html().classes("panel w12")
            self._time = theme.html().classes("panel w6")
            with ui.element("section").classes("panel w6").props('aria-label="Pack in service"') as self._service:
                self._serving = theme.html()
                self._problem = dialogs.problem_line()
                with ui.element("div").classes("tools"):
                    self._back = theme.button("Go back one version", lambda: self._act("roll_back"))
                    self._halt = theme.button("Stop the trial", lambda: self._act("stop_trial"))
            self._decisions = theme.html().classes("panel w12")
        for part in (self._floor, self._time, self._service, self._decisions):
            part.set_visibility(False)
        self._timer = ui.timer(CALM_S, self._tick, immediate=True)

    async def _tick(self) -> None:
        await self._link.run(self._refresh)

    async def _refresh(self) -> None:
        lines = (await self._gateway.get("/admin/lines"))["lines"]
        if not lines:
            self._top.content = theme.empty(
                "No line was built yet",
                Markup("Build one from its folder: <code>aigrid build blueprints/intent-router</code>."),
            )
            return
        names = [line["line"] for line in lines]
        self._line = self._line if self._line in names else max(lines, key=lambda line: line["changed_ns"])["line"]
        self._choose(names)
        built = next(line for line in lines if line["line"] == self._line)
        packs = (await self._gateway.get("/admin/packs"))["packs"]
        pack = next((pack for pack in packs if pack["name"] == self._line), None)
        running = any(stage["state"] == "running" for stage in built["stages"]) and built["ended_ns"] is None
        self._timer.interval = LIVE_S if running else CALM_S
        self._top.content = head(built)
        self._floor.content = theme.panel_head("Plant floor", "each stage is kept by what went in") + floor(built)
        self._time.content = theme.panel_head("Where the time goes", "speed up the first one first") + times(built)
        self._show(pack)
        for part in (self._floor, self._time):
            part.set_visibility(True)

    def _choose(self, names: list[str]) -> None:
        if names == self._named:
            return
        self._named = names
        self._tabs.clear()
        with self._tabs:
            for name in names if len(names) > 1 else ():
                button = ui.button(name, on_click=lambda name=name: self._switch(name), color=None)
                button.props(f'unelevated no-caps aria-pressed="{str(name == self._line).lower()}"')

    async def _switch(self, name: str) -> None:
        self._line, self._named = name, []
        await self._tick()

    def _show(self, pack: dict[str, Any] | None) -> None:
        self._service.set_visibility(pack is not None)
        self._decisions.set_visibility(pack is not None and bool(pack["history"]))
        if pack is None:
            return
        self._serving.content = theme.panel_head("Pack in service", f"model: {pack['name']}") + service(pack)
        self._back.set_visibility(
            len({each["version"] for each in pack["history"]}) > 1 and pack["in_service"] is not None
        )
        self._halt.set_visibility(bool(pack["trial"]) and not pack["trial"]["ended"])
        self._decisions.content = theme.panel_head("Decisions", "newest first") + decisions(pack["history"])

    async def _act(self, action: str) -> None:
        body = {"action": action, "reason": "decided in the console"}
        path = f"/admin/packs/{segment(self._line)}"
        self._problem.text = ""
        if await dialogs.attempt(self._problem, lambda: self._gateway.post(path, body)) is not None:
            await self._tick()


def head(built: Mapping[str, Any]) -> Markup:
    """Return the build's own figures as a strip."""
    cost = built["cost"]
    state = "finished" if built["ended_ns"] else built["stages"][-1]["name"] if built["stages"] else "beginning"
    cells = (
        ("Build", f"{built['number']}", f"{state}, {figures.moment(built['started_ns'], now_ns())}"),
        ("Work", figures.duration(built["ns"]), f"{len(built['stages'])} stages"),
        ("Cost", figures.dollars(cost["nusd"]), f"{cost['tokens']:,} tokens of models"),
        ("Energy", figures.joules(cost["mj"]), figures.energy_word(cost["source"])),
    )
    return Markup('<dl class="panel strip">{}</dl>').format(
        Markup("").join(
            Markup('<div class="{}"><dt>{}</dt><dd class="value">{}</dd><dd class="note">{}</dd></div>').format(
                "energy" if name == "Energy" else "", name, value, note
            )
            for name, value, note in cells
        )
    )


def floor(built: Mapping[str, Any]) -> Markup:
    """Return the stages as stations in a row, with what each did to the numbers."""
    return Markup('<ol class="plant">{}</ol>').format(Markup("").join(_station(stage) for stage in built["stages"]))


def _station(stage: Mapping[str, Any]) -> Markup:
    word, kind = STATES[stage["state"]]
    done, total, what = stage["at"]
    rows = [(name, said(value)) for name, value in {**stage["figures"], **stage["measured"]}.items()]
    lines = Markup("").join(Markup("<div><dt>{}</dt><dd>{}</dd></div>").format(*row) for row in rows[:_SHOWN])
    more = Markup('<p class="sub">and {} more figures</p>').format(len(rows) - _SHOWN) if len(rows) > _SHOWN else ""
    progress = (
        theme.meter(min(done, (total or 1) * 0.94), total or 1, what) + Markup('<p class="sub">{}</p>').format(what)
        if stage["state"] == "running"
        else ""
    )
    error = Markup('<p class="loss">{}</p>').format(stage["error"]) if stage["error"] else ""
    return Markup(
        '<li><h3>{} <span class="tag {}">{}</span></h3><p class="sub">{} · {} · {}</p>{}{}<dl>{}</dl>{}</li>'
    ).format(
        stage["name"], kind, word, figures.duration(stage["ns"]), figures.dollars(stage["cost"]["nusd"]),
        figures.joules(stage["cost"]["mj"]), error, progress, lines, more,
    )  # fmt: skip


def times(built: Mapping[str, Any]) -> Markup:
    """Return the stages by the time they take, each with the gain of making it twice as fast (Amdahl)."""
    items = Markup("").join(
        Markup(
            '<li><div class="line"><span class="name">{}</span><span class="what"><b>{:.0%}</b> · twice as fast: the line'
            ' {:.2f}×</span></div><span class="meter" role="img" aria-label="{:.0%} of the time"><i style="width:{:.1f}%">'
            "</i></span></li>"
        ).format(each["name"], each["share"], each["twice"], each["share"], 100 * each["share"])
        for each in built["speed_up"]
        if each["share"] >= 0.005
    )
    return Markup('<ul class="bars">{}</ul>').format(items)


def service(pack: Mapping[str, Any]) -> Markup:
    """Return what serves under the pack's name, its evidence, and what is on trial."""
    now, tried = pack["in_service"], pack["trial"]
    shown = next((each for each in pack["versions"] if now and each["version"] == now["version"]), None)
    rows: list[tuple[str, str]] = [("Version", now["version"] if now else "none")]
    for each in shown["evidence"] if shown else ():
        limits = f" ({each['low']:.1%} to {each['high']:.1%})" if each.get("low") is not None else ""
        rows.append((each["name"], f"{each['value']:.1%}{limits}"))
        if each.get("baseline") is not None:
            rows.append((f"{each['name']}, best other", f"{each['baseline']:.1%}"))
    if tried:
        counts = ", ".join(
            f"{arm} {tried['failed'][arm]} of {tried['asked'][arm]} failed" for arm in ("trial", "standing")
        )
        rows.append((f"{tried['mode']} {tried['version']}", tried["ended"] or f"running: {counts}"))
    return Markup('<dl class="account">{}</dl>').format(
        Markup("").join(Markup("<div><dt>{}</dt><dd>{}</dd></div>").format(*row) for row in rows)
    )


def decisions(history: Sequence[Mapping[str, Any]]) -> Markup:
    """Return what was decided about the pack."""
    columns = (("When", "title nowrap"), ("What", ""), ("Version", ""), ("By", ""), ("Why", ""))
    rows = (
        (each["at"].replace("T", " ")[:16], each["action"].replace("_", " "), each["version"], each["by"], each["why"])
        for each in reversed(history)
    )
    return theme.table(columns, rows, "Decisions about what is in service")


def said(value: Any) -> str:
    """Return a figure as people read it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"
    if isinstance(value, str) and value.startswith("sha256:"):
        return value[7:19]
    return "–" if value is None else f"{value:,}" if isinstance(value, int) else str(value)
