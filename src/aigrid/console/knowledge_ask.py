"""The box that asks the documents: an answer as it is made, on quotes that open where they stand."""

import asyncio
from typing import Any

from markupsafe import Markup
from nicegui import ui

from aigrid.console import figures, theme
from aigrid.console.chat_key import known_key
from aigrid.console.gateway import Gateway, GatewayAway, GatewayRefused
from aigrid.console.knowledge_views import answer_text, citations_view, hits_view

HITS = 10
WORDS = {"reading": "Reading what was found …", "writing": "Putting it into words …"}


class AskBox:
    """A question, and what the documents say to it."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._working: asyncio.Task[None] | None = None
        with ui.element("section").classes("panel w12 ask").props('aria-label="Ask the documents"'):
            with ui.element("div").classes("composer ask-line"):
                self._text = ui.input(placeholder="Ask your documents").props(
                    'borderless dense aria-label="Your question" maxlength=8000'
                )
                self._text.on("keydown.enter.prevent", self._ask)
                self._search_button = theme.button("Search", self._search, kind="small")
                self._ask_button = theme.button("Ask", self._ask_or_stop, kind="primary")
            with ui.element("div").classes("asked").props('aria-live="polite"'):
                self._status = theme.html().classes("status")
                self._answer = theme.html().classes("answer said-by-documents")
                self._cited = theme.html()
                self._receipt = theme.html()
        ui.context.client.on_delete(self._stop)

    def _stop(self) -> None:
        if self._working is not None:
            self._working.cancel()

    async def _ask_or_stop(self) -> None:
        if self._working is not None:
            self._stop()
        else:
            await self._ask()

    async def _ask(self) -> None:
        await self._work(self._stream)

    async def _search(self) -> None:
        await self._work(self._find)

    async def _work(self, work: Any) -> None:
        """Run one search or question at a time, and say what went wrong."""
        question = (self._text.value or "").strip()
        if not question or self._working is not None:
            return
        for part in (self._answer, self._cited, self._receipt):
            part.content = ""
        self._say("Searching …")
        self._ask_button.text = "Stop"
        self._search_button.set_enabled(False)
        self._working = asyncio.create_task(work(question))
        try:
            await self._working
            self._say("")
        except asyncio.CancelledError:
            self._say("Stopped.")
        except GatewayAway:
            self._say("The gateway went away before the answer was complete. Ask again when it is back.", bad=True)
        except GatewayRefused as refusal:
            self._say(refusal.message, bad=True)
        finally:
            self._working = None
            self._ask_button.text = "Ask"
            self._search_button.set_enabled(True)

    def _say(self, text: str, *, bad: bool = False) -> None:
        self._status.content = Markup('<p class="{}" role="{}">{}</p>').format(
            "problem" if bad else "muted", "alert" if bad else "status", text
        )
        self._status.set_visibility(bool(text))

    async def _find(self, question: str) -> None:
        self._cited.content = hits_view(await self._gateway.search(await known_key(self._gateway), question, HITS))

    async def _stream(self, question: str) -> None:
        said = Said()
        stream = self._gateway.ask(await known_key(self._gateway), {"question": question})
        try:
            async for chunk in stream:
                said.take(chunk)
                if said.status:
                    self._say(WORDS.get(said.status, said.status))
                self._answer.content = said.answer()
                self._cited.content = said.quotes()
        finally:
            await stream.aclose()
        self._receipt.content = said.receipt()


class Said:
    """What has come of one answer."""

    def __init__(self) -> None:
        self.status = ""
        self.text = ""
        self.known = True
        self.citations: list[dict[str, Any]] = []
        self.end: dict[str, Any] | None = None

    def take(self, chunk: dict[str, Any]) -> None:
        """Add what one chunk of the stream brought."""
        for choice in chunk.get("choices", ()):
            self.text += choice["delta"].get("content") or ""
        event = chunk.get("knowledge") or {}
        if event.get("type") == "status":
            self.status = event["status"]
        elif event.get("type") == "sources":
            self.known, self.citations = event["known"], event["citations"]
        elif event.get("type") == "answer":
            self.end = event
            self.known = event["known"]
            self.citations = event["citations"] or event["nearest"]

    def answer(self) -> Markup:
        """Return the text so far."""
        if not self.text:
            return Markup("")
        kind = "" if self.known else "unknown"
        return Markup('<p class="{}">{}</p>').format(kind, answer_text(self.text, self.citations if self.known else ()))

    def quotes(self) -> Markup:
        """Return what the answer rests on, or what came nearest."""
        if self.known:
            return citations_view(self.citations, "Quoted, word for word")
        return citations_view(self.citations, "What comes nearest, but does not answer")

    def receipt(self) -> Markup:
        """Return the line under an answer: who wrote it, and what it cost."""
        if self.end is None:
            return Markup("")
        cost, usage = self.end["aigrid"], self.end["usage"]
        wrote = (
            Markup("<span>written by <b>{}</b>, each sentence checked against its quote</span>").format(
                self.end["model"]
            )
            if self.end["written"] == "model"
            else Markup("<span>the documents' own words</span>")
            if self.end["known"]
            else Markup("<span>decided before any model was asked</span>")
        )
        return Markup(
            '<div class="receipt"><b class="price">{}</b><span><b class="joules">{}</b> {}</span>'
            "<span><b>{}</b> tokens in, <b>{}</b> out</span>{}</div>"
        ).format(
            figures.dollars(cost["cost_nusd"]),
            figures.joules(cost["energy_mj"]),
            figures.energy_word(cost["energy_source"]),
            f"{usage['prompt_tokens']:,}",
            f"{usage['completion_tokens']:,}",
            wrote,
        )
