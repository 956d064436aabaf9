"""What happens in a run, told as it happens to whoever watches; and what a run came to."""

from collections.abc import Callable
from typing import Any, Literal

import msgspec

State = Literal["done", "waiting", "unknown", "stopped", "interrupted"]
"""How a run stands: `waiting` and `unknown` need a person, `stopped` met a limit or was ended by a person, `interrupted` can be resumed."""


class Text(msgspec.Struct, frozen=True, tag="text"):
    """A piece of what the model says."""

    text: str


class Thought(msgspec.Struct, frozen=True, tag="thought"):
    """A piece of the model's reasoning."""

    text: str


class Called(msgspec.Struct, frozen=True, tag="called"):
    """A tool was called with these arguments."""

    call: str
    tool: str
    arguments: Any


class Returned(msgspec.Struct, frozen=True, tag="returned"):
    """A tool's outcome; `kind` is `tool` or `refused`."""

    call: str
    tool: str
    kind: str
    result: str


Event = Text | Thought | Called | Returned
Listener = Callable[[Event], None]


class Outcome(msgspec.Struct, frozen=True):
    """What a run came to. `approval` is the id of what a person has to decide, `reason` says why it is not done.

    `stopped_by` is who ended it, where a person did.
    """

    run: str
    agent: str
    state: State
    output: str = ""
    reason: str = ""
    approval: str = ""
    steps: int = 0
    tool_calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost_nusd: int = 0
    stopped_by: str = ""


def ignore(event: Event) -> None:
    """Watch nothing."""
