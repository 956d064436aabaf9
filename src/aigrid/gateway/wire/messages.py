"""POST /v1/messages and /v1/messages/count_tokens: the Anthropic shape."""

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from aigrid.core.errors import AigridError, BadRequest
from aigrid.engines.base import GenerateRequest, Grammar, Sampling
from aigrid.gateway.wire import tools as chat_tools
from aigrid.gateway.wire.base import Encoder, Parsed, ThinkingBody, Wire, convert, tier_of
from aigrid.gateway.wire.grammar import check_schema, schema_grammar
from aigrid.gateway.wire.messages_events import MessageEncoder, error_body
from aigrid.gateway.wire.messages_input import SystemText, Turn, messages_of
from aigrid.gateway.wire.sampling import MAX_TOKENS, Model, Probability, StopString, TokenLimit, refuse

_REFUSED = {
    "container": "this gateway has no containers",
    "mcp_servers": "let the client call MCP servers and pass their tools",
}


MessageTier = Annotated[str, Meta(extra_json_schema={"enum": ["auto", "standard_only", "fast", "think", "overnight"]})]


class ToolBody(Struct):
    """A tool that the model may ask for; tools that a server runs are not offered here."""

    name: Annotated[str, Meta(pattern="^[a-zA-Z0-9_-]{1,128}$")]
    input_schema: dict[str, Any]
    description: str | None = None
    type: Literal["custom"] | None = None
    strict: bool | None = None


class ToolChoiceAuto(Struct, tag_field="type", tag="auto"):
    """The model decides."""

    disable_parallel_tool_use: bool | None = None


class ToolChoiceAny(Struct, tag_field="type", tag="any"):
    """The model must call one of the tools."""

    disable_parallel_tool_use: bool | None = None


class ToolChoiceTool(Struct, tag_field="type", tag="tool"):
    """The model must call this tool."""

    name: str
    disable_parallel_tool_use: bool | None = None


class ToolChoiceNone(Struct, tag_field="type", tag="none"):
    """No tools now."""


class ThinkingEnabled(Struct, tag_field="type", tag="enabled"):
    """Think, up to so many tokens."""

    budget_tokens: Annotated[int, Meta(ge=1024, le=MAX_TOKENS)]


class ThinkingDisabled(Struct, tag_field="type", tag="disabled"):
    """Do not think."""


class ThinkingAdaptive(Struct, tag_field="type", tag="adaptive"):
    """Think as much as it takes."""


class ThinkingBetweenTools(Struct, tag_field="type", tag="between_tools"):
    """Think between calls of tools."""


class SchemaFormat(Struct, tag_field="type", tag="json_schema"):
    """JSON of one schema."""

    schema: dict[str, Any]


class OutputConfig(Struct):
    """How hard to think and what the text must look like."""

    effort: Literal["low", "medium", "high", "xhigh", "max"] | None = None
    format: SchemaFormat | None = None


class UserMetadata(Struct):
    """Who asks, behind the key."""

    user_id: str | None = None


class CountBody(Struct, kw_only=True):
    """A request whose prompt is to be counted."""

    model: Model
    messages: Annotated[list[Turn], Meta(min_length=1)]
    system: SystemText | None = None
    tools: Annotated[list[ToolBody], Meta(max_length=128)] | None = None
    tool_choice: ToolChoiceAuto | ToolChoiceAny | ToolChoiceTool | ToolChoiceNone | None = None
    thinking: ThinkingEnabled | ThinkingDisabled | ThinkingAdaptive | ThinkingBetweenTools | None = None
    output_config: OutputConfig | None = None


class MessageBody(CountBody, kw_only=True):
    """A request for a message."""

    max_tokens: TokenLimit
    stop_sequences: Annotated[list[StopString], Meta(max_length=16)] | None = None
    temperature: Probability | None = None
    top_p: Probability | None = None
    top_k: Annotated[int, Meta(ge=0, le=MAX_TOKENS)] | None = None
    stream: bool | None = None
    metadata: UserMetadata | None = None
    service_tier: MessageTier | None = None
    aigrid: ThinkingBody | None = None


