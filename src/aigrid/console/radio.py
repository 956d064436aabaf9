"""The radio beside AI: slots on time, what it needs and will need, and what its idle cycles make and earn."""

from typing import Any

from fastapi import Request
from markupsafe import Markup
from nicegui import ui

from aigrid.console import figures, radio_charts, theme
from aigrid.console.gateway import Gateway
from aigrid.console.home import unit_small
from aigrid.console.radio_charts import AI, MUTED, RADIO, line, lines

REFRESH_S = 1.0
SECONDS = 60
NO_RADIO = Markup(
    "Start one on this machine, and give the engine what it leaves idle: <code>aigrid ran run --harvest</code>."
)


async def build(request: Request) -> None:
    """Build the page."""
    with theme.frame(request, "/radio") as link:
        RadioPage(theme.session_of(request).gateway, link)


class RadioPage:
    """The page's live parts."""

    def __init__(self, gateway: Gateway, link: theme.Link) -> None:
        self._gateway, self._link = gateway, link
        with ui.element("header").classes("head"):
            self._head = theme.html("<h1>Radio</h1>")
        self._none = theme.html(theme.empty("No radio runs on this machine", NO_RADIO)).classes("panel w12")
        self._body = ui.element("div").classes("grid")
        with self._body:
            self._strip = theme.html().classes("panel strip w12")
            self._need = _chart(
                "w6",
                "Radio's processor",
                "need, and its forecast a second before",
                lines("%", [line("needed", RADIO, area=True), line("forecast, 95 %", MUTED, dashed=True)]),
            )
            self._tokens = _chart(
                "w6",
                "Tokens",
                "made, and promised",
                lines("tok/s", [line("made", AI, area=True), line("promised", MUTED, dashed=True)]),
            )
            self._late = _chart(
                "w6", "How late", "up to which time, share of all since the start", radio_charts.histogram()
            )
            self._load = _chart("w6", "Blocks", "used in the last half second", _load())
            self._split = theme.html().classes("panel w12")  # fmt: skip
        self._body.set_visibility(False)
        self._none.set_visibility(False)
        ui.timer(REFRESH_S, self._tick, immediate=True)

    async def _tick(self) -> None:
        await self._link.run(self._refresh)

    async def _refresh(self) -> None:
        found = await self._gateway.get("/admin/radio")
        radio = found["radio"]
        self._body.set_visibility(radio is not None)
        self._none.set_visibility(radio is None)
        self._head.content = head(radio)
        if radio is None:
            return
        self._strip.content = strip(radio, found["earned"])
        self._split.content = split(radio)
        history = (radio["harvest"] or {}).get("history", [])[-SECONDS:]
        at = [second - len(history) for second in range(1, len(history) + 1)]
        _draw(self._need, at, [[100 * each[0] for each in history], [100 * each[2] or None for each in history]])
        _draw(self._tokens, at, [[each[5] for each in history], [each[4] or None for each in history]])
        names, shares = radio_charts.octaves(radio)
        self._late.options["xAxis"]["data"] = names
        for series, values in zip(self._late.options["series"], shares, strict=True):
            series["data"] = values
        self._late.update()
        blocks = radio["load"]
        span = 1024 * radio["slot_ns"] / 1e6
        step = span / len(blocks)
        self._load.options["series"][0]["data"] = [
            [round(step * (place + 1) - span), value] for place, value in enumerate(blocks)
        ]
        self._load.options["yAxis"]["max"] = radio["cell_prb"]
        self._load.options["xAxis"]["min"] = -round(span)
        self._load.update()


def _chart(kind: str, title: str, note: str, options: dict[str, Any]) -> ui.echart:
    with ui.element("section").classes(f"panel {kind}").props(f'aria-label="{title}"'):
        theme.html(theme.panel_head(title, note))
        return ui.echart(options, renderer="svg").classes("chart").props(f'role="img" aria-label="{title}: {note}"')


