import sys
from pathlib import Path

import pytest

from aigrid.agents import box, loop, shelf, spec
from aigrid.agents.desk import Desk
from aigrid.agents.tools.base import Site

sys.path.insert(0, str(Path(__file__).parent))

TOOLS = '''
import pathlib

HERE = pathlib.Path(__file__).parent

def add(a: int, b: int = 2) -> int:
    """Add two numbers."""
    return a + b

def write(text: str, place: str = "out.txt") -> str:
    """Append a line to a file."""
    with (HERE / place).open("a") as file:
        file.write(text + "\\n")
    return "written"

def pay(to: str, amount: int, idempotency_key: str = "") -> str:
    """Pay somebody."""
    with (HERE / "paid.txt").open("a") as file:
        file.write(f"{idempotency_key} {to} {amount}\\n")
    return f"paid {amount} to {to}"

def broken() -> str:
    """Break."""
    raise ValueError("no luck")
'''


class Bench:
    """Agents in a folder, and runs of them."""

    def __init__(self, folder):
        self.folder = folder
        self.desk = Desk()
        (folder / "work.py").write_text(TOOLS)

    def agent(self, tools="", more=""):
        text = f"name: worker\ninstructions: Do the work.\nmodel: m\n{more}\n"
        return spec.parse(text + (f"tools:\n{tools}" if tools else ""))

    async def start(self, agent, mind, text="go", world=None, **task):
        packed = await box.pack(agent, Site(self.folder, world))
        journal = loop.begin(agent, self.folder, "m", loop.Task(text, "acme", **task), packed)
        with journal:
            return await loop.walk(journal, packed, mind, self.desk)

    async def resume(self, run, mind, world=None):
        with shelf.find(run).open() as journal:
            packed = await box.pack(loop.begun(journal).agent, Site(self.folder, world))
            return await loop.walk(journal, packed, mind, self.desk)

    async def replay(self, run):
        return await loop.replay(shelf.find(run))

    def read(self, name):
        path = self.folder / name
        return path.read_text().splitlines() if path.exists() else []


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.xdist_group("postgres"))])
def keeping(request):
    """Where journals are kept: the URL of the ledger, which says so. A test that asks for it is run with each."""
    url = request.getfixturevalue("postgres_url") if request.param == "postgres" else "sqlite"
    shelf.use(url)
    yield url
    shelf.use("sqlite")


@pytest.fixture
def bench(tmp_path):
    bench = Bench(tmp_path)
    yield bench
    bench.desk.close()
