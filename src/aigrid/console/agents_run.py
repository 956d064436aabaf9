"""One run, as it happens: its steps, the tools it calls, what it asks a person, what it says and what it takes."""

import json
from typing import Any

from fastapi import Request
from markupsafe import Markup
from nicegui import ui

from aigrid.console import figures, theme
from aigrid.console.agents_approvals import Approvals, go_on
from aigrid.console.agents_dialogs import rate_dialog
from aigrid.console.agents_steps import Timeline
from aigrid.console.agents_views import exact, first_line, joules, state_tag, took_ns
from aigrid.console.agents_work import Work, works
from aigrid.console.chat_key import TENANT
from aigrid.console.gateway import Gateway, GatewayRefused, segment
from aigrid.console.prose import prose
from aigrid.core.clock import now_ns

LIVE_S = 0.5
CALM_S = 3.0
OPEN = ("running", "waiting", "unknown", "interrupted")


async def build(request: Request, run: str) -> None:
    """Build the page of one run: /agents/run/{run}."""
    with theme.frame(request, "/agents") as link:
        theme.html('<p class="back"><a href="/agents">Agents</a></p>')
        RunPage(theme.session_of(request).gateway, link, run)


class RunPage:
    """The page's live parts."""

    def __init__(self, gateway: Gateway, link: theme.Link, run: str) -> None:
        self._gateway = gateway
        self._link = link
        self._run = run
        self._items: list[ui.html] = []
        self._feedback: list[dict[str, Any]] | None = None
        with ui.element("header").classes("head run-head"):
            self._title = theme.html("<h1>Run</h1>")
            with ui.element("div").classes("tools"):
                self._pause = theme.button("Pause", lambda: works.pause(run))
                self._stop = theme.button("Stop", self._end, kind="danger")
                self._again = theme.button("Go on", self._go_on, kind="primary")
        self._figures = theme.html().classes("panel strip five")
        self._approvals = Approvals(gateway, link, self._tick)
        self._problem = theme.html().classes("banner").props('role="alert"')
        with ui.element("section").classes("panel result-panel").props('aria-label="Answer"') as self._answer:
            theme.html("<h2>Answer</h2>")
            self._words = ui.html("", sanitize=True).classes("answer prose")
            self._shape = theme.html()
        with ui.element("section").classes("panel").props('aria-label="Steps"') as self._panel:
            theme.html(theme.panel_head("Steps", "each is in the run's journal"))
            self._steps = ui.element("div").classes("steps")
            self._live = theme.html().props('aria-live="polite"')
        hidden = (
            self._pause,
            self._stop,
            self._again,
            self._figures,
            self._problem,
            self._answer,
            self._panel,
            self._live,
        )
        for part in hidden:
            part.set_visibility(False)
        ui.on("rate", lambda event: self._rate(int(event.args)))
        ui.run_javascript(_RATE)
        self._timer = ui.timer(LIVE_S, self._tick, immediate=True)

    async def _tick(self) -> None:
        await self._link.run(self._refresh)

    async def _refresh(self) -> None:
        path = f"/admin/agents/runs/{segment(self._run)}"
        try:
            run = await self._gateway.get(path)
            if self._feedback is None:
                self._feedback = (await self._gateway.get("/admin/agents/feedback", {"run": self._run}))["feedback"]
        except GatewayRefused as refusal:
            if refusal.status != 404:
                raise
            self._title.content = theme.empty("This run is not here", "Its journal was taken away, or never was.")
            self._timer.deactivate()
            return
        asked = await self._asked(run)
        self._timer.interval = LIVE_S if run["state"] == "running" else CALM_S
        self._head(run, asked)
        timeline = Timeline(run, self._feedback)
        self._show(timeline.items())
        self._tail(run, timeline)
        self._conclude(run)

    async def _asked(self, run: dict[str, Any]) -> dict[str, Any] | None:
        """Return the approval that the run waits for, if any."""
        outcome = run["outcome"] or {}
        waits = run["state"] in ("waiting", "unknown") and outcome.get("approval")
        one = await self._gateway.get(f"/admin/agents/approvals/{segment(outcome['approval'])}") if waits else None
        self._approvals.show([one] if one is not None and one["state"] == "waiting" else [], on_run=True)
        return one

    def _head(self, run: dict[str, Any], asked: dict[str, Any] | None) -> None:
        self._title.content = Markup("<h1>{} {}</h1><p>for {}, begun {}</p>").format(
            run["agent"] or "Run", state_tag(run["state"]), run["tenant"], figures.moment(run["started_ns"], now_ns())
        )
        self._figures.content = figures_view(run)
        self._figures.set_visibility(True)
        work, mine = works.of(self._run), run["tenant"] == TENANT
        decided = asked is None or asked["state"] != "waiting"
        self._pause.set_visibility(run["state"] == "running" and work is not None and not work.over)
        self._stop.set_visibility(run["state"] in OPEN)
        ready = run["state"] in ("waiting", "unknown", "interrupted") and decided
        self._again.set_visibility(ready and mine and (work is None or work.over))
        self._say(run, asked, work, mine, ready)

    def _say(
        self, run: dict[str, Any], asked: dict[str, Any] | None, work: Work | None, mine: bool, ready: bool
    ) -> None:
        """Show what is wrong with the run, or what it needs."""
        outcome, text = run["outcome"] or {}, Markup("")
        if run["state"] == "stopped":
            text = Markup("{}").format(outcome.get("reason", ""))
        elif run["state"] == "interrupted":
            text = Markup("{}").format(outcome.get("reason") or "It was cut off; what was done is kept.")
        elif ready and not mine:
            state = asked["state"] if asked is not None else "decided"
            text = Markup("It is {}. {} goes on with <code>aigrid agents resume {}</code>.").format(
                state, run["tenant"], self._run
            )
        if work is not None and work.problem and run["state"] in OPEN and not text:
            text = Markup("{}").format(work.problem)
        self._problem.content = text
        self._problem.set_visibility(bool(text))

    def _show(self, items: list[Markup]) -> None:
        """Show the steps; one that is there already stays as it is, with what was opened in it."""
        with self._steps:
            for at, item in enumerate(items):
                if at == len(self._items):
                    self._items.append(theme.html(item))
                elif self._items[at].content != item:
                    self._items[at].content = item
        self._panel.set_visibility(bool(items))

    def _tail(self, run: dict[str, Any], timeline: Timeline) -> None:
        """Show what the model is saying now, in a step that is not over."""
        work = works.of(self._run)
        live = run["state"] == "running" and timeline.thinking()
        tail = work.tail(timeline.said()).strip() if live and work is not None else ""
        words = Markup('<p class="words">{}</p>').format(tail) if tail else Markup('<p class="muted">Thinking …</p>')
        self._live.content = Markup(
            '<article class="step"><span class="number live">·</span><div class="did">{}</div></article>'
        ).format(words)
        self._live.set_visibility(live)

    def _conclude(self, run: dict[str, Any]) -> None:
        output = (run["outcome"] or {}).get("output", "") if run["state"] == "done" else ""
        shaped = bool(run["journal"]) and run["journal"][0]["body"]["agent"].get("output") is not None
        if output and shaped:
            self._shape.content = Markup('<pre class="box">{}</pre>').format(readable(output))
        elif output:
            self._words.content = prose(output)
        self._answer.set_visibility(bool(output))

    async def _end(self) -> None:
        async def end() -> None:
            await self._gateway.post(f"/admin/agents/runs/{segment(self._run)}", {"action": "stop"})

        await self._link.run(end)
        await self._tick()

    async def _go_on(self) -> None:
        async def again() -> None:
            await go_on(self._gateway, self._run)

        await self._link.run(again)
        self._timer.interval = LIVE_S

    async def _rate(self, step: int) -> None:
        if await rate_dialog(self._gateway, self._run, step):
            self._feedback = None
            await self._tick()


