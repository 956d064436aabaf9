"""The tools of one agent: exactly those that its file names, each behind its policy."""

from collections.abc import Mapping
from typing import Any

import msgspec

from aigrid.agents.policy import Policy
from aigrid.agents.spec import (
    Agent,
    HttpTool,
    KnowledgeTool,
    McpTool,
    PythonTool,
    RecallTool,
    RememberTool,
    SandboxTool,
    SqlTool,
    TeamTool,
    Tool,
)
from aigrid.agents.team import team_tools
from aigrid.agents.tools.base import Built, Site


class Offer(msgspec.Struct, frozen=True):
    """A tool as the journal keeps it: all that a model is told, and what a replay needs to know."""

    name: str
    about: str
    schema: dict[str, Any]
    safe_to_retry: bool
    idempotent: bool


class Boxed(msgspec.Struct):
    """A tool with its policy and what the file states about it."""

    spec: Tool | TeamTool
    built: Built
    policy: Policy
    offer: Offer


async def pack(agent: Agent, site: Site) -> dict[str, Boxed]:
    """Build the agent's tools; raises `ConfigError` that names the tool at fault."""
    box = {}
    tools: list[tuple[str, Tool | TeamTool, Built]] = [
        (name, spec, await _build(spec, site, agent)) for name, spec in agent.tools.items()
    ]
    for name, spec, built in [*tools, *team_tools(agent, site)]:
        policy = Policy(name, built.schema, spec.arguments, spec.approve_unless, agent.guard, site.folder)
        safe = built.safe_to_retry if spec.safe_to_retry is None else spec.safe_to_retry
        idempotent = built.idempotent if spec.idempotent is None else spec.idempotent
        offer = Offer(name, spec.about or built.about, policy.schema, safe, idempotent)
        box[name] = Boxed(spec, built, policy, offer)
    return box


def offers(box: Mapping[str, Boxed]) -> list[Offer]:
    """Return what a model is told of the tools."""
    return [each.offer for each in box.values()]


async def _build(spec: Tool, site: Site, agent: Agent) -> Built:
    match spec:
        case PythonTool():
            from aigrid.agents.tools.python import build as build_python

            return build_python(spec, site)
        case KnowledgeTool():
            from aigrid.agents.tools.knowledge import build as build_knowledge

            return build_knowledge(spec, site)
        case SqlTool():
            from aigrid.agents.tools.sql import build as build_sql

            return build_sql(spec, site)
        case SandboxTool():
            from aigrid.agents.tools.sandbox import build as build_sandbox

            return build_sandbox(spec, site)
        case McpTool():
            from aigrid.agents.tools.mcp import build as build_mcp

            return await build_mcp(spec, site)
        case HttpTool():
            from aigrid.agents.tools.http import build as build_http

            return build_http(spec, site)
        case RememberTool():
            from aigrid.agents.tools.remember import build as build_remember

            return build_remember(agent)
        case RecallTool():
            from aigrid.agents.tools.remember import build_recall

            return build_recall(spec, agent, site)
