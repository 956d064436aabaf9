"""Knowledge: what the factory has read, what it left out and why, and a box to ask it."""

from typing import Any

from fastapi import Request
from markupsafe import Markup
from nicegui import ui

from aigrid.console import theme
from aigrid.console.dialogs import attempt, outcome, problem_line
from aigrid.console.gateway import Gateway, GatewayRefused, segment
from aigrid.console.knowledge_ask import AskBox
from aigrid.console.knowledge_views import (
    EVERYONE,
    figures_view,
    job_view,
    report_view,
    source_view,
    sources_table,
)
from aigrid.core.clock import now_ns

REFRESH_S = 3.0
PAGE = 50
SHOWN = {"": "All", "indexed": "Indexed", "skipped": "Skipped"}


async def build(request: Request) -> None:
    """Build the page."""
    with theme.frame(request, "/knowledge") as link:
        KnowledgePage(theme.session_of(request).gateway, link)


async def build_source(request: Request, source_id: str) -> None:
    """Build the page of one source: /knowledge/source/{id}?start=&end= marks a place."""
    gateway = theme.session_of(request).gateway
    with theme.frame(request, "/knowledge") as link:
        theme.html('<p class="back"><a href="/knowledge">Knowledge</a></p>')
        shown = theme.html().classes("panel source")

    async def load() -> None:
        shown.content = await source_markup(gateway, source_id, dict(request.query_params))
        ui.run_javascript(_TO_MARK)

    ui.timer(0, lambda: link.run(load), once=True)


async def source_markup(gateway: Gateway, source_id: str, place: dict[str, str]) -> Markup:
    """Return a source as markup, or why it cannot be shown."""
    wanted = {name: value for name, value in place.items() if name in ("start", "end") and value.isdigit()}
    try:
        return source_view(await gateway.get(f"/admin/knowledge/sources/{segment(source_id)}", wanted))
    except GatewayRefused as refusal:
        if refusal.status != 404:
            raise
        return theme.empty("This source is not here any more", "It was taken out, or its file is gone.")


class KnowledgePage:
    """The page's live parts."""

    def __init__(self, gateway: Gateway, link: theme.Link) -> None:
        self._gateway = gateway
        self._link = link
        self._state = ""
        self._pages: list[str | None] = [None]
        self._next: str | None = None
        self._opened = False
        with ui.element("header").classes("head"):
            theme.html("<h1>Knowledge</h1><p>Answers that quote your documents, and say so when these do not say.</p>")
            with ui.element("div").classes("tools"):
                self._again = theme.button("Bring up to date", self._refresh_all)
                theme.button("Add", self._add, kind="primary")
        self._figures = theme.html().classes("panel strip five")
        self._empty = theme.html().classes("panel")
        with ui.element("div").classes("grid"):
            AskBox(gateway)
            self._job = ui.element("section").classes("panel w12 job").props('aria-label="Being read"')
            with self._job:
                self._progress = theme.html().classes("grow").props('role="status"')
                theme.button("Stop", self._stop_job, kind="small")
            with ui.element("section").classes("panel w12").props('aria-label="Sources"'):
                with ui.element("div").classes("panel-head"):
                    theme.html("<h2>Sources</h2>")
                    self._choices()
                self._table = theme.html('<p class="muted">Opening the library …</p>').classes("scroll")
                with ui.element("div").classes("pager"):
                    self._report = theme.html()
                    with ui.element("div").classes("tools") as self._pager:
                        self._back_button = theme.button("Back", self._back, kind="small")
                        self._forward_button = theme.button("More", self._forward, kind="small")
        for part in (self._figures, self._empty, self._job):
            part.set_visibility(False)
        ui.on("open_source", lambda event: self._open(event.args))
        ui.run_javascript(_OPEN)
        ui.timer(REFRESH_S, self._tick, immediate=True)

    def _choices(self) -> None:
        self._segments: dict[str, ui.button] = {}
        with ui.element("div").classes("segments").props('role="group" aria-label="Which sources"'):
            for state, name in SHOWN.items():
                made = ui.button(name, color=None, on_click=lambda state=state: self._choose(state))
                made.props(f'unelevated no-caps aria-pressed="{str(state == self._state).lower()}"')
                self._segments[state] = made

    async def _choose(self, state: str) -> None:
        self._state, self._pages = state, [None]
        for name, made in self._segments.items():
            made.props(f'aria-pressed="{str(name == state).lower()}"')
        await self._tick()

    async def _back(self) -> None:
        if len(self._pages) > 1:
            self._pages.pop()
            await self._tick()

    async def _forward(self) -> None:
        if self._next is not None:
            self._pages.append(self._next)
            await self._tick()

    async def _tick(self) -> None:
        if not self._opened:  # the first look loads the index, which may take a while: say who is there before
            self._opened = await self._link.run(self._greet)
        await self._link.run(self._refresh)

    async def _greet(self) -> None:
        await self._gateway.get("/admin/me")

    async def _refresh(self) -> None:
        now = now_ns()
        shown = await self._gateway.get("/admin/knowledge")
        query = {"state": self._state or None, "after": self._pages[-1], "limit": PAGE}
        found = await self._gateway.get("/admin/knowledge/sources", query)
        self._next = found["next"]
        stats, job = shown["stats"], shown["job"]
        nothing = not stats["sources"] and not stats["skipped"]
        running = job is not None and job["state"] == "running"
        _set(self._figures, "" if nothing else figures_view(stats, now))
        _set(self._empty, first_steps() if nothing and not running else "")
        self._job.set_visibility(running)
        if running:
            self._progress.content = job_view(job)
        self._table.content = sources_table(found["sources"], now) if found["sources"] else self._none(nothing)
        self._report.content = report_view(job) if job is not None and not running else ""
        self._again.set_enabled(not running and bool(shown["roots"]))
        self._back_button.set_enabled(len(self._pages) > 1)
        self._forward_button.set_enabled(self._next is not None)
        self._pager.set_visibility(len(self._pages) > 1 or self._next is not None)

    def _none(self, nothing: bool) -> Markup:
        if nothing:
            return theme.empty(
                "No sources yet", "What you add is listed here, and what could not be read, with the reason."
            )
        return theme.empty(f"No {self._state} sources", "Look at all of them.")

    async def _open(self, place: dict[str, Any]) -> None:
        """Show a source in front of the page."""
        query = {name: str(place.get(name, "")) for name in ("start", "end")}
        with ui.dialog() as dialog, ui.card().classes("dialog source"):
            shown = theme.html("…")
            with ui.element("div").classes("actions"):
                theme.button("Close", dialog.close)
        dialog.on("hide", dialog.delete)

        async def load() -> None:
            shown.content = await source_markup(self._gateway, str(place.get("id", "")), query)

        dialog.open()
        if await self._link.run(load):
            ui.run_javascript(_TO_MARK)
        else:
            dialog.close()

    async def _refresh_all(self) -> None:
        async def begin() -> None:
            await self._gateway.post("/admin/knowledge/sources", {})

        await self._link.run(begin)
        await self._tick()

    async def _stop_job(self) -> None:
        async def stop() -> None:
            await self._gateway.delete("/admin/knowledge/job")

        await self._link.run(stop)
        await self._tick()

    async def _add(self) -> None:
        if await add_dialog(self._gateway):
            await self._tick()


