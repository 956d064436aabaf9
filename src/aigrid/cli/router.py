"""`aigrid router`: train a router on judged questions, look at how good it is, try it on a question."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from aigrid.cli import output
from aigrid.cli.output import Json, emit
from aigrid.cli.progress import working
from aigrid.core.errors import BadRequest, ConfigError, NotFound

if TYPE_CHECKING:
    from rich.console import Console

    from aigrid.thinking.router.base import RouterFile
    from aigrid.thinking.router.curve import Figure, Figures

app = typer.Typer(
    help="Routers: which of two models a question needs, learnt from judged answers.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Which = Annotated[Path, typer.Argument(metavar="ROUTER", help="File that `aigrid router train` wrote.")]
Plot = Annotated[Path | None, typer.Option(help="Write the curve to this SVG file, too.")]
_BAR = 40


@app.command("train")
def train(
    weak: Annotated[str, typer.Option(help="The cheap model; MODEL@STRATEGY:N for one that thinks.")],
    strong: Annotated[str, typer.Option(help="The dear model; MODEL@STRATEGY:N for one that thinks.")],
    file: Annotated[
        Path | None, typer.Argument(help="JSON lines: prompt or messages, with weak and strong (0 to 1) or a label.")
    ] = None,
    from_feedback: Annotated[
        bool, typer.Option("--from-feedback", help="Learn (also) from how people rated the weak model's answers here.")
    ] = False,
    quality: Annotated[
        float | None, typer.Option(min=0, max=1, help="Quality wanted, as a share of the strong model's; else 0.95.")
    ] = None,
    cost: Annotated[
        float | None, typer.Option(min=0, max=1, help="Or: the share of questions that the strong model may get.")
    ] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Where to write the router.")] = Path("router.json"),
    plot: Plot = None,
    as_json: Json = False,
) -> None:
    """Train a router and measure it on questions that it has not learnt from; nothing is asked of any model."""
    import msgspec

    from aigrid.thinking.router import base, data
    from aigrid.thinking.router.train import train as fit

    if quality is not None and cost is not None:
        raise BadRequest("give --quality or --cost, not both", param="--quality")
    low, high = base.target(weak, "--weak"), base.target(strong, "--strong")
    if file is None and not from_feedback:
        raise BadRequest("name a file of judged questions, or give --from-feedback", param="FILE")
    lines = _read(file) if file is not None else []
    name = "feedback" if file is None else f"{file.name} and feedback" if from_feedback else file.name
    if from_feedback:
        lines += [msgspec.json.encode(row) for row in _rated(low.model, high.model)]
    examples = data.read(lines, name)
    with working("training") as tell:
        made = fit(examples, low, high, quality=quality, cost=cost, name=name, tell=tell)
    _write(out, msgspec.json.format(msgspec.json.encode(made), indent=1))
    _plot(made, plot)

    def page(console: "Console") -> None:
        _show(console, made)
        console.print(f"\nWritten to {out}. To use it, put into aigrid.toml:\n", markup=False)
        console.print(f'[[tiers]]\ntier = "fast"\nmodel = "auto"\nrouter = "{out}"', markup=False)

    emit({**base.public(made), "file": str(out)}, as_json, page if _usable(made) else lambda each: _show(each, made))


@app.command("show")
def show(router: Which, plot: Plot = None, as_json: Json = False) -> None:
    """Show how good a router is: its test figures and the curve of quality over cost."""
    from aigrid.thinking.router import base

    found = base.read(router)
    _plot(found, plot)
    refused = _refused(router)
    emit({**base.public(found), "refused": refused}, as_json, lambda console: _show(console, found, refused))


@app.command("try")
def attempt(
    router: Which,
    question: Annotated[str, typer.Argument(help="What a user might ask.")],
    as_json: Json = False,
) -> None:
    """Say which model a question would go to, and why; nothing is asked of any model."""
    from aigrid.thinking.router import base
    from aigrid.thinking.router.features import Question

    found = base.load(router)
    decided, threshold = found.decide(Question(question)), found.file.threshold
    target = found.target(decided.side)
    sign = "at least" if decided.side == "strong" else "below"
    emit(
        {"side": decided.side, "target": target, "score": decided.score, "threshold": threshold},
        as_json,
        lambda console: console.print(
            f"{target} ({decided.side}): its score is {decided.score:.3f}, {sign} the threshold {threshold:.3f}"
        ),
    )


def _show(console: "Console", file: "RouterFile", refused: str = "") -> None:
    figures = file.test
    wanted = ", ".join(f"{name} {value:g}" for name, value in file.wanted.items())
    console.print(f"weak    {file.weak}\nstrong  {file.strong}", markup=False)
    console.print(f"learnt from {file.data.train} questions, threshold {file.threshold:.3f} for {wanted}", markup=False)
    if figures is not None:
        _figures(console, figures)
    if refused or not _usable(file):
        console.print(
            refused or "This router may be no better than guessing, and a gateway refuses it.", style="yellow"
        )


def _figures(console: "Console", figures: "Figures") -> None:
    rows = output.table("", "measured", "95 % interval", "guessing", "oracle", right=1)
    chosen = figures.chosen

    def add(what: str, figure: "Figure", guess: str = "", ideal: str = "", digits: str = ".1%") -> None:
        rows.add_row(what, f"{figure.value:{digits}}", f"{figure.low:{digits}} to {figure.high:{digits}}", guess, ideal)

    add("APGR", figures.apgr, "0.500", f"{figures.oracle_apgr:.3f}", ".3f")
    add("strong share for half of the gap, CPT(50 %)", figures.cpt_50, "50.0%")
    add("strong share for 80 % of the gap, CPT(80 %)", figures.cpt_80, "80.0%")
    add("at the threshold: share for the strong model", chosen.share)
    add("at the threshold: quality", chosen.quality)
    add("at the threshold: gap recovered", chosen.recovered, f"{chosen.share.value:.1%}")
    if chosen.cost is not None:
        add("at the threshold: cost of a question", chosen.cost, digits=".4g")
    console.print(f"on {figures.rows} questions that it has not learnt from:\n", markup=False)
    console.print(rows)
    costs = "" if figures.weak_cost is None else f", which cost {figures.weak_cost:.4g} and {figures.strong_cost:.4g}"
    console.print(f"\nquality: {figures.weak:.1%} weak, {figures.strong:.1%} strong{costs}\n", markup=False)
    most = max(point.oracle for point in figures.curve)
    low = min(point.quality.value for point in figures.curve) * 0.9
    for point in figures.curve[::2]:
        filled = round(_BAR * (point.quality.value - low) / max(1e-9, most - low))
        console.print(f"{point.share:>5.0%} strong  {point.quality.value:6.1%}  {'█' * filled}", markup=False)


def _usable(file: "RouterFile") -> bool:
    return file.test is not None and file.test.better_than_random


def _refused(path: Path) -> str:
    from aigrid.thinking.router import base

    try:
        base.load(path)
    except ConfigError as error:
        return error.message
    return ""


def _rated(weak: str, strong: str) -> list[dict[str, Any]]:
    """Return a row for each question whose weak model's answer was judged here: good enough, or not.

    Where the strong model's answer to the same question was judged, that counts, too; else it is taken to be right.
    """
    from aigrid.agents import feedback

    said: dict[str, dict[str, float]] = {}
    for row in feedback.rows():
        given = row.feedback
        rating = given.rating if given.rating is not None else -1 if given.correction else 0
        if rating and row.model in (weak, strong):
            said.setdefault(row.task, {})[row.model] = float(rating > 0)
    return [
        {"prompt": task, "weak": scores[weak], "strong": scores.get(strong, 1.0)}
        for task, scores in said.items()
        if weak in scores and task.strip()
    ]


def _read(file: Path) -> list[bytes]:
    try:
        return file.read_bytes().splitlines()
    except OSError as error:
        raise NotFound(f"cannot read {file}: {error.strerror}") from None


def _plot(file: "RouterFile", path: Path | None) -> None:
    from aigrid.thinking.router.draw import draw

    if path is not None:
        if file.test is None:
            raise ConfigError("the router has no test figures to draw")
        _write(path, draw(file, file.test).encode())


def _write(path: Path, data: bytes) -> None:
    try:
        path.write_bytes(data)
    except OSError as error:
        raise NotFound(f"cannot write {path}: {error.strerror}") from None
