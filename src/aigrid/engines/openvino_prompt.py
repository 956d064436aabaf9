"""From a request to the model's prompt: checks messages, applies the chat template, describes the tools.

Templates differ in what they know. One that mentions tools gets them as they are; for any other the tools, calls
and results are written into the messages in the common `<tool_call>` form.
"""

import json
from typing import Any

from aigrid.core.errors import BadRequest
from aigrid.engines.openvino_text import CALL_BEGIN, CALL_END

_ROLES = {"developer": "system", "function": "tool"}

_TOOLS = """You may call one of these functions. Their signatures are within <tools></tools>:
<tools>
{signatures}
</tools>
To call a function, answer with a JSON object within <tool_call></tool_call>:
<tool_call>
{{"name": "function name", "arguments": {{"argument": "value"}}}}
</tool_call>"""


def render(tokenizer: Any, messages: list[dict[str, Any]], tools: list[dict[str, Any]]) -> str:
    """Return the prompt of a chat; raises `BadRequest` that names the message at fault."""
    template = tokenizer.chat_template or ""
    knows_tools = "tools" in template
    plain = [_message(index, message) for index, message in enumerate(messages)]
    if not plain:
        raise BadRequest("messages is empty: send at least one", param="messages")
    if not knows_tools:
        plain = [_spell_out(message) for message in plain]
        if tools:
            plain = _introduce(plain, tools)
    try:
        return str(
            tokenizer.apply_chat_template(plain, True, tools=tools if knows_tools and tools else None)
            if template
            else "\n".join(f"{message['role']}: {message['content']}" for message in plain) + "\nassistant:"
        )
    except (RuntimeError, TypeError, ValueError) as error:
        reason = str(error).strip().splitlines()[-1:] or ["no reason given"]
        raise BadRequest(
            f"the model's chat template refuses these messages ({reason[0]}); check the order of the roles",
            param="messages",
        ) from error


def _message(index: int, message: dict[str, Any]) -> dict[str, Any]:
    role = message.get("role")
    if not isinstance(role, str):
        raise BadRequest(f"messages[{index}] has no role", param=f"messages[{index}].role")
    plain: dict[str, Any] = {"role": _ROLES.get(role, role), "content": _content(index, message.get("content"))}
    if calls := message.get("tool_calls"):
        plain["tool_calls"] = [_call(index, call) for call in calls]
    for key in ("tool_call_id", "name"):
        if isinstance(message.get(key), str):
            plain[key] = message[key]
    return plain


def _content(index: int, content: Any) -> str:
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    texts = []
    for place, part in enumerate(content if isinstance(content, list) else [content]):
        kind = part.get("type") if isinstance(part, dict) else type(part).__name__
        if kind not in ("text", "refusal", "input_text", "output_text"):
            where = f"messages[{index}].content[{place}]"
            raise BadRequest(f"{where} is `{kind}`: this model reads text only", param=where)
        texts.append(str(part.get("text") or part.get("refusal") or ""))
    return "".join(texts)


def _call(index: int, call: Any) -> dict[str, Any]:
    function = call.get("function") if isinstance(call, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise BadRequest(f"messages[{index}].tool_calls has a call without a function name",
                         param=f"messages[{index}].tool_calls")  # fmt: skip
    arguments = function.get("arguments") or "{}"
    try:
        parsed = json.loads(arguments) if isinstance(arguments, str) else arguments
    except ValueError:
        parsed = arguments
    return {"type": "function", "id": str(call.get("id", "")), "function": {"name": function["name"],
            "arguments": parsed}}  # fmt: skip


def _spell_out(message: dict[str, Any]) -> dict[str, Any]:
    """Write tool calls and results as text, for a template that knows neither."""
    content = message["content"]
    for call in message.get("tool_calls", []):
        body = json.dumps(
            {"name": call["function"]["name"], "arguments": call["function"]["arguments"]}, ensure_ascii=False
        )
        content = f"{content}\n{CALL_BEGIN}\n{body}\n{CALL_END}".lstrip("\n")
    if message["role"] == "tool":
        return {"role": "user", "content": f"<tool_response>\n{content}\n</tool_response>"}
    return {"role": message["role"], "content": content}


def _introduce(messages: list[dict[str, Any]], tools: list[dict[str, Any]]) -> list[dict[str, Any]]:
    text = _TOOLS.format(
        signatures="\n".join(json.dumps(tool.get("function", tool), ensure_ascii=False) for tool in tools)
    )
    if messages[0]["role"] == "system":
        return [{"role": "system", "content": f"{messages[0]['content']}\n\n{text}"}, *messages[1:]]
    return [{"role": "system", "content": text}, *messages]
