"""What the commands print: one JSON document or a page for people on stdout; progress and logs on stderr."""

import functools
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from aigrid.core.errors import AigridError

if TYPE_CHECKING:
    from rich.console import Console

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]
"""The option that every command has."""


@functools.cache
def out() -> "Console":
    """Return the console on stdout, for results."""
    from rich.console import Console

    return Console(highlight=False, soft_wrap=True)


@functools.cache
def err() -> "Console":
    """Return the console on stderr, for progress and logs."""
    from rich.console import Console

    return Console(stderr=True, highlight=False, soft_wrap=True)


def emit(value: Any, as_json: bool, show: Callable[["Console"], None]) -> None:
    """Print a result: `value` as JSON, or what `show` draws."""
    if as_json:
        text = msgspec.json.format(msgspec.json.encode(value), indent=2).decode()
        print(text, flush=True)
    else:
        show(out())


def note(text: str) -> None:
    """Say what happens, in one line on stderr."""
    err().print(text, markup=False, style="dim")


def warn(text: str) -> None:
    """Say what may need attention, in one line on stderr."""
    err().print(f"aigrid: {text}", markup=False, style="yellow")


def fail(error: AigridError, as_json: bool) -> None:
    """Print an error: one line on stderr or, with --json, the one error shape on stdout."""
    if as_json:
        shape = {"message": error.message, "type": error.type, "param": error.param, "code": error.code}
        emit({"error": shape}, True, lambda _: None)
    else:
        print(f"aigrid: {error.message}", file=sys.stderr, flush=True)
