"""POST /v1/chat/completions."""

from typing import Annotated, Any

from msgspec import Meta

from aigrid.core.errors import AigridError, BadRequest
from aigrid.engines.base import Chunk, TokenLogprob, ToolCall
from aigrid.gateway.http import error_body
from aigrid.gateway.wire import answer
from aigrid.gateway.wire.answer import encode
from aigrid.gateway.wire.base import Encoder, Parsed, Wire, convert
from aigrid.gateway.wire.content import Message, plain
from aigrid.gateway.wire.grammar import grammar_of
from aigrid.gateway.wire.sampling import (
    Metadata,
    Shared,
    TokenLimit,
    parsed_of,
    refuse,
    request_of,
    sampling_of,
)
from aigrid.gateway.wire.tools import ToolChoice, Tools, check_parameters, choose

_REFUSED = {
    "functions": "use `tools`",
    "function_call": "use `tool_choice`",
    "audio": "no engine here speaks",
    "web_search_options": "no engine here searches the web",
}


class ChatBody(Shared, kw_only=True):
    """A request for chat completions."""

    messages: Annotated[list[Message], Meta(min_length=1)]
    max_completion_tokens: TokenLimit | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None
    tools: Tools | None = None
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    modalities: list[str] | None = None
    metadata: Metadata | None = None
    store: bool | None = None


class _Chat:
    path = "/v1/chat/completions"

    def parse(self, body: dict[str, Any], request_id: str) -> Parsed:
        chat = convert(body, ChatBody)
        refuse(body, _REFUSED)
        if chat.modalities is not None and chat.modalities != ["text"]:
            raise BadRequest('`modalities` can only be ["text"] here', param="modalities")
        if chat.max_tokens is not None and chat.max_completion_tokens is not None:
            raise BadRequest("set `max_completion_tokens` or `max_tokens`, not both", param="max_tokens")
        if chat.top_logprobs and not chat.logprobs:
            raise BadRequest("`top_logprobs` needs `logprobs` to be true", param="top_logprobs")
        request = request_of(chat, body, request_id)
        request.messages = plain(chat.messages, body["messages"])
        if chat.max_completion_tokens is not None:
            request.max_tokens = chat.max_completion_tokens
        if chat.logprobs:
            request.sampling = sampling_of(chat, True, chat.top_logprobs or 0)
        if chat.response_format is not None:
            request.grammar = grammar_of(chat.response_format)
        if chat.tools or chat.tool_choice is not None:
            check_parameters(chat.tools or [])
            request.tools, request.tool_choice = choose(body.get("tools"), chat.tool_choice)
        return parsed_of(chat, request)

    def encoder(self, parsed: Parsed, created: int) -> Encoder:
        return _Encoder(parsed, created)

    def error_body(self, error: AigridError) -> dict[str, Any]:
        return error_body(error)


WIRE: Wire = _Chat()


class _Encoder(answer.OpenAIEncoder):
    """Writes `chat.completion.chunk` frames or one `chat.completion`."""

    def __init__(self, parsed: Parsed, created: int) -> None:
        request = parsed.generate
        envelope = {
            "id": "chatcmpl-" + answer.suffix(request.id),
            "object": "chat.completion.chunk" if request.stream else "chat.completion",
            "created": created,
            "model": request.model,
            "service_tier": answer.tier_name(request.body),
            "system_fingerprint": answer.fingerprint(request.model),
        }
        super().__init__(parsed, envelope)
        self._heads = [head + b',"delta":{' for head in self._heads]
        self._end = b'},"logprobs":null,"finish_reason":null' + self._close
        self._begun = [False] * request.n

    def chunk(self, chunk: Chunk) -> bytes:
        if chunk.raw is not None:
            return chunk.raw
        frames: list[bytes] = []
        for delta in chunk.deltas:
            head = self._heads[delta.index]
            if not self._begun[delta.index]:
                self._begun[delta.index] = True
                frames += (head, b'"role":"assistant","content":"","refusal":null', self._end)
            if delta.reasoning:
                frames += (head, b'"reasoning_content":', encode(delta.reasoning), self._end)
            if delta.logprobs:
                frames += (head, b'"content":', encode(delta.text), b'},"logprobs":')
                frames += (encode(_logprobs(delta.logprobs)), b',"finish_reason":null', self._close)
            elif delta.text:
                frames += (head, b'"content":', encode(delta.text), self._end)
            if delta.tool_calls:
                frames += (head, b'"tool_calls":', encode([_piece(call) for call in delta.tool_calls]), self._end)
            if delta.finish_reason is not None:
                frames += (head, b'},"logprobs":null,"finish_reason":', encode(delta.finish_reason), self._close)
        return b"".join(frames)

    def _choice(self, choice: answer.Choice) -> dict[str, Any]:
        text = "".join(choice.text)
        calls = [_call(choice.tool_calls[i]) for i in sorted(choice.tool_calls)]
        message: dict[str, Any] = {
            "role": "assistant",
            "content": text if text or not calls else None,
            "refusal": None,
            "annotations": [],
        }
        if choice.reasoning:
            message["reasoning_content"] = "".join(choice.reasoning)
        if calls:
            message["tool_calls"] = calls
        return {
            "message": message,
            "logprobs": _logprobs(choice.logprobs) if choice.logprobs else None,
            "finish_reason": choice.finish_reason or "stop",
        }


def _call(call: ToolCall) -> dict[str, Any]:
    function = {"name": call.name or "", "arguments": call.arguments}
    return {"id": call.id or f"call_{call.index}", "type": "function", "function": function}


def _piece(call: ToolCall) -> dict[str, Any]:
    if call.name is None:
        return {"index": call.index, "function": {"arguments": call.arguments}}
    return {"index": call.index, **_call(call)}


def _logprobs(tokens: list[TokenLogprob]) -> dict[str, Any]:
    return {"content": [answer.logprob_object(token) for token in tokens], "refusal": None}
