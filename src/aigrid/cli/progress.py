"""Progress on a terminal, for whatever takes more than two seconds."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from aigrid.cli.output import err, note
from aigrid.core import models
from aigrid.core.models import Model

if TYPE_CHECKING:
    from rich.progress import Progress


def fetch(model: Model) -> Path:
    """Fetch a model with a progress bar where it is not here; returns its path."""
    if model.present:
        return models.pull(model)
    if not err().is_terminal:
        note(f"fetching {model.id} ({model.bytes / 1e6:.0f} MB) from {model.source}")
    with _bytes_bar() as bar:
        task = bar.add_task(f"Fetching {model.id}", total=model.bytes or None)

        def tell(done: int, total: int | None) -> None:
            bar.update(task, completed=done, total=total or model.bytes or None)

        return models.pull(model, tell)


@contextlib.contextmanager
def moving(text: str, total: int | None = None) -> Iterator[tuple[Callable[[int], None], Callable[[int], None]]]:
    """Show how many bytes are done; yields a function that adds to them and one that sets how many there are."""
    if not err().is_terminal:
        note(text)
    with _bytes_bar() as bar:
        task = bar.add_task(text, total=total)
        yield lambda done: bar.advance(task, done), lambda size: bar.update(task, total=size)


@contextlib.contextmanager
def counting(text: str) -> Iterator[Callable[[int, int | None, str], None]]:
    """Show how many of how many are done; yields a function that is told so, and what is going on."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    if not err().is_terminal:
        note(text)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=err(), transient=True, disable=not err().is_terminal) as bar:
        task = bar.add_task(text, total=None)
        yield lambda done, total, what: bar.update(task, completed=done, total=total, description=what)


def _bytes_bar() -> "Progress":
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    return Progress(*columns, console=err(), transient=True, disable=not err().is_terminal)


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
