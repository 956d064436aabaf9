"""A run as a trace: OpenTelemetry's GenAI names, made from the journal, which stays the one source of truth.

The conventions are those of https://opentelemetry.io/docs/specs/semconv/gen-ai/ (v1.41), the form is OTLP/JSON. What
was said, asked and returned is not in a trace; ids are made of the run's, so that a trace is the same each time.
"""

import asyncio
import hashlib
import logging
import os
import sqlite3
import urllib.request
from typing import Any

import msgspec

from aigrid import __version__
from aigrid.agents import shelf
from aigrid.agents.journal import Place, Step
from aigrid.agents.team_books import recruits
from aigrid.core.config import TracesConfig
from aigrid.core.errors import AigridError

INTERNAL, CLIENT = 1, 3
OK, ERROR = 1, 2
PROVIDER = "aigrid"
_EVENTS = ("asked", "answered", "recruited", "resumed", "paused")

log = logging.getLogger(__name__)


def trace(place: Place) -> dict[str, Any]:
    """Return a run, with the runs that it recruited, as an OTLP/JSON request for `/v1/traces`."""
    scope = {"name": "aigrid.agents", "version": __version__}
    resource = {"attributes": _attributes({"service.name": "aigrid", "service.version": __version__})}
    return {"resourceSpans": [{"resource": resource, "scopeSpans": [{"scope": scope, "spans": spans(place)}]}]}


def spans(place: Place) -> list[dict[str, Any]]:
    """Return the spans of a run and of those that it recruited."""
    steps = place.read()
    if not steps:
        return []
    return [*_Spans(steps).all(), *(span for each in recruits(steps) for span in spans(each))]


class _Spans:
    """The spans of one run."""

    def __init__(self, steps: list[Step]) -> None:
        self._steps = steps
        self._start = steps[0].body
        parent = self._start.get("parent")
        self._run: str = self._start["run"]
        self._trace = _id(parent["root"] if parent else self._run, 32)
        self._parent = _id(f"{parent['run']} tool {parent['call']}", 16) if parent else ""
        self._tools = {
            call["id"]: call["name"] for step in steps if step.kind == "model" for call in step.body["calls"]
        }

    def all(self) -> list[dict[str, Any]]:
        """Return the run's span, and one for each answer of its model and each call of a tool."""
        found, before = [self._agent()], self._steps[0].at_ns
        began = {step.key.rpartition("/")[0]: step.at_ns for step in reversed(self._steps) if step.kind == "began"}
        for step in self._steps:
            if step.kind == "model":
                found.append(self._chat(step, before))
            elif step.kind in ("tool", "refused"):
                found.append(self._tool(step, began.get(step.key, before)))
            before = step.at_ns
        return found

    def _agent(self) -> dict[str, Any]:
        agent, last = self._start["agent"], self._steps[-1]
        outcome = next((step.body for step in reversed(self._steps) if step.kind in ("end", "paused")), None)
        state = outcome["state"] if outcome else "interrupted"
        about = {
            "gen_ai.operation.name": "invoke_agent",
            "gen_ai.provider.name": PROVIDER,
            "gen_ai.agent.id": f"agent:{agent['name']}",
            "gen_ai.agent.name": agent["name"],
            "gen_ai.agent.description": agent.get("about", ""),
            "gen_ai.conversation.id": self._run,
            "gen_ai.request.model": self._start["model"],
            "aigrid.run.state": state,
            "aigrid.tenant": self._start["task"]["tenant"],
        }
        if outcome:
            about["gen_ai.usage.input_tokens"] = outcome["prompt_tokens"]
            about["gen_ai.usage.output_tokens"] = outcome["completion_tokens"]
            about["aigrid.cost_nusd"] = outcome["cost_nusd"]
        failed = state if state in ("stopped", "interrupted") else ""
        span = self._span(
            "agent", f"invoke_agent {agent['name']}", INTERNAL, self._steps[0].at_ns, last.at_ns, about, failed
        )
        span["parentSpanId"] = self._parent
        span["events"] = [
            {"timeUnixNano": str(step.at_ns), "name": f"aigrid.{step.kind}"}
            for step in self._steps
            if step.kind in _EVENTS
        ]
        return span

    def _chat(self, step: Step, since: int) -> dict[str, Any]:
        usage, model = step.body["usage"], self._start["model"]
        about = {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": PROVIDER,
            "gen_ai.agent.name": self._start["agent"]["name"],
            "gen_ai.conversation.id": self._run,
            "gen_ai.request.model": model,
            "gen_ai.response.finish_reasons": [step.body["finish"]],
            "gen_ai.usage.input_tokens": usage["prompt_tokens"],
            "gen_ai.usage.output_tokens": usage["completion_tokens"],
            "gen_ai.usage.cache_read.input_tokens": usage["cached_tokens"],
            "aigrid.cost_nusd": step.body["cost_nusd"],
        }
        return self._span(f"model {step.key}", f"chat {model}", CLIENT, since, step.at_ns, about)

    def _tool(self, step: Step, since: int) -> dict[str, Any]:
        name = self._tools.get(step.key, "unknown")
        about = {
            "gen_ai.operation.name": "execute_tool",
            "gen_ai.agent.name": self._start["agent"]["name"],
            "gen_ai.conversation.id": self._run,
            "gen_ai.tool.name": name,
            "gen_ai.tool.call.id": step.key,
            "gen_ai.tool.type": "function",
        }
        failed = "refused" if step.kind == "refused" else "tool_error" if step.body.startswith('{"error":') else ""
        return self._span(f"tool {step.key}", f"execute_tool {name}", INTERNAL, since, step.at_ns, about, failed)

    def _span(
        self, key: str, name: str, kind: int, since: int, until: int, about: dict[str, Any], failed: str = ""
    ) -> dict[str, Any]:
        if failed:
            about["error.type"] = failed
        return {
            "traceId": self._trace, "spanId": _id(f"{self._run} {key}", 16),
            "parentSpanId": "" if key == "agent" else _id(f"{self._run} agent", 16), "name": name, "kind": kind,
            "startTimeUnixNano": str(since), "endTimeUnixNano": str(max(since, until)),
            "attributes": _attributes(about), "status": {"code": ERROR if failed else OK},
        }  # fmt: skip


