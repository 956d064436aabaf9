"""Tools for a small model: each argument is one of the values that stand in the conversation, and no call comes twice.

What a value may be is read off what the customer has said and what tools and searches have returned: an e-mail address,
the fields of a record, a tool's name in a document. A tool for which nothing fits is not offered, nor is one that touches
a customer's data before the verification is logged. The engine's schema constraint does the rest; to say something is a
tool, too. None of it knows a task's gold actions.
"""

import json
import re
from typing import Any

from benchmarks.tau3_world import FACTS, NOW, PRIVATE, World

MOST = 12
"""Choices of an argument, the newest first."""
_SAID = {
    "email": r"[\w.+-]+@[\w-]+\.\w+",
    "name": r"\b[A-Z][a-z'-]+ [A-Z][a-z'-]+\b",
    "user_id": r"\b(?=\w*\d)[0-9a-z]{8,12}\b",
}
_TOOL = re.compile(r"\b[a-z][a-z_]+_\d{4}\b")
_CODE = re.compile(r"\b[a-z]+(?:_[a-z]+)+\b(?!_?\d)")
_REPLY = {"type": "function", "function": {
    "name": "reply", "description": "Say something to the customer.",
    "parameters": {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]},
}}  # fmt: skip


def grounded(tools: list[dict[str, Any]], world: World, said: str) -> list[dict[str, Any]]:
    """Return the tools that fit what is known now, with their arguments' choices, and `reply`."""
    offered = [_REPLY]
    for tool in tools:
        function = tool["function"]
        name, keys = function["name"], list(function["parameters"]["properties"])
        if name in PRIVATE and not world.verified:
            continue
        choices = {key: _choices(name, key, world, said) for key in keys}
        left = _left(name, choices, world)
        if left is None:
            continue
        parameters = {
            "type": "object",
            "properties": {key: {"type": "string", "enum": left[key]} for key in keys},
            "required": keys,
            "additionalProperties": False,
        }
        offered.append({"type": "function", "function": {**function, "parameters": parameters}})
    return offered


def _choices(tool: str, key: str, world: World, said: str) -> list[str]:
    """Return what an argument may be."""
    if key == "query":
        return [said[:300]]
    if key == "summary":
        return [world.said.strip()[:300]]
    if key == "reason":
        return _newest(_CODE.findall(world.read))
    if key == "time_verified":
        return [NOW] if any(name == "get_current_time" for name, _ in world.calls) else []
    if key == "new_email":
        return _newest(re.findall(_SAID["email"], world.said))
    if key == "discoverable_tool_name":
        return _newest(_TOOL.findall(world.read))
    if key == "agent_tool_name":
        return sorted(world.unlocked) if tool.startswith("call_") else _newest(_TOOL.findall(world.read))
    if key == "arguments":
        return [json.dumps({"user_id": each}) for each in _newest([str(row["user_id"]) for row in world.records])]
    from_records = [str(row[key]) for row in world.records if row.get(key)]
    if tool == "log_verification" or key in FACTS[:1]:
        return _newest(from_records)
    return _newest(from_records + re.findall(_SAID.get(key, r"(?!)"), world.said))


def _newest(found: list[str]) -> list[str]:
    return list(dict.fromkeys(reversed(found)))[:MOST]


def _left(name: str, choices: dict[str, list[str]], world: World) -> dict[str, list[str]] | None:
    """Return the choices without the calls made already, None where no call is left."""
    if any(not values for values in choices.values()):
        return None
    made = [arguments for called, arguments in world.calls if called == name]
    if not choices:
        return None if made else choices
    first = next(iter(choices))
    if len(choices) == 1:
        fresh = [value for value in choices[first] if all(each.get(first) != value for each in made)]
        return {first: fresh} if fresh else None
    alone = all(len(values) == 1 for values in choices.values())
    return None if alone and {key: values[0] for key, values in choices.items()} in made else choices
