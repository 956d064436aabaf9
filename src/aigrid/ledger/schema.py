"""The SQLite schema, as a list of migrations, and the columns that reports add up.

Every table is append-only, enforced by triggers, except the rollups: sums by minute, hour and day that `insert` keeps
in the same transaction as the rows, and that `check` derives again; and files and batches, which are work to be done,
not a record of it.
"""

import sqlite3
from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any

from aigrid.core.errors import ConfigError
from aigrid.ledger import shelf
from aigrid.ledger.attribution import MeterRow
from aigrid.ledger.base import Record, Run

MINUTE_NS = 60_000_000_000
HOUR_NS = 3_600_000_000_000
DAY_NS = 24 * HOUR_NS
SPANS = (DAY_NS, HOUR_NS, MINUTE_NS)
"""The lengths of time over which rollups are kept, longest first, in nanoseconds."""

_ROWS_PER_STATEMENT = 256

USAGE = Record.__struct_fields__
METER = MeterRow.__struct_fields__
DIMENSIONS = ("tenant", "key_id", "model", "site", "tier")
SUMS = (
    "prompt_tokens", "cached_tokens", "completion_tokens", "reasoning_tokens", "revenue_nusd", "upstream_nusd",
    "energy_nusd", "hardware_nusd", "energy_mj",
)  # fmt: skip
METER_SUMS = (
    "interval_ns", "total_mj", "idle_mj", "total_energy_nusd", "idle_energy_nusd", "total_hardware_nusd",
    "idle_hardware_nusd",
)  # fmt: skip


def insert_sql(table: str, columns: Sequence[str], rows: int = 1) -> str:
    """Return the statement that inserts so many rows, those that are there already excepted."""
    places = f"({', '.join('?' * len(columns))})"
    return f"INSERT INTO {table} ({', '.join(columns)}) VALUES {', '.join([places] * rows)} ON CONFLICT DO NOTHING"


MIGRATIONS: list[Callable[[sqlite3.Connection], None]] = []


def migration(step: Callable[[sqlite3.Connection], None]) -> Callable[[sqlite3.Connection], None]:
    """Add a step; its place in the list is the schema version that it leads to."""
    MIGRATIONS.append(step)
    return step


