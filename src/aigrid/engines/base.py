"""The engine protocol: whatever makes tokens.

A model in another process, an upstream server, a paced echo: each is an `Engine`. The gateway calls
`generate` and forwards what comes; closing the iterator cancels the work.
"""

from collections.abc import AsyncGenerator
from typing import Any, Literal, Protocol, runtime_checkable

import msgspec

from aigrid.core.clock import SECOND, mono_ns

UsageSource = Literal["counted", "upstream", "estimated"]
"""Who says how many tokens there were: we counted them, a plausible upstream said so, or an estimate from bytes."""

Wire = Literal["chat", "completions"]
"""The shape in which `Chunk.raw` bytes are written."""


class Usage(msgspec.Struct, frozen=True, gc=False):
    """Tokens of one request; `reasoning_tokens` are part of completion, `cached_tokens` part of prompt."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    reasoning_tokens: int = 0
    cached_tokens: int = 0
    source: UsageSource = "counted"

    @property
    def total_tokens(self) -> int:
        """Prompt and completion tokens together."""
        return self.prompt_tokens + self.completion_tokens


class ToolCall(msgspec.Struct, gc=False, omit_defaults=True):
    """A piece of a tool call, as OpenAI streams it: the first piece carries `id` and `name`, all carry `arguments`."""

    index: int
    id: str | None = None
    name: str | None = None
    arguments: str = ""


class TokenLogprob(msgspec.Struct, gc=False):
    """One generated token, its natural-log probability, and the best alternatives (token, logprob)."""

    token: str
    logprob: float
    top: list[tuple[str, float]] = []


FinishReason = Literal["stop", "length", "tool_calls", "content_filter"]


class Delta(msgspec.Struct, gc=False):
    """What one choice gained: text, the tokens it took, and perhaps its end.

    `tokens` counts generated tokens in this delta (reasoning included), which may be more than zero when
    `text` is empty: a token can be half a character, or a stop string held back. `stop` is the stop string that
    ended the choice, where the engine can tell.
    """

    index: int = 0
    text: str = ""
    reasoning: str = ""
    tokens: int = 0
    reasoning_tokens: int = 0
    tool_calls: list[ToolCall] | None = None
    logprobs: list[TokenLogprob] | None = None
    finish_reason: FinishReason | None = None
    stop: str | None = None


class Chunk(msgspec.Struct, gc=False):
    """One step of an answer.

    `raw`, where present, is the same step already in the client's wire format (complete SSE frames when the
    request streams, else one JSON body): the gateway passes it through untouched. `usage` is the total so far:
    engines send the prompt's tokens with the first chunk and all of it with the last.
    """

    deltas: list[Delta] = []
    usage: Usage | None = None
    raw: bytes | None = None


class Sampling(msgspec.Struct, frozen=True):
    """How to draw tokens; None leaves the engine's default. Names and ranges as in the OpenAI API, plus `top_k`."""

    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    seed: int | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    repetition_penalty: float | None = None
    logprobs: bool = False
    top_logprobs: int = 0


class Grammar(msgspec.Struct, frozen=True):
    """A constraint on the output: `json_schema` (a JSON text), `json` (any JSON object) or `regex`."""

    kind: Literal["json_schema", "json", "regex"]
    value: str = ""


class GenerateRequest(msgspec.Struct):
    """A request for tokens, the same for every wire format and every engine.

    `messages` are OpenAI chat messages (chat) or `prompt` is a text or token ids (completion). `max_tokens` is
    always set: the gateway holds money for that many per choice and the engine must not make more.
    A `patient` request may wait: an engine that can puts it aside while others want tokens. An `idle` one may wait
    until nobody wants the processor.
    `body` is the client's own JSON object in the shape of `wire`, for engines that forward it. `hops` counts the
    gateways that it has passed, so that gateways which name each other do not send it around for ever.
    """

    id: str
    model: str
    max_tokens: int
    messages: list[dict[str, Any]] | None = None
    prompt: str | list[int] | None = None
    n: int = 1
    stop: list[str] = []
    sampling: Sampling = Sampling()
    grammar: Grammar | None = None
    tools: list[dict[str, Any]] = []
    tool_choice: str | dict[str, Any] | None = None
    stream: bool = False
    include_usage: bool = False
    wire: Wire = "chat"
    body: dict[str, Any] = {}
    hops: int = 0
    patient: bool = False
    idle: bool = False


