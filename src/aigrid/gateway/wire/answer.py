"""What the encoders share: usage objects, log-probabilities, answers collected from deltas, event frames."""

import functools
import hashlib
from collections.abc import Iterable, Iterator
from typing import Any, Literal

import msgspec
from msgspec import Struct

from aigrid import __version__
from aigrid.core.errors import AigridError
from aigrid.engines.base import Chunk, Delta, FinishReason, TokenLogprob, ToolCall, Usage
from aigrid.gateway.http import error_body
from aigrid.gateway.wire.base import Parsed, Told
from aigrid.ledger.base import Settlement

encode = msgspec.json.encode
SSE_TYPE = b"text/event-stream; charset=utf-8"
JSON_TYPE = b"application/json"
Kind = Literal["reasoning", "text", "tool"]
DONE = b"data: [DONE]\n\n"


def suffix(request_id: str) -> str:
    """Return the part of a request id after its prefix."""
    return request_id.rpartition("_")[2]


@functools.lru_cache(maxsize=1024)
def fingerprint(model: str) -> str:
    """Return the `system_fingerprint`: it changes with the model and with our version."""
    return "fp_" + hashlib.sha256(f"{__version__}/{model}".encode()).hexdigest()[:10]


def tier_name(body: dict[str, Any]) -> str:
    """Return the `service_tier` that the answer names: what was asked for, `default` for none and `auto`."""
    wanted = body.get("service_tier")
    return wanted if isinstance(wanted, str) and wanted != "auto" else "default"


def usage_object(usage: Usage) -> dict[str, Any]:
    """Return usage in OpenAI's chat shape."""
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.total_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": usage.reasoning_tokens,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def cost_object(settlement: Settlement) -> dict[str, Any]:
    """Return what the answer cost, our addition to answers: money in nano-dollars, energy in millijoules."""
    cost = {
        "record": settlement.hold_id,
        "cost_nusd": settlement.revenue_nusd,
        "energy_mj": settlement.energy_mj,
        "energy_source": settlement.energy_source,
    }
    if isinstance(settlement, Told):
        more = {"routed": settlement.routed, "thinking": settlement.thinking}
        cost |= {name: value for name, value in more.items() if value}
    return cost


def logprob_object(token: TokenLogprob) -> dict[str, Any]:
    """Return one token's log-probability in OpenAI's chat shape."""
    return {
        "token": token.token,
        "logprob": token.logprob,
        "bytes": list(token.token.encode()),
        "top_logprobs": [{"token": t, "logprob": p, "bytes": list(t.encode())} for t, p in token.top],
    }


def data(value: Any) -> bytes:
    """Return one server-sent event without a name."""
    return b"data: " + encode(value) + b"\n\n"


def event(name: str, value: Any) -> bytes:
    """Return one server-sent event with its name."""
    return b"event: " + name.encode() + b"\ndata: " + encode(value) + b"\n\n"


def error_frame(error: AigridError) -> bytes:
    """Return the frame that tells of a failure in the middle of a stream."""
    return data(error_body(error))


class Choice(Struct):
    """One answer, collected."""

    text: list[str] = []
    reasoning: list[str] = []
    tool_calls: dict[int, ToolCall] = {}
    logprobs: list[TokenLogprob] = []
    finish_reason: FinishReason | None = None

    def add(self, delta: Delta) -> None:
        """Append what a delta brought."""
        if delta.text:
            self.text.append(delta.text)
        if delta.reasoning:
            self.reasoning.append(delta.reasoning)
        if delta.logprobs:
            self.logprobs.extend(delta.logprobs)
        for piece in delta.tool_calls or ():
            call = self.tool_calls.get(piece.index)
            if call is None:
                self.tool_calls[piece.index] = ToolCall(piece.index, piece.id, piece.name, piece.arguments)
            else:
                call.id = call.id or piece.id
                call.name = call.name or piece.name
                call.arguments += piece.arguments
        if delta.finish_reason is not None:
            self.finish_reason = delta.finish_reason


def pieces(deltas: Iterable[Delta]) -> Iterator[tuple[Kind, str, Delta | ToolCall]]:
    """Yield what the first choice gained, piece by piece in reading order: its kind, its text, where it is from."""
    for delta in deltas:
        if delta.index:
            continue
        if delta.reasoning:
            yield "reasoning", delta.reasoning, delta
        if delta.text or delta.logprobs:
            yield "text", delta.text, delta
        for call in delta.tool_calls or ():
            yield "tool", call.arguments, call


class OpenAIEncoder:
    """What the two completion endpoints share: the envelope, passing through, the end, failures.

    Around the JSON text of each delta stand bytes made once per answer: a head per choice, up to and with its
    index, and `_close`, which ends choice and frame.
    """

    def __init__(self, parsed: Parsed, envelope: dict[str, Any]) -> None:
        request = parsed.generate
        self.content_type = SSE_TYPE if request.stream else JSON_TYPE
        self._envelope = envelope
        self._usage = request.include_usage
        self._raw: bytes | None = None
        self._choices = [Choice() for _ in range(request.n)]
        self._heads: list[bytes] = []
        self._close = b""
        if request.stream:
            start = b"data: " + encode(envelope)[:-1] + b',"choices":[{"index":'
            self._heads = [start + str(i).encode() for i in range(request.n)]
            self._close = b"}]" + (b',"usage":null' if self._usage else b"") + b"}\n\n"

    def start(self, usage: Usage) -> bytes:
        """Return nothing: the first chunk opens the stream."""
        return b""

    def finish(self, usage: Usage, settlement: Settlement) -> bytes:
        """Return the usage frame if the client asked for it, and the end mark."""
        if not self._usage:
            return DONE
        return data({**self._envelope, "choices": [], **_sums(usage, settlement)}) + DONE

    def error(self, error: AigridError) -> bytes:
        """Return the error frame; no end mark follows it."""
        return error_frame(error)

    def add(self, chunk: Chunk) -> None:
        """Keep a body that passes through, or collect deltas."""
        if chunk.raw is not None:
            self._raw = chunk.raw
            return
        for delta in chunk.deltas:
            self._choices[delta.index].add(delta)

    def whole(self, usage: Usage, settlement: Settlement) -> bytes:
        """Return the body that passes through, or the collected one."""
        if self._raw is not None:
            return self._raw
        listed = [{"index": i, **self._choice(choice)} for i, choice in enumerate(self._choices)]
        return encode({**self._envelope, "choices": listed, **_sums(usage, settlement)})

    def _choice(self, choice: Choice) -> dict[str, Any]:
        raise NotImplementedError


def _sums(usage: Usage, settlement: Settlement) -> dict[str, Any]:
    return {"usage": usage_object(usage), "aigrid": cost_object(settlement)}
