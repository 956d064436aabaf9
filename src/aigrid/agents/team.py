"""A team as its agent's model sees it: one tool for each way to recruit, which names a task and not who does it."""

from collections.abc import Iterator
from typing import Any

import msgspec

from aigrid.agents.spec import Agent, Mode, TeamTool
from aigrid.agents.tools.base import Built, Call, Site, ToolError
from aigrid.core.errors import ConfigError

LONGEST = 20_000
"""Characters of a task."""
_ABOUT: dict[Mode, str] = {
    "delegate": "Have another agent do a part of the task; the one with the best record on such tasks is chosen.",
    "debate": "Have several agents answer the same question, each for itself, and the answers judged.",
    "hand_over": "Give the whole task to another agent; its answer becomes yours, and your work ends.",
}
SCHEMA = {
    "type": "object",
    "properties": {
        "task": {
            "type": "string",
            "minLength": 1,
            "maxLength": LONGEST,
            "description": "All that the other needs to know; it sees nothing else of this conversation.",
        }
    },
    "required": ["task"],
}


class Parent(msgspec.Struct, frozen=True):
    """Who recruited a run: the run, its call, the first run of all, and the agents from there to here."""

    run: str
    call: str
    root: str
    lineage: list[str]


def team_tools(agent: Agent, site: Site) -> Iterator[tuple[str, TeamTool, Built]]:
    """Yield the tools that an agent's team makes; raises `ConfigError` where one stands in the way of another."""
    if agent.team is None:
        return
    if agent.output is not None and "hand_over" in agent.team.modes:
        raise ConfigError("an agent with an `output` shape cannot hand its task over: the other answers in its own")
    for mode in dict.fromkeys(agent.team.modes):
        if mode in agent.tools:
            raise ConfigError(f"tools.{mode} has the name of a tool that `team` makes; give it another one")
        # A recruit's run takes what it takes; the budget of the agent ends it.
        tool = TeamTool(mode=mode, timeout_s=agent.budget.seconds + 60.0, max_result=200_000)
        yield mode, tool, _built(mode, site)


def handed(agent: Agent, tool: str, result: Any) -> str | None:
    """Return the answer of the agent that a task was handed to; None where a result is nothing of the kind."""
    if tool != "hand_over" or agent.team is None or "hand_over" not in agent.team.modes:
        return None
    try:
        told = msgspec.json.decode(result, type=dict[str, Any])
    except (msgspec.DecodeError, TypeError):
        return None
    answer = told.get("answer")
    return answer if isinstance(answer, str) else None


def _built(mode: Mode, site: Site) -> Built:
    async def work(arguments: dict[str, Any], call: Call) -> Any:
        if site.world is None:
            raise ToolError("nobody can be recruited here")
        return await site.world.recruit(mode, arguments["task"], call)

    # Who was chosen and what they did is journaled: made again, the call goes on where they were.
    return Built(_ABOUT[mode], SCHEMA, False, True, work)
