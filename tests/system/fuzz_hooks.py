"""What schemathesis is told about requests that no schema can say. Loaded by it, not by pytest.

The model is one that exists, so that requests get past the router. With FUZZ_REPAIR set, fields that contradict each
other are dropped as well, so that most requests reach the engine.
"""

import os
from typing import Any

import schemathesis

REPAIR = bool(os.environ.get("FUZZ_REPAIR"))


@schemathesis.hook
def map_body(context: Any, body: Any) -> Any:
    """Return the body that is sent."""
    if not isinstance(body, dict):
        return body
    model = body.get("model")
    if isinstance(model, str) and 1 <= len(model) <= 256:
        body = {**body, "model": "echo"}
    return repaired(body) if REPAIR else body


@schemathesis.hook
def filter_case(context: Any, case: Any) -> bool:
    """Return whether what is wrong can be seen in what is sent: a form has no lists, but a field once, twice or not."""
    form = case.body if case.media_type == "multipart/form-data" else None
    return not (isinstance(form, dict) and any(isinstance(each, list) and len(each) < 2 for each in form.values()))


def repaired(body: dict[str, Any]) -> dict[str, Any]:
    """Return a body without what contradicts something else in it."""
    drop = {"tool_choice", "tools", "response_format", "text", "modalities", "best_of", "thinking", "output_config"}
    if not body.get("stream"):
        drop.add("stream_options")
    if body.get("max_completion_tokens"):
        drop.add("max_tokens")
    if not body.get("logprobs"):
        drop.add("top_logprobs")
    kept = {name: value for name, value in body.items() if name not in drop}
    for name in ("messages", "input"):
        if isinstance(kept.get(name), list) and "encoding_format" not in body:
            kept[name] = [item for item in kept[name] if plain(item)] or [{"role": "user", "content": "hi"}]
    if isinstance(kept.get("max_tokens"), int):
        kept["max_tokens"] = min(kept["max_tokens"], 64)
    if isinstance(kept.get("n"), int):
        kept["n"] = min(kept["n"], 4)
    return kept


def plain(item: Any) -> bool:
    """Return whether an item of a conversation stands for itself: no call, no answer to one, not empty."""
    if not isinstance(item, dict):
        return True
    blocks = item.get("content")
    return (
        item.get("role") != "tool"
        and item.get("type") in (None, "message")
        and not (item.get("role") == "assistant" and blocks is None)
        and not (isinstance(blocks, list) and any(block.get("type") == "tool_result" for block in blocks))
    )
