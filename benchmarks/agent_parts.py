"""What the benchmarks of agents share: a model that follows a script, tools with side effects, a run of both."""

import json
import sqlite3
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from aigrid.engines.base import Chunk, Delta, GenerateRequest, ToolCall, Usage

WORK = '''
"""Tools: one that computes, and two with side effects in a ledger of their own."""
import pathlib, sqlite3

HERE = pathlib.Path(__file__).parent

async def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b

def _book(key: str, what: str) -> str:
    database = sqlite3.connect(HERE / "effects.db", timeout=30, isolation_level=None)
    try:
        with database:
            database.execute("CREATE TABLE IF NOT EXISTS effects (key TEXT, what TEXT)")
            database.execute("CREATE TABLE IF NOT EXISTS asked (key TEXT, what TEXT)")
            database.execute("BEGIN IMMEDIATE")
            database.execute("INSERT INTO asked VALUES (?, ?)", (key, what))
            done = key and database.execute("SELECT 1 FROM effects WHERE key = ?", (key,)).fetchone()
            if not done:
                database.execute("INSERT INTO effects VALUES (?, ?)", (key, what))
            database.execute("COMMIT")
    finally:
        database.close()
    return f"booked {what}"

def book(what: str, idempotency_key: str = "") -> str:
    """Book something, once for each key."""
    return _book(idempotency_key, what)

def send(what: str) -> str:
    """Send something; done twice, it is sent twice."""
    return _book("", what)
'''


class Script:
    """A mind that says `steps[n]`: a text, or a list of (tool, arguments); or what a function of the request returns."""

    def __init__(self, steps: Sequence[Any] | Callable[[GenerateRequest], Any]) -> None:
        self._steps = steps

    async def generate(self, request: GenerateRequest) -> AsyncGenerator[Chunk, None]:
        """Say the next step."""
        if callable(self._steps):
            said = self._steps(request)
        else:
            step = sum(each["role"] == "assistant" for each in request.messages or ())
            said = self._steps[min(step, len(self._steps) - 1)]
        if isinstance(said, str):
            yield Chunk([Delta(text=said, tokens=1, finish_reason="stop")], Usage(10, 1))
            return
        calls = [
            ToolCall(at, f"c{at}", name, arguments if isinstance(arguments, str) else json.dumps(arguments))
            for at, (name, arguments) in enumerate(said)
        ]
        yield Chunk([Delta(tool_calls=calls, tokens=1, finish_reason="tool_calls")], Usage(10, 1))

    async def count(self, request: GenerateRequest) -> int:
        """Return the prompt's tokens."""
        return 10

    def cost_nusd(self) -> int:
        """Return what it has cost: nothing."""
        return 0

    def records(self) -> list[str]:
        """Return its records: none."""
        return []


def workplace(folder: Path) -> Path:
    """Return the folder with the tools in it."""
    (folder / "work.py").write_text(WORK)
    return folder


def agent(tools: Mapping[str, Any], **more: Any) -> Any:
    """Return an agent with these tools."""
    from aigrid.agents import spec

    return spec.parse(
        json.dumps({"name": "worker", "instructions": "Do the work.", "model": "m", "tools": tools, **more})
    )


async def start(agent: Any, folder: Path, mind: Any, desk: Any, path: Path, text: str = "go", world: Any = None) -> Any:
    """Run an agent from the beginning; returns the outcome."""
    from aigrid.agents import box, loop
    from aigrid.agents.journal_sqlite import FilePlace
    from aigrid.agents.tools.base import Site

    packed = await box.pack(agent, Site(folder, world))
    with loop.begin(agent, folder, "m", loop.Task(text, "acme"), packed, FilePlace(path)) as journal:
        return await loop.walk(journal, packed, mind, desk)


async def resume(path: Path, folder: Path, mind: Any, desk: Any) -> Any:
    """Go on with a run; returns the outcome."""
    from aigrid.agents import box, loop
    from aigrid.agents.journal_sqlite import FilePlace
    from aigrid.agents.tools.base import Site

    with FilePlace(path).open() as journal:
        packed = await box.pack(loop.begun(journal).agent, Site(folder))
        return await loop.walk(journal, packed, mind, desk)


def effects(folder: Path, table: str = "effects") -> list[str]:
    """Return what side effects there were, in order."""
    if not (folder / "effects.db").exists():
        return []
    database = sqlite3.connect(folder / "effects.db", timeout=30)
    try:
        there = database.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (table,)).fetchone()
        return [row[0] for row in database.execute(f"SELECT what FROM {table} ORDER BY rowid")] if there else []
    finally:
        database.close()