def _set(part: ui.html, content: Markup | str) -> None:
    part.content = content
    part.set_visibility(bool(content))


def first_steps() -> Markup:
    """Return what to do where nothing was added yet."""
    hint = Markup(
        "Add a folder on the factory's machine or the address of a page, here or with "
        "<code>aigrid knowledge add PATH</code>. PDF, HTML, Markdown, Word, PowerPoint, Excel, CSV, e-mail, code and "
        "plain text are read; nothing leaves this machine."
    )
    return theme.empty("Nothing to know yet", hint)


async def add_dialog(gateway: Gateway) -> bool:
    """Ask what to add and who may read it, and begin. Returns whether reading has begun."""
    with ui.dialog() as dialog, ui.card().classes("dialog"):
        theme.html(
            "<h2>Add documents</h2><p class='muted'>Files and folders on the gateway's machine, or addresses of pages: "
            "one a line.</p>"
        )
        with ui.element("div").classes("fields"):
            targets = ui.textarea("Paths or addresses", placeholder="/srv/handbook").classes("wide")
            targets.props("outlined autogrow stack-label rows=2")
            readers = ui.input("Readers", placeholder="everyone").classes("wide")
            readers.props('outlined dense stack-label hint="tenants or key ids, with commas between them"')
        problem = problem_line()

        async def begin() -> None:
            named = [part.strip() for part in (readers.value or "").split(",") if part.strip()]
            wanted = [line.strip() for line in (targets.value or "").splitlines() if line.strip()]
            if not wanted:
                problem.text = "Name at least one path or address."
                return
            body = {"targets": wanted, "readers": named or [EVERYONE]}
            if await attempt(problem, lambda: gateway.post("/admin/knowledge/sources", body)) is not None:
                dialog.submit(True)

        with ui.element("div").classes("actions"):
            theme.button("Cancel", dialog.close)
            theme.button("Add", begin, kind="primary")
    return bool(await outcome(dialog))


_OPEN = """
document.addEventListener("click", (event) => {
  const link = event.target.closest("a.open");
  if (!link || event.button || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
  event.preventDefault();
  const to = new URL(link.href), query = to.searchParams;
  emitEvent("open_source", { id: decodeURIComponent(to.pathname.split("/").pop()),
    start: query.get("start") ?? "", end: query.get("end") ?? "" });
});
"""

_TO_MARK = """
(function find(tries) {  // by layout: scrollIntoView does nothing in a dialog that is still growing
  const mark = document.querySelector(".source-text mark"), text = mark && mark.closest(".source-text");
  if (text && text.clientHeight) {
    text.scrollTop = mark.offsetTop - text.clientHeight / 2;
    mark.focus({ preventScroll: true });
  } else if (tries) setTimeout(find, 100, tries - 1);
})(60);
"""