def figures_view(run: dict[str, Any]) -> Markup:
    """Return what the run has taken until now, and of what it may take."""
    agent = run["journal"][0]["body"]["agent"] if run["journal"] else {}
    budget = agent.get("budget", {})
    most_usd = f"of ${budget['usd']:g} at most" if budget.get("usd") else "as the ledger has it"
    tokens = run["prompt_tokens"] + run["completion_tokens"]
    cells = (
        ("money", "Money", figures.dollars(run["cost_nusd"]), most_usd),
        ("energy", "Energy", joules(run), figures.energy_word(run["energy_source"]) or "not measured here"),
        ("", "Tokens", figures.count(tokens), f"{run['prompt_tokens']:,} in, {run['completion_tokens']:,} out"),
        (
            "",
            "Steps",
            f"{run['model_steps']:,}",
            f"{run['tool_calls']:,} tool call{'' if run['tool_calls'] == 1 else 's'}",
        ),
        ("", "Time", figures.duration(took_ns(run, now_ns())), first_line(run["model"], 40)),
    )
    return Markup("").join(
        Markup('<div class="{}"><dl><dt>{}</dt><dd class="value">{}</dd><dd class="note">{}</dd></dl></div>').format(
            *cell
        )
        for cell in cells
    )


def readable(output: str) -> str:
    """Return a structured answer, indented."""
    try:
        return exact(json.loads(output))
    except ValueError:
        return output


_RATE = """
document.addEventListener("click", (event) => {
  const made = event.target.closest("button.rate");
  if (made) emitEvent("rate", Number(made.dataset.step));
});
"""
