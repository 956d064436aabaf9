"""What is known of agents and their runs: the scores by which a team chooses, and traces."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from aigrid.cli import output
from aigrid.cli.output import Json, emit
from aigrid.core.errors import NotFound
from aigrid.ledger.prices import usd

if TYPE_CHECKING:
    from rich.console import Console


def scores(
    task: Annotated[str, typer.Argument(help="The task that somebody is chosen for.")] = "",
    add: Annotated[
        Path | None, typer.Option(help="Take in evaluations: lines of JSON with agent, task, score.")
    ] = None,
    tenant: Annotated[str, typer.Option(help="Whose runs count, besides evaluations.")] = "local",
    as_json: Json = False,
) -> None:
    """Show how a team would choose for a task, part by part; or take in what an evaluation measured."""
    from aigrid.agents import catalogue, spec
    from aigrid.agents import scores as known

    if add is not None:
        try:
            lines = add.read_bytes().splitlines()
        except OSError as error:
            raise NotFound(f"cannot read {add}: {error.strerror}") from None
        added = known.add(lines, str(add))
        emit({"added": added}, as_json, lambda console: console.print(f"{added} scores added to {known.path()}"))
        return
    names = [each.agent.name for each in spec.every()[0]]
    ranking = catalogue.rank(task, names, known.seen(tenant))

    def show(console: "Console") -> None:
        columns = ("agent", "score", "skill", "success", "observed", "refused", "dear", "slow", "cost", "seconds")
        rows = output.table(*columns)
        for each in ranking:
            success = "unknown" if each.success is None else f"{each.success:.0%}"
            cost = "unknown" if each.cost_nusd is None else usd(each.cost_nusd)
            seconds = "unknown" if each.seconds is None else f"{each.seconds:.2f}"
            parts = (f"{part:.3f}" for part in (each.score, each.skill))
            rest = (f"{part:.2f}" for part in (each.observations, each.refused, each.dear, each.slow))
            rows.add_row(each.agent, *parts, success, *rest, cost, seconds)
        console.print(rows if ranking else "No agents yet.")

    emit({"task": task, "ranking": ranking}, as_json, show)


def trace(
    run: Annotated[str, typer.Argument(metavar="RUN", help="Id of a run, from `aigrid agents runs`.")],
    as_json: Json = False,
) -> None:
    """Print a run and those it recruited as an OpenTelemetry trace, in OTLP/JSON."""
    import msgspec

    from aigrid.agents import shelf, traces

    text = msgspec.json.encode(traces.trace(shelf.find(run)))
    print((text if as_json else msgspec.json.format(text)).decode())
