"""A run's tools as pydantic-ai sees them: one plain set, and around it, each a wrapper of its own, what guards it.

From the outside in: `Handing` ends a run that gave its task away, `Recorded` gives again what was done before and writes down what is done now, `Policed` refuses
what the file does not allow, `Approved` waits for a person, `Once` keeps a crash from doing anything twice.
"""

import asyncio
from dataclasses import dataclass
from typing import Any

import msgspec
from pydantic_ai import RunContext, ToolDefinition
from pydantic_ai.toolsets import AbstractToolset, ToolsetTool, WrapperToolset
from pydantic_core import SchemaValidator, core_schema

from aigrid.agents.box import Boxed, Offer
from aigrid.agents.desk import Approval, Desk, Why, binding
from aigrid.agents.digest import canonical
from aigrid.agents.events import Called, Listener, Returned
from aigrid.agents.halt import Exhausted, HandedOver, Spent, Waits
from aigrid.agents.journal import Journal
from aigrid.agents.policy import Refused
from aigrid.agents.spec import Agent
from aigrid.agents.team import handed
from aigrid.agents.tools.base import Call
from aigrid.core.errors import AigridError

_ANY = SchemaValidator(core_schema.any_schema())
_Context = RunContext[None]
_Tool = ToolsetTool[None]


class Desked(msgspec.Struct):
    """What the wrappers of one run share. Without a box nothing can be called: a replay."""

    run: str
    tenant: str
    agent: Agent
    journal: Journal
    listen: Listener
    offers: list[Offer]
    box: dict[str, Boxed] | None = None
    desk: Desk | None = None
    user: str = ""


def toolset(shared: Desked) -> AbstractToolset[None]:
    """Return the run's tools behind all their walls."""
    return Handing(Recorded(Policed(Approved(Once(Plain(shared), shared), shared), shared), shared), shared)


class Plain(AbstractToolset[None]):
    """The tools themselves."""

    def __init__(self, shared: Desked) -> None:
        self._shared = shared
        # One after another: what a later call may do can depend on what an earlier one did.
        self._tools = {
            each.name: ToolsetTool(
                toolset=self,
                tool_def=ToolDefinition(
                    name=each.name, description=each.about, parameters_json_schema=each.schema, sequential=True
                ),
                max_retries=1,
                args_validator=_ANY,
            )
            for each in shared.offers
        }

    @property
    def id(self) -> str | None:
        """These tools have no id of their own."""
        return None

    async def get_tools(self, ctx: _Context) -> dict[str, _Tool]:
        """Return the tools that the agent's file names."""
        return self._tools

    async def call_tool(self, name: str, tool_args: dict[str, Any], ctx: _Context, tool: _Tool) -> Any:
        """Call a tool; what goes wrong in it is its result, so that the model can read it and do better."""
        shared = self._shared
        assert shared.box is not None
        boxed = shared.box[name]
        call = Call(shared.run, ctx.tool_call_id or "", shared.tenant, shared.user)
        try:
            async with asyncio.timeout(boxed.spec.timeout_s):
                result = await boxed.built.work(tool_args, call)
        except TimeoutError:
            done = "" if boxed.offer.safe_to_retry else "; it may have been done all the same"
            result = {"error": f"{name} took longer than {boxed.spec.timeout_s:g} s{done}"}
        except AigridError as error:
            result = {"error": error.message}
        text = result if isinstance(result, str) else canonical(result).decode()
        most = boxed.spec.max_result
        return text if len(text) <= most else f"{text[:most]}\n[cut: {len(text):,} characters, {most:,} are shown]"


@dataclass
class Handing(WrapperToolset[None]):
    """The answer of the agent that the task was handed to is the answer of this run."""

    shared: Desked

    async def call_tool(self, name: str, tool_args: dict[str, Any], ctx: _Context, tool: _Tool) -> Any:
        """Return what was called for; raises `HandedOver` with the answer of another agent."""
        result = await super().call_tool(name, tool_args, ctx, tool)
        answer = handed(self.shared.agent, name, result)
        if answer is not None:
            raise HandedOver(answer)
        return result


