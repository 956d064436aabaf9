"""A deterministic, paced engine for tests and load: it says the prompt's words again, one token each.

It makes `max_tokens` tokens (requests above 2,048 are read as "no particular length" and get 64). A directive in
the last message asks for more, or for trouble: `[echo tokens=20 rate=50 fail=503 after=5 stall=2.5]`:

- `tokens=N` makes N tokens (never more than `max_tokens`); `rate=R` paces them at R tokens per second
- `delay=S` waits S seconds before the first token
- `fail=STATUS` fails at once with that HTTP status; `after=N` fails or stalls only after N tokens
- `disconnect=N` drops the connection after N tokens; `stall=S` is silent for S seconds
- `usage=none` reports no usage; `usage=lie` reports ten times the truth; `usage=zero` reports zero
"""

import asyncio
import hashlib
import math
import re
from collections.abc import AsyncGenerator, Iterator
from typing import Any

import msgspec

from aigrid.core.errors import BadRequest, UpstreamError
from aigrid.engines.base import (
    Chunk,
    Delta,
    Embeddings,
    EmbedRequest,
    GenerateRequest,
    Load,
    ModelInfo,
    Throughput,
    TokenLogprob,
    ToolCall,
    Usage,
    byte_bound,
)
from aigrid.engines.echo_schema import instance

_DIRECTIVE = re.compile(r"\[echo((?:\s+\w+=[\w.]+)*)\s*\]")
LONGEST_ASK = 2048
DEFAULT_TOKENS = 64


class Directive(msgspec.Struct, frozen=True):
    """What the prompt asks of the echo; see the module's docstring."""

    tokens: int | None = None
    rate: float | None = None
    delay: float = 0.0
    fail: int | None = None
    after: int = 0
    disconnect: int | None = None
    stall: float = 0.0
    usage: str = "true"


class Script(msgspec.Struct, frozen=True):
    """One answer, decided before it starts: its tokens, how it ends, what trouble it makes on the way."""

    pieces: list[str]
    finish: str
    prompt_tokens: int
    directive: Directive
    tool: str | None = None
    stop: str | None = None

    def reported(self, choices: int = 1) -> Usage | None:
        """Return the usage that this script claims (None: nothing), which may be a lie."""
        true = Usage(self.prompt_tokens, len(self.pieces) * choices)
        if self.directive.usage == "none":
            return None
        factor = {"lie": 10, "zero": 0}.get(self.directive.usage, 1)
        return Usage(true.prompt_tokens * factor, true.completion_tokens * factor)


def text_of(messages: list[dict[str, Any]]) -> Iterator[str]:
    """Yield the text of each message, parts joined."""
    for message in messages:
        content = message.get("content")
        if isinstance(content, str):
            yield content
        elif isinstance(content, list):
            yield " ".join(part["text"] for part in content if isinstance(part.get("text"), str))


def script(
    messages: list[dict[str, Any]] | None,
    prompt: str | list[int] | None,
    max_tokens: int,
    *,
    schema: dict[str, Any] | None = None,
    tool: dict[str, Any] | None = None,
    stop: list[str] | None = None,
) -> Script:
    """Decide an answer. A `schema` is answered by its smallest instance, a forced `tool` by a call of it."""
    texts = list(text_of(messages)) if messages else [prompt] if isinstance(prompt, str) else []
    last = texts[-1] if texts else ""
    match = _DIRECTIVE.search(last)
    directive = Directive()
    if match:
        pairs = dict(pair.split("=", 1) for pair in match.group(1).split())
        try:
            directive = msgspec.convert(pairs, Directive, strict=False)
        except msgspec.ValidationError as error:
            raise BadRequest(f"bad echo directive {match.group(0)}: {error}", param="messages") from None
        last = last.replace(match.group(0), "")
    prompt_tokens = len(prompt) if isinstance(prompt, list) else sum(len(text.split()) for text in texts)
    if tool is not None or schema is not None:
        shape = (tool or {}).get("parameters") or {"type": "object"} if tool is not None else schema
        answer = msgspec.json.encode(instance(shape or {})).decode()
        pieces = [answer[i : i + 4] for i in range(0, len(answer), 4)]
        name = tool["name"] if tool is not None else None
        finish = "tool_calls" if tool is not None else "stop"
        cut = pieces[:max_tokens]
        return Script(cut, finish if len(cut) == len(pieces) else "length", prompt_tokens, directive, name)
    wanted = directive.tokens if directive.tokens is not None else max_tokens
    if directive.tokens is None and max_tokens > LONGEST_ASK:
        wanted = DEFAULT_TOKENS
    count = min(wanted, max_tokens)
    words = last.split() or ["echo"]
    pieces = [words[i % len(words)] + " " for i in range(count)]
    finish = "length" if count == max_tokens else "stop"
    for at, piece in enumerate(pieces):
        hit = next((mark for mark in stop or [] if mark and mark in piece), None)
        if hit is not None:
            return Script(pieces[:at], "stop", prompt_tokens, directive, stop=hit)
    return Script(pieces, finish, prompt_tokens, directive)


