"""An agent as a person writes it: one YAML file, every key known, every limit stated.

Agents live in `AIGRID_HOME/agents/NAME.yaml`; what their tools need (Python files, databases, OpenAPI files) lies
beside them, and paths in the file are relative to it.
"""

from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from aigrid.agents.spec_check import no_unknown, unique_keys
from aigrid.core.config import home
from aigrid.core.errors import ConfigError, NotFound
from aigrid.ledger.base import Tier

Positive = Annotated[int, Meta(ge=1)]
Seconds = Annotated[float, Meta(gt=0)]
ToolName = Annotated[str, Meta(pattern="^[a-zA-Z][a-zA-Z0-9_-]{0,63}$")]
AgentName = Annotated[str, Meta(pattern="^[a-z0-9][a-z0-9-]{0,62}$")]
Mode = Literal["delegate", "debate", "hand_over"]


class _Part(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    pass


class Rule(_Part, frozen=True, kw_only=True):
    """What one argument of a tool may be; all that is stated must hold. The path of a nested one has dots, `*` is any.

    `pattern` must match the whole text. `inside` is a folder that a path (from the agent's folder) may not leave, `hosts` are those that a URL
    may name (https only). `fixed` is filled in by the factory: the model neither sees nor chooses it.
    """

    enum: list[Any] | None = None
    pattern: str | None = None
    prefix: str | None = None
    minimum: float | None = None
    maximum: float | None = None
    max_length: Positive | None = None
    inside: str | None = None
    hosts: list[str] | None = None
    fixed: Any = msgspec.UNSET


class _Tool(_Part, frozen=True, kw_only=True):
    """What every tool may state.

    `approve` has a person asked before each call, `approve_unless` before those whose arguments break one of its rules.
    After a crash a call that is `safe_to_retry` is made again; one that is `idempotent` too, with the same
    idempotency key; about any other, a person is asked. Unset, the kind of tool says. `max_result` is in characters.
    """

    about: str = ""
    arguments: dict[str, Rule] = {}
    approve: bool = False
    approve_unless: dict[str, Rule] = {}
    safe_to_retry: bool | None = None
    idempotent: bool | None = None
    timeout_s: Seconds = 30.0
    max_result: Positive = 20_000


class PythonTool(_Tool, frozen=True, kw_only=True, tag_field="kind", tag="python"):
    """A Python function `module.function` in the agent's folder (or anywhere that Python finds)."""

    function: str


class KnowledgeTool(_Tool, frozen=True, kw_only=True, tag_field="kind", tag="knowledge"):
    """A search in the documents that the caller may read; `limit` passages at most."""

    limit: Annotated[int, Meta(ge=1, le=50)] = 5


class SqlTool(_Tool, frozen=True, kw_only=True, tag_field="kind", tag="sql"):
    """Questions to a database: a SQLite file, or `postgresql://…` from the environment variable `database_env`.

    Read-only; at most `max_rows` rows come back. `tables` are those that may be read; all, unless named.
    """

    database: str = ""
    database_env: str = ""
    tables: list[str] | None = None
    max_rows: Positive = 200


class SandboxTool(_Tool, frozen=True, kw_only=True, tag_field="kind", tag="sandbox"):
    """Python that the model writes, in a process of its own without files, network or other programs."""

    cpu_s: Seconds = 5.0
    memory_mb: Positive = 256


class McpTool(_Tool, frozen=True, kw_only=True, tag_field="kind", tag="mcp"):
    """One tool of an MCP server: a URL, or the command of a program that speaks on its standard input and output.

    `key_env` names the environment variable that holds the server's bearer token.
    """

    server: str | list[str]
    tool: str = ""
    key_env: str = ""


class HttpTool(_Tool, frozen=True, kw_only=True, tag_field="kind", tag="http"):
    """One operation of an HTTP API that an OpenAPI file describes, by its `operationId`.

    `url` replaces the file's server. `key_env` names the environment variable that holds the API's bearer token.
    """

    file: str
    operation: str
    url: str = ""
    key_env: str = ""


class RememberTool(_Tool, frozen=True, kw_only=True, tag_field="kind", tag="remember"):
    """Keeps a text for later runs, for the caller's tenant (and user); the file needs the key `memory`."""


class RecallTool(_Tool, frozen=True, kw_only=True, tag_field="kind", tag="recall"):
    """A search in what was remembered for the caller's tenant (and user); `limit` memories at most. Needs `memory`, too."""

    limit: Annotated[int, Meta(ge=1, le=50)] = 5


Tool = PythonTool | KnowledgeTool | SqlTool | SandboxTool | McpTool | HttpTool | RememberTool | RecallTool


class Knowledge(_Part, frozen=True, kw_only=True):
    """Passages of the documents that are read for the task before the model begins: so many at most."""

    passages: Annotated[int, Meta(ge=1, le=50)] = 5


class Memory(_Part, frozen=True, kw_only=True):
    """What was learnt before is read for the task before the model begins: `recall` memories at most, of `most` kept.

    With `share: user` what is learnt in a request that names its `user` is that user's alone. With `corrections`,
    what people correct is remembered too.
    """

    recall: Annotated[int, Meta(ge=1, le=50)] = 5
    most: Positive = 1000
    share: Literal["user", "tenant"] = "user"
    corrections: bool = False


class Guard(_Part, frozen=True, kw_only=True):
    """What may never leave: texts that match one of these patterns are refused in arguments and blanked in answers."""

    never_send: list[str] = []


class Budget(_Part, frozen=True, kw_only=True):
    """The most that one run may take, over all its steps and however often it is resumed."""

    steps: Annotated[int, Meta(ge=1, le=1000)] = 12
    tokens: Positive = 50_000
    usd: Annotated[float, Meta(gt=0)] | None = None
    seconds: Seconds = 600.0
    tool_calls: Positive = 50


class TeamTool(_Tool, frozen=True, kw_only=True):
    """A way to recruit, as a tool; the `team` of the agent's file makes it."""

    mode: Mode


class Team(_Part, frozen=True, kw_only=True):
    """Whom the agent may recruit and how. Who does it is chosen by evidence, not by what they say of themselves.

    `members` are the agents that it may see; unset, all others. `delegate` has one do a part, `debate` has
    `debaters` answer (the agent named by `judge` decides, else the one that asked), `hand_over` gives the task away.
    `depth` is how many levels of recruits there may be below this agent.
    """

    members: list[AgentName] | None = None
    modes: Annotated[tuple[Mode, ...], Meta(min_length=1)] = ("delegate",)
    debaters: Annotated[int, Meta(ge=2, le=3)] = 2
    judge: AgentName | None = None
    depth: Annotated[int, Meta(ge=1, le=4)] = 2


class Approvals(_Part, frozen=True, kw_only=True):
    """How long an approval that nobody answered stays good, in seconds."""

    expires_s: Seconds = 86_400.0


class Agent(_Part, frozen=True, kw_only=True):
    """An agent: who it is, what it may use, and where its limits are. Unset, its `tier` is that of who asks."""

    name: AgentName
    instructions: Annotated[str, Meta(min_length=1)]
    about: str = ""
    model: str = ""
    tier: Tier | None = None
    max_tokens: Positive = 512
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    seed: int | None = None
    knowledge: Knowledge | None = None
    memory: Memory | None = None
    tools: dict[ToolName, Tool] = {}
    tool_first: bool = False
    """Whether a run begins with a call: a small model that may choose talks instead."""
    team: Team | None = None
    guard: Guard = Guard()
    budget: Budget = Budget()
    approvals: Approvals = Approvals()
    output: dict[str, Any] | None = None


class Found(msgspec.Struct, frozen=True):
    """An agent and the file that says so."""

    agent: Agent
    path: Path

    @property
    def folder(self) -> Path:
        """The folder that the paths in the file are relative to."""
        return self.path.parent


def agents_folder() -> Path:
    """Return the folder of the agents that are served."""
    return home() / "agents"


def parse(text: str, where: str = "the agent") -> Agent:
    """Read an agent from YAML; raises `ConfigError` that names the key and suggests the nearest known one."""
    import yaml

    try:
        data = yaml.load(text, Loader=unique_keys())
    except (yaml.YAMLError, RecursionError) as error:
        raise ConfigError(f"{where} is not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(data, dict):
        raise ConfigError(f"{where} must be a mapping with `name` and `instructions`")
    no_unknown(data, Agent, where)
    try:
        return msgspec.convert(data, Agent)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{where}: {error}") from None


def load(path: Path) -> Found:
    """Read an agent's file; raises `ConfigError`, or `NotFound` where there is none."""
    try:
        text = path.read_text()
    except FileNotFoundError:
        raise NotFound(f"there is no agent at {path}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read {path}: {error}") from None
    return Found(parse(text, str(path)), path.absolute())


def find(name: str) -> Found:
    """Return an agent by name, or by the path of its file; raises `NotFound` that names those there are."""
    if name.endswith((".yaml", ".yml")):
        return load(Path(name))
    path = agents_folder() / f"{name}.yaml"
    if "/" in name or not path.is_file():
        known = ", ".join(sorted(each.stem for each in agents_folder().glob("*.yaml"))) or "none yet"
        raise NotFound(f"there is no agent `{name}` in {agents_folder()}; there are: {known}", param="name")
    found = load(path)
    if found.agent.name != name:
        raise ConfigError(f"{path} says its name is `{found.agent.name}`; call the file {found.agent.name}.yaml")
    return found


def every() -> tuple[list[Found], dict[str, str]]:
    """Return all agents by name, and what is wrong with the files that are none (by path)."""
    found, wrong = [], {}
    for path in sorted(agents_folder().glob("*.yaml")):
        try:
            found.append(find(path.stem))
        except (ConfigError, NotFound) as error:
            wrong[str(path)] = error.message
    return found, wrong
