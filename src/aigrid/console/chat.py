"""Talk to the factory, and see what each answer cost."""

import asyncio
import time
from typing import Any, get_args

from fastapi import Request
from markupsafe import Markup
from nicegui import ui

from aigrid.console import figures, theme
from aigrid.console.chat_key import chat_key
from aigrid.console.chat_rating import Rate, rated_by
from aigrid.console.chat_thinking import panel
from aigrid.console.gateway import Gateway, GatewayAway, GatewayRefused, segment
from aigrid.console.prose import prose
from aigrid.core.clock import SECOND
from aigrid.ledger.base import Tier

SHOW_S = 0.06
"""How often a growing answer is shown again, in seconds."""
RECORD_WAIT_S = 5.0
DEFAULT_TOKENS = 512
EFFORTS = ("minimal", "low", "medium", "high", "xhigh", "max")
STARTERS = (
    "Explain what a token is in one sentence.",
    "Write a short note to the night shift about saving energy.",
    "List three uses of a small language model in a factory.",
)


async def build(request: Request) -> None:
    """Build the page."""
    with theme.frame(request, "/chat") as link:
        Chat(theme.session_of(request).gateway, link)


class Chat:
    """One conversation, which lives as long as its page."""

    def __init__(self, gateway: Gateway, link: theme.Link) -> None:
        self._gateway = gateway
        self._link = link
        self._messages: list[dict[str, str]] = []
        self._answering: asyncio.Task[None] | None = None
        self._rated: frozenset[str] = frozenset()
        with ui.element("div").classes("chat"):
            with ui.element("header").classes("head"):
                theme.html("<h1>Chat</h1>")
                self._new = theme.button("New chat", self._clear, kind="small")
            self._talk = ui.element("div").classes("talk").props('role="log" aria-label="Conversation" tabindex="0"')
            self._composer()
        self._welcome()
        ui.timer(5.0, self._load, immediate=True)
        ui.run_javascript(_FOLLOW)
        ui.context.client.on_delete(self._stop)

    def _composer(self) -> None:
        with ui.element("div").classes("composer"):
            self._text = ui.textarea(placeholder="Ask something").props(
                'autogrow borderless dense rows=1 input-style="line-height:1.5" aria-label="Your message"'
            )
            self._text.on("keydown.enter.exact.prevent", self._send)
            with ui.element("div").classes("controls"):
                self._model = ui.select([], label="Model").props("outlined dense options-dense").classes("model")
                self._tier = ui.select(list(get_args(Tier)), value="fast", label="Tier").props(
                    "outlined dense options-dense"
                )
                self._effort = ui.select(list(EFFORTS), value="medium", label="Effort").props(
                    "outlined dense options-dense"
                )
                self._effort.bind_visibility_from(self._tier, "value", value="think")
                self._limit = ui.number("Max tokens", value=DEFAULT_TOKENS, min=1, max=131_072, precision=0).props(
                    "outlined dense"
                )
                self._limit.classes("limit")
                ui.element("div").classes("grow")
                self._button = theme.button("Send", self._send_or_stop, kind="primary")

    def _welcome(self) -> None:
        with self._talk:
            self._start = ui.element("div").classes("empty welcome")
            with self._start:
                theme.html(
                    "<b>Ask the factory something</b>Under each answer you see what it took: "
                    "tokens, time, energy and money."
                )
                with ui.element("div").classes("starters"):
                    for text in STARTERS:
                        theme.button(text, lambda text=text: self._ask(text), kind="small")

    async def _load(self) -> None:
        async def load() -> None:
            key = await chat_key(self._gateway)
            try:
                models = await self._gateway.models(key)
            except GatewayRefused as refusal:
                if refusal.status != 401:
                    raise
                models = await self._gateway.models(await chat_key(self._gateway, refused=key))
            self._rated = await rated_by(self._gateway)
            if models != self._model.options:
                self._model.set_options(
                    models, value=self._model.value if self._model.value in models else next(iter(models), None)
                )

        await self._link.run(load)

    async def _clear(self) -> None:
        self._stop()
        self._messages.clear()
        self._talk.clear()
        self._welcome()

    def _stop(self) -> None:
        if self._answering is not None:
            self._answering.cancel()

    async def _send_or_stop(self) -> None:
        if self._answering is not None:
            self._stop()
        else:
            await self._send()

    async def _send(self) -> None:
        text = (self._text.value or "").strip()
        if text and self._answering is None:
            self._text.value = ""
            await self._ask(text)

    async def _ask(self, text: str) -> None:
        if self._answering is not None:
            return
        self._start.set_visibility(False)
        self._messages.append({"role": "user", "content": text})
        with self._talk:
            ui.label(text).classes("said")
            with ui.element("article").classes("answer").props('aria-label="Answer"') as article:
                shown = ui.html("…", sanitize=True).classes("prose")
                thought = theme.html()
                receipt = theme.html()
        said, model = Answer(), str(self._model.value)
        self._answering = asyncio.create_task(self._stream(said, shown, thought))
        self._button.text = "Stop"
        try:
            await self._answering
        except asyncio.CancelledError:
            said.stopped = True
        except GatewayAway:
            said.problem = "The gateway went away before the answer was complete. Ask again when it is back."
        except GatewayRefused as refusal:
            said.problem = refusal.message
        finally:
            self._answering = None
            self._button.text = "Send"
        self._conclude(said, shown)
        receipt.content = await self._receipt(said)
        if model in self._rated and said.text and not said.problem:
            with article:
                Rate(self._gateway, model, text, said.text, said.request_id)

    async def _stream(self, said: "Answer", shown: ui.html, thought: ui.html) -> None:
        body: dict[str, Any] = {
            "model": self._model.value,
            "messages": self._messages,
            "max_tokens": int(self._limit.value or DEFAULT_TOKENS),
            "service_tier": self._tier.value,
        }
        if self._tier.value == "think":
            body |= {"reasoning_effort": self._effort.value, "aigrid": {"trace": True}}
        stream = self._gateway.chat(await chat_key(self._gateway), body)
        due = time.monotonic()
        try:
            async for chunk in stream:
                said.take(chunk)
                if said.thinking:
                    thought.content = panel(said.thinking)
                elif said.reasoning and not said.text:
                    lines = Markup("<br>").join(said.reasoning.strip().splitlines()[-6:])
                    thought.content = Markup('<div class="thought growing">{}</div>').format(lines)
                began = time.monotonic()
                if said.text and began > due:
                    shown.content = prose(said.text)
                    due = began + max(SHOW_S, 10 * (time.monotonic() - began))  # a long answer is shown less often
        finally:
            await stream.aclose()

    def _conclude(self, said: "Answer", shown: ui.html) -> None:
        """Show the last of the text, and keep in the conversation what the model will be told it said."""
        if said.text:
            shown.content = prose(said.text)
            self._messages.append({"role": "assistant", "content": said.text})
        else:
            shown.content = "" if said.problem else "stopped" if said.stopped else "the model had nothing to say"
            self._messages.pop()

    async def _receipt(self, said: "Answer") -> Markup:
        problem = Markup('<p class="problem" role="alert">{}</p>').format(said.problem) if said.problem else Markup("")
        if not said.request_id:
            return problem
        return problem + receipt(said, await self._record(said.request_id))

    async def _record(self, request_id: str) -> dict[str, Any] | None:
        """Return the ledger's record of a request, waiting a little until it is committed."""
        until = time.monotonic() + RECORD_WAIT_S
        while time.monotonic() < until:
            try:
                found: dict[str, Any] = await self._gateway.get(f"/admin/records/{segment(request_id)}")
                return found
            except GatewayRefused as refusal:
                if refusal.status != 404:
                    return None
            except GatewayAway:
                pass
            await asyncio.sleep(0.1)
        return None