def script_for(request: GenerateRequest) -> Script:
    """Decide the answer to an engine request."""
    schema = None
    if request.grammar is not None and request.grammar.kind != "regex":
        schema = msgspec.json.decode(request.grammar.value) if request.grammar.value else {"type": "object"}
    tool = forced_tool(request.tools, request.tool_choice)
    return script(request.messages, request.prompt, request.max_tokens, schema=schema, tool=tool, stop=request.stop)


def forced_tool(tools: list[dict[str, Any]], choice: str | dict[str, Any] | None) -> dict[str, Any] | None:
    """Return the function (name, parameters) that `tool_choice` forces, or None."""
    functions = [tool["function"] for tool in tools if isinstance(tool.get("function"), dict)]
    if isinstance(choice, dict):
        name = (choice.get("function") or {}).get("name")
        return next((f for f in functions if f["name"] == name), None)
    return functions[0] if choice == "required" and functions else None


class EchoEngine:
    """The echo in this process."""

    def __init__(self, name: str = "echo", model: str = "echo", rate: float = 0.0, context: int = 131_072) -> None:
        self.name = self.site = name
        self.rate = rate
        self._model = ModelInfo(id=model, context=context, embeddings=True)
        self._running = 0
        self._made = Throughput()

    async def start(self) -> None:
        """Nothing to load."""

    async def stop(self) -> None:
        """Nothing to free."""

    def models(self) -> list[ModelInfo]:
        """Return the one model."""
        return [self._model]

    def token_bound(self, request: GenerateRequest) -> int:
        """Return the bound that holds for any byte-level tokenizer."""
        return byte_bound(request)

    async def count(self, request: GenerateRequest) -> int:
        """Return the words of the prompt."""
        return script_for(request).prompt_tokens

    def load(self) -> Load:
        """Return the requests running."""
        return Load(running=self._running, capacity=1_000_000, tokens_per_second=self._made.rate())

    async def embed(self, request: EmbedRequest) -> Embeddings:
        """Return unit vectors made from a digest of each input: equal texts, equal vectors; nothing more."""
        size = request.dimensions or 32
        vectors = [_hash_vector(item, size) for item in request.inputs]
        tokens = sum(len(item.split()) if isinstance(item, str) else len(item) for item in request.inputs)
        return Embeddings(vectors, Usage(prompt_tokens=tokens))

    async def generate(self, request: GenerateRequest) -> AsyncGenerator[Chunk, None]:
        """Say the script, paced."""
        play = script_for(request)
        directive = play.directive
        self._running += 1
        try:
            yield Chunk(usage=Usage(prompt_tokens=play.prompt_tokens))
            async for at in paced(play, self.rate):
                piece = play.pieces[at]
                self._made.add(request.n)
                yield Chunk([_delta(i, at, piece, play, request) for i in range(request.n)])
            if directive.fail is not None and directive.after >= len(play.pieces):
                raise UpstreamError("the echo engine failed as it was asked to")
            usage = Usage(play.prompt_tokens, len(play.pieces) * request.n)
            finish: Any = play.finish
            yield Chunk([Delta(i, finish_reason=finish, stop=play.stop) for i in range(request.n)], usage)
        finally:
            self._running -= 1


async def paced(play: Script, rate: float) -> AsyncGenerator[int, None]:
    """Yield the number of each token when it is due; make the trouble that the script asks for."""
    directive = play.directive
    loop = asyncio.get_running_loop()
    rate = directive.rate if directive.rate is not None else rate
    start = loop.time() + directive.delay
    if directive.delay:
        await asyncio.sleep(directive.delay)
    for at in range(len(play.pieces)):
        if at == directive.after and directive.fail is not None:
            raise UpstreamError(f"the echo engine failed with {directive.fail} as it was asked to")
        if at == directive.disconnect:
            raise UpstreamError("the echo engine dropped the connection as it was asked to")
        if at == directive.after and directive.stall:
            await asyncio.sleep(directive.stall)
            start += directive.stall
        if rate:
            await asyncio.sleep(start + (at + 1) / rate - loop.time())
        elif at % 64 == 63:
            await asyncio.sleep(0)
        yield at


def _delta(index: int, at: int, piece: str, play: Script, request: GenerateRequest) -> Delta:
    logprobs = [TokenLogprob(piece, 0.0)] if request.sampling.logprobs else None
    if play.tool is None:
        return Delta(index, piece, tokens=1, logprobs=logprobs)
    call = ToolCall(0, f"call_{request.id[-24:]}{index}", play.tool, piece) if at == 0 else ToolCall(0, arguments=piece)
    return Delta(index, tokens=1, tool_calls=[call])


def _hash_vector(item: str | list[int], size: int) -> list[float]:
    digest = hashlib.shake_256(msgspec.json.encode(item)).digest(size)
    values = [byte - 127.5 for byte in digest]
    norm = math.sqrt(sum(value * value for value in values))
    return [value / norm for value in values]