def migrate(connection: sqlite3.Connection) -> None:
    """Bring a database to the newest schema; raises `ConfigError` if a newer aigrid made it."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        version = int(connection.execute("PRAGMA user_version").fetchone()[0])
        if version > len(MIGRATIONS):
            raise ConfigError(
                f"the ledger's database has schema {version} and this aigrid knows {len(MIGRATIONS)}; "
                "it was made by a newer aigrid: install that one"
            )
        for step in MIGRATIONS[version:]:
            step(connection)
        connection.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def append_only(connection: sqlite3.Connection, table: str) -> None:
    """Make a table refuse UPDATE and DELETE."""
    for act in ("UPDATE", "DELETE"):
        connection.execute(
            f"CREATE TRIGGER {table}_no_{act.lower()} BEFORE {act} ON {table} "
            f"BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
        )


def rolled_up(connection: sqlite3.Connection, table: str, dimensions: tuple[str, ...], sums: tuple[str, ...]) -> None:
    """Make `{table}_rollup`: the number of rows and the sums by span, start and dimensions."""
    names = ", ".join(dimensions)
    connection.execute(
        f"CREATE TABLE {table}_rollup (span_ns INTEGER NOT NULL, start_ns INTEGER NOT NULL, "
        + "".join(f"{name} TEXT NOT NULL, " for name in dimensions)
        + "requests INTEGER NOT NULL, "
        + "".join(f"{name} INTEGER NOT NULL, " for name in sums)
        + f"PRIMARY KEY (span_ns, start_ns, {names})) WITHOUT ROWID"
    )


def roll_up_sql(table: str, time: str, dimensions: tuple[str, ...], sums: tuple[str, ...]) -> str:
    """Return the statement that adds rows with a `seq` above its parameter to the rollups.

    One statement per group commit, in the transaction that inserts the rows: a trigger would run for every row.
    """
    names = ", ".join(dimensions)
    added = ", ".join(f"SUM({name}) AS {name}" for name in ("requests", *sums))
    spans = " UNION ALL ".join(f"SELECT {span} AS span_ns" for span in SPANS)
    shortest = SPANS[-1]
    return (
        f"WITH fresh AS MATERIALIZED (SELECT {time} - {time} % {shortest} AS at, {names}, COUNT(*) AS requests, "
        + ", ".join(f"SUM({name}) AS {name}" for name in sums)
        + f" FROM {table} WHERE seq > ? GROUP BY at, {names}) "
        f"INSERT INTO {table}_rollup SELECT span_ns, at - at % span_ns AS start_ns, {names}, {added} "
        f"FROM fresh, ({spans}) WHERE true GROUP BY span_ns, start_ns, {names} "
        f"ON CONFLICT (span_ns, start_ns, {names}) DO UPDATE SET "
        + ", ".join(f"{name} = {name} + excluded.{name}" for name in ("requests", *sums))
    )


ROLL_UP = {
    "usage": roll_up_sql("usage", "settled_ns", DIMENSIONS, SUMS),
    "meter": roll_up_sql("meter", "at_ns", ("source",), METER_SUMS),
}


def insert(run: Run, table: str, columns: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> None:
    """Insert rows, those that are there already excepted, and roll up the new ones; inside a transaction.

    Many rows go into one statement: Python's global lock is taken once per statement, not once per row.
    """
    [(last,)] = run(f"SELECT COALESCE(MAX(seq), 0) FROM {table}", ())
    done = 0
    size = _ROWS_PER_STATEMENT
    while done < len(rows):
        while size > len(rows) - done:
            size >>= 1
        run(insert_sql(table, columns, size), list(chain.from_iterable(rows[done : done + size])))
        done += size
    run(ROLL_UP[table], (last,))


@migration
def first(connection: sqlite3.Connection) -> None:
    """Make the tables of records, meter, keys, tenants, prices and audit."""
    optional = {"parent"}
    words = {"id", "tenant", "key_id", "model", "site", "tier", "outcome", "usage_source", "energy_source", "note"}
    columns = ", ".join(
        f"{name} TEXT" if name in optional else f"{name} {'TEXT' if name in words else 'INTEGER'} NOT NULL"
        for name in USAGE
    )
    connection.execute(f"CREATE TABLE usage (seq INTEGER PRIMARY KEY, {columns}, UNIQUE (id, created_ns))")
    connection.execute("CREATE INDEX usage_by_time ON usage (settled_ns)")
    words = {"id", "owner", "source", "note"}
    columns = ", ".join(f"{name} {'TEXT' if name in words else 'INTEGER'} NOT NULL" for name in METER)
    connection.execute(f"CREATE TABLE meter (seq INTEGER PRIMARY KEY, {columns}, UNIQUE (id))")
    connection.execute("CREATE INDEX meter_by_time ON meter (at_ns)")
    connection.execute(
        "CREATE TABLE keys (seq INTEGER PRIMARY KEY, id TEXT NOT NULL, digest BLOB NOT NULL, tenant TEXT NOT NULL, "
        "name TEXT NOT NULL, scope TEXT NOT NULL, hint TEXT NOT NULL, limits TEXT NOT NULL, "
        "created_ns INTEGER NOT NULL, revoked_ns INTEGER)"
    )
    connection.execute("CREATE INDEX keys_by_id ON keys (id)")
    connection.execute(
        "CREATE TABLE tenants (seq INTEGER PRIMARY KEY, name TEXT NOT NULL, limits TEXT NOT NULL, "
        "created_ns INTEGER NOT NULL)"
    )
    connection.execute("CREATE INDEX tenants_by_name ON tenants (name)")
    connection.execute("CREATE TABLE prices (seq INTEGER PRIMARY KEY, at_ns INTEGER NOT NULL, list TEXT NOT NULL)")
    connection.execute(
        "CREATE TABLE audit (seq INTEGER PRIMARY KEY, id TEXT NOT NULL, at_ns INTEGER NOT NULL, actor TEXT NOT NULL, "
        "act TEXT NOT NULL, detail TEXT NOT NULL, address TEXT NOT NULL)"
    )
    for table in ("usage", "meter", "keys", "tenants", "prices", "audit"):
        append_only(connection, table)
    rolled_up(connection, "usage", DIMENSIONS, SUMS)
    rolled_up(connection, "meter", ("source",), METER_SUMS)


@migration
def second(connection: sqlite3.Connection) -> None:
    """Make the tables of files and batches."""
    for statement in shelf.tables("BLOB"):
        connection.execute(statement)
