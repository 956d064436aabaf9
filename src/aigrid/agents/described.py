"""The agents' endpoints in the published document."""

from typing import Any, Literal

from msgspec import Struct

from aigrid.agents.api import Stop
from aigrid.agents.api_memory import MemoryBody, MemoryChange
from aigrid.agents.feedback import Feedback
from aigrid.agents.journal import Step
from aigrid.agents.views import Run
from aigrid.gateway.openapi import Described

_LIMIT = {"type": "integer", "minimum": 1, "maximum": 1000, "default": 100}
_NAME = {"type": "string", "maxLength": 200}


class RunList(Struct):
    """The runs of the caller's tenant, newest first."""

    object: Literal["list"]
    data: list[Run]


class RunObject(Run, kw_only=True):
    """A run with its journal: each step with the digest of what went in and what came out."""

    object: Literal["agents.run"]
    journal: list[Step]


class FeedbackKept(Struct):
    """Feedback that was kept."""

    object: Literal["agents.feedback"]
    id: str


class MemoryObject(Struct):
    """Something that an agent remembers. Without a `user` it is the whole tenant's. Times are nanoseconds since the epoch."""

    object: Literal["agents.memory"]
    id: str
    agent: str
    text: str
    about: str
    user: str
    origin: str
    written_ns: int
    changed_ns: int


class MemoryList(Struct):
    """What agents remember for the caller's tenant, newest first."""

    object: Literal["list"]
    data: list[MemoryObject]


class Erased(Struct):
    """How many memories were erased."""

    object: Literal["agents.memory.erased"]
    erased: int


_WHOSE: dict[str, dict[str, Any]] = {"agent": _NAME, "user": _NAME}
DESCRIBED = [
    Described(
        "get", "/v1/agents/runs", "List runs", RunList, query={"limit": {**_LIMIT, "maximum": 100, "default": 20}}
    ),
    Described("get", "/v1/agents/runs/{id}", "Read a run's journal", RunObject),
    Described("post", "/v1/agents/runs/{id}", "Stop a run", RunObject, Stop),
    Described("post", "/v1/agents/feedback", "Rate, correct or comment on a step", FeedbackKept, Feedback, 201),
    Described("get", "/v1/agents/memory", "List what agents remember", MemoryList, query={**_WHOSE, "limit": _LIMIT}),
    Described("post", "/v1/agents/memory", "Have an agent remember something", MemoryObject, MemoryBody, 201),
    Described(
        "delete", "/v1/agents/memory", "Erase all that an agent remembers, or about a user", Erased, query=_WHOSE
    ),
    Described("get", "/v1/agents/memory/{id}", "Read a memory", MemoryObject),
    Described("patch", "/v1/agents/memory/{id}", "Correct a memory", MemoryObject, MemoryChange),
    Described("delete", "/v1/agents/memory/{id}", "Erase a memory", Erased),
]
