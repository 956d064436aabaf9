"""Long work on the library from a terminal: with a progress bar, and stopped by Ctrl-C without loss."""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import TYPE_CHECKING

from aigrid.cli.output import err, note
from aigrid.knowledge.base import Progress

if TYPE_CHECKING:
    from aigrid.knowledge.ingest import Report


@contextlib.contextmanager
def stopping() -> Iterator[threading.Event]:
    """Yield an event that Ctrl-C and SIGTERM set; the second Ctrl-C ends at once, as ever."""
    stop = threading.Event()

    def told(signum: int, frame: FrameType | None) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()
        note("stopping; what is written stays")

    before = {sig: signal.signal(sig, told) for sig in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for sig, handler in before.items():
            signal.signal(sig, handler)


def ingest(work: "Callable[[Progress, threading.Event], Report]") -> "Report":
    """Do an ingestion with a progress bar on a terminal."""
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("{task.description}"))
    with (
        stopping() as stop,
        Bar(*columns, console=err(), transient=True, disable=not err().is_terminal) as bar,
    ):
        task = bar.add_task("looking", total=None)

        def tell(done: int, total: int, what: str) -> None:
            bar.update(task, completed=done, total=total, description=what.rpartition("/")[2][-40:])

        return work(tell, stop)


def audit(act: str, detail: str) -> None:
    """Write an administrative act into the ledger's log."""
    from aigrid.cli import books
    from aigrid.ledger.base import Ledger

    async def write(ledger: Ledger) -> None:
        await ledger.audit(books.ACTOR, act, detail[:1000])

    books.with_books(write)
