"""POST /v1/completions: plain text in, plain text out."""

from typing import Annotated, Any

from msgspec import Meta

from aigrid.core.errors import AigridError, BadRequest
from aigrid.engines.base import Chunk, TokenLogprob
from aigrid.gateway.http import error_body
from aigrid.gateway.wire import answer
from aigrid.gateway.wire.answer import encode
from aigrid.gateway.wire.base import Encoder, Parsed, Wire, convert
from aigrid.gateway.wire.grammar import grammar_of
from aigrid.gateway.wire.sampling import Shared, parsed_of, refuse, request_of, sampling_of

_REFUSED = {
    "echo": "the answer never repeats the prompt here",
    "suffix": "no engine here fills in the middle",
}


class CompletionBody(Shared, kw_only=True):
    """A request for a text completion."""

    prompt: str | list[Any]
    best_of: Annotated[int, Meta(ge=1, le=20)] | None = None
    logprobs: Annotated[int, Meta(ge=0, le=5)] | None = None


class _Completions:
    path = "/v1/completions"

    def parse(self, body: dict[str, Any], request_id: str) -> Parsed:
        text = convert(body, CompletionBody)
        refuse(body, _REFUSED)
        request = request_of(text, body, request_id)
        if text.best_of is not None and text.best_of > request.n:
            raise BadRequest("`best_of` above `n` is not supported; ask for `n` answers", param="best_of")
        request.wire = "completions"
        request.prompt = _prompt(text.prompt)
        if text.logprobs is not None:
            request.sampling = sampling_of(text, True, text.logprobs)
        if text.response_format is not None:
            request.grammar = grammar_of(text.response_format)
        return parsed_of(text, request)

    def encoder(self, parsed: Parsed, created: int) -> Encoder:
        return _Encoder(parsed, created)

    def error_body(self, error: AigridError) -> dict[str, Any]:
        return error_body(error)


WIRE: Wire = _Completions()


def _prompt(prompt: str | list[Any]) -> str | list[int]:
    """Return the one prompt: a text, token ids, or a list of one of these."""
    where = "prompt"
    if isinstance(prompt, list) and prompt and isinstance(prompt[0], str | list):
        if len(prompt) > 1:
            raise BadRequest("send one prompt per request; `prompt` has several", param="prompt")
        prompt, where = prompt[0], "prompt[0]"
    if isinstance(prompt, str):
        if not prompt:
            raise BadRequest("`prompt` is empty", param=where)
        return prompt
    if not prompt:
        raise BadRequest("`prompt` is empty", param=where)
    for i, item in enumerate(prompt):
        if type(item) is not int or not 0 <= item < 2**31:
            raise BadRequest(f"`{where}` must be a text or a list of token ids", param=f"{where}[{i}]")
    return prompt


class _Encoder(answer.OpenAIEncoder):
    """Writes `text_completion` objects, whole or as frames."""

    def __init__(self, parsed: Parsed, created: int) -> None:
        request = parsed.generate
        envelope = {
            "id": "cmpl-" + answer.suffix(request.id),
            "object": "text_completion",
            "created": created,
            "model": request.model,
            "system_fingerprint": answer.fingerprint(request.model),
        }
        super().__init__(parsed, envelope)
        self._heads = [head + b',"text":' for head in self._heads]
        self._end = b',"logprobs":null,"finish_reason":null' + self._close
        self._offsets = [0] * request.n

    def chunk(self, chunk: Chunk) -> bytes:
        if chunk.raw is not None:
            return chunk.raw
        frames: list[bytes] = []
        for delta in chunk.deltas:
            head = self._heads[delta.index]
            text = delta.reasoning + delta.text
            if delta.logprobs:
                logprobs = _logprobs(delta.logprobs, self._offsets[delta.index])
                self._offsets[delta.index] += sum(len(token.token) for token in delta.logprobs)
                frames += (head, encode(text), b',"logprobs":', encode(logprobs), b',"finish_reason":null', self._close)
            elif text:
                frames += (head, encode(text), self._end)
            if delta.finish_reason is not None:
                frames += (head, b'"","logprobs":null,"finish_reason":', encode(delta.finish_reason), self._close)
        return b"".join(frames)

    def _choice(self, choice: answer.Choice) -> dict[str, Any]:
        return {
            "text": "".join(choice.reasoning + choice.text),
            "logprobs": _logprobs(choice.logprobs, 0) if choice.logprobs else None,
            "finish_reason": choice.finish_reason or "stop",
        }


def _logprobs(tokens: list[TokenLogprob], offset: int) -> dict[str, Any]:
    """Return log-probabilities in the old shape; offsets are in characters of the answer."""
    offsets = []
    for token in tokens:
        offsets.append(offset)
        offset += len(token.token)
    return {
        "tokens": [token.token for token in tokens],
        "token_logprobs": [token.logprob for token in tokens],
        "top_logprobs": [dict(token.top) for token in tokens] if any(t.top for t in tokens) else None,
        "text_offset": offsets,
    }
