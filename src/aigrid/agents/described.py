"""The agents' endpoints in the published document."""

from typing import Any, Literal

from msgspec import UNSET, Struct, UnsetType

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


class AgentInterface(Struct, rename="camel"):
    """Where and how A2A is spoken."""

    url: str
    protocol_binding: str
    protocol_version: str


class AgentCapabilities(Struct, rename="camel"):
    """What of A2A that is optional is there."""

    streaming: bool
    push_notifications: bool
    extended_agent_card: bool


class AgentSkill(Struct, rename="camel"):
    """An agent, as others see it."""

    id: str
    name: str
    description: str
    tags: list[str]


class AgentCard(Struct, rename="camel"):
    """The card of A2A 1.0: where the factory's agents are, what they can, and how to be let in."""

    name: str
    description: str
    version: str
    supported_interfaces: list[AgentInterface]
    capabilities: AgentCapabilities
    security_schemes: dict[str, Any]
    security_requirements: list[dict[str, Any]]
    default_input_modes: list[str]
    default_output_modes: list[str]
    skills: list[AgentSkill]


class RpcRequest(Struct):
    """A request of JSON-RPC 2.0; the header `A2A-Version: 1.0` goes with it."""

    jsonrpc: Literal["2.0"]
    method: str
    id: str | int | None = None
    params: dict[str, Any] | None = None


class RpcError(Struct):
    """What went wrong, with a code of JSON-RPC or A2A."""

    code: int
    message: str
    data: Any = None


class RpcAnswer(Struct):
    """The answer of JSON-RPC 2.0: `result` or `error`."""

    jsonrpc: Literal["2.0"]
    id: str | int | None
    result: dict[str, Any] | UnsetType = UNSET
    error: RpcError | UnsetType = UNSET


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
    Described("get", "/.well-known/agent-card.json", "The agents, as A2A shows them", AgentCard, public=True),
    Described(
        "post",
        "/a2a",
        "Ask an agent over A2A: SendMessage, GetTask, CancelTask",
        RpcAnswer,
        RpcRequest,
        malformed=RpcAnswer,
    ),
]
