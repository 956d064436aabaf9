"""What agents remember: look for it, correct it, erase it, for one tenant or agent or all."""

from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import Request
from markupsafe import Markup
from nicegui import ui

from aigrid.console import figures, theme
from aigrid.console.agents_views import first_line
from aigrid.console.dialogs import attempt, outcome, problem_line
from aigrid.console.gateway import Gateway, segment
from aigrid.core.clock import now_ns

REFRESH_S = 3.0
SHOWN = 100
PATH = "/admin/agents/memory"
COLUMNS = (("What", "title"), ("Agent", ""), ("For", ""), ("From", ""), ("Learnt", "num nowrap"))


async def build(request: Request) -> None:
    """Build the page."""
    with theme.frame(request, "/agents") as link:
        MemoryPage(theme.session_of(request).gateway, link)


class MemoryPage:
    """The page's live parts."""

    def __init__(self, gateway: Gateway, link: theme.Link) -> None:
        self._gateway = gateway
        self._link = link
        self._memories: dict[str, dict[str, Any]] = {}
        theme.html('<p class="back"><a href="/agents">Agents</a></p>')
        with ui.element("header").classes("head"):
            theme.html("<h1>Memory</h1><p>What agents have learnt, per tenant. What you erase is gone for good.</p>")
        self._empty = theme.html().classes("panel")
        with ui.element("section").classes("panel").props('aria-label="Memories"') as self._panel:
            with ui.element("div").classes("narrow-by"):
                self._words = ui.input(placeholder="Look for …").props('outlined dense clearable aria-label="Look for"')
                self._agent = ui.select({"": "every agent"}, value="").props('outlined dense aria-label="Agent"')
                self._tenant = ui.select({"": "every tenant"}, value="").props('outlined dense aria-label="Tenant"')
                self._all = theme.button("Erase all of these", self._erase_all, kind="small danger")
            self._table = theme.html()
        for each in (self._words, self._agent, self._tenant):
            each.on_value_change(self._tick)
        self._empty.set_visibility(False)
        self._panel.set_visibility(False)
        ui.on("open_memory", lambda event: self._open(str(event.args)))
        ui.run_javascript(_OPEN)
        ui.timer(REFRESH_S, self._tick, immediate=True)

    def _chosen(self) -> dict[str, str]:
        chosen = {"agent": self._agent.value, "tenant": self._tenant.value}
        return {name: value for name, value in chosen.items() if value}

    async def _tick(self) -> None:
        await self._link.run(self._refresh)

    async def _refresh(self) -> None:
        every = (await self._gateway.get(PATH, {"limit": 1000}))["memories"]
        words = (self._words.value or "").strip()
        found = await self._gateway.get(PATH, {**self._chosen(), "query": words or None, "limit": SHOWN})
        for select, name in ((self._agent, "agent"), (self._tenant, "tenant")):
            options = {"": f"every {name}", **{each: each for each in sorted({one[name] for one in every})}}
            if options != select.options:
                select.set_options(options, value=select.value if select.value in options else "")
        self._memories = {one["id"]: one for one in found["memories"]}
        self._empty.content = "" if every else theme.empty("Nothing is remembered", _HINT)
        self._empty.set_visibility(not every)
        self._panel.set_visibility(bool(every))
        self._all.set_visibility(bool(self._chosen()) and not words and bool(self._memories))
        self._table.content = memories_view(found["memories"], found["count"], now_ns())

    async def _open(self, id_: str) -> None:
        if id_ in self._memories and await memory_dialog(self._gateway, self._memories[id_]):
            await self._tick()

    async def _erase_all(self) -> None:
        if await erase_dialog(self._gateway, self._chosen()):
            await self._tick()


def memories_view(memories: Sequence[Mapping[str, Any]], count: int, now: int) -> Markup:
    """Return memories as a table; their texts open them."""
    if not memories:
        return theme.empty("Nothing like that", "Look for other words, or at every agent and tenant.")
    more = Markup('<p class="sub">The newest {} of {:,}.</p>').format(len(memories), count)
    table = theme.table(COLUMNS, (_row(one, now) for one in memories), "Memories, newest first")
    return table + (more if count > len(memories) else Markup(""))


def _row(one: Mapping[str, Any], now: int) -> tuple[str | Markup, ...]:
    text = Markup('<button class="open-memory" data-memory="{}"><b>{}</b></button><span class="sub">{}</span>').format(
        one["id"], first_line(one["text"]), one["about"]
    )
    whose = Markup('{}<span class="sub">{}</span>').format(one["tenant"], whose_words(one["user"]))
    return text, one["agent"], whose, one["origin"], figures.moment(one["written_ns"], now)


def whose_words(user: str) -> str:
    """Return who of the tenant a memory is about."""
    return f"user {user}" if user else "everyone there"


async def memory_dialog(gateway: Gateway, one: Mapping[str, Any]) -> bool:
    """Show a memory, to be corrected or erased. Returns whether it was."""
    path = f"{PATH}/{segment(one['id'])}"
    with ui.dialog() as dialog, ui.card().classes("dialog"):
        text = "<h2>What {} remembers</h2><p class='muted'>For {}, {}; from {}.</p>"
        theme.html(Markup(text).format(one["agent"], one["tenant"], whose_words(one["user"]), one["origin"]))
        with ui.element("div").classes("fields"):
            said = ui.textarea("Text", value=one["text"]).classes("wide")
            said.props("outlined autogrow stack-label rows=2 maxlength=2000")
            about = ui.input("About", value=one["about"]).classes("wide")
            about.props("outlined dense stack-label maxlength=200")
        problem = problem_line()

        async def save() -> None:
            if not (said.value or "").strip():
                problem.text = "An empty memory is none: erase it instead."
                return
            body = {"text": said.value.strip(), "about": (about.value or "").strip()}
            if await attempt(problem, lambda: gateway.patch(path, body)) is not None:
                dialog.submit(True)

        async def erase() -> None:
            if await attempt(problem, lambda: gateway.delete(path)) is not None:
                dialog.submit(True)

        with ui.element("div").classes("actions"):
            theme.button("Erase", erase, kind="danger")
            theme.button("Cancel", dialog.close)
            theme.button("Save", save, kind="primary")
    return bool(await outcome(dialog))


async def erase_dialog(gateway: Gateway, chosen: Mapping[str, str]) -> bool:
    """Ask, then erase all that an agent, a tenant or both choose. Returns whether it was erased."""
    whose = " for ".join(chosen[name] for name in ("agent", "tenant") if name in chosen)
    with ui.dialog() as dialog, ui.card().classes("dialog"):
        count = (await gateway.get(PATH, {**chosen, "limit": 1}))["count"]
        text = (
            "<h2>Erase {:,} memories of {}?</h2><p>No text, word or vector of them is left. This cannot be undone.</p>"
        )
        theme.html(Markup(text).format(count, whose))
        problem = problem_line()

        async def erase() -> None:
            if await attempt(problem, lambda: gateway.delete(PATH, chosen)) is not None:
                dialog.submit(True)

        with ui.element("div").classes("actions"):
            theme.button("Keep them", dialog.close)
            theme.button("Erase", erase, kind="danger")
    return bool(await outcome(dialog))


_HINT = Markup(
    "An agent whose file has <code>memory</code> and a tool of kind <code>remember</code> keeps what it learns here, "
    "for each tenant apart."
)
_OPEN = """
document.addEventListener("click", (event) => {
  const name = event.target.closest(".open-memory");
  if (name) emitEvent("open_memory", name.dataset.memory);
});
"""
