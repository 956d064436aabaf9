"""What a tool is: a name, a JSON schema of its arguments, how it may be repeated, and the call itself."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Protocol

import msgspec

from aigrid.agents.memory import Memory
from aigrid.agents.spec import Agent, Mode
from aigrid.core.errors import AigridError


class ToolError(AigridError):
    """A tool could not do what it was asked; the model reads why and may do better."""

    default_code = "tool_failed"


class Call(msgspec.Struct, frozen=True):
    """One call of a tool. `idempotency_key` is the same each time that this call is made again."""

    run: str
    id: str
    tenant: str
    user: str = ""

    @property
    def idempotency_key(self) -> str:
        """The key under which a tool can know that it has done this already."""
        return f"{self.run}:{self.id}"


class Searched(msgspec.Struct):
    """One passage that a search found: its text, where it stands, and the id of its source."""

    text: str
    place: str
    source: str = ""


class World(Protocol):
    """What a run can reach of the factory, as its caller."""

    async def search(self, question: str, limit: int) -> list[Searched]:
        """Return the passages that the caller may read, best first, paid by the run."""

    async def recalled(self, question: str, limit: int, agent: Agent, user: str) -> list[Memory]:
        """Return what the agent remembers for the caller and user, best first, paid by the run."""

    async def recruit(self, mode: Mode, task: str, call: Call) -> Any:
        """Return what other agents came to, in runs of their own that this run pays for."""


Work = Callable[[dict[str, Any], Call], Awaitable[Any]]


class Built(msgspec.Struct):
    """A tool ready for use. `schema` is of its arguments, before the agent's file narrows them."""

    about: str
    schema: dict[str, Any]
    safe_to_retry: bool
    idempotent: bool
    work: Work


class Site(msgspec.Struct, frozen=True):
    """Where tools are built: the agent's folder, and what the run can reach (None: nothing is run, as in a check)."""

    folder: Path
    world: World | None = None
