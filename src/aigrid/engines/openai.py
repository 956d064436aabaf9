"""Any OpenAI-compatible upstream: vLLM, llama-server, Ollama, NIM, another aigrid, a cloud.

The client's own JSON goes up almost unchanged and the upstream's bytes come down unchanged (`Chunk.raw`); on the way
every frame is parsed once and its tokens are counted. What the upstream says of usage is believed only where it is
plausible beside our own count; otherwise we settle on our count.
"""

import asyncio
import os
import re
from collections.abc import AsyncGenerator
from typing import Any, Literal

import msgspec

from aigrid.core.config import UpstreamConfig
from aigrid.core.errors import AigridError, BadRequest, LoopDetected, NotFound, RateLimited, Unavailable, UpstreamError
from aigrid.engines.base import (
    Chunk,
    Delta,
    Embeddings,
    EmbedRequest,
    GenerateRequest,
    Load,
    ModelInfo,
    Throughput,
    Usage,
    byte_bound,
)
from aigrid.engines.http import Connection, HttpClient
from aigrid.engines.openai_wire import EmbedAnswer, Frame, SaidUsage, Tally, delta_of, estimate_tokens, payload_of

_decode_frame = msgspec.json.Decoder(Frame).decode
_encode = msgspec.json.encode
_LARGEST_FRAME = 4 << 20
_LARGEST_ERROR = 64 << 10

_OURS = {
    "max_tokens", "max_completion_tokens", "service_tier", "aigrid", "stream", "stream_options",
    "n_predict", "num_predict", "max_new_tokens", "max_length", "min_tokens", "best_of", "use_beam_search",
}  # fmt: skip
"""Fields that are not passed on as they came: our own, and other servers' names for more tokens than are held for."""


