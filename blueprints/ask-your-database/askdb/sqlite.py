"""A SQLite file: the file's mode, an authorizer and both limits say that it is only read."""

import sqlite3
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from askdb.database import MAX_ROWS, MAX_SECONDS, SAMPLES, Column, Refused, Result, Table, quoted

_STEPS = 1000
_ALLOWED = {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE}
_FORBIDDEN_FUNCTIONS = {"load_extension", "readfile", "writefile", "edit", "fts3_tokenizer"}


@dataclass
class SqliteDatabase:
    """A database file, opened for reading alone: the file's mode, an authorizer and both limits say so."""

    path: Path
    max_rows: int = MAX_ROWS
    max_seconds: float = MAX_SECONDS
    tables: list[Table] = field(init=False)
    mark = "?"

    def __post_init__(self) -> None:
        if not self.path.is_file():
            raise Refused(f"{self.path} does not exist: name a SQLite file")
        try:
            with self._open() as connection:
                self.tables = _tables(connection)
        except sqlite3.DatabaseError as error:
            raise Refused(f"{self.path} is no SQLite database: {error}") from error

    def ask(self, sql: str, values: tuple[Any, ...] = ()) -> Result:
        """Run one SELECT and return its first rows; raises `Refused`."""
        until = time.monotonic() + self.max_seconds
        with self._open() as connection:
            connection.set_authorizer(_authorize)
            connection.set_progress_handler(lambda: time.monotonic() > until, _STEPS)
            try:
                cursor = connection.execute(sql, values)
                if cursor.description is None:
                    raise Refused("that statement gives no rows: write one SELECT")
                rows = cursor.fetchmany(self.max_rows + 1)
            except sqlite3.Warning as error:
                raise Refused(f"one statement at a time: {error}") from error
            except sqlite3.Error as error:
                raise Refused(self._why(error)) from error
        return Result([each[0] for each in cursor.description], rows[: self.max_rows], len(rows) > self.max_rows)

    def distinct(self, table: str, column: str, limit: int) -> list[str]:
        """Return the different values of a text column, `limit` at most."""
        name = quoted(column)
        with self._open() as connection:
            rows = connection.execute(f"SELECT DISTINCT {name} FROM {quoted(table)} LIMIT ?", (limit,)).fetchall()
        return [str(value) for (value,) in rows if value is not None]

    def _why(self, error: sqlite3.Error) -> str:
        text = str(error)
        if "not authorized" in text or "prohibited" in text:
            return f"only reading is allowed here ({text}): write one SELECT over the tables of the schema"
        if "interrupted" in text:
            return f"the question took more than {self.max_seconds:g} s: narrow it down"
        return f"SQLite says: {text}"

    def _open(self) -> "_Connection":
        return _Connection(self.path)


class _Connection:
    """Opens for reading, closes at the end of the block."""

    def __init__(self, path: Path) -> None:
        self._uri = f"{path.resolve().as_uri()}?mode=ro"

    def __enter__(self) -> sqlite3.Connection:
        self._connection = sqlite3.connect(self._uri, uri=True)
        return self._connection

    def __exit__(self, *_: object) -> None:
        self._connection.close()


def _authorize(action: int, first: str | None, second: str | None, *_: str | None) -> int:
    if action == sqlite3.SQLITE_FUNCTION and (second or "").lower() in _FORBIDDEN_FUNCTIONS:
        return sqlite3.SQLITE_DENY
    if action == sqlite3.SQLITE_READ and (first or "").lower().startswith("sqlite_"):
        return sqlite3.SQLITE_DENY
    return sqlite3.SQLITE_OK if action in _ALLOWED else sqlite3.SQLITE_DENY


def _tables(connection: sqlite3.Connection) -> list[Table]:
    names = connection.execute(
        "SELECT name FROM sqlite_master WHERE type IN ('table', 'view') AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'"
    ).fetchall()
    return [Table(name, tuple(_columns(connection, name))) for (name,) in names]


def _columns(connection: sqlite3.Connection, table: str) -> list[Column]:
    found = []
    for _, name, declared, *_ in connection.execute(f"PRAGMA table_info({quoted(table)})").fetchall():
        column = quoted(name)
        samples = connection.execute(
            f"SELECT DISTINCT {column} FROM {quoted(table)} WHERE {column} IS NOT NULL LIMIT {SAMPLES}"
        ).fetchall()
        number = any(word in declared.upper() for word in ("INT", "REAL", "FLOA", "DOUB", "NUM", "DEC"))
        numbers = bool(samples) and all(isinstance(value, int | float) for (value,) in samples)
        found.append(Column(name, "number" if number or numbers else "text", tuple(value for (value,) in samples)))
    return found
