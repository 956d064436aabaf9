"""`aigrid fly`: watch what people say of a line's answers, and run the line when enough has changed."""

import time
from pathlib import Path
from typing import Annotated

import typer

from aigrid.cli import factory, units
from aigrid.cli.output import Json, emit, note
from aigrid.core.errors import BadRequest


def fly(
    line: Annotated[Path, typer.Argument(help="A blueprint's folder, or a line's YAML file.")],
    data: Annotated[list[Path] | None, typer.Option("--data", help="Folder to look for data files in.")] = None,
    lessons: Annotated[int, typer.Option(help="New lessons that make a build due.", min=1)] = 50,
    budget: Annotated[str, typer.Option("--budget-usd-day", help="Most that builds may cost a day.")] = "1",
    at_once: Annotated[bool, typer.Option("--at-once", help="Do not wait for the cheap hours.")] = False,
    once: Annotated[bool, typer.Option("--once", help="Look once, build if it is due, and stop.")] = False,
    every: Annotated[float, typer.Option(help="Seconds between looks.", min=0.1)] = 60.0,
    as_json: Json = False,
) -> None:
    """Watch feedback on a line's pack, and build it anew when enough has come; the gate decides what enters service."""
    from aigrid.core.config import load as settings
    from aigrid.factory import run
    from aigrid.factory.fly import Wheel, count_lessons, step_back
    from aigrid.factory.line import Line, load
    from aigrid.factory.record import Build, told

    def read() -> Line:
        return load(line, tuple(data or ()))

    def make(planned: Line) -> Build:
        note(f"building {planned.name}")
        return run.build(planned, config.site, gateway=lambda: factory.gateway("", ""))

    config = settings()
    if not any(source for source in _own(read())):
        raise BadRequest(
            f"{line} reads nothing that people say: add a source `{{read: ratings}}` to its `curate`", param="line"
        )
    step_back()
    wheel = Wheel(read, config, lessons=lessons, budget_nusd=units.parse_usd(budget), at_once=at_once or once)
    note(f"watching {read().name}: {count_lessons(read())} lessons known")
    said = ""
    while True:
        turn = wheel.turn(make)
        if turn.why != said or turn.act != "wait":
            said = turn.why
            result = {"act": turn.act, "why": turn.why, "build": told(turn.build) if turn.build else None}
            emit(result, as_json, lambda console, turn=turn: console.print(f"{turn.act}: {turn.why}"))  # type: ignore[misc]
        if once:
            return
        time.sleep(every)


def _own(line: object) -> list[str]:
    from aigrid.factory.curate import Settings
    from aigrid.factory.sources import OWN

    found = [planned.settings for planned in line.stages]  # type: ignore[attr-defined]
    return [each.read for one in found if isinstance(one, Settings) for each in one.sources if each.read in OWN]
