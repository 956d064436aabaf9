"""The input of POST /v1/responses and how it reads as chat messages."""

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from aigrid.core.errors import BadRequest
from aigrid.gateway.wire.base import convert


class InputText(Struct, tag_field="type", tag="input_text"):
    """Text of the user or of instructions."""

    text: str


class OutputText(Struct, tag_field="type", tag="output_text"):
    """Text that the model gave earlier."""

    text: str


class PlainText(Struct, tag_field="type", tag="text"):
    """Text under the name that chat gives it; some clients send it here too."""

    text: str


class Refusal(Struct, tag_field="type", tag="refusal"):
    """A refusal that the model gave earlier."""

    refusal: str


class InputImage(Struct, tag_field="type", tag="input_image"):
    """An image by address or as a data URL."""

    image_url: str
    detail: Literal["auto", "low", "high", "original"] | None = None


class InputFile(Struct, tag_field="type", tag="input_file"):
    """A file; only for engines that read files."""

    file_data: str
    filename: str | None = None


Part = InputText | OutputText | PlainText | Refusal | InputImage | InputFile
Content = str | Annotated[list[Part], Meta(min_length=1)]


class MessageItem(Struct, tag_field="type", tag="message"):
    """A message; its `type` may be left out."""

    role: Literal["user", "system", "developer", "assistant"]
    content: Content


class CallItem(Struct, tag_field="type", tag="function_call"):
    """A call that the model made earlier."""

    call_id: str
    name: str
    arguments: str


class OutputItem(Struct, tag_field="type", tag="function_call_output"):
    """What a function answered."""

    call_id: str
    output: Content


class ReasoningText(Struct):
    """A piece of reasoning."""

    text: str


class ReasoningItem(Struct, tag_field="type", tag="reasoning"):
    """What the model thought earlier."""

    content: list[ReasoningText] | None = None


Item = MessageItem | CallItem | OutputItem | ReasoningItem


def messages_of(given: str | list[dict[str, Any]], instructions: str | None) -> list[dict[str, Any]]:
    """Return chat messages; raises `BadRequest` that names the item and its field.

    Calls that follow one another, and an assistant's text before them, become one assistant message.
    """
    messages: list[dict[str, Any]] = []
    if instructions:
        messages.append({"role": "system", "content": instructions})
    if isinstance(given, str):
        messages.append({"role": "user", "content": given})
        return messages
    if not given:
        raise BadRequest("`input` is empty", param="input")
    called: set[str] = set()
    for i, raw in enumerate(given):
        at = f"input[{i}]"
        if raw.get("type") == "item_reference":
            raise BadRequest(f"`{at}` refers to a stored item; nothing is stored here, send the item itself", param=at)
        item: Item = convert(raw if "type" in raw else {"type": "message", **raw}, Item, at)  # type: ignore[arg-type]
        if isinstance(item, OutputItem):
            if item.call_id not in called:
                raise BadRequest(
                    f"`{at}` answers call '{item.call_id}', which no earlier function_call made", param=f"{at}.call_id"
                )
            messages.append({"role": "tool", "tool_call_id": item.call_id, "content": _content(item.output, at)})
        elif isinstance(item, MessageItem) and item.role != "assistant":
            role = "user" if item.role == "user" else "system"
            messages.append({"role": role, "content": _content(item.content, at)})
        else:
            if isinstance(item, CallItem):
                called.add(item.call_id)
            _assist(messages, item, at)
    for message in messages:
        if message["content"] is None and "tool_calls" not in message:
            message["content"] = ""
    return messages


def _assist(messages: list[dict[str, Any]], item: MessageItem | CallItem | ReasoningItem, at: str) -> None:
    """Add to the assistant message that is being put together at the end of `messages`."""
    last: dict[str, Any] = messages[-1] if messages else {"role": ""}
    follows = last["role"] == "assistant" and (isinstance(item, CallItem) or last.get("content") is None)
    if not follows:
        last = {"role": "assistant", "content": None}
        messages.append(last)
    if isinstance(item, CallItem):
        function = {"name": item.name, "arguments": item.arguments}
        last.setdefault("tool_calls", []).append({"id": item.call_id, "type": "function", "function": function})
    elif isinstance(item, ReasoningItem):
        text = "".join(part.text for part in item.content or ())
        if text:
            last["reasoning_content"] = last.get("reasoning_content", "") + text
    else:
        last["content"] = _content(item.content, at)


def _content(content: Content, at: str) -> str | list[dict[str, Any]]:
    """Return text as one string; with an image or a file, chat parts."""
    if isinstance(content, str):
        return content
    parts: list[dict[str, Any]] = []
    for part in content:
        if isinstance(part, InputImage):
            image = {"url": part.image_url, **({"detail": part.detail} if part.detail else {})}
            parts.append({"type": "image_url", "image_url": image})
        elif isinstance(part, InputFile):
            file = {"file_data": part.file_data, **({"filename": part.filename} if part.filename else {})}
            parts.append({"type": "file", "file": file})
        else:
            parts.append({"type": "text", "text": part.refusal if isinstance(part, Refusal) else part.text})
    if all(part["type"] == "text" for part in parts):
        return "".join(part["text"] for part in parts)
    return parts
