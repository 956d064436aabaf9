"""`aigrid doctor`: what is wrong with this machine or its settings, and how to mend it."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Literal

import msgspec
import typer

from aigrid.cli.output import Json, emit
from aigrid.core.config import Config
from aigrid.core.errors import AigridError

if TYPE_CHECKING:
    from rich.console import Console

    from aigrid.cli.checks import Finding

Level = Literal["ok", "warn", "fail"]
MARKS: dict[Level, tuple[str, str]] = {"ok": ("✓", "green"), "warn": ("!", "yellow"), "fail": ("✗", "red")}


def doctor(as_json: Json = False) -> None:
    """Say what is wrong, and how to mend it.

    Looks at this machine, the settings and the running factory; exit code 1 where something must be mended.
    """
    found = list(findings())
    failed = [finding for finding in found if finding.level == "fail"]
    emit(
        {"ok": not failed, "findings": [msgspec.to_builtins(finding) for finding in found]},
        as_json,
        lambda console: _show(console, found),
    )
    if failed:
        raise typer.Exit(1)


def findings() -> "Iterator[Finding]":
    """Yield what each check finds; a check that breaks is itself a finding."""
    from aigrid.cli import checks, factory
    from aigrid.cli.checks import Finding

    try:
        config = factory.settings()
        yield Finding("settings", "ok", "aigrid.toml and AIGRID_* variables are understood")
    except AigridError as error:
        yield Finding("settings", "fail", error.message, "correct it; `aigrid config show` prints what is in force")
        config = Config()
    for name, check in checks.ALL.items():
        yield from _guarded(name, check, config)


def _guarded(name: str, check: "Callable[[Config], Finding]", config: Config) -> "Iterator[Finding]":
    from aigrid.cli.checks import Finding

    try:
        yield check(config)
    except AigridError as error:
        yield Finding(name, "fail", error.message)
    except Exception as error:
        yield Finding(name, "warn", f"this could not be checked: {type(error).__name__}: {error}")


def _show(console: "Console", found: "list[Finding]") -> None:
    width = max(len(finding.name) for finding in found)
    for finding in found:
        mark, style = MARKS[finding.level]
        console.print(f"{mark} ", style=style, end="")
        console.print(f"{finding.name:<{width}}  {finding.text}", markup=False)
        if finding.mend and finding.level != "ok":
            console.print(f"{'':<{width + 4}}→ {finding.mend}", style="dim", markup=False)
    worst = [finding.level for finding in found]
    console.print()
    if "fail" in worst:
        console.print(f"{worst.count('fail')} to mend before the factory can run well.", style="red")
    else:
        console.print("The factory can run here.", style="green")
