"""What POST /v1/messages answers: one message, or its growth as events; and errors in that shape."""

from typing import Any

import msgspec

from aigrid.core.errors import AigridError
from aigrid.engines.base import Chunk, Delta, GenerateRequest, ToolCall, Usage
from aigrid.gateway.wire import answer
from aigrid.ledger.base import Settlement

_STOP = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use", "content_filter": "refusal"}
_ERRORS = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    405: "invalid_request_error",
    409: "invalid_request_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
}


def error_body(error: AigridError) -> dict[str, Any]:
    """Return an error in Anthropic's shape, with our `param` and `code` where there are some."""
    detail = {"type": _ERRORS.get(error.status, "api_error"), "message": error.message}
    if error.param is not None:
        detail["param"] = error.param
    if error.code is not None:
        detail["code"] = error.code
    return {"type": "error", "error": detail}


class MessageEncoder:
    """Grows the list of content blocks; each step is also an event.

    An answer that is not streamed takes the same steps and leaves the events unsent.
    """

    def __init__(self, request: GenerateRequest) -> None:
        self.content_type = answer.SSE_TYPE if request.stream else answer.JSON_TYPE
        self._suffix = answer.suffix(request.id)
        self._model = request.model
        self._blocks: list[dict[str, Any]] = []
        self._kind: answer.Kind | None = None
        self._tool = -1
        self._text: list[str] = []
        self._finish = "stop"
        self._stop: str | None = None

    def start(self, usage: Usage) -> bytes:
        """Return the events that open the message."""
        return _event("message_start", message=self._message(usage)) + _event("ping")

    def chunk(self, chunk: Chunk) -> bytes:
        """Return the events of one chunk."""
        events: list[bytes] = []
        for kind, text, source in answer.pieces(chunk.deltas):
            self._turn(kind, source, events)
            self._text.append(text)
            if kind == "tool":
                delta = {"type": "input_json_delta", "partial_json": text}
            elif kind == "reasoning":
                delta = {"type": "thinking_delta", "thinking": text}
            else:
                delta = {"type": "text_delta", "text": text}
            if text:
                events.append(_event("content_block_delta", index=len(self._blocks) - 1, delta=delta))
        for part in chunk.deltas:
            if part.finish_reason is not None and not part.index:
                self._finish, self._stop = part.finish_reason, part.stop
        return b"".join(events)

    def finish(self, usage: Usage, settlement: Settlement) -> bytes:
        """Return the events that close the open block and the message."""
        events: list[bytes] = []
        self._close(events)
        delta = self._end()
        cost = answer.cost_object(settlement)
        events.append(_event("message_delta", delta=delta, usage=_usage(usage), aigrid=cost))
        events.append(_event("message_stop"))
        return b"".join(events)

    def error(self, error: AigridError) -> bytes:
        """Return the event that tells of a failure."""
        return answer.event("error", error_body(error))

    def add(self, chunk: Chunk) -> None:
        """Take the steps of a chunk."""
        self.chunk(chunk)

    def whole(self, usage: Usage, settlement: Settlement) -> bytes:
        """Return the message."""
        self._close([])
        message = self._message(usage)
        message |= {"content": self._blocks, **self._end()}
        return answer.encode({**message, "aigrid": answer.cost_object(settlement)})

    def _end(self) -> dict[str, Any]:
        return {"stop_reason": "stop_sequence" if self._stop else _STOP[self._finish], "stop_sequence": self._stop}

    def _message(self, usage: Usage) -> dict[str, Any]:
        return {
            "id": f"msg_{self._suffix}",
            "type": "message",
            "role": "assistant",
            "model": self._model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": _usage(usage),
        }

    def _turn(self, kind: answer.Kind, source: Delta | ToolCall, events: list[bytes]) -> None:
        """Open a block of `kind` where none is open: a new one for each tool call."""
        tool = source.index if isinstance(source, ToolCall) else -1
        if kind == self._kind and tool == self._tool:
            return
        self._close(events)
        self._kind, self._tool = kind, tool
        if kind == "tool":
            assert isinstance(source, ToolCall)
            name = f"toolu_{self._suffix}{len(self._blocks)}"
            block = {"type": "tool_use", "id": source.id or name, "name": source.name or "", "input": {}}
        elif kind == "reasoning":
            block = {"type": "thinking", "thinking": "", "signature": ""}
        else:
            block = {"type": "text", "text": ""}
        self._blocks.append(block)
        events.append(_event("content_block_start", index=len(self._blocks) - 1, content_block=block))

    def _close(self, events: list[bytes]) -> None:
        """Finish the open block, if there is one."""
        if self._kind is None:
            return
        block, text = self._blocks[-1], "".join(self._text)
        if self._kind == "tool":
            block["input"] = _input(text)
        else:
            block["text" if self._kind == "text" else "thinking"] = text
        events.append(_event("content_block_stop", index=len(self._blocks) - 1))
        self._kind, self._text = None, []


def _input(arguments: str) -> dict[str, Any]:
    """Return a call's arguments as an object; what was cut short or malformed stays readable under `_raw`."""
    try:
        value = msgspec.json.decode(arguments or "{}")
    except msgspec.DecodeError:
        value = None
    return value if isinstance(value, dict) else {"_raw": arguments}


def _usage(usage: Usage) -> dict[str, Any]:
    """Return usage in Anthropic's shape, where `input_tokens` leaves out what the cache had."""
    return {
        "input_tokens": usage.prompt_tokens - usage.cached_tokens,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": usage.cached_tokens,
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": {"thinking_tokens": usage.reasoning_tokens},
        "service_tier": "standard",
    }


def _event(name: str, **fields: Any) -> bytes:
    return answer.event(name, {"type": name, **fields})
