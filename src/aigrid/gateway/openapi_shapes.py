"""The answers of the API as types, for the published document."""

from typing import Any, Literal

from msgspec import Struct


class ErrorDetail(Struct):
    """What was wrong, where, and what to do."""

    message: str
    type: str
    param: str | None
    code: str | None


class Error(Struct):
    """Every failure of the OpenAI-compatible endpoints."""

    error: ErrorDetail


class AnthropicErrorDetail(Struct):
    """What was wrong; `param` and `code` where there are some."""

    type: str
    message: str
    param: str | None = None
    code: str | None = None


class AnthropicError(Struct):
    """Every failure of the Anthropic-compatible endpoints."""

    type: Literal["error"]
    error: AnthropicErrorDetail


class Cost(Struct):
    """What the answer cost: its record on the ledger, nano-dollars, millijoules and how they were measured."""

    record: str
    cost_nusd: int
    energy_mj: int
    energy_source: str


class PromptDetails(Struct):
    """Prompt tokens apart."""

    cached_tokens: int


class CompletionDetails(Struct):
    """Completion tokens apart."""

    reasoning_tokens: int


class UsageObject(Struct):
    """Tokens, as they stand on the ledger."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptDetails | None = None
    completion_tokens_details: CompletionDetails | None = None


class ChatMessage(Struct):
    """What the model said."""

    role: Literal["assistant"]
    content: str | None
    refusal: str | None = None
    reasoning_content: str | None = None
    tool_calls: list[dict[str, Any]] | None = None


class ChatChoice(Struct):
    """One of `n` answers."""

    index: int
    message: ChatMessage
    finish_reason: Literal["stop", "length", "tool_calls", "content_filter"]
    logprobs: dict[str, Any] | None = None


class ChatCompletion(Struct):
    """An answer to /v1/chat/completions."""

    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    choices: list[ChatChoice]
    usage: UsageObject
    service_tier: str | None = None
    system_fingerprint: str | None = None
    aigrid: Cost | None = None


class CompletionChoice(Struct):
    """One of `n` answers."""

    index: int
    text: str
    finish_reason: Literal["stop", "length", "content_filter"]
    logprobs: dict[str, Any] | None = None


class Completion(Struct):
    """An answer to /v1/completions."""

    id: str
    object: Literal["text_completion"]
    created: int
    model: str
    choices: list[CompletionChoice]
    usage: UsageObject
    system_fingerprint: str | None = None
    aigrid: Cost | None = None


class ResponseUsage(Struct):
    """Tokens, as they stand on the ledger."""

    input_tokens: int
    output_tokens: int
    total_tokens: int
    input_tokens_details: dict[str, int]
    output_tokens_details: dict[str, int]


class ResponseObject(Struct):
    """An answer to /v1/responses."""

    id: str
    object: Literal["response"]
    created_at: int
    status: Literal["completed", "incomplete", "failed", "in_progress"]
    model: str
    output: list[dict[str, Any]]
    usage: ResponseUsage | None
    error: dict[str, Any] | None
    incomplete_details: dict[str, str] | None
    aigrid: Cost | None = None


class MessageUsage(Struct):
    """Tokens, as they stand on the ledger; `input_tokens` leaves out what the cache had."""

    input_tokens: int
    output_tokens: int
    cache_creation_input_tokens: int
    cache_read_input_tokens: int


class MessageObject(Struct):
    """An answer to /v1/messages."""

    id: str
    type: Literal["message"]
    role: Literal["assistant"]
    model: str
    content: list[dict[str, Any]]
    stop_reason: Literal["end_turn", "max_tokens", "stop_sequence", "tool_use", "refusal"]
    stop_sequence: str | None
    usage: MessageUsage
    aigrid: Cost | None = None


class TokenCount(Struct):
    """An answer to /v1/messages/count_tokens."""

    input_tokens: int


class EmbeddingUsage(Struct):
    """Tokens embedded."""

    prompt_tokens: int
    total_tokens: int


class EmbeddingRow(Struct):
    """One vector: numbers, or base64 of little-endian 32-bit floats."""

    object: Literal["embedding"]
    index: int
    embedding: list[float] | str


class EmbeddingList(Struct):
    """An answer to /v1/embeddings."""

    object: Literal["list"]
    data: list[EmbeddingRow]
    model: str
    usage: EmbeddingUsage


class Model(Struct):
    """A model that can be asked; `context_length` is in tokens."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    context_length: int
    capabilities: list[Literal["chat", "completions", "embeddings"]]


class ModelList(Struct):
    """All models that can be asked."""

    object: Literal["list"]
    data: list[Model]


class Live(Struct):
    """The process runs."""

    status: Literal["live"]
    version: str


class Ready(Struct):
    """Whether requests will be answered, and by what."""

    status: Literal["ready", "not ready"]
    engines: dict[str, str]
    ledger: dict[str, Any]
    requests: dict[str, int]
    event_loop_lag_ms: float


class About(Struct):
    """Where to look next."""

    name: str
    version: str
    api: str
    health: str
