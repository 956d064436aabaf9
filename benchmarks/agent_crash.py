"""Two hundred crashes: a run with side effects in a real process, killed with SIGKILL at a seeded moment, and resumed.

The moment is a line of the run's own code, drawn by the seed: for every second crash among all that a whole run passes
(journal, wrappers, tools), for the others among those of the side effects themselves. Processes are forked from one that has everything imported; each works on folders of its own. Where nobody can
know whether a call was made (it began, has no idempotency key and left no outcome) the run must ask a person, who
looks at the world and says so.
"""

import asyncio
import os
import random
import signal
import sys
import tempfile
import traceback
from pathlib import Path
from typing import Any

from benchmarks import agent_parts, common

POINTS = 200
SEED = 4
STEPS: list[Any] = [
    [("book", {"what": "room"})],
    [("send", {"what": "letter"})],
    [("add", {"a": 1, "b": 2})],
    [("book", {"what": "car"}), ("send", {"what": "bill"})],
    "done",
]
WANTED = ["room", "letter", "car", "bill"]
TOOLS = {
    "book": {"kind": "python", "function": "work.book"},
    "send": {"kind": "python", "function": "work.send"},
    "add": {"kind": "python", "function": "work.add", "safe_to_retry": True},
}
ALL, TOOLS_ONLY = ("/aigrid/agents/", "/work.py"), ("/work.py",)
"""Whose lines are counted: those of all that the run does, or of the side effects alone, where it matters most."""


def work(folder: Path, kill_at: int, watched: tuple[str, ...]) -> int:
    """Begin or go on with the run in `folder`, dying at the n-th line (0: never); returns the lines passed."""
    import threading

    passed = 0

    def on_line(frame: Any, event: str, arg: Any) -> Any:
        nonlocal passed
        if event == "line":
            passed += 1
            if passed == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)
        return on_line

    def on_call(frame: Any, event: str, arg: Any) -> Any:
        return on_line if any(part in frame.f_code.co_filename for part in watched) else None

    threading.settrace(on_call)
    sys.settrace(on_call)
    try:
        asyncio.run(sitting(folder))
    finally:
        sys.settrace(None)
    return passed


async def sitting(folder: Path) -> Any:
    """Work on the run of a folder: from the beginning, or where it was left."""
    from aigrid.agents.desk import Desk
    from aigrid.core.errors import NotFound

    desk, path, mind = Desk(folder / "approvals.db"), folder / "run_crash.db", agent_parts.Script(STEPS)
    try:
        if path.exists():
            try:
                return await agent_parts.resume(path, folder, mind, desk)
            except NotFound:  # killed before its first step: nothing was done, it begins again
                path.unlink()
        return await agent_parts.start(agent_parts.agent(TOOLS), folder, mind, desk, path)
    finally:
        desk.close()


def forked(folder: Path, kill_at: int, watched: tuple[str, ...] = ALL) -> tuple[int, int]:
    """Run `work` in a process of its own; returns (signal that killed it, lines passed)."""
    back, there = os.pipe()
    pid = os.fork()
    if not pid:
        code = 1
        try:
            os.close(back)
            passed = work(folder, kill_at, watched)
            os.write(there, str(passed).encode())
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    os.close(there)
    with os.fdopen(back, "rb") as pipe:
        said = pipe.read()
    _, status = os.waitpid(pid, 0)
    if os.WIFEXITED(status) and os.WEXITSTATUS(status):
        raise RuntimeError(f"the run in {folder} failed; what it said is above")
    return (os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0), int(said or 0)


def one(folder: Path, kill_at: int, watched: tuple[str, ...]) -> dict[str, Any]:
    """Kill a run at a line, let others go on with it (each next one is killed once more, later); what came of it."""
    from aigrid.agents.desk import Desk

    asked = 0
    signalled, _ = forked(folder, kill_at, watched)
    killed = signalled == signal.SIGKILL
    kills = int(killed)
    signalled, _ = forked(folder, kill_at // 2 + 1, watched)  # a second crash, while it goes on
    kills += signalled == signal.SIGKILL
    for _ in range(10):
        signalled, _ = forked(folder, 0)
        outcome = asyncio.run(sitting(folder))
        if outcome.state == "done":
            break
        if outcome.state != "unknown":
            raise RuntimeError(f"the run ended as {outcome.state}: {outcome.reason}")
        desk = Desk(folder / "approvals.db")
        try:
            question = desk.get(outcome.approval)
            done = question.arguments["what"] in agent_parts.effects(folder)
            desk.decide(question.id, not done, approver="the person", reason="I looked")
        finally:
            desk.close()
        asked += 1
    found = agent_parts.effects(folder)
    return {
        "state": outcome.state,
        "killed": killed,
        "kills": kills,
        "asked": asked,
        "twice": len(found) - len(set(found)),
        "lost": len(set(WANTED) - set(found)),
        "again": len(agent_parts.effects(folder, "asked")) - len(found),
    }


def main() -> None:
    """Count the lines of a whole run, draw the moments, kill and count."""
    parser = common.arguments(__doc__ or "")
    parser.add_argument("--points", type=int, default=POINTS, help="crashes")
    options = parser.parse_args()
    from aigrid.agents import loop

    assert loop
    draw = random.Random(SEED)
    found = []
    with tempfile.TemporaryDirectory() as name:
        os.environ["AIGRID_HOME"] = name
        whole = agent_parts.workplace(_folder(Path(name), "whole"))
        _, lines = forked(whole, 0)
        _, inner = forked(agent_parts.workplace(_folder(Path(name), "inner")), 0, TOOLS_ONLY)
        for at in range(options.points):
            folder = agent_parts.workplace(_folder(Path(name), f"point{at}"))
            most, watched = (lines, ALL) if at % 2 else (inner, TOOLS_ONLY)
            found.append(one(folder, draw.randint(1, most - most // 20), watched))
    sums = {key: sum(each[key] for each in found) for key in ("kills", "asked", "twice", "lost", "again")}
    done = sum(each["state"] == "done" for each in found)
    killed = sum(each["killed"] for each in found)
    figures = {
        "points": len(found),
        "seed": SEED,
        "lines of a whole run": lines,
        "lines of its side effects": inner,
        "processes killed": sums["kills"],
        "side effects of unknown outcome, about which a person was asked": sums["asked"],
        "calls repeated that their idempotency key made harmless": sums["again"],
        "side effects that happened twice": sums["twice"],
        "side effects lost": sums["lost"],
        "runs finished": done,
    }
    holds = {
        "every point killed the process it was drawn for": killed == len(found),
        "no side effect happened twice": sums["twice"] == 0,
        "no side effect was lost": sums["lost"] == 0,
        "every run was finished": done == len(found),
    }
    result = {"figures": figures, "holds": holds}
    common.report(result, options.json)


def _folder(base: Path, name: str) -> Path:
    path = base / name
    path.mkdir()
    return path


if __name__ == "__main__":
    main()
