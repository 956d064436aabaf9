"""`aigrid pack evaluate`: examine packs and models through the gateway that serves them."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from aigrid.cli import factory, units
from aigrid.cli.output import Json, emit, table
from aigrid.core.errors import BadRequest

if TYPE_CHECKING:
    from rich.console import Console

    from aigrid.client.http import Gateway
    from aigrid.factory.exams import Exam
    from aigrid.factory.inspecting import Examined
    from aigrid.factory.stats import Paired

_SLICES = 10


def evaluate(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The pack in service, or any model of the gateway.")],
    against: Annotated[list[str] | None, typer.Option(help="Model or pack to ask the same questions.")] = None,
    line: Annotated[Path | None, typer.Option(help="Blueprint's folder or line's file, where NAME is no line.")] = None,
    rows: Annotated[Path | None, typer.Option(help="Rows to ask (JSON Lines with `input` and `output`).")] = None,
    slices: Annotated[str, typer.Option(help="Field of a row's `meta`, or `output`, that makes slices.")] = "",
    limit: Annotated[int, typer.Option(help="Ask so many rows, drawn by a fixed seed; 0 asks all.", min=0)] = 0,
    shots: Annotated[int, typer.Option(help="Rows to show a model that is no pack.", min=0, max=32)] = 4,
    tokens: Annotated[int, typer.Option(help="Most tokens of an answer.", min=1)] = 256,
    at_once: Annotated[int, typer.Option(help="Requests at a time; 1 times a client alone.", min=1)] = 1,
    url: Annotated[str, typer.Option(help="Gateway to ask; else AIGRID_URL, else the one in AIGRID_HOME.")] = "",
    key: Annotated[str, typer.Option(help="Key to pay with; else AIGRID_KEY, else the command line's own.")] = "",
    as_json: Json = False,
) -> None:
    """Ask a pack, and others, the same questions through the gateway: score, cost, joules, latency, with intervals."""
    from aigrid.cli.progress import counting
    from aigrid.factory import exams, inspecting
    from aigrid.factory.line import load

    inspecting.needs()
    gateway = factory.gateway(url, key)
    models = list(dict.fromkeys([name, *(against or [])]))
    packs = _packs(gateway, models)
    exam = exams.of(name, load(line) if line else None, rows, slices, limit)
    way = inspecting.Way(shots, tokens, at_once)
    with counting(f"Examining {name}") as tell:
        found = inspecting.examine(gateway, models, packs, exam, way, tell)
    emit(_told(exam, found), as_json, lambda console: _show(console, exam, found))


def _packs(gateway: "Gateway", models: list[str]) -> set[str]:
    """Return which of the models are packs; raises where the gateway does not serve one of them."""
    from aigrid.client.http import RemoteError

    status, listed = gateway.get("/v1/models")
    if status != 200:
        raise RemoteError(status, listed)
    owners = {model["id"]: model.get("owned_by", "") for model in listed["data"]}
    for model in models:
        if model not in owners:
            raise BadRequest(f"{gateway.url} serves no `{model}`; it serves {', '.join(sorted(owners)) or 'nothing'}")
    return {model for model in models if owners[model] == "packs"}


def _told(exam: "Exam", found: "list[Examined]") -> dict[str, Any]:
    import msgspec

    from aigrid.factory import inspecting

    workers = [
        {**msgspec.to_builtins(each), "each_nusd": each.each_nusd, "each_mj": each.each_mj}
        for each in found
    ]  # fmt: skip
    return {
        "name": exam.name, "metric": exam.settings.metric, "questions": len(exam.rows), "workers": workers,
        "logs": str(inspecting.folder()),
    }  # fmt: skip


def _show(console: "Console", exam: "Exam", found: "list[Examined]") -> None:
    from aigrid.factory import inspecting

    grid = table(
        "worker", exam.settings.metric, "95 %", "declined", "p50", "p99", "cost of one", "energy of one", right=1
    )
    for each in found:
        shown = f"{each.model} ({each.shots} shown)" if each.shots else each.model
        grid.add_row(
            shown, f"{each.score.value:.1%}", f"{each.score.low:.1%} to {each.score.high:.1%}",
            f"{each.declined.value:.1%}", f"{each.p50_ms:.1f} ms", f"{each.p99_ms:.1f} ms",
            units.usd_short(each.each_nusd), units.energy(each.each_mj),
        )  # fmt: skip
    console.print(grid)
    for each in found:
        if each.gain is not None:
            console.print(f"{exam.name} over {each.model}: {_gain(each.gain)}", markup=False)
        if each.errors:
            console.print(f"{each.model} failed {each.errors} times (counted as wrong): {each.why}", markup=False)
    if exam.settings.slices:
        _slices(console, exam, found)
    console.print(
        f"{len(exam.rows):,} questions. Every answer: inspect view --log-dir {inspecting.folder()}", markup=False
    )


def _gain(gain: "Paired") -> str:
    verdict = "better" if gain.better else "worse" if gain.difference < 0 and gain.p < 0.05 else "no certain difference"
    return (
        f"{gain.difference:+.1%} ({gain.low:+.1%} to {gain.high:+.1%}), won {gain.won}, lost {gain.lost},"
        f" p = {gain.p:.2g}: {verdict}"
    )


def _slices(console: "Console", exam: "Exam", found: "list[Examined]") -> None:
    """Show the slices, the worst of the first worker first, with all workers beside each other."""
    if not found[0].slices:
        console.print(f"No slice by `{exam.settings.slices}` has {exam.settings.least} rows or more.", markup=False)
        return
    grid = table("slice", "n", *(each.model for each in found), right=1)
    scores = [{one.name: one.score.value for one in each.slices} for each in found]
    for one in sorted(found[0].slices, key=lambda one: one.score.value)[:_SLICES]:
        grid.add_row(one.name, str(one.score.n), *(f"{of[one.name]:.1%}" for of in scores))
    console.print()
    console.print(grid)
    if len(found[0].slices) > _SLICES:
        console.print(f"{len(found[0].slices) - _SLICES} better slices are in the JSON.")
