"""The echo engine as an OpenAI-compatible server: `aigrid echo`.

Written on a bare asyncio protocol, because it is the still point that gateways are measured against: it must be
much quicker than any of them. It answers `/v1/models`, `/v1/chat/completions`, `/v1/completions`, `/v1/embeddings`.
"""

import asyncio
import time
from typing import Any, cast

import httptools
import msgspec

from aigrid.core.errors import AigridError, BadRequest, NotFound
from aigrid.core.ids import new_id
from aigrid.engines.base import EmbedRequest, Usage
from aigrid.engines.echo import EchoEngine, Script, forced_tool, paced, script

_encode = msgspec.json.encode
_decode = msgspec.json.Decoder(dict[str, Any])
_REASONS = {200: "OK", 400: "Bad Request", 404: "Not Found"}


class EchoProtocol(asyncio.Protocol):
    """One connection; requests on it are answered in turn."""

    def __init__(self, rate: float, model: str, connections: set["EchoProtocol"]) -> None:
        self._rate = rate
        self._model = model
        self._connections = connections
        self._parser = httptools.HttpRequestParser(self)
        self._body: list[bytes] = []
        self._url = b""
        self._task: asyncio.Task[None] | None = None
        self._waiting: list[tuple[str, str, bytes]] = []
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self.transport = cast(asyncio.Transport, transport)  # uvloop has transports of its own
        self._connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop what is being said to nobody."""
        self._connections.discard(self)
        self._waiting.clear()
        if self._task is not None:
            self._task.cancel()
        self.transport = None

    def data_received(self, data: bytes) -> None:
        """Parse; a request is answered when it is complete."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._answer(400, {"error": {"message": "not HTTP", "type": "invalid_request_error"}})
            if self.transport:
                self.transport.close()

    def on_message_begin(self) -> None:
        """Forget the last request."""
        self._body, self._url = [], b""

    def on_url(self, url: bytes) -> None:
        """Collect the URL."""
        self._url += url

    def on_body(self, body: bytes) -> None:
        """Collect the body."""
        self._body.append(body)

    def on_message_complete(self) -> None:
        """Answer, or wait for the answer before."""
        self._waiting.append((self._parser.get_method().decode(), self._url.decode("latin-1"), b"".join(self._body)))
        if self._task is None:
            self._next()

    def _next(self) -> None:
        """Answer requests in turn: unpaced whole answers at once, the others in a task."""
        self._task = None
        while self._waiting and self._task is None and self.transport is not None:
            method, url, body = self._waiting.pop(0)
            try:
                self._dispatch(method, url.partition("?")[0], body)
            except AigridError as error:
                self._answer(error.status, {"error": {"message": error.message, "type": error.type}})
            except (msgspec.DecodeError, KeyError, TypeError, ValueError) as error:
                self._answer(400, {"error": {"message": str(error), "type": "invalid_request_error"}})

    def _dispatch(self, method: str, path: str, raw: bytes) -> None:
        if path == "/v1/models":
            self._answer(
                200, {"object": "list", "data": [{"id": self._model, "object": "model", "owned_by": "aigrid"}]}
            )
            return
        if method != "POST" or path not in ("/v1/chat/completions", "/v1/completions", "/v1/embeddings"):
            raise NotFound(f"{method} {path} is not here")
        body = _decode.decode(raw)
        if path == "/v1/embeddings":
            self._run(self._embed(body))
            return
        chat = path == "/v1/chat/completions"
        play = _script(body, chat)
        directive = play.directive
        if directive.fail is not None and directive.after == 0:
            self._answer(directive.fail, {"error": {"message": "failed as asked", "type": "server_error"}})
        elif body.get("stream"):
            self._run(self._stream(play, body, chat))
        elif self._rate or directive.rate or directive.delay or directive.stall or directive.disconnect is not None:
            self._run(self._late(play, body, chat))
        else:
            self._answer(200, _whole(play, body, chat, self._model))

    def _run(self, work: Any) -> None:
        self._task = asyncio.get_running_loop().create_task(work)
        self._task.add_done_callback(lambda _: self._next())

    async def _embed(self, body: dict[str, Any]) -> None:
        items = body["input"] if isinstance(body["input"], list) else [body["input"]]
        made = await EchoEngine().embed(EmbedRequest("", self._model, items, body.get("dimensions")))
        data = [{"object": "embedding", "index": i, "embedding": vector} for i, vector in enumerate(made.vectors)]
        usage = {"prompt_tokens": made.usage.prompt_tokens, "total_tokens": made.usage.prompt_tokens}
        self._answer(200, {"object": "list", "data": data, "model": self._model, "usage": usage})

    async def _late(self, play: Script, body: dict[str, Any], chat: bool) -> None:
        try:
            async for _ in paced(play, self._rate):
                pass
        except AigridError:
            self._abort()
            return
        self._answer(200, _whole(play, body, chat, self._model))

    async def _stream(self, play: Script, body: dict[str, Any], chat: bool) -> None:
        self._write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
        kind = "chat.completion.chunk" if chat else "text_completion"
        frame = {"id": new_id("chatcmpl-"), "object": kind, "created": int(time.time()), "model": self._model}
        head = b"data: " + _encode(frame)[:-1] + b',"choices":[{"index":'
        choices = range(body.get("n") or 1)
        try:
            async for at in paced(play, self._rate):
                delta = _delta(play, at) if chat else b'"text":' + _encode(play.pieces[at])
                parts = [head + b"%d," % i + delta + b',"finish_reason":null}]}\n\n' for i in choices]
                self._chunk(b"".join(parts))
                if self.transport is not None and self.transport.get_write_buffer_size() > 1 << 20:
                    await asyncio.sleep(0.01)
        except AigridError:
            self._abort()
            return
        empty = b'"delta":{}' if chat else b'"text":""'
        end = {"finish_reason": play.finish, "stop_reason": play.stop}  # the latter as vLLM has it
        ends = [head + b"%d," % i + empty + b"," + _encode(end)[1:] + b"]}\n\n" for i in choices]
        usage = play.reported(len(choices))
        if usage is not None and (body.get("stream_options") or {}).get("include_usage"):
            ends.append(b"data: " + _encode({**frame, "choices": [], "usage": _usage(usage)}) + b"\n\n")
        self._chunk(b"".join(ends) + b"data: [DONE]\n\n")
        self._write(b"0\r\n\r\n")

    def _abort(self) -> None:
        if self.transport is not None:
            self.transport.abort()

    def _write(self, data: bytes) -> None:
        if self.transport is not None:
            self.transport.write(data)

    def _chunk(self, data: bytes) -> None:
        self._write(b"%x\r\n%b\r\n" % (len(data), data))

    def _answer(self, status: int, value: Any) -> None:
        body = _encode(value)
        reason = _REASONS.get(status, "Error")
        head = f"HTTP/1.1 {status} {reason}\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        self._write(head.encode() + body)


