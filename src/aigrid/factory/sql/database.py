"""A SQLite file that is only read: its tables, its values, and statements run with limits of time and rows."""

import re
import sqlite3
import threading
import time
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import quote

from aigrid.core.errors import BadRequest

MAX_ROWS = 50_000
MAX_SECONDS = 2.0
_STEPS = 2_000
_KEPT, _KEPT_ROWS = 20_000, 2_000


class Refused(Exception):
    """A statement that the database does not take, or that breaks a limit; the message says which."""


@dataclass(frozen=True)
class Column:
    """A column of a table: `kind` is `number` where its values are, else `text`."""

    table: str
    name: str
    kind: str

    @property
    def full(self) -> str:
        """`table.name`, lower-case."""
        return f"{self.table}.{self.name}".lower()


@dataclass(frozen=True)
class Result:
    """All rows of a statement. `ordered` says that their order was asked for."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]
    ordered: bool = False

    @property
    def empty(self) -> bool:
        """Whether it says nothing: no row, or only NULL, or a count of 0."""
        return all(cell is None or cell == 0 for row in self.rows for cell in row)

    @cached_property
    def key(self) -> tuple[tuple[str, int], ...]:
        """The rows as a multiset that can be compared and hashed."""
        return tuple(sorted(Counter("\x1f".join(map(cell, row)) for row in self.rows).items()))


class Database:
    """A database opened for reading alone. Results are kept: a statement runs once.

    Raises `BadRequest` where the file is no SQLite database.
    """

    def __init__(self, path: Path, seconds: float = MAX_SECONDS) -> None:
        self.path, self.seconds = path, seconds
        self._lock = threading.Lock()
        try:
            self._link = sqlite3.connect(
                f"file:{quote(str(path.resolve()))}?mode=ro", uri=True, check_same_thread=False
            )
            self._link.text_factory = lambda data: data.decode(errors="replace")
            self._link.execute("PRAGMA query_only = ON")
            names = self._link.execute(
                "SELECT name FROM sqlite_master WHERE type IN ('table', 'view') AND name NOT LIKE 'sqlite_%' ORDER BY name"
            ).fetchall()
        except sqlite3.Error as error:
            raise BadRequest(f"{path} cannot be read as a SQLite database: {error}") from error
        self.tables: dict[str, list[Column]] = {name: self._columns(name) for (name,) in names}
        self._kept: dict[str, Result | Refused] = {}
        self._values: dict[str, list[Any]] = {}

    @property
    def columns(self) -> list[Column]:
        """All columns of all tables."""
        return [column for columns in self.tables.values() for column in columns]

    def foreign_keys(self) -> list[tuple[str, str]]:
        """Return the foreign keys that the schema declares, as pairs of `table.column`."""
        return [
            (f"{table}.{row[3]}".lower(), f"{row[2]}.{row[4] or row[3]}".lower())
            for table in self.tables
            for row in self._link.execute(f"PRAGMA foreign_key_list({_quoted(table)})")
        ]

    def values(self, column: Column, most: int = 50_000) -> list[Any]:
        """Return the different values of a column, without NULL."""
        if column.full not in self._values:
            name = _quoted(column.name)
            sql = f"SELECT DISTINCT {name} FROM {_quoted(column.table)} WHERE {name} IS NOT NULL LIMIT {most}"
            self._values[column.full] = [row[0] for row in self._link.execute(sql)]
        return self._values[column.full]

    def run(self, sql: str) -> Result:
        """Run one SELECT and return all its rows; raises `Refused`."""
        with self._lock:
            found = self._kept.get(sql) or self._try(sql)
            if isinstance(found, Refused) or len(found.rows) <= _KEPT_ROWS:
                self._kept[sql] = found
            if len(self._kept) > _KEPT:
                self._kept.clear()
        if isinstance(found, Refused):
            raise found
        return found

    def _try(self, sql: str) -> Result | Refused:
        try:
            return self._run(sql)
        except Refused as refused:
            return refused

    def _run(self, sql: str) -> Result:
        if not re.match(r"\s*(select|with|\()", sql, re.IGNORECASE):
            raise Refused("only SELECT is run")
        end = time.monotonic() + self.seconds
        self._link.set_progress_handler(lambda: time.monotonic() > end, _STEPS)
        try:
            cursor = self._link.execute(sql)
            rows = cursor.fetchmany(MAX_ROWS + 1)
        except (sqlite3.Error, sqlite3.Warning, ValueError) as error:
            raise Refused(f"{error}") from error
        finally:
            self._link.set_progress_handler(None, 0)
        if len(rows) > MAX_ROWS:
            raise Refused(f"more than {MAX_ROWS:,} rows")
        return Result(tuple(each[0] for each in cursor.description or ()), tuple(rows), ordered(sql))

    def _columns(self, table: str) -> list[Column]:
        found = []
        for row in self._link.execute(f"PRAGMA table_info({_quoted(table)})"):
            sample = self._link.execute(
                f"SELECT {_quoted(row[1])} FROM {_quoted(table)} WHERE {_quoted(row[1])} IS NOT NULL LIMIT 200"
            ).fetchall()
            numbers = sum(isinstance(value, int | float) or _number(value) for (value,) in sample)
            typed = bool(re.search("int|real|doub|float|num|dec", str(row[2]), re.IGNORECASE))
            found.append(Column(table, row[1], "number" if (numbers == len(sample) if sample else typed) else "text"))
        return found


def same(found: Result, right: Result) -> bool:
    """Return whether two results are the same rows as often, in the same order where the right SQL orders its rows.

    Strict: columns count, duplicates count. A LIMIT 1 has no order to compare.
    """
    if found.key != right.key:
        return False
    if not right.ordered or len(right.rows) < 2:
        return True
    return [list(map(cell, row)) for row in found.rows] == [list(map(cell, row)) for row in right.rows]


def ordered(sql: str) -> bool:
    """Whether the outermost SELECT has an ORDER BY."""
    depth, rest = 0, re.sub(r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"", "''", sql)
    for match in re.finditer(r"\(|\)|order\s+by", rest, re.IGNORECASE):
        if match[0] == "(":
            depth += 1
        elif match[0] == ")":
            depth -= 1
        elif depth == 0:
            return True
    return False


def cell(value: Any) -> str:
    """Return a value as it is compared: numbers to six digits, text as it is."""
    return f"{value:.6g}" if isinstance(value, int | float) else str(value)


def _number(value: Any) -> bool:
    try:
        float(value)
    except (TypeError, ValueError):
        return False
    return True


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