class EmbedRequest(msgspec.Struct):
    """Texts (or token-id lists) to embed; `dimensions` cuts the vectors where the model allows it."""

    id: str
    model: str
    inputs: list[str] | list[list[int]]
    dimensions: int | None = None
    hops: int = 0


class Embeddings(msgspec.Struct):
    """One vector per input, in order, and the tokens they took."""

    vectors: list[list[float]]
    usage: Usage


class ModelInfo(msgspec.Struct, frozen=True):
    """What a client may ask of a model. `context` is in tokens, prompt and completion together.

    A model that `reasons` does by itself what a `reasoning_effort` asks for.
    """

    id: str
    context: int = 8192
    chat: bool = True
    completions: bool = True
    embeddings: bool = False
    tools: bool = True
    grammar: bool = True
    logprobs: bool = True
    reasons: bool = False
    owned_by: str = "aigrid"


class Load(msgspec.Struct, frozen=True):
    """How busy an engine is: requests running and waiting, how many it runs at once, tokens made in the last second.

    An engine that is `idle` has nothing loaded and starts at its first request. One whose machine is shared with a radio
    says what it can be relied on for: `promised_tokens_per_second` (None: nobody promises; 0: the radio needs it all).
    """

    running: int = 0
    waiting: int = 0
    capacity: int = 0
    tokens_per_second: float = 0.0
    state: Literal["ready", "starting", "idle", "down"] = "ready"
    pids: tuple[int, ...] = ()
    promised_tokens_per_second: float | None = None

    @property
    def spent(self) -> bool:
        """Whether what is promised is being used up, so that more requests should go elsewhere."""
        promised = self.promised_tokens_per_second
        return promised is not None and self.tokens_per_second >= promised


class Throughput:
    """Tokens of the last whole second, for `Load.tokens_per_second`."""

    def __init__(self) -> None:
        self._second = 0
        self._now = self._last = 0

    def add(self, tokens: int) -> None:
        """Count tokens made now."""
        self._roll()
        self._now += tokens

    def rate(self) -> float:
        """Return the tokens of the last whole second."""
        self._roll()
        return float(self._last)

    def _roll(self) -> None:
        second = mono_ns() // SECOND
        if second != self._second:
            self._last = self._now if second == self._second + 1 else 0
            self._second, self._now = second, 0


@runtime_checkable
class Engine(Protocol):
    """Whatever makes tokens.

    `generate` raises `BadRequest` before its first chunk for what the engine cannot do, `UpstreamError`,
    `UpstreamTimeout` or `EngineDied` when it fails; closing it (or cancelling the task that reads it) cancels
    the work at once. `token_bound` is a quick upper bound on the prompt's tokens, from bytes if need be;
    `count` is the exact number where the engine can know it. `name` is its own, `site` is where the ledger says that
    it works.
    """

    name: str
    site: str

    async def start(self) -> None:
        """Make the engine ready; returns when it is, or raises."""

    async def stop(self) -> None:
        """Cancel what runs and free everything."""

    def models(self) -> list[ModelInfo]:
        """Return the models that this engine serves now."""

    def generate(self, request: GenerateRequest) -> AsyncGenerator[Chunk, None]:
        """Make tokens for one request."""

    async def embed(self, request: EmbedRequest) -> Embeddings:
        """Embed texts; raises `BadRequest` where no embedding model is loaded."""

    def token_bound(self, request: GenerateRequest) -> int:
        """Return a number of tokens that the prompt cannot exceed."""

    async def count(self, request: GenerateRequest) -> int:
        """Return the number of prompt tokens."""

    def load(self) -> Load:
        """Return how busy the engine is."""


def byte_bound(request: GenerateRequest) -> int:
    """Return an upper bound on prompt tokens for byte-level tokenizers: a token is at least one byte.

    Chat templates add role names and markers: 32 tokens per message and 64 per request cover the common ones; an
    image or sound by reference may take up to 4,096.
    """
    if isinstance(request.prompt, list):
        return len(request.prompt) + 1
    if request.prompt is not None:
        return len(request.prompt.encode()) + 1
    messages = request.messages or []
    parts = [part for message in messages if isinstance(message.get("content"), list) for part in message["content"]]
    media = sum(part.get("type") not in ("text", "refusal") for part in parts if isinstance(part, dict))
    size = len(msgspec.json.encode(messages)) + (len(msgspec.json.encode(request.tools)) if request.tools else 0)
    return size + 32 * len(messages) + 4096 * media + 64