def _script(body: dict[str, Any], chat: bool) -> Script:
    asked = body.get("max_completion_tokens") or body.get("max_tokens") or 1 << 30
    if not isinstance(asked, int) or asked < 1:
        raise BadRequest("max_tokens must be a positive integer", param="max_tokens")
    shape = body.get("response_format") or {}
    schema = {"type": "object"} if shape.get("type") == "json_object" else None
    if shape.get("type") == "json_schema":
        schema = shape["json_schema"]["schema"]
    tool = forced_tool(body.get("tools") or [], body.get("tool_choice"))
    stop = body.get("stop") or []
    stop = [stop] if isinstance(stop, str) else stop
    if chat:
        return script(body["messages"], None, asked, schema=schema, tool=tool, stop=stop)
    return script(None, body["prompt"], asked, stop=stop)


def _delta(play: Script, at: int) -> bytes:
    if play.tool is not None:
        call: dict[str, Any] = {"index": 0, "function": {"arguments": play.pieces[at]}}
        if at == 0:
            call |= {"id": new_id("call_"), "type": "function"}
            call["function"]["name"] = play.tool
        return b'"delta":' + _encode({"tool_calls": [call]})
    role = b'"role":"assistant",' if at == 0 else b""
    return b'"delta":{' + role + b'"content":' + _encode(play.pieces[at]) + b"}"


def _usage(usage: Usage) -> dict[str, int]:
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.total_tokens,
    }


def _whole(play: Script, body: dict[str, Any], chat: bool, model: str) -> dict[str, Any]:
    text = "".join(play.pieces)
    message: dict[str, Any] = {"role": "assistant", "content": text}
    if play.tool is not None:
        call = {"id": new_id("call_"), "type": "function", "function": {"name": play.tool, "arguments": text}}
        message = {"role": "assistant", "content": None, "tool_calls": [call]}
    content = {"message": message} if chat else {"text": text}
    count = body.get("n") or 1
    end = {"finish_reason": play.finish, "stop_reason": play.stop}
    choices = [{"index": i, **content, "logprobs": None, **end} for i in range(count)]
    answer = {
        "id": new_id("chatcmpl-" if chat else "cmpl-"),
        "object": "chat.completion" if chat else "text_completion",
        "created": int(time.time()),
        "model": model,
        "choices": choices,
    }
    usage = play.reported(count)
    return answer if usage is None else {**answer, "usage": _usage(usage)}


async def serve(
    port: int, *, host: str = "127.0.0.1", rate: float = 0.0, model: str = "echo", ready: asyncio.Event | None = None
) -> None:
    """Serve until cancelled. `rate` is tokens per second and stream (0: unpaced)."""
    connections: set[EchoProtocol] = set()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: EchoProtocol(rate, model, connections), host, port, backlog=4096)
    if ready is not None:
        ready.set()
    try:
        await server.serve_forever()
    finally:
        for connection in list(connections):
            if connection.transport is not None:
                connection.transport.abort()
