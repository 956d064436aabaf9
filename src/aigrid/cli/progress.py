"""Progress on a terminal, for whatever takes more than two seconds."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

from aigrid.cli.output import err, note
from aigrid.core import models
from aigrid.core.models import Model


def fetch(model: Model) -> Path:
    """Fetch a model with a progress bar where it is not here; returns its path."""
    if model.present:
        return models.pull(model)
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    if not err().is_terminal:
        note(f"fetching {model.id} ({model.bytes / 1e6:.0f} MB) from {model.source}")
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=err(), transient=True, disable=not err().is_terminal) as bar:
        task = bar.add_task(f"Fetching {model.id}", total=model.bytes or None)

        def tell(done: int, total: int | None) -> None:
            bar.update(task, completed=done, total=total or model.bytes or None)

        return models.pull(model, tell)


@contextlib.contextmanager
def working(text: str) -> Iterator[Callable[[str], None]]:
    """Show that something is going on and for how long; yields a function that changes the text."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    if not err().is_terminal:
        note(text)
        yield note
        return
    columns = (TextColumn("{task.description}"), BarColumn(pulse_style="cyan"), TimeElapsedColumn())
    with Progress(*columns, console=err(), transient=True) as bar:
        task = bar.add_task(text, total=None)
        yield lambda changed: bar.update(task, description=changed)
