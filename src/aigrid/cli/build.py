"""`aigrid build` and `aigrid line`: run a production line, and look at what it did."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from aigrid.cli import factory, units
from aigrid.cli.output import Json, emit, err, note, table
from aigrid.core.errors import BadRequest

if TYPE_CHECKING:
    from rich.console import Console

    from aigrid.factory.base import Figure, Tell
    from aigrid.factory.record import Build, Done
    from aigrid.factory.run import Say

app = typer.Typer(
    help="Production lines: what they did, and at what cost.", no_args_is_help=True, rich_markup_mode=None
)

Which = Annotated[str, typer.Argument(metavar="LINE", help="Name of a line that was built here.")]
Number = Annotated[int, typer.Option("--build", help="Number of a build; 0 is the newest.", min=0)]
_SHOWN = 6


def build(
    line: Annotated[Path, typer.Argument(help="A blueprint's folder, or a line's YAML file.")],
    data: Annotated[list[Path] | None, typer.Option("--data", help="Folder to look for data files in.")] = None,
    until: Annotated[str, typer.Option(help="Stop after this stage.")] = "",
    on: Annotated[
        Literal["here", "ray"],
        typer.Option(help="Curate in this process, or on the machines of a Ray cluster (RAY_ADDRESS)."),
    ] = "here",
    seed: Annotated[int | None, typer.Option(help="Use another seed than the line's.")] = None,
    as_json: Json = False,
) -> None:
    """Run a line from data to a pack. What is done is kept: interrupted or killed, the next build goes on."""
    import msgspec

    from aigrid.core.config import load as settings
    from aigrid.factory import run
    from aigrid.factory.line import load
    from aigrid.factory.record import told
    from aigrid.factory.spread import Here, Spread

    planned = load(line, tuple(data or ()))
    if seed is not None:
        planned = msgspec.structs.replace(planned, seed=seed)
    names = [stage.name for stage in planned.stages]
    if until and until not in names:
        raise BadRequest(f"the line has no stage `{until}`; it has {', '.join(names)}", param="until")
    spread: Spread = Here()
    if on == "ray":
        from aigrid.factory.on_ray import OnRay

        spread = OnRay()
    with _bars(names, quiet=as_json) as (tell, say):
        made = run.build(planned, settings().site, tell, say, until, lambda: factory.gateway("", ""), spread)
    emit(told(made), as_json, lambda console: _show(console, made))


@app.command("status")
def status(as_json: Json = False) -> None:
    """List the lines that were built here, and how their newest builds stand."""
    from aigrid.factory.record import builds, lines, told
    from aigrid.factory.run import root

    newest = [builds(root(), name)[0] for name in lines(root())]

    def show(console: "Console") -> None:
        if not newest:
            console.print("No line was built here yet. Build one: `aigrid build blueprints/booking-clerk`.")
            return
        grid = table("line", "build", "stands at", "work", "cost", "energy")
        for made in newest:
            grid.add_row(
                made.line, str(made.number), _state(made), units.seconds(made.ns),
                units.usd_short(made.cost.nusd), units.energy(made.cost.mj),
            )  # fmt: skip
        console.print(grid)

    emit([told(made) for made in newest], as_json, show)


@app.command("show")
def show(line: Which, number: Number = 0, as_json: Json = False) -> None:
    """Show a build: what each stage did to the numbers, what it cost, and which one is worth speeding up."""
    from aigrid.factory.record import told

    made = _find(line, number)
    emit(told(made), as_json, lambda console: _show(console, made))


@app.command("diff")
def diff(
    line: Which,
    before: Annotated[int, typer.Option("--from", help="Number of a build; 0 is the one before.", min=0)] = 0,
    after: Annotated[int, typer.Option("--to", help="Number of a build; 0 is the newest.", min=0)] = 0,
    as_json: Json = False,
) -> None:
    """Compare two builds of a line: the figures that differ, stage by stage."""
    new = _find(line, after)
    old = _find(line, before or new.number - 1)
    changed = list(_changes(old, new))

    def draw(console: "Console") -> None:
        if not changed:
            console.print(f"Builds {old.number} and {new.number} of {line} have the same figures.")
            return
        grid = table("stage", "figure", f"build {old.number}", f"build {new.number}", right=2)
        for stage, figure, one, other in changed:
            grid.add_row(stage, figure, _said(one), _said(other))
        console.print(grid)

    rows = [{"stage": row[0], "figure": row[1], "from": row[2], "to": row[3]} for row in changed]
    emit({"line": line, "from": old.number, "to": new.number, "changed": rows}, as_json, draw)


def _changes(old: "Build", new: "Build") -> "Iterator[tuple[str, str, Figure, Figure]]":
    before = {stage.name: stage for stage in old.stages}
    after = {stage.name: stage for stage in new.stages}
    for name in dict.fromkeys([*before, *after]):
        one = before[name].figures if name in before else {}
        other = after[name].figures if name in after else {}
        for figure in dict.fromkeys([*one, *other]):
            if one.get(figure) != other.get(figure):
                yield name, figure, one.get(figure), other.get(figure)
        same = name in before and name in after and before[name].digest == after[name].digest
        if one == other and not same:
            yield name, "result", _short(before.get(name)), _short(after.get(name))


def _short(done: "Done | None") -> str | None:
    return done.digest[:12] or done.state if done else None


def _find(line: str, number: int) -> "Build":
    from aigrid.factory.record import builds
    from aigrid.factory.run import root

    made = builds(root(), line)
    if not number:
        return made[0]
    for each in made:
        if each.number == number:
            return each
    raise BadRequest(f"there is no build {number} of `{line}`; the newest is {made[0].number}", param="build")


def _state(made: "Build") -> str:
    last = made.stages[-1]
    if made.ended_ns is not None:
        return "done"
    return f"{last.name}: {last.state}" if last.state != "running" else f"{last.name}: {last.at[2] or 'running'}"


def _show(console: "Console", made: "Build") -> None:
    from aigrid.factory.record import amdahl

    console.print(f"[bold]{made.line}[/bold], build {made.number}" + (f": {made.about}" if made.about else ""))
    grid = table("stage", "", "time", "cost", "energy", "figures")
    for done in made.stages:
        figures = [f"{name} {_said(value)}" for name, value in {**done.figures, **done.measured}.items()]
        more = f", {len(figures) - _SHOWN} more" if len(figures) > _SHOWN else ""
        grid.add_row(
            done.name, done.state, units.seconds(done.ns), units.usd_short(done.cost.nusd), units.energy(done.cost.mj),
            done.error or ", ".join(figures[:_SHOWN]) + more,
        )  # fmt: skip
    console.print(grid)
    cost = made.cost
    console.print(
        f"{units.seconds(made.ns)} of work, {units.usd_short(cost.nusd)}, {units.energy(cost.mj)} ({cost.source})"
    )
    if made.ns and (first := amdahl(made)[0]).share > 0:
        console.print(
            f"Speed up `{first.name}` first: it takes {first.share:.0%} of the time;"
            f" twice as fast, the whole line would be {first.twice:.2f} times as fast."
        )


def _said(value: "Figure") -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return (
        "–" if value is None else f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
    )


@contextmanager
def _bars(names: list[str], quiet: bool) -> "Iterator[tuple[Tell, Say]]":
    """Show one bar for each stage on a terminal, else a line when one begins or ends."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    shown = err().is_terminal and not quiet
    columns = (
        TextColumn("{task.fields[stage]:<14}"),
        BarColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.description}"),
    )
    with Progress(*columns, console=err(), disable=not shown) as bars:
        tasks = {name: bars.add_task("", total=None, stage=name, start=False, visible=shown) for name in names}
        now = [names[0]]

        def tell(done: int, total: int | None, what: str) -> None:
            bars.update(tasks[now[0]], completed=done, total=total, description=what)

        def say(done: "Done") -> None:
            now[0] = done.name
            if done.state == "running":
                bars.start_task(tasks[done.name])
            else:
                bars.update(tasks[done.name], completed=1, total=1, description=done.error or done.state)
                bars.stop_task(tasks[done.name])
            if not shown and not quiet:
                note(f"{done.name}: {done.state}" + (f" ({units.seconds(done.ns)})" if done.state == "done" else ""))

        yield tell, say
