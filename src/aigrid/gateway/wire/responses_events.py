"""What POST /v1/responses answers: one response object, or its growth as typed events."""

import time
from typing import Any

from aigrid.core.errors import AigridError
from aigrid.engines.base import Chunk, Delta, GenerateRequest, ToolCall, Usage
from aigrid.gateway.wire import answer
from aigrid.ledger.base import Settlement


class ResponseEncoder:
    """Grows the list of output items; each step is also an event.

    An answer that is not streamed takes the same steps and leaves the events unsent.
    """

    def __init__(self, request: GenerateRequest, asked: dict[str, Any], created: int) -> None:
        self.content_type = answer.SSE_TYPE if request.stream else answer.JSON_TYPE
        self._suffix = answer.suffix(request.id)
        self._sequence = 0
        self._output: list[dict[str, Any]] = []
        self._kind: answer.Kind | None = None
        self._tool = -1
        self._text: list[str] = []
        self._logprobs: list[dict[str, Any]] = []
        self._finish = "stop"
        self._response = _response(request, asked, created, f"resp_{self._suffix}")

    def start(self, usage: Usage) -> bytes:
        """Return the events that open the stream."""
        return self._state("created") + self._state("in_progress")

    def chunk(self, chunk: Chunk) -> bytes:
        """Return the events of one chunk."""
        events: list[bytes] = []
        for kind, text, source in answer.pieces(chunk.deltas):
            self._turn(kind, source, events)
            self._text.append(text)
            if kind == "tool":
                if text:
                    events.append(self._event("response.function_call_arguments.delta", delta=text))
            elif kind == "reasoning":
                events.append(self._event("response.reasoning_text.delta", content_index=0, delta=text))
            else:
                tokens = source.logprobs if isinstance(source, Delta) else None
                logprobs = [answer.logprob_object(token) for token in tokens or ()]
                self._logprobs += logprobs
                events.append(self._event("response.output_text.delta", content_index=0, delta=text, logprobs=logprobs))
        for delta in chunk.deltas:
            if delta.finish_reason is not None and not delta.index:
                self._finish = delta.finish_reason
        return b"".join(events)

    def finish(self, usage: Usage, settlement: Settlement) -> bytes:
        """Return the events that close the open item and the response."""
        return self._end(usage, settlement)

    def error(self, error: AigridError) -> bytes:
        """Return the event that tells of a failure."""
        self._response["status"] = "failed"
        self._response["output"] = self._output
        self._response["error"] = {"code": error.code or "server_error", "message": error.message}
        return self._state("failed")

    def add(self, chunk: Chunk) -> None:
        """Take the steps of a chunk."""
        self.chunk(chunk)

    def whole(self, usage: Usage, settlement: Settlement) -> bytes:
        """Return the response object."""
        self._end(usage, settlement)
        return answer.encode(self._response)

    def _end(self, usage: Usage, settlement: Settlement) -> bytes:
        cut = {"length": "max_output_tokens", "content_filter": "content_filter"}.get(self._finish)
        status = "incomplete" if cut else "completed"
        events: list[bytes] = []
        self._close(events, status)
        self._response |= {
            "status": status,
            "incomplete_details": {"reason": cut} if cut else None,
            "output": self._output,
            "completed_at": None if cut else int(time.time()),
            "usage": {
                "input_tokens": usage.prompt_tokens,
                "input_tokens_details": {"cached_tokens": usage.cached_tokens, "cache_write_tokens": 0},
                "output_tokens": usage.completion_tokens,
                "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
                "total_tokens": usage.total_tokens,
            },
            "aigrid": answer.cost_object(settlement),
        }
        events.append(self._state(status))
        return b"".join(events)

    def _turn(self, kind: answer.Kind, source: Delta | ToolCall, events: list[bytes]) -> None:
        """Open an item of `kind` where none is open: a new one for each tool call."""
        tool = source.index if isinstance(source, ToolCall) else -1
        if kind == self._kind and tool == self._tool:
            return
        self._close(events, "completed")
        self._kind, self._tool = kind, tool
        number = len(self._output)
        if kind == "text":
            item = {"id": f"msg_{self._suffix}{number}", "type": "message", "role": "assistant", "content": []}
        elif kind == "reasoning":
            item = {"id": f"rs_{self._suffix}{number}", "type": "reasoning", "summary": [], "content": []}
        else:
            assert isinstance(source, ToolCall)
            item = {"id": f"fc_{self._suffix}{number}", "type": "function_call", "name": source.name or ""}
            item |= {"call_id": source.id or f"call_{self._suffix}{number}", "arguments": ""}
        item["status"] = "in_progress"
        self._output.append(item)
        events.append(self._event("response.output_item.added", item=item))
        if kind == "text":
            events.append(self._event("response.content_part.added", content_index=0, part=_text_part("", [])))
        elif kind == "reasoning":
            part = {"type": "reasoning_text", "text": ""}
            events.append(self._event("response.content_part.added", content_index=0, part=part))

    def _close(self, events: list[bytes], status: str) -> None:
        """Finish the open item, if there is one."""
        if self._kind is None:
            return
        item, text = self._output[-1], "".join(self._text)
        item["status"] = status
        if self._kind == "tool":
            item["arguments"] = text
            events.append(self._event("response.function_call_arguments.done", name=item["name"], arguments=text))
        else:
            if self._kind == "text":
                part = _text_part(text, self._logprobs)
                done = self._event("response.output_text.done", content_index=0, text=text, logprobs=self._logprobs)
            else:
                part = {"type": "reasoning_text", "text": text}
                done = self._event("response.reasoning_text.done", content_index=0, text=text)
            item["content"] = [part]
            events += (done, self._event("response.content_part.done", content_index=0, part=part))
        events.append(self._event("response.output_item.done", item=item))
        self._kind, self._text, self._logprobs = None, [], []

    def _event(self, name: str, /, **fields: Any) -> bytes:
        """Return one event about the open item."""
        number = len(self._output) - 1
        where: dict[str, Any] = {"type": name, "sequence_number": self._sequence, "output_index": number}
        if "item" not in fields:
            where["item_id"] = self._output[number]["id"]
        self._sequence += 1
        return answer.event(name, where | fields)

    def _state(self, state: str) -> bytes:
        """Return one event about the whole response."""
        name = f"response.{state}"
        value = {"type": name, "sequence_number": self._sequence, "response": self._response}
        self._sequence += 1
        return answer.event(name, value)


