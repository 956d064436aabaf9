"""Agents for other people's agents: A2A 1.0 (https://a2a-protocol.org), its card and its JSON-RPC binding.

One card names the factory's agents as skills. A message is a chat request to `agent:SKILL` with the caller's own key,
so that its tokens are on the ledger and all its limits hold; a task is a run. There are no streams and no push.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from typing import Any

import msgspec

from aigrid import __version__
from aigrid.agents import shelf, spec
from aigrid.agents.engine import PREFIX, AgentEngine
from aigrid.agents.views import Run, run_view
from aigrid.core.clock import iso
from aigrid.core.errors import AigridError, BadRequest, Conflict, NotFound
from aigrid.gateway.app import Gateway
from aigrid.gateway.auth import authenticate
from aigrid.gateway.http import JSON, Handler, Request, Response
from aigrid.gateway.inside import complete
from aigrid.gateway.spent import Spent
from aigrid.ledger.base import Key

VERSION = "1.0"
PATH = "/a2a"
INVALID_JSON, INVALID_REQUEST, NO_METHOD, INVALID_PARAMS, INTERNAL = -32700, -32600, -32601, -32602, -32603
NO_TASK, NOT_CANCELABLE, NO_PUSH, UNSUPPORTED, NOT_TEXT, NO_VERSION = -32001, -32002, -32003, -32004, -32005, -32009
_STATES = {
    "done": "TASK_STATE_COMPLETED", "stopped": "TASK_STATE_FAILED", "running": "TASK_STATE_WORKING",
    "waiting": "TASK_STATE_INPUT_REQUIRED", "unknown": "TASK_STATE_INPUT_REQUIRED",
    "interrupted": "TASK_STATE_INPUT_REQUIRED", "empty": "TASK_STATE_SUBMITTED",
}  # fmt: skip
_TEXT = ["text/plain"]


class Fault(Exception):
    """A JSON-RPC error."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.body = {"code": code, "message": message}


def card(base: str, agents: list[spec.Agent]) -> dict[str, Any]:
    """Return the card of the factory at the URL `base`: what it says is there, and no more."""
    return {
        "name": "aigrid",
        "description": "Agents of an AI factory. `metadata.skillId` of a message names the one that is to answer.",
        "version": __version__,
        "supportedInterfaces": [{"url": base + PATH, "protocolBinding": "JSONRPC", "protocolVersion": VERSION}],
        "capabilities": {"streaming": False, "pushNotifications": False, "extendedAgentCard": False},
        "securitySchemes": {"key": {"httpAuthSecurityScheme": {"scheme": "Bearer"}}},
        "securityRequirements": [{"schemes": {"key": {"list": []}}}],
        "defaultInputModes": _TEXT,
        "defaultOutputModes": _TEXT,
        "skills": [_skill(agent) for agent in agents],
    }


def _skill(agent: spec.Agent) -> dict[str, Any]:
    tags = sorted({str(type(tool).__struct_config__.tag) for tool in agent.tools.values()} | {"agent"})
    return {
        "id": agent.name,
        "name": agent.name,
        "description": agent.about or f"The agent {agent.name}.",
        "tags": tags,
    }


