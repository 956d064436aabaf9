"""What OpenAI-compatible upstreams send, read once, and how far it is believed."""

import re
from typing import Any

import msgspec

from aigrid.engines.base import Delta, GenerateRequest, ToolCall, Usage, byte_bound
from aigrid.engines.echo import text_of

_WORD = re.compile(r"\w+|[^\w\s]")
_LETTERS = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
_FINISH = {"stop", "length", "tool_calls", "content_filter"}


class _Function(msgspec.Struct, gc=False):
    name: str | None = None
    arguments: str | None = None


class _Call(msgspec.Struct, gc=False):
    index: int = 0
    id: str | None = None
    function: _Function | None = None


class _Message(msgspec.Struct, gc=False):
    content: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    refusal: str | None = None
    tool_calls: list[_Call] | None = None


class Choice(msgspec.Struct, gc=False):
    """One choice, streamed (`delta`), whole (`message`) or a completion (`text`). `stop_reason` is vLLM's."""

    index: int = 0
    delta: _Message | None = None
    message: _Message | None = None
    text: str | None = None
    finish_reason: str | None = None
    stop_reason: Any = None


class _Details(msgspec.Struct, gc=False):
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None


class SaidUsage(msgspec.Struct, gc=False):
    """Usage as the upstream says it."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: _Details | None = None
    completion_tokens_details: _Details | None = None


class Frame(msgspec.Struct, gc=False):
    """One streamed frame or one whole answer."""

    choices: list[Choice] = []
    usage: SaidUsage | None = None
    error: Any = None


class _EmbedItem(msgspec.Struct):
    embedding: list[float]
    index: int = 0


class EmbedAnswer(msgspec.Struct):
    """The answer to an embedding request."""

    data: list[_EmbedItem]
    usage: SaidUsage | None = None


def estimate_tokens(text: str) -> int:
    """Return a rough number of tokens (words and punctuation marks), for upstreams that do not say."""
    return len(_WORD.findall(text))


class Tally:
    """Counts one answer and judges what the upstream says of it."""

    def __init__(self, request: GenerateRequest) -> None:
        self._request = request
        self.choices = request.n
        self._asked = request.max_tokens * request.n
        self._streamed = request.stream
        self._most = 8
        self.tokens = 0

    @property
    def prompt(self) -> int:
        """The prompt's tokens, estimated."""
        request = self._request
        texts = list(text_of(request.messages)) if request.messages else [request.prompt or ""]
        if request.tools:
            texts.append(msgspec.json.encode(request.tools).decode())
        return sum(estimate_tokens(text) if isinstance(text, str) else len(text) for text in texts)

    @property
    def full(self) -> bool:
        """Whether everything that was asked for has been counted."""
        return self.tokens >= self._asked

    @property
    def overdone(self) -> bool:
        """Whether there is clearly more than was asked for, as far as an estimate can tell."""
        return self.tokens > self._asked + self._asked // 4 + 16

    def add(self, delta: Delta) -> None:
        """Count a delta: one token for a streamed piece (OpenAI servers send token by token), else an estimate."""
        calls = delta.tool_calls or []
        text = delta.text + delta.reasoning + "".join(call.arguments for call in calls)
        if not text and not calls:
            return
        data = text.encode()
        others = len(data.translate(None, _LETTERS))
        self._most += others + (len(data) - others + 1) // 2 + 64 * len(calls)
        delta.tokens = 1 if self._streamed else max(1, estimate_tokens(text))
        self.tokens += delta.tokens

    def usage(self, said: SaidUsage | None) -> Usage:
        """Return the usage to settle on: the upstream's where plausible, else ours.

        Plausible: the prompt has between 1 and its bytes' number of tokens; the completion has at least one token
        per piece that we saw, no more than was asked for, and no more than one per two letters or other byte beside
        what it says was reasoning (which may be hidden).
        """
        if said is not None and said.prompt_tokens is not None and said.completion_tokens is not None:
            prompt, completion = said.prompt_tokens, said.completion_tokens
            cached = max(0, (said.prompt_tokens_details or _Details()).cached_tokens or 0)
            reasoning = max(0, (said.completion_tokens_details or _Details()).reasoning_tokens or 0)
            least = self.tokens if self._streamed else min(1, self.tokens)
            most = max(least, min(self._asked, self._most + reasoning))
            if 0 < prompt <= byte_bound(self._request) and least <= completion <= most:
                return Usage(prompt, completion, min(reasoning, completion), min(cached, prompt), "upstream")
        return Usage(self.prompt, self.tokens, source="counted" if self._streamed else "estimated")


def payload_of(frame: bytes) -> bytes | None:
    """Return the data of a server-sent event, None for comments and empty events."""
    if frame.startswith(b"data: "):
        return frame[6:] if b"\n" not in frame else _lines(frame)
    return _lines(frame)


def _lines(frame: bytes) -> bytes | None:
    lines = [line[5:].strip() for line in frame.split(b"\n") if line.startswith(b"data:")]
    return b"\n".join(lines) or None


def delta_of(choice: Choice) -> Delta:
    """Return a choice in our words."""
    message = choice.delta or choice.message
    reason: Any = choice.finish_reason if choice.finish_reason in _FINISH else "stop" if choice.finish_reason else None
    stop = choice.stop_reason if isinstance(choice.stop_reason, str) else None
    if message is None:
        return Delta(choice.index, choice.text or "", finish_reason=reason, stop=stop)
    calls = None
    if message.tool_calls:
        calls = [
            ToolCall(call.index if choice.delta else at, call.id, f.name, f.arguments or "")
            for at, call in enumerate(message.tool_calls)
            for f in [call.function or _Function()]
        ]
    thought = message.reasoning_content or message.reasoning or ""
    return Delta(
        choice.index,
        message.content or message.refusal or "",
        thought,
        tool_calls=calls,
        finish_reason=reason,
        stop=stop,
    )
