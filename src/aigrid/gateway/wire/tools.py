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


def check_parameters(tools: list[Tool]) -> None:
    """Raise `BadRequest` for parameters that cannot be a JSON schema."""
    for i, tool in enumerate(tools):
        if tool.function.parameters is not None:
            check_schema(tool.function.parameters, f"tools[{i}].function.parameters")


def choose(
    tools: list[dict[str, Any]] | None, choice: ToolChoice | None
) -> tuple[list[dict[str, Any]], str | dict[str, Any] | None]:
    """Return tools (checked, in chat shape) and the choice for an engine.

    `allowed_tools` becomes the shorter list and its mode. Raises `BadRequest` for a choice of a tool that is not there.
    """
    if not tools:
        if choice is not None and choice not in ("none", "auto"):
            raise BadRequest("`tool_choice` is only allowed when `tools` are given", param="tool_choice")
        return [], None
    names = {tool["function"]["name"] for tool in tools}
    if isinstance(choice, NamedChoice):
        _must_have([choice.function.name], names)
        return tools, {"type": "function", "function": {"name": choice.function.name}}
    if isinstance(choice, AllowedChoice):
        allowed = [tool.function.name for tool in choice.allowed_tools.tools]
        _must_have(allowed, names)
        return [tool for tool in tools if tool["function"]["name"] in allowed], choice.allowed_tools.mode
    return tools, choice


def _must_have(wanted: list[str], names: set[str]) -> None:
    for name in wanted:
        if name not in names:
            raise BadRequest(f"`tool_choice` names '{name}', which is not among `tools`", param="tool_choice")
