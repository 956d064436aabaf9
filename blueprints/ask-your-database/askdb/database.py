"""A database that can be read and nothing else: its schema as text, and questions with limits of rows and time."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

MAX_ROWS = 200
MAX_SECONDS = 5.0
SAMPLES = 4


class Refused(Exception):
    """A statement that does not read, or breaks a limit; the message says which and what to do."""


@dataclass(frozen=True)
class Column:
    """A column: its name, its kind (`number` or `text`), and a few of its values."""

    name: str
    kind: str
    samples: tuple[Any, ...] = ()


@dataclass(frozen=True)
class Table:
    """A table and its columns, in order."""

    name: str
    columns: tuple[Column, ...]


@dataclass(frozen=True)
class Result:
    """What a question gave. `cut` says that there are more rows than the limit."""

    columns: list[str]
    rows: list[tuple[Any, ...]]
    cut: bool = False


class Database(Protocol):
    """A database, opened for reading alone."""

    tables: list[Table]
    mark: str
    """How the value number {} of a statement is written in it."""

    def ask(self, sql: str, values: tuple[Any, ...] = ()) -> Result:
        """Run one SELECT and return its first rows; raises `Refused`."""
        ...

    def distinct(self, table: str, column: str, limit: int) -> list[str]:
        """Return the different values of a text column, `limit` at most."""
        ...


def open_database(where: str | Path) -> Database:
    """Open a SQLite file, or what a URL that begins with postgresql:// names; raises `Refused`."""
    if str(where).startswith(("postgresql://", "postgres://")):
        from askdb.postgres import PostgresDatabase

        return PostgresDatabase(str(where))
    from askdb.sqlite import SqliteDatabase

    return SqliteDatabase(Path(where))


def schema(tables: Sequence[Table]) -> str:
    """Return the schema as a model should know it: tables, columns, kinds, and values as they are written."""
    lines = []
    for table in tables:
        lines.append(f"table {table.name}")
        for column in table.columns:
            shown = ", ".join(repr(value) for value in column.samples)
            lines.append(f"  {column.name} ({column.kind}): {shown}")
    return "\n".join(lines)


def quoted(name: str) -> str:
    """Return an identifier as SQL writes it."""
    return '"' + name.replace('"', '""') + '"'
