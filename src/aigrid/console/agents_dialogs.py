"""The dialogs of agents: what an agent's file says, and what a person says about a step."""

from typing import Any

from nicegui import ui

from aigrid.agents.spec import Agent
from aigrid.console import theme
from aigrid.console.agents_views import agent_view
from aigrid.console.dialogs import attempt, outcome, problem_line
from aigrid.console.gateway import Gateway

RATINGS = {1: "Good", 0: "Neither", -1: "Bad"}


async def show_agent(agent: Agent, path: str) -> bool:
    """Show what an agent's file says. Returns whether it is to be given a task."""
    with ui.dialog() as dialog, ui.card().classes("dialog agent"):
        theme.html(agent_view(agent, path)).classes("body")
        with ui.element("div").classes("actions"):
            theme.button("Close", dialog.close)
            theme.button("Give it a task", lambda: dialog.submit(True), kind="primary")
    return bool(await outcome(dialog))


async def rate_dialog(gateway: Gateway, run: str, step: int) -> bool:
    """Ask what was good or bad about a step and keep it. Returns whether anything was said."""
    given: dict[str, Any] = {"rating": None}
    with ui.dialog() as dialog, ui.card().classes("dialog"):
        theme.html(
            f"<h2>Step {step + 1}</h2><p class='muted'>What you say here is kept with this step, and the agent's model "
            "can be taught from it.</p>"
        )
        segments: dict[int, ui.button] = {}

        def choose(rating: int) -> None:
            given["rating"] = None if given["rating"] == rating else rating
            for value, made in segments.items():
                made.props(f'aria-pressed="{str(value == given["rating"]).lower()}"')

        with ui.element("div").classes("segments rating").props('role="group" aria-label="Rating"'):
            for value, name in RATINGS.items():
                made = ui.button(name, color=None, on_click=lambda value=value: choose(value))
                segments[value] = made.props('unelevated no-caps aria-pressed="false"')
        with ui.element("div").classes("fields"):
            correction = ui.textarea("It should have said").classes("wide")
            correction.props("outlined autogrow stack-label rows=2 maxlength=100000")
            comment = ui.input("Comment").classes("wide").props("outlined dense stack-label maxlength=10000")
        problem = problem_line()

        async def keep() -> None:
            said = {"correction": (correction.value or "").strip(), "comment": (comment.value or "").strip()}
            body = {"run": run, "step": step, **given, **{name: text or None for name, text in said.items()}}
            if await attempt(problem, lambda: gateway.post("/admin/agents/feedback", body)) is not None:
                dialog.submit(True)

        with ui.element("div").classes("actions"):
            theme.button("Cancel", dialog.close)
            theme.button("Keep", keep, kind="primary")
    return bool(await outcome(dialog))
