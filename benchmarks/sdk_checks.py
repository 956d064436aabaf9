"""Named checks of a factory through other people's clients: what a check is, and what it is run against."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import anthropic
import openai

Run = Callable[["Target"], None]


@dataclass(frozen=True)
class Target:
    """A factory: its address, its model, a good key, one whose budget is spent, one with a request a minute."""

    url: str
    model: str
    key: str
    poor_key: str
    slow_key: str
    made: list[Any] = field(default_factory=list)

    def openai(self, **options: Any) -> openai.OpenAI:
        """Return OpenAI's client for it."""
        client = openai.OpenAI(base_url=f"{self.url}/v1", **{"api_key": self.key, "max_retries": 0, **options})
        self.made.append(client)
        return client

    def anthropic(self, **options: Any) -> anthropic.Anthropic:
        """Return Anthropic's client for it."""
        client = anthropic.Anthropic(base_url=self.url, **{"api_key": self.key, "max_retries": 0, **options})
        self.made.append(client)
        return client

    def close(self) -> None:
        """Close all clients."""
        for client in self.made:
            client.close()


@dataclass(frozen=True)
class Check:
    """A claim about one client, and the code that fails where it does not hold.

    `echo` marks one that needs the echo engine, whose answers are known beforehand; `own` one that needs an engine of
    ours, because another server's bytes pass through as they are.
    """

    sdk: str
    claim: str
    run: Run
    echo: bool = False
    own: bool = False


CHECKS: list[Check] = []


def check(sdk: str, claim: str, *, echo: bool = False, own: bool = False) -> Callable[[Run], Run]:
    """Register a check."""

    def register(run: Run) -> Run:
        CHECKS.append(Check(sdk, claim, run, echo, own))
        return run

    return register


def checks(sdk: str, engine: str = "echo") -> list[Check]:
    """Return the checks of an SDK that make sense on an engine: `echo`, `openvino` or `upstream`."""
    from benchmarks import sdk_anthropic, sdk_openai, sdk_openai_errors, sdk_responses  # noqa: F401 - importing registers

    refused = {"echo": (), "openvino": ("echo",), "upstream": ("own",)}[engine]
    return [found for found in CHECKS if found.sdk == sdk and not any(getattr(found, mark) for mark in refused)]


def raises(kind: type[Exception], run: Callable[[], Any]) -> Any:
    """Return the error of `kind` that `run` raises; fails where it raises none."""
    try:
        run()
    except kind as error:
        return error
    raise AssertionError(f"nothing was raised where {kind.__name__} was due")
