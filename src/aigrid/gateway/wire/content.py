"""Chat messages as clients write them, checked and made plain for engines."""

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from aigrid.core.errors import BadRequest

Name = Annotated[str, Meta(max_length=256)]


class TextPart(Struct, tag_field="type", tag="text"):
    """Text inside a list of parts."""

    text: str


class RefusalPart(Struct, tag_field="type", tag="refusal"):
    """A refusal that the model gave earlier."""

    refusal: str


class ImageUrl(Struct):
    """An image by address or as a data URL."""

    url: str
    detail: Literal["auto", "low", "high"] | None = None


class ImagePart(Struct, tag_field="type", tag="image_url"):
    """An image; only for engines that see."""

    image_url: ImageUrl


class InputAudio(Struct):
    """A base64 recording."""

    data: str
    format: str


class AudioPart(Struct, tag_field="type", tag="input_audio"):
    """A recording; only for engines that hear."""

    input_audio: InputAudio


class FilePart(Struct, tag_field="type", tag="file"):
    """A file; only for engines that read files."""

    file: dict[str, Any]


TextParts = Annotated[list[TextPart], Meta(min_length=1)]


class SystemMessage(Struct, tag_field="role", tag="system"):
    """Instructions."""

    content: str | TextParts
    name: Name | None = None


class DeveloperMessage(Struct, tag_field="role", tag="developer"):
    """Instructions, under the name that newer OpenAI models give them."""

    content: str | TextParts
    name: Name | None = None


class UserMessage(Struct, tag_field="role", tag="user"):
    """What the user says."""

    content: str | Annotated[list[TextPart | ImagePart | AudioPart | FilePart], Meta(min_length=1)]
    name: Name | None = None


class CalledFunction(Struct):
    """The function and the JSON text of its arguments."""

    name: str
    arguments: str


class MessageToolCall(Struct):
    """A call that the model made earlier."""

    id: str
    function: CalledFunction
    type: Literal["function"] = "function"


class AssistantMessage(Struct, tag_field="role", tag="assistant"):
    """What the model said earlier."""

    content: str | Annotated[list[TextPart | RefusalPart], Meta(min_length=1)] | None = None
    name: Name | None = None
    refusal: str | None = None
    tool_calls: Annotated[list[MessageToolCall], Meta(min_length=1)] | None = None
    reasoning_content: str | None = None


class ToolMessage(Struct, tag_field="role", tag="tool"):
    """What a tool answered."""

    content: str | TextParts
    tool_call_id: str


Message = SystemMessage | DeveloperMessage | UserMessage | AssistantMessage | ToolMessage


def plain(messages: list[Message], raw: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return `raw` (the client's own list) with text parts joined and developers called system.

    Lists with an image, a recording or a file stay as they are: an engine that cannot take them says so.
    Raises `BadRequest` for an assistant without content and a tool answer that nothing asked for.
    """
    result = raw
    called: set[str] | None = None
    for i, message in enumerate(messages):
        if isinstance(message, AssistantMessage):
            if message.tool_calls:
                called = {call.id for call in message.tool_calls} | (called or set())
            elif message.content is None and message.refusal is None:
                raise BadRequest(f"messages[{i}] has neither content nor tool_calls", param=f"messages[{i}].content")
        elif isinstance(message, ToolMessage) and message.tool_call_id not in (called or ()):
            raise BadRequest(
                f"messages[{i}] answers tool call '{message.tool_call_id}', which no earlier assistant message made",
                param=f"messages[{i}].tool_call_id",
            )
        text = _joined(message.content)
        if text is None and not isinstance(message, DeveloperMessage):
            continue
        if result is raw:
            result = list(raw)
        result[i] = {**raw[i]}
        if text is not None:
            result[i]["content"] = text
        if isinstance(message, DeveloperMessage):
            result[i]["role"] = "system"
    return result


def _joined(content: Any) -> str | None:
    """Return the text of a list that is all text, else None."""
    if not isinstance(content, list):
        return None
    texts: list[str] = []
    for part in content:
        if isinstance(part, TextPart):
            texts.append(part.text)
        elif isinstance(part, RefusalPart):
            texts.append(part.refusal)
        else:
            return None
    return "".join(texts)
