"""Where the journals of this factory's runs are: files in AIGRID_HOME/runs or, where the ledger is there, PostgreSQL."""

from collections.abc import Iterator

from aigrid.agents.journal import Place, Shelf, Step
from aigrid.agents.journal_sqlite import FileShelf
from aigrid.core.errors import NotFound

_shelf: Shelf = FileShelf()


def use(ledger_url: str) -> None:
    """Keep journals where the ledger is: `sqlite` is files, `postgresql://…` that database."""
    global _shelf
    _shelf.close()
    if ledger_url.startswith(("postgresql://", "postgres://")):
        from aigrid.agents.journal_postgres import PostgresShelf

        _shelf = PostgresShelf(ledger_url)
    else:
        _shelf = FileShelf()


def place(run: str) -> Place:
    """Return where the journal of a run is, or would be."""
    return _shelf.place(run)


def find(run: str) -> Place:
    """Return where a run's journal is by its id; raises `NotFound` where there is none."""
    plain = run.isascii() and run.replace("_", "").isalnum() and len(run) <= 64
    if not plain or not (found := place(run)).there():
        raise NotFound(f"there is no run `{run[:80]}` here; `aigrid agents runs` lists them", param="run")
    return found


def read(run: str) -> list[Step]:
    """Return the steps of a run, which may be at work; raises `NotFound`."""
    return find(run).read()


def places() -> Iterator[Place]:
    """Yield where the journals of all runs are, newest first."""
    return _shelf.places()
