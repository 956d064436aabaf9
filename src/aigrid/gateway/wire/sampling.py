"""The fields that chat and text completions share, with OpenAI's ranges."""

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from aigrid.core.errors import BadRequest
from aigrid.engines.base import GenerateRequest, Sampling
from aigrid.gateway.wire.base import Parsed, ThinkingBody, tier_of
from aigrid.gateway.wire.grammar import ResponseFormat

MAX_TOKENS = 2**31 - 1
MAX_N = 128

Model = Annotated[str, Meta(min_length=1, max_length=256)]
Temperature = Annotated[float, Meta(ge=0, le=2)]
Probability = Annotated[float, Meta(ge=0, le=1)]
Penalty = Annotated[float, Meta(ge=-2, le=2)]
TokenLimit = Annotated[int, Meta(ge=1, le=MAX_TOKENS)]
StopString = Annotated[str, Meta(min_length=1, max_length=4096)]
Metadata = Annotated[dict[str, str], Meta(max_length=16)]
TierName = Annotated[
    str,
    Meta(
        description="`fast`, `think`, `overnight`, or OpenAI's name for one of them",
        extra_json_schema={
            "enum": [
                *("fast", "think", "overnight"),
                *("auto", "default", "flex", "priority", "scale", "ultrafast"),
            ]
        },
    ),
]
ReasoningEffort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]


class StreamOptions(Struct):
    """What a stream carries besides its text."""

    include_usage: bool | None = None
    include_obfuscation: bool | None = None


class Shared(Struct, kw_only=True):
    """Fields of both endpoints; null is the same as absent, as in the OpenAI API."""

    model: Model
    max_tokens: TokenLimit | None = None
    temperature: Temperature | None = None
    top_p: Probability | None = None
    top_k: Annotated[int, Meta(ge=-1, le=MAX_TOKENS)] | None = None
    min_p: Probability | None = None
    seed: Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)] | None = None
    frequency_penalty: Penalty | None = None
    presence_penalty: Penalty | None = None
    repetition_penalty: Annotated[float, Meta(gt=0, le=10)] | None = None
    n: Annotated[int, Meta(ge=1, le=MAX_N)] | None = None
    stop: StopString | Annotated[list[StopString], Meta(max_length=4)] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    logit_bias: dict[str, Annotated[float, Meta(ge=-100, le=100)]] | None = None
    response_format: ResponseFormat | None = None
    service_tier: TierName | None = None
    reasoning_effort: ReasoningEffort | None = None
    aigrid: ThinkingBody | None = None
    user: str | None = None


def request_of(shared: Shared, body: dict[str, Any], request_id: str) -> GenerateRequest:
    """Return a `GenerateRequest` with all shared fields but log-probabilities and grammar; raises `BadRequest`."""
    options = shared.stream_options
    if options is not None and not shared.stream:
        raise BadRequest("`stream_options` is only allowed when `stream` is true", param="stream_options")
    stop = shared.stop
    return GenerateRequest(
        id=request_id,
        model=shared.model,
        max_tokens=shared.max_tokens or 0,
        n=shared.n or 1,
        stop=[stop] if isinstance(stop, str) else stop or [],
        sampling=sampling_of(shared),
        stream=bool(shared.stream),
        include_usage=bool(options and options.include_usage),
        body=body,
    )


def sampling_of(shared: Shared, logprobs: bool = False, top_logprobs: int = 0) -> Sampling:
    """Return how to draw tokens."""
    return Sampling(
        temperature=shared.temperature,
        top_p=shared.top_p,
        top_k=shared.top_k if shared.top_k is not None and shared.top_k > 0 else None,
        min_p=shared.min_p,
        seed=shared.seed,
        frequency_penalty=shared.frequency_penalty,
        presence_penalty=shared.presence_penalty,
        repetition_penalty=shared.repetition_penalty,
        logprobs=logprobs,
        top_logprobs=top_logprobs,
    )


def parsed_of(shared: Shared, generate: GenerateRequest) -> Parsed:
    """Return the request with its tier."""
    return Parsed(generate, tier_of(shared.service_tier), shared.aigrid)


def refuse(body: dict[str, Any], reasons: dict[str, str]) -> None:
    """Raise `BadRequest` for the first field of `reasons` that is set: ignoring it would change the answer."""
    for name, reason in reasons.items():
        if body.get(name):
            raise BadRequest(f"`{name}` is not supported: {reason}", param=name)
