"""`aigrid ran compare`: ways to share this machine between a radio and AI, side by side."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from aigrid.cli.output import Json, emit, err, note, table, warn
from aigrid.core.errors import BadRequest

if TYPE_CHECKING:
    from rich.console import RenderableType

    from aigrid.ran.harvest.works import Work


def compare(
    minutes: Annotated[float, typer.Option(help="How long, all in all.", min=0.1, max=600)] = 5.0,
    trace: Annotated[Path | None, typer.Option(help="CSV file with slot (or time), direction, prb, mcs.")] = None,
    generate: Annotated[str, typer.Option(help="Without a file: a measured cell: town, steady or event.")] = "town",
    hour: Annotated[float, typer.Option(help="Hour of the day that is generated.")] = 20.0,
    scale: Annotated[float, typer.Option(help="Factor on the measured load; 8 makes it a busy 5G cell.")] = 8.0,
    pattern: Annotated[str, typer.Option(help="tdd (three slots down, one switching, one up) or fdd.")] = "tdd",
    work: Annotated[str, typer.Option(help="The AI: engine (the embedded one, full) or burn (arithmetic).")] = "engine",
    policies: Annotated[str, typer.Option(help="What to compare, by comma.")] = "static,plain,nice,idle,harvester",
    slice_s: Annotated[float, typer.Option("--slice", help="Seconds of a slice.", min=0.2, max=60)] = 4.0,
    seed: Annotated[int, typer.Option(help="Seed of the load and of the order of slices.")] = 0,
    as_json: Json = False,
) -> None:
    """Compare ways to share this machine between a radio and AI.

    Slices of a few seconds in random order: the machine's floor, the radio alone, AI alone, and each policy. A policy's
    misses are set against those of the radio alone in the same round; intervals are 95 %, from drawing rounds.
    """
    from aigrid.ran.generate import generate as generated
    from aigrid.ran.harvest import compare as comparing
    from aigrid.ran.harvest.compare import CONTROLS, POLICIES, Bench
    from aigrid.ran.trace import read

    wanted = [name.strip() for name in policies.split(",") if name.strip()]
    if unknown := [name for name in wanted if name not in POLICIES]:
        raise BadRequest(f"there is no policy {', '.join(unknown)}; there are {', '.join(POLICIES)}", param="policies")
    load = read(trace) if trace else generated(generate, hour=hour, seconds=20.0, scale=scale, seed=seed)
    kinds = [*CONTROLS, *wanted]
    total = 60 * minutes
    note("starting the AI and the radio (the first start compiles its kernels) …")
    with Bench(load, made(work), total + 600, pattern=pattern) as bench, progress(total) as tell:
        for text in bench.notes:
            warn(text)
        until = time.monotonic() + total - len(kinds) * (slice_s + comparing.SETTLE_S)
        slices = comparing.rounds(bench, kinds, until, slice_s, tell, seed)
        found = comparing.figures(slices, len(bench.processors))
        unit = bench.work.unit
    emit(found, as_json, lambda console: console.print(page(found, unit, slice_s)))


def made(work: str) -> "Work":
    """Return the AI that is asked for."""
    from aigrid.ran.harvest.works import BurnWork, EngineWork

    if work not in ("engine", "burn"):
        raise BadRequest(f"there is no AI load {work!r}; there are engine and burn", param="work")
    return EngineWork() if work == "engine" else BurnWork()


class progress:
    """A bar of the time that is left."""

    def __init__(self, total: float) -> None:
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (TextColumn("{task.description:44}"), BarColumn(), TimeRemainingColumn())
        self._bar = Progress(*columns, console=err(), transient=True, disable=not err().is_terminal)
        self._task = self._bar.add_task("", total=total)
        self._begun = time.monotonic()

    def __enter__(self) -> Any:
        from aigrid.ran.harvest.compare import WORDS

        self._bar.start()
        self._begun = time.monotonic()

        def tell(kind: str, number: int) -> None:
            done = time.monotonic() - self._begun
            self._bar.update(self._task, completed=done, description=f"round {number + 1}: {WORDS[kind]}")

        return tell

    def __exit__(self, *_: object) -> None:
        self._bar.stop()


def page(found: dict[str, dict[str, Any]], unit: str, slice_s: float) -> "RenderableType":
    """Return the comparison, for people."""
    from aigrid.ran.harvest.compare import WORDS

    grid = table(
        "", "slots on time", "added misses in 10,000", f"{unit}/s", "of AI alone", "of its idle share",
        "idle cycles used", right=1,
    )  # fmt: skip
    for kind, entry in found.items():
        grid.add_row(
            WORDS[kind],
            figure(entry.get("on_time"), 100, 3, " %"),
            figure(entry.get("added_misses"), 1, 1),
            figure(entry.get("tokens_per_s"), 1, 0),
            *(figure(entry.get(name), 100, 0, " %") for name in ("of_alone", "of_idle_share", "reclaimed")),
        )
    rounds = max(entry["slices"] for entry in found.values())
    grid.title = f"{rounds} rounds of slices of {slice_s:g} s; in brackets 95 % intervals"
    grid.title_justify = "left"
    return grid


def figure(value: dict[str, float] | None, factor: float, places: int, unit: str = "") -> str:
    """Return a figure and its interval."""
    if value is None:
        return ""
    middle, low, high = (f"{factor * value[name]:,.{places}f}" for name in ("value", "low", "high"))
    return f"{middle}{unit} ({low} to {high})"