def _response(request: GenerateRequest, asked: dict[str, Any], created: int, response_id: str) -> dict[str, Any]:
    reasoning, text = asked.get("reasoning") or {}, asked.get("text") or {}
    return {
        "id": response_id,
        "object": "response",
        "created_at": created,
        "status": "in_progress",
        "background": False,
        "completed_at": None,
        "error": None,
        "incomplete_details": None,
        "instructions": asked.get("instructions"),
        "max_output_tokens": asked.get("max_output_tokens"),
        "max_tool_calls": asked.get("max_tool_calls"),
        "metadata": asked.get("metadata") or {},
        "model": request.model,
        "output": [],
        "parallel_tool_calls": asked.get("parallel_tool_calls") is not False,
        "previous_response_id": None,
        "reasoning": {"effort": reasoning.get("effort"), "summary": reasoning.get("summary")},
        "service_tier": answer.tier_name(request.body),
        "store": False,
        "temperature": 1.0 if request.sampling.temperature is None else request.sampling.temperature,
        "text": {"format": text.get("format") or {"type": "text"}, "verbosity": text.get("verbosity") or "medium"},
        "tool_choice": asked.get("tool_choice") or "auto",
        "tools": asked.get("tools") or [],
        "top_logprobs": request.sampling.top_logprobs,
        "top_p": 1.0 if request.sampling.top_p is None else request.sampling.top_p,
        "truncation": asked.get("truncation") or "disabled",
        "usage": None,
        "user": asked.get("user"),
    }


def _text_part(text: str, logprobs: list[dict[str, Any]]) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": logprobs}
