"""A PostgreSQL database: read-only transactions, one SELECT at a time, both limits kept by the server.

What a statement may read is what the URL's user may read: give it a user with rights on the tables asked about, and no
others (`GRANT SELECT`); never a superuser, who may read the server's files too.
"""

import decimal
from dataclasses import dataclass, field
from typing import Any

import psycopg

from askdb.database import MAX_ROWS, MAX_SECONDS, SAMPLES, Column, Refused, Result, Table, quoted

_NUMBERS = ("smallint", "integer", "bigint", "numeric", "real", "double precision")
_COLUMNS = """
    SELECT table_name, column_name, data_type FROM information_schema.columns
    WHERE table_schema = current_schema() ORDER BY table_name, ordinal_position
"""


@dataclass
class PostgresDatabase:
    """A database by its URL (libpq's); its tables are those of the user's first schema, usually `public`."""

    url: str = field(repr=False)
    max_rows: int = MAX_ROWS
    max_seconds: float = MAX_SECONDS
    tables: list[Table] = field(init=False)
    mark = "${}"

    def __post_init__(self) -> None:
        kinds: dict[str, list[tuple[str, str]]] = {}
        for table, column, kind in self._rows(_COLUMNS):
            kinds.setdefault(table, []).append((column, "number" if kind in _NUMBERS else "text"))
        self.tables = [
            Table(table, tuple(Column(name, kind, self._samples(table, name)) for name, kind in columns))
            for table, columns in kinds.items()
        ]
        if not self.tables:
            raise Refused("this user sees no tables there: name another database, or GRANT SELECT on its tables")

    def ask(self, sql: str, values: tuple[Any, ...] = ()) -> Result:
        """Run one SELECT and return its first rows; raises `Refused`."""
        # In brackets it can only be a question; prepared, only one statement.
        inside = f"SELECT * FROM (\n{sql.strip().rstrip(';')}\n) AS answer LIMIT {self.max_rows + 1}"
        with self._open() as connection:
            try:
                cursor = connection.execute(inside.encode(), values, prepare=True)
                names, rows = [each.name for each in cursor.description or ()], cursor.fetchall()
            except psycopg.errors.QueryCanceled:
                raise Refused(f"the question took more than {self.max_seconds:g} s: narrow it down") from None
            except psycopg.Error as error:
                raise Refused(
                    f"write one SELECT over the tables of the schema; PostgreSQL says: {_said(error)}"
                ) from None
        return Result(names, [tuple(map(_plain, row)) for row in rows[: self.max_rows]], len(rows) > self.max_rows)

    def distinct(self, table: str, column: str, limit: int) -> list[str]:
        """Return the different values of a text column, `limit` at most."""
        return [str(value) for (value,) in self._different(table, column, limit)]

    def _samples(self, table: str, column: str) -> tuple[Any, ...]:
        return tuple(_plain(value) for (value,) in self._different(table, column, SAMPLES))

    def _different(self, table: str, column: str, limit: int) -> list[tuple[Any, ...]]:
        name = quoted(column)
        return self._rows(
            f"SELECT DISTINCT {name} FROM {quoted(table)} WHERE {name} IS NOT NULL ORDER BY 1 LIMIT {int(limit)}"
        )

    def _rows(self, sql: str) -> list[tuple[Any, ...]]:
        with self._open() as connection:
            try:
                return connection.execute(sql.encode()).fetchall()
            except psycopg.Error as error:
                raise Refused(f"the schema cannot be read: {_said(error)}") from None

    def _open(self) -> psycopg.Connection[tuple[Any, ...]]:
        limit = int(self.max_seconds * 1000)
        options = f"-c default_transaction_read_only=on -c statement_timeout={limit}"
        try:
            connection = psycopg.connect(
                self.url, options=options, connect_timeout=10, cursor_factory=psycopg.RawCursor
            )
        except psycopg.Error as error:
            raise Refused(f"the database cannot be opened: {_said(error)}") from None
        connection.read_only = True
        return connection


def _plain(value: Any) -> Any:
    if isinstance(value, decimal.Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    return value if value is None or isinstance(value, str | int | float) else str(value)


def _said(error: psycopg.Error) -> str:
    return " ".join(str(error).split())