class A2a:
    """The A2A endpoints of one gateway."""

    def __init__(self, gateway: Gateway, engine: AgentEngine) -> None:
        self._gateway = gateway
        self._engine = engine
        self._methods: dict[str, Callable[[Request, Key, dict[str, Any]], Awaitable[dict[str, Any]]]] = {
            "SendMessage": self._send,
            "GetTask": self._get,
            "CancelTask": self._cancel,
        }

    def routes(self) -> dict[tuple[str, str], Handler]:
        """Return the handlers by (method, path)."""
        return {("GET", "/.well-known/agent-card.json"): self.card, ("POST", PATH): self.call}

    async def card(self, request: Request) -> Response:
        """GET /.well-known/agent-card.json: the card, which is public, as its standard wants it."""
        found, _ = await asyncio.to_thread(spec.every)
        if not found:
            raise NotFound("no agents are served here")
        base = f"{request.scope.get('scheme', 'http')}://{request.header(b'host')}"
        headers = [(b"cache-control", b"public, max-age=60")]
        return Response.of(card(base, [each.agent for each in found]), headers=headers)

    async def call(self, request: Request) -> Response:
        """POST /a2a: one JSON-RPC request. Without a key the answer is 401, to what is no request of JSON-RPC 400."""
        key = await authenticate(request, self._gateway.ledger)
        identifier: str | int | None = None
        try:
            message = await self._message(request)
            if isinstance(message.get("id"), str | int) and not isinstance(message["id"], bool):
                identifier = message["id"]
            method = self._method(message, request)
            answer: dict[str, Any] = {"result": await method(request, key, message.get("params") or {})}
        except Fault as fault:
            answer = {"error": fault.body}
        except AigridError as error:
            code = INVALID_PARAMS if error.status == 400 else INTERNAL
            answer = {"error": {"code": code, "message": error.message, "data": {"code": error.code}}}
        malformed = answer.get("error", {}).get("code") in (INVALID_JSON, INVALID_REQUEST)
        status = 400 if malformed else 200
        return Response(msgspec.json.encode({"jsonrpc": "2.0", "id": identifier, **answer}), status, [JSON])

    async def _message(self, request: Request) -> dict[str, Any]:
        try:
            return await request.json(self._gateway.max_body)
        except BadRequest as error:
            raise Fault(INVALID_JSON if error.code == "invalid_json" else INVALID_REQUEST, error.message) from None

    def _method(self, message: dict[str, Any], request: Request) -> Callable[..., Awaitable[dict[str, Any]]]:
        method, params, id_ = message.get("method"), message.get("params"), message.get("id")
        params = {} if params is None else params
        identified = id_ is None or (isinstance(id_, str | int) and not isinstance(id_, bool))
        well = message.get("jsonrpc") == "2.0" and isinstance(params, dict) and identified
        if not well or not isinstance(method, str):
            raise Fault(INVALID_REQUEST, 'this is no JSON-RPC 2.0 request: it needs "jsonrpc": "2.0" and a method')
        said = request.header(b"a2a-version") or "0.3"  # which is what a request without the header means
        if said.split(".")[:2] != VERSION.split("."):
            raise Fault(NO_VERSION, f"A2A-Version is {said[:20]}; this interface speaks {VERSION}")
        if method in self._methods:
            return self._methods[method]
        if "PushNotification" in method:
            raise Fault(NO_PUSH, "this agent sends no push notifications")
        if method in ("SendStreamingMessage", "SubscribeToTask", "ListTasks", "GetExtendedAgentCard"):
            raise Fault(UNSUPPORTED, f"{method} is not there; there are {', '.join(self._methods)}")
        raise Fault(NO_METHOD, f"there is no method `{method[:80]}`; there are {', '.join(self._methods)}")

    async def _send(self, request: Request, key: Key, params: dict[str, Any]) -> dict[str, Any]:
        message, options = params.get("message"), params.get("configuration") or {}
        if not isinstance(message, dict) or message.get("role") != "ROLE_USER" or not message.get("messageId"):
            raise Fault(INVALID_PARAMS, "`message` needs a messageId, the role ROLE_USER and parts")
        if isinstance(options, dict) and options.get("returnImmediately"):
            raise Fault(UNSUPPORTED, "a message is answered when its task has ended; leave out returnImmediately")
        text, task = _text(message.get("parts")), message.get("taskId")
        body: dict[str, Any] = {"messages": [{"role": "user", "content": text}]}
        if task:
            view = await self._task(key, task)
            if view.state in ("done", "stopped", "running"):
                raise Fault(UNSUPPORTED, f"the task is {_state(view)}; a message cannot continue it")
            body |= {"model": PREFIX + view.agent, "metadata": {"run": view.run}}
        else:
            body["model"] = PREFIX + await asyncio.to_thread(_chosen, message, params)
        run = await self._chat(request, body)
        return {"task": _task(await self._task(key, run))}

    async def _get(self, request: Request, key: Key, params: dict[str, Any]) -> dict[str, Any]:
        return _task(await self._task(key, params.get("id")))

    async def _cancel(self, request: Request, key: Key, params: dict[str, Any]) -> dict[str, Any]:
        view = await self._task(key, params.get("id"))
        if view.state in ("done", "stopped"):
            raise Fault(NOT_CANCELABLE, f"the task is {_state(view)} already")
        try:
            await self._engine.end(view.run, f"key {key.id}", "cancelled over A2A")
        except Conflict as error:
            raise Fault(NOT_CANCELABLE, error.message) from None
        return _task(await self._task(key, view.run))

    async def _task(self, key: Key, run: Any) -> Run:
        """Return a run of the caller's; another's is not there."""
        try:
            view, _ = await asyncio.to_thread(lambda: run_view(shelf.find(run if isinstance(run, str) else "")))
        except NotFound:
            view = None
        if view is None or view.tenant != key.tenant:
            raise Fault(NO_TASK, f"there is no task `{str(run)[:80]}`")
        return view

    async def _chat(self, request: Request, body: dict[str, Any]) -> str:
        """Ask as the caller's own chat request; return the run. Leaving the connection stops it."""
        heads: dict[str, str] = {}
        async with aclosing(complete(self._gateway, request, body, Spent(), heads)) as pieces:
            async for _ in pieces:
                pass
        return heads.get("x-aigrid-run", "")


def _text(parts: Any) -> str:
    if not isinstance(parts, list) or not parts or not all(isinstance(part, dict) for part in parts):
        raise Fault(INVALID_PARAMS, "`message.parts` must be a list of parts")
    if not all(isinstance(part.get("text"), str) for part in parts):
        raise Fault(NOT_TEXT, "these agents read parts of text alone")
    return "\n".join(part["text"] for part in parts)


def _chosen(message: dict[str, Any], params: dict[str, Any]) -> str:
    """Return the agent that a message is for: the one it names, else the only one there is."""
    names = [each.agent.name for each in spec.every()[0]]
    metadata = {**_dict(params.get("metadata")), **_dict(message.get("metadata"))}
    named = metadata.get("skillId")
    if named is None and len(names) == 1:
        return names[0]
    if named not in names:
        raise Fault(INVALID_PARAMS, f"`message.metadata.skillId` must be one of: {', '.join(names)}")
    return str(named)


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _state(view: Run) -> str:
    stopped = view.outcome is not None and view.outcome.stopped_by
    return "TASK_STATE_CANCELED" if stopped else _STATES[view.state]


def _task(view: Run) -> dict[str, Any]:
    """Return a run as a task of A2A."""
    status: dict[str, Any] = {"state": _state(view), "timestamp": iso(view.last_ns)}
    task: dict[str, Any] = {"id": view.run, "contextId": view.run, "status": status}
    outcome = view.outcome
    if outcome is not None and outcome.state == "done":
        task["artifacts"] = [{"artifactId": "answer", "name": "answer", "parts": [{"text": outcome.output}]}]
    elif outcome is not None and outcome.reason:
        parts = [{"text": outcome.reason}]
        status["message"] = {"messageId": f"{view.run}-{view.steps}", "role": "ROLE_AGENT", "parts": parts}
    if outcome is not None:
        task["metadata"] = {"agent": outcome.agent, "costNusd": outcome.cost_nusd}
    return task
