"""Agents: who there is, what they may do, what waits for a person, and every run with what it took."""

from typing import Any

from fastapi import Request
from nicegui import ui

from aigrid.agents.spec import Agent
from aigrid.console import theme
from aigrid.console.agents_approvals import Approvals
from aigrid.console.agents_dialogs import show_agent
from aigrid.console.agents_views import agents_table, as_agent, first_steps, run_path, runs_table, wrong_view
from aigrid.console.agents_work import works
from aigrid.console.gateway import Gateway, GatewayRefused
from aigrid.core.clock import now_ns

REFRESH_S = 2.0
RUNS = 50


async def build(request: Request) -> None:
    """Build the page."""
    with theme.frame(request, "/agents") as link:
        AgentsPage(theme.session_of(request).gateway, link)


class AgentsPage:
    """The page's live parts."""

    def __init__(self, gateway: Gateway, link: theme.Link) -> None:
        self._gateway = gateway
        self._link = link
        self._agents: dict[str, tuple[Agent, str]] = {}
        with ui.element("header").classes("head"):
            theme.html("<h1>Agents</h1><p>Digital workers: they use tools, stay within limits, and ask first.</p>")
            with ui.element("div").classes("tools"):
                theme.html('<a href="/agents/memory">What they remember</a>')
        self._empty = theme.html().classes("panel")
        self._approvals = Approvals(gateway, link, self._tick)
        with ui.element("div").classes("grid"):
            self._composer = self._task_box()
            self._list = theme.html('<h2>Agents</h2><p class="muted">Looking …</p>').classes("panel w12")
            self._wrong = theme.html().classes("panel w12 loss-list")
            self._runs = theme.html().classes("panel w12")
        for part in (self._empty, self._composer, self._wrong, self._runs):
            part.set_visibility(False)
        ui.on("open_agent", lambda event: self._open(str(event.args)))
        ui.run_javascript(_OPEN)
        ui.timer(REFRESH_S, self._tick, immediate=True)

    def _task_box(self) -> ui.element:
        with ui.element("section").classes("w12").props('aria-label="Give an agent a task"') as section:
            with ui.element("div").classes("composer ask-line give"):
                self._who = ui.select([], label=None).props('borderless dense options-dense aria-label="Agent"')
                self._text = ui.input(placeholder="What is to be done?").props(
                    'borderless dense aria-label="Task" maxlength=8000'
                )
                self._text.on("keydown.enter.prevent", self._start)
                self._button = theme.button("Start", self._start, kind="primary")
            self._problem = ui.label().classes("problem").props('role="alert"')
            self._problem.set_visibility(False)
        return section

    async def _start(self) -> None:
        task = (self._text.value or "").strip()
        if not task or not self._who.value or not self._button.enabled:
            return
        run = ""

        async def start() -> None:
            nonlocal run
            try:
                run = await works.start(self._gateway, self._who.value, task)
            except GatewayRefused as refusal:
                self._say(refusal.message)

        self._say("")
        self._button.text = "Starting …"
        self._button.set_enabled(False)
        try:
            await self._link.run(start)
        finally:
            self._button.text = "Start"
            self._button.set_enabled(True)
        if run:
            ui.navigate.to(run_path(run))

    def _say(self, text: str) -> None:
        self._problem.text = text
        self._problem.set_visibility(bool(text))

    async def _tick(self) -> None:
        await self._link.run(self._refresh)

    async def _refresh(self) -> None:
        found = await self._gateway.get("/admin/agents")
        runs = (await self._gateway.get("/admin/agents/runs", {"limit": RUNS}))["runs"]
        waiting = (await self._gateway.get("/admin/agents/approvals", {"state": "waiting"}))["approvals"]
        self._agents = {row["name"]: (as_agent(row), row["path"]) for row in found["agents"]}
        names = list(self._agents)
        if names != self._who.options:
            self._who.set_options(names, value=self._who.value if self._who.value in names else next(iter(names), None))
        self._approvals.show(waiting)
        _set(self._empty, "" if names else first_steps())
        self._composer.set_visibility(bool(names))
        table = agents_table([agent for agent, _ in self._agents.values()]) if names else ""
        _set(self._list, theme.panel_head("Agents", "served as agent:NAME") + table if names else "")
        _set(self._wrong, wrong_view(found["wrong"]) if found["wrong"] else "")
        _set(self._runs, theme.panel_head("Runs", "newest first") + runs_table(runs, now_ns()) if runs else "")

    async def _open(self, name: str) -> None:
        if name in self._agents and await show_agent(*self._agents[name]):
            self._who.value = name
            self._text.run_method("focus")


def _set(part: Any, content: str) -> None:
    part.content = content
    part.set_visibility(bool(content))


_OPEN = """
document.addEventListener("click", (event) => {
  const name = event.target.closest(".open-agent");
  if (name) emitEvent("open_agent", name.dataset.agent);
});
"""
