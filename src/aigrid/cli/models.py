"""`aigrid models`: which models there are, fetch them, remove them."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from aigrid.cli import output
from aigrid.cli.output import Json, emit
from aigrid.core.config import load

if TYPE_CHECKING:
    from rich.console import Console

    from aigrid.core.models import Model

app = typer.Typer(help="Which models there are; fetch and remove them.", no_args_is_help=True, rich_markup_mode=None)

Name = Annotated[
    str, typer.Argument(metavar="ID", help="Id from `aigrid models list`, or a source like hf:owner/repo/file.")
]


@app.command("list")
def list_(as_json: Json = False) -> None:
    """List the catalogue and the models of aigrid.toml, and which of them are here."""
    from aigrid.core.models import catalogue

    config = load()
    models = catalogue(config)

    def show(console: "Console") -> None:
        rows = output.table("id", "size", "licence", "here", "source")
        for model in models:
            size = f"{model.bytes / 1e6:,.0f} MB" if model.bytes else "?"
            default = " (default)" if model.id == config.engine.model else ""
            rows.add_row(f"{model.id}{default}", size, model.licence, "yes" if model.present else "no", model.source)
        console.print(rows)

    emit({"models": [as_dict(model) for model in models], "default": config.engine.model}, as_json, show)


@app.command("pull")
def pull(name: Name, as_json: Json = False) -> None:
    """Fetch a model; a fetch that was cut goes on where it stopped."""
    from aigrid.cli.progress import fetch
    from aigrid.core.models import resolve

    config = load()
    path = fetch(resolve(name, config))
    emit(as_dict(resolve(name, config)), as_json, lambda console: console.print(f"{name} is at {path}", markup=False))


@app.command("rm")
def remove(name: Name, as_json: Json = False) -> None:
    """Delete a model's files and what engines made from them."""
    from aigrid.core import models

    model = models.resolve(name, load())
    freed = models.remove(model)
    kept = model.source.startswith("file:")
    done = f"{model.path} is your own file and stays." if kept else f"Removed {model.id}: {freed / 1e6:,.0f} MB freed."
    emit({"id": model.id, "freed_bytes": freed}, as_json, lambda console: console.print(done, markup=False))


def as_dict(model: "Model") -> dict[str, Any]:
    """Return a model as `--json` prints it."""
    return {
        "id": model.id,
        "source": model.source,
        "sha256": model.sha256,
        "licence": model.licence,
        "bytes": model.bytes,
        "present": model.present,
        "path": str(model.path),
    }
