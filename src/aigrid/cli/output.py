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
    from rich.table import Table

WIDE = 200
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]
"""The option that every command has."""


@functools.cache
def out() -> "Console":
    """Return the console on stdout, for results; wide where it is a file or a pipe, so that nothing is cut."""
    from rich.console import Console

    return Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else WIDE)


@functools.cache
def err() -> "Console":
    """Return the console on stderr, for progress and logs."""
    from rich.console import Console

    return Console(stderr=True, highlight=False, soft_wrap=True)


def table(*headings: str, right: int = 0) -> "Table":
    """Return an empty table without lines; from column `right` on (0: none) cells are aligned to the right."""
    from rich.table import Table

    grid = Table(box=None, pad_edge=False, header_style="dim")
    for at, heading in enumerate(headings):
        grid.add_column(heading, justify="right" if 0 < right <= at else "left", no_wrap=at == 0)
    return grid


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