@dataclass
class Recorded(WrapperToolset[None]):
    """Each call has one outcome, which is in the journal."""

    shared: Desked

    async def call_tool(self, name: str, tool_args: dict[str, Any], ctx: _Context, tool: _Tool) -> Any:
        """Return what was recorded, or do it and record it."""
        journal, call = self.shared.journal, ctx.tool_call_id or ""
        bound = binding(name, tool_args)
        found = journal.find("tool", call, bound) or journal.find("refused", call, bound)
        if found is not None:
            return found.body
        if self.shared.box is None:
            raise Exhausted(f"no outcome is recorded of {call}")
        self.shared.listen(Called(call, name, tool_args))
        try:
            result = await super().call_tool(name, tool_args, ctx, tool)
        except Refused as refusal:
            result = f"refused: {refusal}"
            await journal.put("refused", call, bound, result)
            self.shared.listen(Returned(call, name, "refused", result))
            return result
        await journal.put("tool", call, bound, result, durable=not self.shared.box[name].offer.safe_to_retry)
        self.shared.listen(Returned(call, name, "tool", result))
        return result


@dataclass
class Policed(WrapperToolset[None]):
    """A call that the agent's file does not allow is refused; what it fixes is filled in."""

    shared: Desked

    async def call_tool(self, name: str, tool_args: dict[str, Any], ctx: _Context, tool: _Tool) -> Any:
        """Call with arguments that are allowed; raises `Refused`, or `Spent` beyond the budget."""
        shared = self.shared
        most = shared.agent.budget.tool_calls
        if sum(step.kind == "tool" for step in shared.journal.steps) >= most:
            raise Spent(f"budget.tool_calls allows {most:,} calls, and they are made")
        assert shared.box is not None
        return await super().call_tool(name, shared.box[name].policy.check(tool_args), ctx, tool)


@dataclass
class Approved(WrapperToolset[None]):
    """A call that a person has to approve waits until one has, for these very arguments."""

    shared: Desked

    async def call_tool(self, name: str, tool_args: dict[str, Any], ctx: _Context, tool: _Tool) -> Any:
        """Call what is approved; raises `Waits` while nobody has decided, `Refused` where it was denied or expired."""
        assert self.shared.box is not None
        boxed = self.shared.box[name]
        if boxed.spec.approve or boxed.policy.asks(tool_args):
            call = ctx.tool_call_id or ""
            decided = await ask(self.shared, call, name, tool_args, "approve")
            if decided.state != "approved":
                raise Refused(_refusal(decided))
        return await super().call_tool(name, tool_args, ctx, tool)


@dataclass
class Once(WrapperToolset[None]):
    """What has a side effect has it once: a call that began before a crash is not simply made again."""

    shared: Desked

    async def call_tool(self, name: str, tool_args: dict[str, Any], ctx: _Context, tool: _Tool) -> Any:
        """Note that the call begins, and make it; raises `Waits` where nobody knows whether it was made before."""
        shared, call = self.shared, ctx.tool_call_id or ""
        assert shared.box is not None
        offer, bound = shared.box[name].offer, binding(name, tool_args)
        attempt = 0
        while shared.journal.find("began", f"{call}/{attempt}", bound) is not None:
            attempt += 1
        if attempt and not (offer.safe_to_retry or offer.idempotent):
            decided = await ask(shared, f"{call}/{attempt - 1}", name, tool_args, "unknown")
            if decided.state != "approved":
                why = f": {decided.reason}" if decided.reason else ""
                return f"it is not known whether this was done, and it is not done again{why}"
        safe = offer.safe_to_retry
        if not (safe and attempt):
            await shared.journal.put("began", f"{call}/{attempt}", bound, tool_args, durable=not safe)
        return await super().call_tool(name, tool_args, ctx, tool)


async def ask(shared: Desked, call: str, tool: str, arguments: dict[str, Any], why: Why) -> Approval:
    """Return what a person decided about a call, which is in the journal then; raises `Waits` while none has."""
    journal, bound = shared.journal, binding(tool, arguments)
    key = f"{why}:{call}"
    found = journal.find("answered", key, bound)
    if found is not None:
        return msgspec.convert(found.body, Approval)
    assert shared.desk is not None
    one = shared.desk.ask(
        run=shared.run, call=call, agent=shared.agent.name, tenant=shared.tenant, tool=tool, why=why,
        arguments=arguments, expires_s=shared.agent.approvals.expires_s,
    )  # fmt: skip
    if one.state == "waiting":
        if journal.find("asked", key) is None:
            await journal.put("asked", key, bound, one)
        about = "approve" if why == "approve" else "say whether to make again what may have been done before a crash:"
        raise Waits(one.id, why == "unknown", f"a person has to {about} {tool}; see `aigrid agents approvals`")
    if one.digest != bound:
        raise Refused("what was approved is not this")
    await journal.put("answered", key, bound, one, durable=True)
    return one


def _refusal(one: Approval) -> str:
    if one.state == "denied":
        return f"a person denied it{': ' + one.reason if one.reason else ''}"
    return "nobody approved it in time" if one.state == "expired" else f"its approval is {one.state}"