class Answer:
    """What has come of one answer."""

    def __init__(self) -> None:
        self.text = ""
        self.reasoning = ""
        self.thinking: dict[str, Any] | None = None
        self.usage: dict[str, Any] = {}
        self.cost: dict[str, Any] = {}
        self.request_id = ""
        self.problem = ""
        self.stopped = False
        self.cut = False

    def take(self, chunk: dict[str, Any]) -> None:
        """Add what one chunk of the stream brought."""
        self.request_id = chunk.get("request_id", self.request_id)
        self.usage = chunk.get("usage") or self.usage
        self.cost = chunk.get("aigrid") or self.cost
        self.thinking = self.cost.get("thinking")
        for choice in chunk.get("choices", ()):
            self.reasoning += choice["delta"].get("reasoning_content") or ""
            self.text += choice["delta"].get("content") or ""
            self.cut = self.cut or choice.get("finish_reason") == "length"


def receipt(said: Answer, record: dict[str, Any] | None) -> Markup:
    """Return the line under an answer: what it took and what it cost, from the ledger's record."""
    if record is None:
        return Markup('<div class="receipt">Its price is not in the ledger yet; look on the ledger page.</div>')
    if said.thinking:  # what it took is on the records of its calls; the answer says what they came to
        tokens = {name: said.usage.get(name, 0) for name in ("prompt_tokens", "completion_tokens")}
        record = {**record, **tokens, "revenue_nusd": said.cost["cost_nusd"], "energy_mj": said.cost["energy_mj"]}
    made, first_ns, whole_ns = record["completion_tokens"], record["first_token_ns"], record["duration_ns"]
    pace = (made - 1) * SECOND / (whole_ns - first_ns) if made > 1 and whole_ns > first_ns > 0 else None
    source = figures.energy_source(record["energy_source"])
    parts = [
        Markup('<b class="price">{}</b>').format(figures.dollars(record["revenue_nusd"])),
        Markup('<span title="{}"><b class="joules">{}</b> {}</span>').format(
            source, figures.joules(record["energy_mj"]), figures.energy_word(record["energy_source"])
        ),
        Markup("<span><b>{}</b> tokens in, <b>{}</b> out</span>").format(f"{record['prompt_tokens']:,}", f"{made:,}"),
    ]
    if said.thinking:
        thought = (said.usage.get("completion_tokens_details") or {}).get("reasoning_tokens", 0)
        parts.append(Markup("<span><b>{}</b> of them reasoning</span>").format(f"{thought:,}"))
    elif first_ns:
        parts.append(Markup("<span><b>{}</b> to first token</span>").format(figures.duration(first_ns)))
    if pace and not said.thinking:
        parts.append(Markup("<b>{}</b>").format(figures.si(pace, "tok/s")))
    if said.stopped:
        parts.append(Markup("<span>stopped by you</span>"))
    elif said.cut:
        parts.append(Markup("<span>cut at max tokens</span>"))
    return Markup('<div class="receipt" data-request="{}">{}</div>').format(said.request_id, Markup("").join(parts))


_FOLLOW = """
const talk = document.querySelector(".talk"); let near = true;
talk.addEventListener("scroll", () => { near = talk.scrollHeight - talk.scrollTop - talk.clientHeight < 60; });
new MutationObserver(() => { if (near) talk.scrollTop = talk.scrollHeight; })
  .observe(talk, { childList: true, subtree: true, characterData: true });
"""