class _Messages:
    path = "/v1/messages"

    def parse(self, body: dict[str, Any], request_id: str) -> Parsed:
        refuse(body, _REFUSED)
        asked = convert(body, MessageBody)
        generate = _request(asked, request_id)
        generate.max_tokens = asked.max_tokens
        generate.stop = asked.stop_sequences or []
        generate.sampling = Sampling(asked.temperature, asked.top_p, asked.top_k or None)
        generate.stream = bool(asked.stream)
        thinking = asked.thinking
        if isinstance(thinking, ThinkingEnabled) and thinking.budget_tokens >= asked.max_tokens:
            raise BadRequest("`thinking.budget_tokens` must be less than `max_tokens`", param="thinking.budget_tokens")
        more = {
            "max_tokens": asked.max_tokens,
            "stop": asked.stop_sequences,
            "temperature": asked.temperature,
            "top_p": asked.top_p,
            "top_k": asked.top_k or None,
            "stream": asked.stream,
            "service_tier": asked.service_tier,
            "user": asked.metadata.user_id if asked.metadata else None,
        }
        generate.body |= {name: value for name, value in more.items() if value is not None}
        tier = "default" if asked.service_tier == "standard_only" else asked.service_tier
        return Parsed(generate, tier_of(tier), asked.aigrid)

    def encoder(self, parsed: Parsed, created: int) -> Encoder:
        return MessageEncoder(parsed.generate)

    def error_body(self, error: AigridError) -> dict[str, Any]:
        return error_body(error)


WIRE: Wire = _Messages()


def parse_count(body: dict[str, Any]) -> GenerateRequest:
    """Understand a request to count tokens; raises `BadRequest` naming the field."""
    refuse(body, _REFUSED)
    return _request(convert(body, CountBody), "")


def _request(asked: CountBody, request_id: str) -> GenerateRequest:
    """Return what counts for the prompt: messages, tools, format; and the same as a chat body."""
    messages = messages_of(asked.messages, asked.system)
    tools, choice = chat_tools.choose(_tools(asked.tools or []), _choice(asked.tool_choice))
    body: dict[str, Any] = {"model": asked.model, "messages": messages}
    if tools:
        body["tools"] = tools
        if choice is not None:
            body["tool_choice"] = choice
        if getattr(asked.tool_choice, "disable_parallel_tool_use", None):
            body["parallel_tool_calls"] = False
    grammar: Grammar | None = None
    config = asked.output_config
    if config is not None and config.format is not None:
        grammar = schema_grammar(config.format.schema, "output_config.format.schema")
        schema = {"name": "output", "schema": config.format.schema, "strict": True}
        body["response_format"] = {"type": "json_schema", "json_schema": schema}
    effort = _effort(asked)
    if effort is not None:
        body["reasoning_effort"] = effort
    return GenerateRequest(
        id=request_id,
        model=asked.model,
        max_tokens=0,
        messages=messages,
        grammar=grammar,
        tools=tools,
        tool_choice=choice,
        body=body,
    )


def _effort(asked: CountBody) -> str | None:
    """Return the `reasoning_effort` for upstreams: as said, else by the thinking budget."""
    if asked.output_config is not None and asked.output_config.effort is not None:
        return asked.output_config.effort
    if isinstance(asked.thinking, ThinkingEnabled):
        budget = asked.thinking.budget_tokens
        return "low" if budget < 4096 else "medium" if budget < 16384 else "high"
    return None


def _tools(tools: list[ToolBody]) -> list[dict[str, Any]]:
    listed = []
    for i, tool in enumerate(tools):
        check_schema(tool.input_schema, f"tools[{i}].input_schema")
        function: dict[str, Any] = {"name": tool.name, "parameters": tool.input_schema}
        if tool.description is not None:
            function["description"] = tool.description
        if tool.strict is not None:
            function["strict"] = tool.strict
        listed.append({"type": "function", "function": function})
    return listed


def _choice(
    choice: ToolChoiceAuto | ToolChoiceAny | ToolChoiceTool | ToolChoiceNone | None,
) -> chat_tools.ToolChoice | None:
    if isinstance(choice, ToolChoiceTool):
        return chat_tools.NamedChoice(chat_tools.Named(choice.name))
    if isinstance(choice, ToolChoiceAny):
        return "required"
    if isinstance(choice, ToolChoiceNone):
        return "none"
    return "auto" if choice is not None else None
