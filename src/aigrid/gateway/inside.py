"""Asking the gateway from within it: the same walk as a client's request, with the same key, hold and settlement.

What stands beside the API (answers from knowledge, MCP) makes its tokens here and nowhere else, so that none of them
is free and every limit of the caller holds.
"""

import asyncio
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Struct

from aigrid.gateway.generate import Answer
from aigrid.gateway.http import Request
from aigrid.gateway.spent import Spent
from aigrid.gateway.wire import chat

if TYPE_CHECKING:
    from aigrid.gateway.app import Gateway


class _Delta(Struct):
    content: str | None = None


class _Choice(Struct):
    delta: _Delta = msgspec.field(default_factory=_Delta)
    finish_reason: str | None = None


class _Details(Struct):
    cached_tokens: int | None = None


class _Usage(Struct):
    prompt_tokens: int = 0
    completion_tokens: int = 0
    prompt_tokens_details: _Details | None = None


class _Cost(Struct):
    record: str = ""
    cost_nusd: int = 0
    energy_mj: int = 0
    energy_source: str = ""


class _Frame(Struct):
    model: str = ""
    choices: list[_Choice] = []
    usage: _Usage | None = None
    aigrid: _Cost | None = None


_decode = msgspec.json.Decoder(_Frame)


async def complete(
    gateway: "Gateway", request: Request, body: dict[str, Any], spent: Spent, heads: dict[str, str] | None = None
) -> AsyncGenerator[str, None]:
    """Yield the text of a chat completion, asked with the key of `request`; adds what it took to `spent`.

    The answer's headers are put into `heads`. `body` is a chat request without `stream`. Raises what the walk raises (`BudgetExceeded`, `UpstreamError`, …), and
    `ClientGone` when the client of `request` leaves.
    """
    body = {**body, "stream": True, "stream_options": {"include_usage": True}}
    parts: asyncio.Queue[bytes | None] = asyncio.Queue()
    unread = [msgspec.json.encode(body)]

    async def receive() -> dict[str, Any]:
        if unread:
            return {"type": "http.request", "body": unread.pop(), "more_body": False}
        await request.gone()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start" and heads is not None:
            heads.update((name.decode(), value.decode()) for name, value in message["headers"])
        if message["type"] == "http.response.body" and message.get("body"):
            parts.put_nowait(message["body"])

    async def walk() -> None:
        try:
            await Answer(gateway, chat.WIRE, Request(scope, receive), send).run()
        finally:
            parts.put_nowait(None)

    scope = {**request.scope, "method": "POST", "path": chat.WIRE.path, "headers": _headers(request)}
    task = asyncio.create_task(walk())
    try:
        rest = b""
        while (part := await parts.get()) is not None:
            *lines, rest = (rest + part).split(b"\n")
            for line in lines:
                if text := _take(line, spent):
                    yield text
        await task
    finally:
        task.cancel()
        await asyncio.wait([task])


def _headers(request: Request) -> list[tuple[bytes, bytes]]:
    keep = (b"authorization", b"x-api-key")
    return [(name, value) for name, value in request.headers.items() if name in keep]


def _take(line: bytes, spent: Spent) -> str:
    if not line.startswith(b"data: {"):
        return ""
    frame = _decode.decode(line[6:])
    spent.model = frame.model or spent.model
    if frame.usage is not None:
        spent.prompt_tokens += frame.usage.prompt_tokens
        spent.completion_tokens += frame.usage.completion_tokens
        if details := frame.usage.prompt_tokens_details:
            spent.cached_tokens += details.cached_tokens or 0
    if frame.aigrid is not None:
        spent.cost_nusd += frame.aigrid.cost_nusd
        spent.energy_mj += frame.aigrid.energy_mj
        spent.energy_source = frame.aigrid.energy_source
        spent.records.append(frame.aigrid.record)
    if not frame.choices:
        return ""
    spent.finish_reason = frame.choices[0].finish_reason or spent.finish_reason
    return frame.choices[0].delta.content or ""
