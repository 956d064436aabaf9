"""Runs as a person or a program looks at them."""

from typing import Any

import msgspec

from aigrid.agents import shelf
from aigrid.agents.events import Outcome
from aigrid.agents.journal import Place, Step


class Run(msgspec.Struct):
    """A run in a list, with what its model's steps have taken until now.

    `state` is `running` while a process works on it; `parent` is the run that recruited it. Times are nanoseconds
    since the epoch. `records` are on the ledger, which knows the energy (`agents.energy` fills it in).
    """

    run: str
    agent: str
    tenant: str
    state: str
    task: str
    started_ns: int
    last_ns: int
    steps: int
    outcome: Outcome | None = None
    parent: str = ""
    model: str = ""
    model_steps: int = 0
    tool_calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost_nusd: int = 0
    records: list[str] = []
    energy_mj: int = 0
    energy_source: str = ""


def run_view(place: Place) -> tuple[Run, list[Step]]:
    """Return a run and its steps."""
    steps = place.read()
    if not steps:
        return Run(place.run, "", "", "empty", "", 0, 0, 0), []
    start = steps[0].body
    last = next((step for step in reversed(steps) if step.kind in ("end", "paused", "resumed")), None)
    outcome = msgspec.convert(last.body, Outcome) if last is not None and last.kind != "resumed" else None
    state: str = outcome.state if outcome is not None else "interrupted"
    if place.at_work():
        state, outcome = "running", None
    said = [step.body for step in steps if step.kind == "model"]
    paid = [step.body for step in steps if step.kind in ("model", "cut")]
    view = Run(
        place.run, start["agent"]["name"], start["task"]["tenant"], state, start["task"]["text"][:200],
        steps[0].at_ns, steps[-1].at_ns, len(steps), outcome,
        (start.get("parent") or {}).get("run", ""), start["model"], len(said),
        sum(step.kind in ("tool", "refused") for step in steps),
        sum(each["usage"]["prompt_tokens"] for each in said), sum(each["usage"]["completion_tokens"] for each in said),
        sum(each["cost_nusd"] for each in paid), [record for each in paid for record in each.get("records", ())],
    )  # fmt: skip
    return view, steps


def runs(limit: int = 50, tenant: str | None = None, agent: str | None = None) -> list[Run]:
    """Return the newest runs first, of one tenant or agent where one is named."""
    found: list[Run] = []
    for place in shelf.places():
        if len(found) == limit:
            break
        view, _ = run_view(place)
        if tenant in (None, view.tenant) and agent in (None, view.agent):
            found.append(view)
    return found


def step_line(step: Step) -> tuple[str, str]:
    """Return what a step is and what it says, in a line each."""
    body = step.body
    match step.kind:
        case "start":
            said = body["task"]["text"]
        case "model":
            calls = [f"{call['name']}({call['arguments']})" for call in body["calls"]]
            said = " ".join([body["text"], *calls])
        case "asked" | "answered":
            said = f"{body['tool']} {_json(body['arguments'])}: {body['state']} {body['approver']} {body['reason']}"
        case "paused" | "end":
            said = f"{body['state']}: {body['output'] or body['reason']}"
        case _:
            said = body if isinstance(body, str) else _json(body)
    return f"{step.kind} {step.key}".strip(), " ".join(said.split())


def as_dict(step: Step) -> dict[str, Any]:
    """Return a step as plain data."""
    found: dict[str, Any] = msgspec.to_builtins(step)
    return found


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()
