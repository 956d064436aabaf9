"""Agents as a tool of aigrid's own MCP server: start a run, or go on with one, with the caller's key."""

import asyncio
from contextlib import aclosing
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from aigrid.agents import shelf, views
from aigrid.agents.engine import PREFIX
from aigrid.agents.memory import MAX_USER
from aigrid.core.errors import NotFound
from aigrid.gateway.app import Gateway
from aigrid.gateway.http import Request
from aigrid.gateway.inside import complete
from aigrid.gateway.mcp import Offered
from aigrid.gateway.spent import Spent
from aigrid.gateway.wire.base import convert
from aigrid.ledger.base import Key

_AGENT = {"type": "string", "minLength": 1, "maxLength": 63, "description": "The agent's name."}
_TASK = {"type": "string", "minLength": 1, "maxLength": 8000, "description": "What it is to do."}
_RUN = {
    "type": "string",
    "maxLength": 64,
    "description": "A run that waited, to go on with; then the task is not read.",
}
_USER = {"type": "string", "maxLength": MAX_USER, "description": "Your own user, for whom it remembers."}
TOOL: dict[str, Any] = {
    "name": "agent_run",
    "title": "Run an agent",
    "description": (
        "Give an agent a task and wait for its answer. `state` is `done`, or says why it is not: `waiting` needs a "
        "person's approval first (`approval`); then call again with `run`."
    ),
    "inputSchema": {
        "type": "object",
        "properties": {"agent": _AGENT, "task": _TASK, "run": _RUN, "user": _USER},
        "required": ["agent", "task"],
    },
    "annotations": {"readOnlyHint": False, "destructiveHint": True, "openWorldHint": True},
}


class RunBody(msgspec.Struct, forbid_unknown_fields=True):
    """The arguments of `agent_run`."""

    agent: Annotated[str, Meta(min_length=1, max_length=63)]
    task: Annotated[str, Meta(min_length=1, max_length=8000)]
    run: Annotated[str, Meta(max_length=64)] = ""
    user: Annotated[str, Meta(max_length=MAX_USER)] = ""


def offer(gateway: Gateway) -> Offered:
    """Return the tool of a gateway."""

    async def run(request: Request, key: Key, arguments: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        body, spent, heads = convert(arguments, RunBody), Spent(), dict[str, str]()
        asked: dict[str, Any] = {
            "model": f"{PREFIX}{body.agent}",
            "messages": [{"role": "user", "content": body.task}],
            **({"metadata": {"run": body.run}} if body.run else {}),
            **({"user": body.user} if body.user else {}),
        }
        said = ""
        async with aclosing(complete(gateway, request, asked, spent, heads)) as pieces:
            async for piece in pieces:
                said += piece
        view, _ = await asyncio.to_thread(lambda: views.run_view(shelf.find(heads["x-aigrid-run"])))
        if view.tenant != key.tenant:
            raise NotFound("there is no such run here", param="run")
        outcome = view.outcome
        found = {
            "run": view.run,
            "agent": view.agent,
            "state": outcome.state if outcome else view.state,
            "answer": outcome.output if outcome else "",
            "reason": outcome.reason if outcome else "",
            "approval": outcome.approval if outcome else "",
            "aigrid": spent.cost,
        }
        return said, found

    return Offered(TOOL, run)
