"""Calls that wait for a person: the exact arguments, a reason, and two buttons."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from markupsafe import Markup
from nicegui import ui

from aigrid.console import figures, theme
from aigrid.console.agents_views import exact, run_path
from aigrid.console.agents_work import works
from aigrid.console.chat_key import TENANT
from aigrid.console.gateway import Gateway, segment
from aigrid.core.clock import now_ns


class Approvals:
    """A card for each call that waits, where nothing is typed over when others come and go."""

    def __init__(self, gateway: Gateway, link: theme.Link, decided: Callable[[], Awaitable[None]]) -> None:
        self._gateway = gateway
        self._link = link
        self._decided = decided
        self._cards: dict[str, ui.element] = {}
        self._place = ui.element("section").classes("approvals").props('aria-label="Waits for you" aria-live="polite"')
        self._place.set_visibility(False)

    def show(self, waiting: Sequence[dict[str, Any]], *, on_run: bool = False) -> None:
        """Show what waits now. On the page of its run, a card does not name it."""
        there = {each["id"] for each in waiting}
        for gone in self._cards.keys() - there:
            self._cards.pop(gone).delete()
        with self._place:
            for each in waiting:
                if each["id"] not in self._cards:
                    self._cards[each["id"]] = self._card(each, on_run)
        self._place.set_visibility(bool(there))

    def _card(self, one: dict[str, Any], on_run: bool) -> ui.element:
        with ui.element("article").classes("panel approval") as card:
            theme.html(approval_view(one, on_run))
            with ui.element("div").classes("decide"):
                reason = ui.input(placeholder="Reason (kept; told to the agent where you deny)").props(
                    'outlined dense maxlength=2000 aria-label="Reason"'
                )
                theme.button("Deny", lambda: self._decide(one, False, reason.value or ""))
                theme.button("Approve", lambda: self._decide(one, True, reason.value or ""), kind="primary")
        return card

    async def _decide(self, one: dict[str, Any], approve: bool, reason: str) -> None:
        async def decide() -> None:
            body = {"approve": approve, "digest": one["digest"], "reason": reason.strip()}
            await self._gateway.post(f"/admin/agents/approvals/{segment(one['id'])}", body)
            if not await go_on(self._gateway, one["run"]):
                word = "Approved" if approve else "Denied"
                ui.notify(f"{word}. The run is {one['tenant']}'s and goes on when {one['tenant']} asks for it again.")

        await self._link.run(decide)
        await self._decided()


async def go_on(gateway: Gateway, run: str) -> bool:
    """Go on with a run where it is the console's own, and return whether; others go on when their tenant asks."""
    found = await gateway.get(f"/admin/agents/runs/{segment(run)}")
    if found["tenant"] != TENANT:
        return False
    works.resume(gateway, run, found["agent"], sum(step["kind"] == "model" for step in found["journal"]))
    return True


def approval_view(one: dict[str, Any], on_run: bool = False) -> Markup:
    """Return what is asked, with the arguments exactly as they would be used."""
    left = figures.duration(max(0, one["expires_ns"] - now_ns()))
    asks = "wants to call" if one["why"] == "approve" else "does not know whether it has called"
    who = Markup("<b>{}</b>").format(one["agent"])
    if not on_run:
        who = Markup('<a href="{}">{}</a>').format(run_path(one["run"]), who)
    more = "" if one["why"] == "approve" else " It was cut off in the middle: approve to make the call again."
    return Markup(
        '<p class="asks">{} {} <b class="tool">{}</b></p><p class="sub">for {}, with exactly these arguments; good for '
        '{} more.{}</p><pre class="box">{}</pre><p class="sub digest" title="{}">approval is bound to these arguments: '
        "{}…</p>"
    ).format(
        who, asks, one["tool"], one["tenant"], left, more, exact(one["arguments"]), one["digest"], one["digest"][:12]
    )
