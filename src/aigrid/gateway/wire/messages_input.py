"""The input of POST /v1/messages and how it reads as chat messages."""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from aigrid.core.errors import BadRequest


class TextBlock(Struct, tag_field="type", tag="text"):
    """Text."""

    text: str


class Base64Source(Struct, tag_field="type", tag="base64"):
    """An image in the request."""

    media_type: Literal["image/jpeg", "image/png", "image/gif", "image/webp"]
    data: str


class UrlSource(Struct, tag_field="type", tag="url"):
    """An image by address."""

    url: str


class ImageBlock(Struct, tag_field="type", tag="image"):
    """An image; only for engines that see."""

    source: Base64Source | UrlSource


class ToolUseBlock(Struct, tag_field="type", tag="tool_use"):
    """A call that the model made earlier."""

    id: str
    name: str
    input: dict[str, Any]


class ToolResultBlock(Struct, tag_field="type", tag="tool_result"):
    """What a tool answered."""

    tool_use_id: str
    content: str | list[TextBlock | ImageBlock] = ""
    is_error: bool | None = None


class ThinkingBlock(Struct, tag_field="type", tag="thinking"):
    """What the model thought earlier."""

    thinking: str
    signature: str = ""


class RedactedThinkingBlock(Struct, tag_field="type", tag="redacted_thinking"):
    """Thinking that cannot be read here; it is left out."""

    data: str = ""


SystemText = str | list[TextBlock]


class UserTurn(Struct, tag_field="role", tag="user"):
    """What the user says and what tools answered."""

    content: str | Annotated[list[TextBlock | ImageBlock | ToolResultBlock], Meta(min_length=1)]


class AssistantTurn(Struct, tag_field="role", tag="assistant"):
    """What the model said."""

    content: str | list[TextBlock | ToolUseBlock | ThinkingBlock | RedactedThinkingBlock]


class SystemTurn(Struct, tag_field="role", tag="system"):
    """Instructions in the middle of a conversation."""

    content: SystemText


Turn = UserTurn | AssistantTurn | SystemTurn


def messages_of(turns: list[Turn], system: SystemText | None) -> list[dict[str, Any]]:
    """Return chat messages; raises `BadRequest` that names the turn and its field."""
    messages: list[dict[str, Any]] = []
    if system:
        messages.append({"role": "system", "content": _text(system)})
    called: set[str] = set()
    for i, turn in enumerate(turns):
        if isinstance(turn, SystemTurn):
            messages.append({"role": "system", "content": _text(turn.content)})
        elif isinstance(turn, AssistantTurn):
            messages.append(_assistant(turn, called))
        else:
            messages += _user(turn, called, f"messages[{i}].content")
    return messages


def _user(turn: UserTurn, called: set[str], at: str) -> list[dict[str, Any]]:
    """Return tool answers first, as chat wants them, then what the user says."""
    if isinstance(turn.content, str):
        return [{"role": "user", "content": turn.content}]
    messages: list[dict[str, Any]] = []
    said: list[TextBlock | ImageBlock] = []
    for j, block in enumerate(turn.content):
        if not isinstance(block, ToolResultBlock):
            said.append(block)
            continue
        if block.tool_use_id not in called:
            raise BadRequest(
                f"`{at}[{j}]` answers tool_use '{block.tool_use_id}', which no earlier assistant turn made",
                param=f"{at}[{j}].tool_use_id",
            )
        content = block.content if isinstance(block.content, str) else _parts(block.content)
        if block.is_error and isinstance(content, str):
            content = f"Error: {content}"
        messages.append({"role": "tool", "tool_call_id": block.tool_use_id, "content": content})
    if said:
        messages.append({"role": "user", "content": _parts(said)})
    return messages


def _assistant(turn: AssistantTurn, called: set[str]) -> dict[str, Any]:
    if isinstance(turn.content, str):
        return {"role": "assistant", "content": turn.content}
    texts: list[str] = []
    thoughts: list[str] = []
    calls: list[dict[str, Any]] = []
    for block in turn.content:
        if isinstance(block, TextBlock):
            texts.append(block.text)
        elif isinstance(block, ThinkingBlock):
            thoughts.append(block.thinking)
        elif isinstance(block, ToolUseBlock):
            called.add(block.id)
            function = {"name": block.name, "arguments": msgspec.json.encode(block.input).decode()}
            calls.append({"id": block.id, "type": "function", "function": function})
    message: dict[str, Any] = {"role": "assistant", "content": "".join(texts) if texts or not calls else None}
    if thoughts:
        message["reasoning_content"] = "".join(thoughts)
    if calls:
        message["tool_calls"] = calls
    return message


def _text(text: SystemText) -> str:
    return text if isinstance(text, str) else "\n\n".join(block.text for block in text)


def _parts(blocks: list[TextBlock | ImageBlock]) -> str | list[dict[str, Any]]:
    """Return text as one string; with an image, chat parts."""
    parts: list[dict[str, Any]] = []
    for block in blocks:
        if isinstance(block, TextBlock):
            parts.append({"type": "text", "text": block.text})
            continue
        source = block.source
        url = source.url if isinstance(source, UrlSource) else f"data:{source.media_type};base64,{source.data}"
        parts.append({"type": "image_url", "image_url": {"url": url}})
    if all(part["type"] == "text" for part in parts):
        return "\n\n".join(part["text"] for part in parts)
    return parts
