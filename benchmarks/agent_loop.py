"""What an agent's loop costs per step without its model and its tool: pydantic-ai, policy, journal and all.

The peer is pydantic-ai alone, in the same process: no journal, no policy, the same steps.
"""

import asyncio
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks import agent_parts, common

STEPS = 20
RUNS = 15
MOST_MS = 5.0


async def ours(folder: Path) -> float:
    """Return milliseconds per step of a journaled run: each step is a model call and a tool call."""
    from aigrid.agents.desk import Desk

    mind = agent_parts.Script([[("add", {"a": at, "b": 1})] for at in range(STEPS - 1)] + ["done"])
    tools = {"add": {"kind": "python", "function": "work.add", "safe_to_retry": True}}
    desk = Desk(folder / "approvals.db")
    agent = agent_parts.agent(tools, budget={"steps": STEPS, "tool_calls": STEPS})
    began = time.perf_counter()
    outcome = await agent_parts.start(agent, folder, mind, desk, folder / f"run_{time.time_ns()}.db")
    took = time.perf_counter() - began
    desk.close()
    assert outcome.state == "done", outcome
    return took * 1000 / STEPS


async def bare() -> float:
    """Return milliseconds per step of pydantic-ai alone."""
    from pydantic_ai import Agent
    from pydantic_ai.messages import ModelResponse, TextPart, ToolCallPart
    from pydantic_ai.models.function import FunctionModel

    async def say(messages: Any, info: Any) -> Any:
        step = sum(isinstance(each, ModelResponse) for each in messages)
        if step == STEPS - 1:
            return ModelResponse(parts=[TextPart("done")])
        return ModelResponse(parts=[ToolCallPart("add", {"a": step, "b": 1}, tool_call_id=f"c{step}")])

    agent = Agent(FunctionModel(say), instructions="Add.")

    @agent.tool_plain
    async def add(a: int, b: int) -> int:
        return a + b

    began = time.perf_counter()
    await agent.run("go")
    return (time.perf_counter() - began) * 1000 / STEPS


async def measure() -> tuple[list[float], list[float]]:
    """Return what each run cost per step, ours and the peer's, in turns; the first of each warms up."""
    mine, peer = [], []
    with tempfile.TemporaryDirectory() as name:
        folder = agent_parts.workplace(Path(name))
        for _ in range(RUNS + 1):
            mine.append(await ours(folder))
            peer.append(await bare())
    return mine[1:], peer[1:]


def main() -> None:
    """Measure and report."""
    options = common.arguments(__doc__ or "").parse_args()
    scheduling = common.first_in_line()
    mine, peer = asyncio.run(measure())
    found, alone = common.spread(mine), common.spread(peer)
    result = {
        "steps": STEPS,
        "scheduling": scheduling,
        "ms_per_step": found,
        "peer": {"name": "pydantic-ai alone", "ms_per_step": alone},
        "ratio": found["median"] / alone["median"],
        "holds": {f"an agent's loop takes at most {MOST_MS:g} ms per step": found["median"] <= MOST_MS},
        "table": [
            {"what": "a step of the loop, without the model (ms; the peer has no journal, policy or approvals)",
             "ours": found, "peer": alone},
        ],
    }  # fmt: skip
    common.report(result, options.json)


if __name__ == "__main__":
    main()