class OpenAIEngine:
    """One upstream server. Requests that fail before their first byte may be tried elsewhere by the router."""

    def __init__(self, config: UpstreamConfig) -> None:
        self.name = self.site = config.name
        self.config = config
        url = config.url.rstrip("/")
        base = url if re.search(r"/v\d+$", url) else url + "/v1"
        key = os.environ.get(config.key_env, "") if config.key_env else ""
        headers = {"authorization": f"Bearer {key}"} if key else {}
        self._client = HttpClient(
            config.name, base, headers=headers, connect_timeout=config.connect_timeout_s, timeout=config.timeout_s
        )
        self._models = [self._info(model) for model in config.models]
        self._running = 0
        self._made = Throughput()
        self._refresh: asyncio.Task[None] | None = None
        self._state: Literal["ready", "starting", "down"] = "starting"

    def _info(self, model: str) -> ModelInfo:
        return ModelInfo(model, self.config.context, embeddings=True, reasons=True, owned_by=self.name)

    async def start(self) -> None:
        """Ask the upstream whether it is there and, where none are configured, for its models; keep asking."""
        await self._probe()
        self._refresh = asyncio.create_task(self._keep_probing())

    async def _keep_probing(self) -> None:
        while True:
            await asyncio.sleep(30.0 if self._state == "ready" else 1.0)
            await self._probe()

    async def _probe(self) -> None:
        try:
            async with await self._client.request("GET", "/models") as connection:
                body = await connection.read_all(self.config.connect_timeout_s)
                if connection.status >= 500 or (connection.status != 200 and not self.config.models):
                    raise UpstreamError(f"upstream {self.name} answered {connection.status} to /models")
            if not self.config.models:
                self._models = [self._info(item["id"]) for item in msgspec.json.decode(body)["data"]]
            self._state = "ready"
        except (AigridError, msgspec.DecodeError, KeyError, TypeError):
            self._state = "down"

    async def stop(self) -> None:
        """Drop connections."""
        if self._refresh is not None:
            self._refresh.cancel()
        self._client.close()

    def models(self) -> list[ModelInfo]:
        """Return the models configured, or those that the upstream named last."""
        return self._models

    def token_bound(self, request: GenerateRequest) -> int:
        """Return the bound that holds for any byte-level tokenizer."""
        return byte_bound(request)

    async def count(self, request: GenerateRequest) -> int:
        """Return an estimate: the upstream's tokenizer is not here."""
        return Tally(request).prompt

    def load(self) -> Load:
        """Return the requests that we have running there."""
        return Load(running=self._running, state=self._state, tokens_per_second=self._made.rate())

    async def embed(self, request: EmbedRequest) -> Embeddings:
        """Pass the texts on; usage as the upstream says, else an estimate."""
        body: dict[str, Any] = {"model": request.model, "input": request.inputs}
        if request.dimensions is not None:
            body["dimensions"] = request.dimensions
        async with await self._client.request("POST", "/embeddings", _encode(body), _hops(request.hops)) as connection:
            data = await connection.read_all(self._client.timeout)
            if connection.status != 200:
                raise _refusal(self.name, connection, data)
        try:
            answer = msgspec.json.decode(data, type=EmbedAnswer)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise UpstreamError(f"upstream {self.name} sent embeddings that cannot be read: {error}") from None
        ours = sum(estimate_tokens(item) if isinstance(item, str) else len(item) for item in request.inputs)
        said = answer.usage.prompt_tokens if answer.usage else None
        bound = sum(len(item.encode()) + 1 if isinstance(item, str) else len(item) for item in request.inputs)
        usage = Usage(said, source="upstream") if said and 0 < said <= bound else Usage(ours, source="estimated")
        return Embeddings([item.embedding for item in sorted(answer.data, key=lambda item: item.index)], usage)

    async def generate(self, request: GenerateRequest) -> AsyncGenerator[Chunk, None]:
        """Forward the request; raises before the first chunk what the upstream refused or failed at."""
        body = {name: value for name, value in request.body.items() if name not in _OURS}
        body["model"] = request.model
        body[self.config.limit_field] = request.max_tokens
        if request.tools:
            body["tools"] = request.tools
        if request.stream:
            body["stream"] = True
            body["stream_options"] = {**(request.body.get("stream_options") or {}), "include_usage": True}
        path = "/chat/completions" if request.messages is not None else "/completions"
        tally = Tally(request)
        self._running += 1
        try:
            async with await self._client.request("POST", path, _encode(body), _hops(request.hops)) as connection:
                if connection.status != 200:
                    raise _refusal(
                        self.name, connection, await connection.read_all(self._client.timeout, _LARGEST_ERROR)
                    )
                self._state = "ready"
                if request.stream:
                    yield Chunk(usage=Usage(tally.prompt))  # the upstream works on the prompt from now on
                    async for chunk in self._frames(connection, tally):
                        self._made.add(len(chunk.deltas))
                        yield chunk
                else:
                    chunk = self._whole(await connection.read_all(self._client.timeout), tally)
                    self._made.add(chunk.usage.completion_tokens if chunk.usage else 0)
                    yield chunk
        finally:
            self._running -= 1

    def _whole(self, data: bytes, tally: Tally) -> Chunk:
        frame = self._parse(data, tally.choices)
        deltas = []
        for choice in frame.choices:
            delta = delta_of(choice)
            tally.add(delta)
            deltas.append(delta)
        if tally.overdone:
            raise UpstreamError(
                f"upstream {self.name} made more tokens than max_tokens; see `limit_field` of upstreams"
            )
        usage = tally.usage(frame.usage)
        if usage.source == "upstream" and deltas:
            for delta in deltas:
                delta.tokens = 0
            deltas[0].tokens = usage.completion_tokens
        return Chunk(deltas, usage, raw=data if usage.source == "upstream" else None)

    async def _frames(self, connection: Connection, tally: Tally) -> AsyncGenerator[Chunk, None]:
        rest = b""
        said: SaidUsage | None = None
        while True:
            data = await connection.read(self._client.timeout)
            if not data:
                where = "inside a frame" if rest.strip() else "without [DONE]"
                raise UpstreamError(f"upstream {self.name} ended its stream {where}")
            data = rest + data if rest else data
            if b"\r" in data:
                data = data.replace(b"\r\n", b"\n")
            frames = data.split(b"\n\n")
            rest = frames.pop()
            if len(rest) > _LARGEST_FRAME:
                raise UpstreamError(f"upstream {self.name} sent a frame of more than {_LARGEST_FRAME:,} bytes")
            deltas: list[Delta] = []
            keep: list[bytes] = []
            done = over = False
            for text in frames:
                payload = payload_of(text)
                if payload is None:
                    continue
                if payload == b"[DONE]":
                    done = True
                    break
                frame = self._parse(payload, tally.choices)
                said = frame.usage or said
                found = [delta_of(choice) for choice in frame.choices]
                if tally.full and any(delta.text or delta.reasoning or delta.tool_calls for delta in found):
                    over = True
                    break
                for delta in found:
                    tally.add(delta)
                deltas += found
                if found:
                    keep.append(text)
            if keep or done:
                keep.append(b"")
                yield Chunk(deltas, tally.usage(said) if done else None, raw=b"\n\n".join(keep))
            if over:  # it does not know our limit: end the answer where the hold ends
                ends = [Delta(index, finish_reason="length") for index in range(tally.choices)]
                yield Chunk(ends, tally.usage(None))
                return
            if done:
                await connection.read_all(self._client.timeout)
                return

    def _parse(self, data: bytes, choices: int) -> Frame:
        try:
            frame = _decode_frame(data)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise UpstreamError(f"upstream {self.name} sent what cannot be read: {error}") from None
        if frame.error is not None:
            message = frame.error.get("message") if isinstance(frame.error, dict) else frame.error
            raise UpstreamError(f"upstream {self.name} failed: {message}")
        if any(not 0 <= choice.index < choices for choice in frame.choices):
            raise UpstreamError(f"upstream {self.name} sent a choice that nobody asked for")
        return frame


def _refusal(name: str, connection: Connection, data: bytes) -> AigridError:
    """Return what an upstream's refusal means for our client: its mistakes stay its own, ours become 502."""
    try:
        said = msgspec.json.decode(data)
        said = said.get("error", said) if isinstance(said, dict) else said
        detail = said if isinstance(said, dict) else {"message": str(said)}
    except (msgspec.DecodeError, UnicodeDecodeError):
        detail = {"message": data[:200].decode("utf-8", "replace")}
    message = f"upstream {name}: {detail.get('message') or 'no reason given'}"
    status = connection.status
    if status in (401, 403):  # its own words may hold our key
        return UpstreamError(f"upstream {name} refuses our key (HTTP {status}); see `key_env` of upstreams")
    if status in (400, 413, 422):
        param, code = detail.get("param"), detail.get("code")
        return BadRequest(
            message, param=param if isinstance(param, str) else None, code=code if isinstance(code, str) else None
        )
    if status == 404:
        return NotFound(message, code="model_not_found")
    if status == 429:
        after = connection.headers.get("retry-after", "1")
        return RateLimited(
            message,
            code="upstream_rate_limited",
            retry_after=float(after) if after.isascii() and after.isdigit() else 1.0,
        )
    if status == LoopDetected.status:
        return LoopDetected(message)
    if status == 503:
        return Unavailable(message, code="upstream_unavailable", retry_after=1.0)
    return UpstreamError(f"{message} (HTTP {status})")


def _hops(hops: int) -> str:
    return f"x-aigrid-hops: {hops + 1}\r\n"