def _id(text: str, digits: int) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:digits]


def _attributes(values: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"key": key, "value": _value(value)} for key, value in values.items()]


def _value(value: Any) -> dict[str, Any]:
    if isinstance(value, int):
        return {"intValue": str(value)}
    if isinstance(value, list):
        return {"arrayValue": {"values": [_value(each) for each in value]}}
    return {"stringValue": str(value)}


class Exporter:
    """Sends the traces of runs that have ended to a collector, in the background; a run never waits for that."""

    def __init__(self, config: TracesConfig) -> None:
        self._url = config.otlp_url.rstrip("/")
        self._key_env = config.key_env
        self._sending: set[asyncio.Task[None]] = set()

    def ended(self, run: str) -> None:
        """Send the trace of a run, where a collector is set."""
        if self._url:
            task = asyncio.create_task(asyncio.to_thread(self._send, run))
            self._sending.add(task)
            task.add_done_callback(self._sending.discard)

    async def stop(self) -> None:
        """Wait for what is on its way; each has ten seconds."""
        if self._sending:
            await asyncio.wait(self._sending)

    def _send(self, run: str) -> None:
        try:
            headers = {"content-type": "application/json"}
            if key := os.environ.get(self._key_env, "") if self._key_env else "":
                headers["authorization"] = f"Bearer {key}"
            body = msgspec.json.encode(trace(shelf.find(run)))
            request = urllib.request.Request(f"{self._url}/v1/traces", body, headers, method="POST")
            with urllib.request.urlopen(request, timeout=10):
                pass
        except (OSError, ValueError, AigridError, sqlite3.Error) as error:
            log.warning("the trace of %s was not taken by %s: %s", run, self._url, error)