def _load() -> dict[str, Any]:
    options = lines("blocks", [{**line("blocks", RADIO, area=True), "step": "end"}])
    options["xAxis"]["axisLabel"] = {**options["xAxis"]["axisLabel"], "formatter": "{value} ms"}
    options["xAxis"]["min"] = -512
    options["legend"]["show"] = False
    options["grid"]["top"] = 12
    return options


def _draw(chart: ui.echart, at: list[int], values: list[list[float | None]]) -> None:
    for series, each in zip(chart.options["series"], values, strict=True):
        series["data"] = [
            [second, None if value is None else round(value, 2)] for second, value in zip(at, each, strict=True)
        ]
    chart.update()


def head(radio: dict[str, Any] | None) -> Markup:
    """Return the page's title, and what goes on this second."""
    if radio is None:
        return Markup("<h1>Radio</h1><p>5G work with deadlines first, tokens from what is left.</p>")
    harvest = radio["harvest"]
    what = harvest["reason"] if harvest else "the engine is not harvested: start the radio with --harvest"
    order = "first in line" if radio["real_time"] else "an ordinary program"
    return Markup("<h1>Radio <span class='muted'>{}</span></h1><p>{} · the radio is {}</p>").format(
        radio["source"], what, order
    )


def strip(radio: dict[str, Any], earned: dict[str, Any] | None) -> Markup:
    """Return the four figures that matter most."""
    harvest = radio["harvest"]
    late, busy = radio["late_slots"], radio["busy_slots"]
    cells = [("lead", "Slots on time", f"{100 * radio['on_time']:.3f}{figures.NBSP}%",
              f"{late:,} late of {busy:,} with work")]  # fmt: skip
    if harvest:
        windows = harvest["kept"] + harvest["broken"]
        kept = (
            f"kept in {harvest['kept']:,} of {windows:,} windows of 10 s" if windows else "judged over windows of 10 s"
        )
        made = figures.si(harvest["tokens_per_second"], "tok/s")
        cells.append(("", "Made now", made, f"{figures.count(harvest['tokens'])} tokens beside this radio"))
        cells.append(("", "Promised", figures.si(harvest["promised"], "tok/s"), kept))
    if earned:
        note = f"{figures.count(earned['tokens'])} tokens at {figures.dollars(earned['nusd_per_mtok'])}/Mtok"
        cells.append(("", "Idle cycles earned", figures.dollars(earned["nusd"]), note))
    return Markup("").join(
        Markup('<div class="{}"><dl><dt>{}</dt><dd class="value">{}</dd><dd class="note">{}</dd></dl></div>').format(
            kind, name, unit_small(value), note
        )
        for kind, name, value, note in cells
    )


def split(radio: dict[str, Any]) -> Markup:
    """Return who has the processors, and what the harvester says."""
    harvest, count = radio["harvest"], radio["processors"]
    if not harvest:
        return theme.panel_head("Processors", f"{count}") + theme.empty("Only the radio is looked at", NO_RADIO)
    shares = (("Radio", harvest["radio_cpu"]), ("AI", harvest["engine_cpu"]))
    rest = max(0.0, count - sum(share for _, share in shares))
    rows = Markup("").join(
        Markup('<li><div class="line"><span class="name">{}</span><span class="what"><b>{}</b> of {} processors</span>'
               "</div>{}</li>").format(
            name, f"{share:.2f}", count,
            theme.meter(share, max(count, 1) / 0.94, f"{name}: {figures.percent(share, count)} of the processors"),
        )
        for name, share in (*shares, ("Others and idle", rest))
    )  # fmt: skip
    held = f"The guard halted AI {harvest['halts']:,} times, {harvest['held_s']:.2f} s in all."
    cover = f"The 95 % forecast held in {100 * harvest['coverage']:.0f} % of the seconds." if harvest["history"] else ""
    notes = Markup("").join(Markup('<p class="muted small">{}</p>').format(text) for text in harvest["notes"])
    return (
        theme.panel_head("Processors", "in the last second")
        + Markup('<ul class="bars">{}</ul><p class="muted small">{} {}</p>').format(rows, held, cover)
        + notes
    )
