"""The SQLite schema, as a list of migrations, and the columns that reports add up.

Every table is append-only, enforced by triggers, except the rollups: sums by minute, hour and day that a trigger keeps
in the same transaction as the rows, and that `check` derives again.
"""

import sqlite3
from collections.abc import Callable, Sequence

from aigrid.core.errors import ConfigError
from aigrid.ledger.attribution import MeterRow
from aigrid.ledger.base import Record

MINUTE_NS = 60_000_000_000
HOUR_NS = 3_600_000_000_000
DAY_NS = 24 * HOUR_NS
SPANS = (DAY_NS, HOUR_NS, MINUTE_NS)
"""The lengths of time over which rollups are kept, longest first, in nanoseconds."""

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


def rolled_up(
    connection: sqlite3.Connection, table: str, time: str, dimensions: tuple[str, ...], sums: tuple[str, ...]
) -> None:
    """Keep `{table}_rollup`: the number of rows and the sums by span, start and dimensions."""
    names = ", ".join(dimensions)
    connection.execute(
        f"CREATE TABLE {table}_rollup (span_ns INTEGER NOT NULL, start_ns INTEGER NOT NULL, "
        + "".join(f"{name} TEXT NOT NULL, " for name in dimensions)
        + "requests INTEGER NOT NULL, "
        + "".join(f"{name} INTEGER NOT NULL, " for name in sums)
        + f"PRIMARY KEY (span_ns, start_ns, {names})) WITHOUT ROWID"
    )
    spans = " UNION ALL ".join(f"SELECT {span} AS span" for span in SPANS)
    connection.execute(
        f"CREATE TRIGGER {table}_rolled_up AFTER INSERT ON {table} BEGIN "
        f"INSERT INTO {table}_rollup SELECT span, NEW.{time} - NEW.{time} % span, "
        + ", ".join(f"NEW.{name}" for name in dimensions)
        + ", 1, "
        + ", ".join(f"NEW.{name}" for name in sums)
        + f" FROM ({spans}) WHERE true ON CONFLICT (span_ns, start_ns, {names}) DO UPDATE SET requests = requests + 1, "
        + ", ".join(f"{name} = {name} + excluded.{name}" for name in sums)
        + "; END"
    )


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
    rolled_up(connection, "usage", "settled_ns", DIMENSIONS, SUMS)
    rolled_up(connection, "meter", "at_ns", ("source",), METER_SUMS)
