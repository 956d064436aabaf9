"""Tools and the choice between them, as chat clients write them."""

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from aigrid.core.errors import BadRequest
from aigrid.gateway.wire.grammar import check_schema

FunctionName = Annotated[str, Meta(pattern="^[a-zA-Z0-9_-]{1,64}$")]


class Function(Struct):
    """A function that the model may ask for."""

    name: FunctionName
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class Tool(Struct, tag_field="type", tag="function"):
    """A tool; functions are the only kind."""

    function: Function


class Named(Struct):
    """A function by name."""

    name: str


class NamedChoice(Struct, tag_field="type", tag="function"):
    """The model must call this function."""

    function: Named


class AllowedTool(Struct, tag_field="type", tag="function"):
    """One of the tools that may be called."""

    function: Named


class AllowedTools(Struct):
    """A subset of the tools."""

    tools: Annotated[list[AllowedTool], Meta(min_length=1)]
    mode: Literal["auto", "required"] = "auto"


class AllowedChoice(Struct, tag_field="type", tag="allowed_tools"):
    """The model may or must call one of a subset."""

    allowed_tools: AllowedTools


ToolChoice = Literal["none", "auto", "required"] | NamedChoice | AllowedChoice
Tools = Annotated[list[Tool], Meta(max_length=128)]


def choose(
    tools: list[Tool] | None, raw: list[dict[str, Any]] | None, choice: ToolChoice | None
) -> tuple[list[dict[str, Any]], str | dict[str, Any] | None]:
    """Return the tools (the client's own objects) and the choice for an engine.

    `allowed_tools` becomes the shorter list and its mode. Raises `BadRequest` for a schema that cannot be one and
    for a choice of a tool that is not there.
    """
    if not tools or raw is None:
        if choice is not None and choice not in ("none", "auto"):
            raise BadRequest("`tool_choice` is only allowed when `tools` are given", param="tool_choice")
        return [], None
    for i, tool in enumerate(tools):
        if tool.function.parameters is not None:
            check_schema(tool.function.parameters, f"tools[{i}].function.parameters")
    names = {tool.function.name for tool in tools}
    if isinstance(choice, NamedChoice):
        _must_have(choice.function.name, names, "tool_choice.function.name")
        return raw, {"type": "function", "function": {"name": choice.function.name}}
    if isinstance(choice, AllowedChoice):
        allowed = choice.allowed_tools
        for i, tool_named in enumerate(allowed.tools):
            _must_have(tool_named.function.name, names, f"tool_choice.allowed_tools.tools[{i}].function.name")
        kept = {tool_named.function.name for tool_named in allowed.tools}
        return [item for item in raw if item["function"]["name"] in kept], allowed.mode
    return raw, choice


def _must_have(name: str, names: set[str], param: str) -> None:
    if name not in names:
        raise BadRequest(f"`{param}` names '{name}', which is not among `tools`", param=param)
