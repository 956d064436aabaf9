"""The guard at the door: requests before anything is held for them, answers before they are sent.

What masks personal data in a stream holds back its last words only; what may refuse an answer holds back all of it.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from aigrid.core.config import Config
from aigrid.engines.base import Chunk, Delta, GenerateRequest
from aigrid.gateway.metrics import Metrics
from aigrid.guard.rules import Finding, Rules, Where, refusal, rules_of
from aigrid.ledger.base import Key

if TYPE_CHECKING:
    from aigrid.guard.classifier import Guard

PIECE = 8192
"""Characters looked at between two turns of the event loop."""
OVERLAP = 1280
TAIL = 192
"""Characters of an answer that are held back while personal data is masked: longer than any of it should be."""
CONTEXT = 64
"""Characters already sent that still help to tell what comes."""
_UNTRUSTED = ("user", "tool", "function")


class Door:
    """The policy of each key, and what it found."""

    def __init__(self, config: Config, metrics: Metrics) -> None:
        self._config = config
        self._metrics = metrics
        self._known: dict[tuple[str, str, str], Rules] = {}
        wants = [config.guard.input, *(each.input for each in config.guards)]
        self._guard = _model(config) if any(want not in (None, "off") for want in wants) else None
        self._rules(Key("", ""))  # what cannot be meant is said at the start

    @classmethod
    def of(cls, config: Config, metrics: Metrics) -> "Door | None":
        """Return the guard, or None where nothing is to be guarded: that costs nothing."""
        door = cls(config, metrics)
        everyone = rules_of(config, Key("", ""), None)
        if config.guards or everyone.active("input") or everyone.active("output"):
            return door
        return None

    def _rules(self, key: Key) -> Rules:
        who = (key.tenant, key.id, key.name)
        rules = self._known.get(who)
        if rules is None:
            if len(self._known) > 10_000:
                self._known.clear()
            rules = self._known[who] = rules_of(self._config, key, self._guard)
        return rules

    async def admit(self, key: Key, request: GenerateRequest) -> str:
        """Look at a request, and mask it where the policy says so. Returns what to note; raises `Refused`."""
        rules = self._rules(key)
        if not rules.active("input"):
            return ""
        found: list[Finding] = []
        for role, text in _texts(request):
            found += await self._look(rules, text, role not in _UNTRUSTED)
        masked: list[str] = []
        if rules.masks("input"):
            _rewrite(request, lambda text: _masked(rules, text, masked))
        return self._decide(found, masked, "input")

    async def admit_text(self, key: Key, text: str) -> str:
        """Look at a text that a user or a tool says, without masking it. Returns what to note; raises `Refused`."""
        rules = self._rules(key)
        return self._decide(await self._look(rules, text, False), [], "input") if rules.active("input") else ""

    async def _look(self, rules: Rules, text: str, trusted: bool) -> list[Finding]:
        found: list[Finding] = []
        for at in range(0, max(1, len(text) - OVERLAP), PIECE - OVERLAP):
            found += rules.look(text[at : at + PIECE], "input", trusted)
            await asyncio.sleep(0)
        return found

    def _decide(self, found: list[Finding], masked: list[str], where: Where) -> str:
        names = sorted({(finding.what, str(finding.action)) for finding in found} | {(kind, "mask") for kind in masked})
        for what, action in names:
            self._metrics.guarded(where, what, action)
        if any(finding.action == "refuse" for finding in found):
            raise refusal(found, where)
        return f"guard {where}: {', '.join(f'{what} ({action})' for what, action in names)}" if names else ""

    def watches(self, key: Key) -> bool:
        """Say whether the answers for this key are looked at."""
        return self._rules(key).active("output")

    async def watch(
        self, key: Key, chunks: AsyncGenerator[Chunk, None], note: Callable[[str], None]
    ) -> AsyncGenerator[Chunk, None]:
        """Pass an answer on: masked, or only when it is whole, or as it is. Raises `Refused`."""
        rules = self._rules(key)
        said: dict[tuple[int, bool], list[str]] = {}  # what is meant for the client, and what else there is
        held: list[Chunk] = []
        masked: list[str] = []
        veil = _Veil(rules, masked) if rules.masks("output") else None
        async with aclosing(chunks):
            async for chunk in chunks:
                for delta in chunk.deltas:
                    said.setdefault((delta.index, False), []).append(delta.text)
                    others = [delta.reasoning, *(call.arguments for call in delta.tool_calls or ())]
                    said.setdefault((delta.index, True), []).extend(others)
                if veil is not None:
                    chunk = veil.over(chunk)
                if rules.holds_back():
                    held.append(chunk)
                else:
                    yield chunk
        found: list[Finding] = []
        for (_, beside), parts in said.items():
            found += rules.look("".join(parts), "output", trusted=beside)
        if text := self._decide(found, masked, "output"):
            note(text)
        if veil is not None:
            held += veil.rest()
        for chunk in held:
            yield chunk


class _Veil:
    """Masks personal data in a stream; what might still become some is held back."""

    def __init__(self, rules: Rules, masked: list[str]) -> None:
        self._rules = rules
        self._masked = masked
        self._before: dict[tuple[int, str], str] = {}
        self._held: dict[tuple[int, str], str] = {}

    def over(self, chunk: Chunk) -> Chunk:
        """Return a chunk with what can be sent now; its tokens are as they were."""
        deltas = []
        for delta in chunk.deltas:
            ends = delta.finish_reason is not None
            text = self._next((delta.index, "text"), delta.text, ends)
            reasoning = self._next((delta.index, "reasoning"), delta.reasoning, ends)
            deltas.append(msgspec.structs.replace(delta, text=text, reasoning=reasoning, logprobs=None))
        return Chunk(deltas, chunk.usage)

    def rest(self) -> Iterator[Chunk]:
        """Yield what is still held back, where an answer ended without saying so."""
        for index, kind in list(self._held):
            if text := self._next((index, kind), "", True):
                yield Chunk([Delta(index, **{kind: text})])  # type: ignore[arg-type]

    def _next(self, which: tuple[int, str], text: str, ends: bool) -> str:
        held = self._held.get(which, "") + text
        if not held or (len(held) <= TAIL and not ends):
            self._held[which] = held
            return ""
        before = self._before.get(which, "")
        whole = before + held
        sent = len(before)
        spans = [span for span in self._rules.personal(whole) if span.end > sent]
        cut = len(whole)
        if not ends:
            cut = max(sent, cut - TAIL // 2)
            space = max(whole.rfind(" ", sent, cut), whole.rfind("\n", sent, cut))
            cut = space + 1 if space >= 0 else cut
            cut = max(sent, min([cut, *(span.start for span in spans if span.start < cut < span.end)]))
        parts: list[str] = []
        at = sent
        for span in spans:
            if span.end <= cut:
                parts += (whole[at : max(at, span.start)], f"<{span.kind}>")
                at = span.end
                self._masked.append(span.kind)
        parts.append(whole[at:cut])
        self._before[which], self._held[which] = whole[:cut][-CONTEXT:], whole[cut:]
        return "".join(parts)


def _masked(rules: Rules, text: str, masked: list[str]) -> str:
    """Return a text without its personal data; adds what it was to `masked`."""
    parts = []
    while text:
        cut = len(text) if len(text) <= PIECE else (text.rfind("\n", PIECE // 2, PIECE) + 1 or PIECE)
        clean, kinds = rules.mask(text[:cut])
        parts.append(clean)
        masked += kinds
        text = text[cut:]
    return "".join(parts)


def _texts(request: GenerateRequest) -> Iterator[tuple[str, str]]:
    """Yield the texts of a request, each with the role of who says it."""
    if isinstance(request.prompt, str):
        yield "user", request.prompt
    for message in request.messages or []:
        content = message.get("content")
        for part in content if isinstance(content, list) else [content]:
            text = part.get("text") if isinstance(part, dict) else part
            if isinstance(text, str) and text:
                yield str(message.get("role")), text


def _rewrite(request: GenerateRequest, change: Callable[[str], str]) -> None:
    """Change every text of a request, also in the body that is forwarded."""
    seen: dict[str, str] = {}

    def once(text: str) -> str:
        if text not in seen:
            seen[text] = change(text)
        return seen[text]

    if isinstance(request.prompt, str):
        request.prompt = once(request.prompt)
    if request.messages is not None:
        request.messages = [_message(message, once) for message in request.messages]
    body: dict[str, Any] = dict(request.body)
    if isinstance(body.get("prompt"), str):
        body["prompt"] = once(body["prompt"])
    if isinstance(body.get("messages"), list):
        body["messages"] = [_message(message, once) for message in body["messages"]]
    request.body = body


def _message(message: dict[str, Any], change: Callable[[str], str]) -> dict[str, Any]:
    content = message.get("content")
    if isinstance(content, str):
        return {**message, "content": change(content)}
    if isinstance(content, list):
        parts = [
            {**part, "text": change(part["text"])}
            if isinstance(part, dict) and isinstance(part.get("text"), str)
            else part
            for part in content
        ]
        return {**message, "content": parts}
    return message


def _model(config: Config) -> "Guard":
    """Return the classifier; only a site that wants it loads its library."""
    from aigrid.guard.classifier import SHIPPED, shipped

    return shipped(Path(config.guard.model) if config.guard.model else SHIPPED)
