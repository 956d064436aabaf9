"""POST /v1/responses, without memory: every request brings its whole input."""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from aigrid.core.errors import AigridError
from aigrid.engines.base import GenerateRequest, Grammar, Sampling
from aigrid.gateway.http import error_body
from aigrid.gateway.wire import tools as chat_tools
from aigrid.gateway.wire.base import Encoder, Parsed, ThinkingBody, Wire, convert, tier_of
from aigrid.gateway.wire.grammar import JsonObjectFormat, JsonSchema, TextFormat, check_schema, schema_grammar
from aigrid.gateway.wire.responses_events import ResponseEncoder
from aigrid.gateway.wire.responses_input import messages_of
from aigrid.gateway.wire.sampling import (
    Metadata,
    Model,
    Probability,
    ReasoningEffort,
    StreamOptions,
    Temperature,
    TierName,
    TokenLimit,
    refuse,
)

_STATELESS = "this gateway keeps no responses; send the whole conversation as `input`"
_REFUSED = {
    "previous_response_id": _STATELESS,
    "conversation": _STATELESS,
    "background": "keep the connection open, or stream",
    "prompt": "this gateway keeps no prompt templates; send `instructions` and `input`",
    "context_management": "send an `input` that fits",
    "moderation": "no moderation model is loaded",
}


class FormatSchema(JsonSchema, tag_field="type", tag="json_schema"):
    """JSON of one schema; flat, unlike in chat."""


class TextConfig(Struct):
    """What the text must look like."""

    format: TextFormat | JsonObjectFormat | FormatSchema | None = None
    verbosity: Literal["low", "medium", "high"] | None = None


class FunctionTool(chat_tools.Function, tag_field="type", tag="function"):
    """A function that the model may ask for; flat, unlike in chat."""


class NamedTool(Struct, tag_field="type", tag="function"):
    """A function by name."""

    name: str


class AllowedTools(Struct, tag_field="type", tag="allowed_tools"):
    """The model may or must call one of a subset."""

    tools: Annotated[list[NamedTool], Meta(min_length=1)]
    mode: Literal["auto", "required"] = "auto"


class Reasoning(Struct):
    """How hard to think and what to show of it."""

    effort: ReasoningEffort | None = None
    summary: Literal["auto", "concise", "detailed"] | None = None
    generate_summary: Literal["auto", "concise", "detailed"] | None = None


class ResponseBody(Struct, kw_only=True):
    """A request for a response."""

    model: Model
    input: str | list[dict[str, Any]]
    instructions: str | None = None
    max_output_tokens: TokenLimit | None = None
    max_tool_calls: Annotated[int, Meta(ge=1)] | None = None
    temperature: Temperature | None = None
    top_p: Probability | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None
    include: list[str] | None = None
    text: TextConfig | None = None
    tools: Annotated[list[FunctionTool], Meta(max_length=128)] | None = None
    tool_choice: Literal["none", "auto", "required"] | NamedTool | AllowedTools | None = None
    parallel_tool_calls: bool | None = None
    reasoning: Reasoning | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    truncation: Literal["auto", "disabled"] | None = None
    metadata: Metadata | None = None
    store: bool | None = None
    service_tier: TierName | None = None
    aigrid: ThinkingBody | None = None
    user: str | None = None


class ParsedResponse(Parsed):
    """A request understood, and the client's own object, which the answer repeats in part."""

    asked: dict[str, Any] = msgspec.field(default_factory=dict)


class _Responses:
    path = "/v1/responses"

    def parse(self, body: dict[str, Any], request_id: str) -> Parsed:
        refuse(body, _REFUSED)
        asked = convert(body, ResponseBody)
        messages = messages_of(asked.input, asked.instructions)
        tools, choice = chat_tools.choose(_tools(asked), _choice(asked.tool_choice))
        grammar, response_format = _format(asked)
        logprobs = bool(asked.top_logprobs) or "message.output_text.logprobs" in (asked.include or ())
        chat: dict[str, Any] = {
            "model": asked.model,
            "messages": messages,
            "stream": bool(asked.stream),
            "max_tokens": asked.max_output_tokens,
            "temperature": asked.temperature,
            "top_p": asked.top_p,
            "logprobs": logprobs or None,
            "top_logprobs": asked.top_logprobs if logprobs else None,
            "tools": tools or None,
            "tool_choice": choice,
            "parallel_tool_calls": asked.parallel_tool_calls if tools else None,
            "response_format": response_format,
            "reasoning_effort": asked.reasoning.effort if asked.reasoning else None,
            "service_tier": asked.service_tier,
            "user": asked.user,
        }
        generate = GenerateRequest(
            id=request_id,
            model=asked.model,
            max_tokens=asked.max_output_tokens or 0,
            messages=messages,
            sampling=Sampling(asked.temperature, asked.top_p, logprobs=logprobs, top_logprobs=asked.top_logprobs or 0),
            grammar=grammar,
            tools=tools,
            tool_choice=choice,
            stream=bool(asked.stream),
            body={name: value for name, value in chat.items() if value is not None},
        )
        return ParsedResponse(generate, tier_of(asked.service_tier), asked.aigrid, asked=body)

    def encoder(self, parsed: Parsed, created: int) -> Encoder:
        assert isinstance(parsed, ParsedResponse)
        return ResponseEncoder(parsed.generate, parsed.asked, created)

    def error_body(self, error: AigridError) -> dict[str, Any]:
        return error_body(error)


WIRE: Wire = _Responses()


def _format(asked: ResponseBody) -> tuple[Grammar | None, dict[str, Any] | None]:
    """Return the constraint and chat's `response_format`."""
    wanted = asked.text.format if asked.text else None
    if wanted is None or isinstance(wanted, TextFormat):
        return None, None
    if isinstance(wanted, JsonObjectFormat) or wanted.schema is None:
        return Grammar("json"), {"type": "json_object"}
    schema = {"name": wanted.name, "schema": wanted.schema, "strict": bool(wanted.strict)}
    return schema_grammar(wanted.schema, "text.format.schema"), {"type": "json_schema", "json_schema": schema}


def _tools(asked: ResponseBody) -> list[dict[str, Any]]:
    tools = []
    for i, tool in enumerate(asked.tools or ()):
        if tool.parameters is not None:
            check_schema(tool.parameters, f"tools[{i}].parameters")
        fields: dict[str, Any] = {"name": tool.name, "description": tool.description, "parameters": tool.parameters}
        fields |= {"strict": tool.strict}
        tools.append({"type": "function", "function": {k: v for k, v in fields.items() if v is not None}})
    return tools


def _choice(choice: str | NamedTool | AllowedTools | None) -> chat_tools.ToolChoice | None:
    if isinstance(choice, NamedTool):
        return chat_tools.NamedChoice(chat_tools.Named(choice.name))
    if isinstance(choice, AllowedTools):
        allowed = [chat_tools.AllowedTool(chat_tools.Named(tool.name)) for tool in choice.tools]
        return chat_tools.AllowedChoice(chat_tools.AllowedTools(allowed, choice.mode))
    return choice  # type: ignore[return-value]
