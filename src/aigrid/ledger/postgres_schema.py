"""The tables in PostgreSQL: those of SQLite, and what several gateways need to share budgets.

`holds` has one row per open request: what is still reserved for it, and its counts when they were last reported.
`accounts`, `windows` and the rollups are sums that triggers keep over usage and holds, in the same transaction, and
that `check` derives again. Everything else is append-only.
"""

from collections.abc import Callable
from typing import cast

from psycopg import Connection

from aigrid.core.errors import ConfigError
from aigrid.ledger import shelf
from aigrid.ledger.schema import DIMENSIONS, METER, METER_SUMS, SPANS, SUMS, USAGE

MIGRATION_LOCK = 0x6169_6772_6964
"""Advisory lock of migrations ("aigrid"); one more is that of administrative acts."""

ADMIN_LOCK = MIGRATION_LOCK + 1

Step = Callable[[], str]

_TEXT = {
    "id", "parent", "owner", "tenant", "key_id", "model", "site", "tier", "outcome", "usage_source", "energy_source",
    "source", "note",
}  # fmt: skip

_SHARED = """
CREATE TABLE gateways (id text PRIMARY KEY, beat timestamptz NOT NULL);
CREATE TABLE holds (
    id text PRIMARY KEY, gateway text NOT NULL, tenant text NOT NULL, key_id text NOT NULL,
    amount_nusd bigint NOT NULL CHECK (amount_nusd >= 0), units bigint NOT NULL, open bytea NOT NULL
);
CREATE INDEX holds_by_gateway ON holds (gateway);
CREATE TABLE accounts (
    name text PRIMARY KEY, spent_nusd bigint NOT NULL DEFAULT 0, held_nusd bigint NOT NULL DEFAULT 0,
    running bigint NOT NULL DEFAULT 0, requests_level numeric NOT NULL DEFAULT 0, requests_at bigint NOT NULL DEFAULT 0,
    tokens_level numeric NOT NULL DEFAULT 0, tokens_at bigint NOT NULL DEFAULT 0
);
CREATE TABLE windows (
    account text NOT NULL, kind text NOT NULL, start_ns bigint NOT NULL, spent_nusd bigint NOT NULL,
    PRIMARY KEY (account, kind, start_ns)
);
CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only', tg_table_name USING ERRCODE = 'integrity_constraint_violation';
END $$;
"""

_BALANCED = """
CREATE FUNCTION month_start(at_ns bigint) RETURNS bigint LANGUAGE sql IMMUTABLE AS $$
    SELECT extract(epoch FROM date_trunc('month', to_timestamp(at_ns / 1000000000) AT TIME ZONE 'utc'))::bigint
        * 1000000000
$$;
CREATE FUNCTION usage_spent() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO accounts (name, spent_nusd)
    SELECT name, sum(revenue_nusd)
    FROM fresh, LATERAL (VALUES ('tenant ' || tenant), ('key ' || key_id)) AS both_ (name)
    GROUP BY name ORDER BY name
    ON CONFLICT (name) DO UPDATE SET spent_nusd = accounts.spent_nusd + excluded.spent_nusd;
    INSERT INTO windows (account, kind, start_ns, spent_nusd)
    SELECT name, kind, start_ns, sum(revenue_nusd)
    FROM fresh, LATERAL (VALUES ('tenant ' || tenant), ('key ' || key_id)) AS both_ (name),
        LATERAL (VALUES ('day', settled_ns - settled_ns % 86400000000000), ('month', month_start(settled_ns)))
            AS times (kind, start_ns)
    GROUP BY name, kind, start_ns ORDER BY name, kind, start_ns
    ON CONFLICT (account, kind, start_ns) DO UPDATE SET spent_nusd = windows.spent_nusd + excluded.spent_nusd;
    RETURN NULL;
END $$;
CREATE FUNCTION open_account() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO accounts (name) VALUES (CASE tg_table_name WHEN 'keys' THEN 'key ' || (to_jsonb(NEW) ->> 'id')
        ELSE 'tenant ' || (to_jsonb(NEW) ->> 'name') END) ON CONFLICT DO NOTHING;
    RETURN NULL;
END $$;
CREATE TRIGGER account AFTER INSERT ON keys FOR EACH ROW EXECUTE FUNCTION open_account();
CREATE TRIGGER account AFTER INSERT ON tenants FOR EACH ROW EXECUTE FUNCTION open_account();
CREATE TRIGGER spent AFTER INSERT ON usage REFERENCING NEW TABLE AS fresh
    FOR EACH STATEMENT EXECUTE FUNCTION usage_spent();
"""

_HELD = """
CREATE FUNCTION holds_{act}() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO accounts (name, held_nusd, running)
    SELECT name, sum(amount), sum(running)
    FROM ({rows}) AS changed, LATERAL (VALUES ('tenant ' || tenant), ('key ' || key_id)) AS both_ (name)
    GROUP BY name HAVING sum(amount) <> 0 OR sum(running) <> 0 ORDER BY name
    ON CONFLICT (name) DO UPDATE
        SET held_nusd = accounts.held_nusd + excluded.held_nusd, running = accounts.running + excluded.running;
    RETURN NULL;
END $$;
CREATE TRIGGER held_{act} AFTER {act} ON holds REFERENCING {tables}
    FOR EACH STATEMENT EXECUTE FUNCTION holds_{act}();
"""
_NEW = "SELECT tenant, key_id, amount_nusd AS amount, 1 AS running FROM fresh"
_OLD = "SELECT tenant, key_id, -amount_nusd AS amount, -1 AS running FROM former"


def migrate(connection: Connection[tuple[object, ...]]) -> None:
    """Bring the tables up to date; several gateways may start at once. Raises `ConfigError` for newer tables."""
    with connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(%s)", [MIGRATION_LOCK])
        connection.execute("CREATE TABLE IF NOT EXISTS schema_version (version int NOT NULL)")
        row = connection.execute("SELECT max(version) FROM schema_version").fetchone()
        version = cast("int", row[0] or 0) if row else 0
        if version > len(MIGRATIONS):
            raise ConfigError(
                f"the ledger's database has schema {version} and this aigrid knows {len(MIGRATIONS)}; "
                "it was made by a newer aigrid: install that one"
            )
        for number, step in enumerate(MIGRATIONS[version:], version + 1):
            connection.execute(step())
            connection.execute("INSERT INTO schema_version VALUES (%s)", [number])


def first() -> str:
    """Make all tables."""
    usage, meter = (
        ", ".join(
            f"{name} {'text' if name in _TEXT else 'bigint'}{'' if name == 'parent' else ' NOT NULL'}" for name in names
        )
        for names in (USAGE, METER)
    )
    seq = "seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY"
    tables = {
        "usage": f"{seq}, {usage}, UNIQUE (id)",
        "meter": f"{seq}, {meter}, UNIQUE (id)",
        "keys": f"{seq}, id text NOT NULL, digest bytea NOT NULL, tenant text NOT NULL, name text NOT NULL, "
        "scope text NOT NULL, hint text NOT NULL, limits text NOT NULL, created_ns bigint NOT NULL, revoked_ns bigint",
        "tenants": f"{seq}, name text NOT NULL, limits text NOT NULL, created_ns bigint NOT NULL",
        "prices": f"{seq}, at_ns bigint NOT NULL, list text NOT NULL",
        "audit": f"{seq}, id text NOT NULL UNIQUE, at_ns bigint NOT NULL, actor text NOT NULL, act text NOT NULL, "
        "detail text NOT NULL, address text NOT NULL",
    }
    steps = [_SHARED]
    for name, columns in tables.items():
        steps.append(f"CREATE TABLE {name} ({columns});")
        change = f"UPDATE OR DELETE OR TRUNCATE ON {name}"
        steps.append(f"CREATE TRIGGER append_only BEFORE {change} EXECUTE FUNCTION refuse_change();")
    steps += [
        "CREATE INDEX usage_by_time ON usage (settled_ns);",
        "CREATE INDEX meter_by_time ON meter (at_ns);",
        "CREATE INDEX meter_by_owner ON meter (owner, seq);",
        "CREATE INDEX keys_by_id ON keys (id, seq);",
        "CREATE INDEX tenants_by_name ON tenants (name, seq);",
        _rolled_up("usage", "settled_ns", DIMENSIONS, SUMS),
        _rolled_up("meter", "at_ns", ("source",), METER_SUMS),
        _BALANCED,
        _HELD.format(act="insert", rows=_NEW, tables="NEW TABLE AS fresh"),
        _HELD.format(act="delete", rows=_OLD, tables="OLD TABLE AS former"),
        _HELD.format(act="update", rows=f"{_NEW} UNION ALL {_OLD}", tables="NEW TABLE AS fresh OLD TABLE AS former"),
    ]
    return "\n".join(steps)


def _rolled_up(table: str, time: str, dimensions: tuple[str, ...], sums: tuple[str, ...]) -> str:
    """Keep `{table}_rollup`, once per statement and in one order, so that gateways never wait in a circle."""
    names = ", ".join(dimensions)
    added = ", ".join(f"sum({name})" for name in sums)
    counters = "".join(f"{name} bigint NOT NULL, " for name in ("requests", *sums))
    spans = ", ".join(f"({span}::bigint)" for span in SPANS)
    more = ", ".join(f"{name} = {table}_rollup.{name} + excluded.{name}" for name in ("requests", *sums))
    return f"""
CREATE TABLE {table}_rollup (
    span_ns bigint NOT NULL, start_ns bigint NOT NULL, {"".join(f"{name} text NOT NULL, " for name in dimensions)}
    {counters} PRIMARY KEY (span_ns, start_ns, {names})
);
CREATE FUNCTION {table}_roll_up() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO {table}_rollup (span_ns, start_ns, {names}, requests, {", ".join(sums)})
    SELECT span, {time} - {time} % span, {names}, count(*), {added}
    FROM fresh, (VALUES {spans}) AS spans (span)
    GROUP BY span, {time} - {time} % span, {names} ORDER BY span, {time} - {time} % span, {names}
    ON CONFLICT (span_ns, start_ns, {names}) DO UPDATE SET {more};
    RETURN NULL;
END $$;
CREATE TRIGGER rolled_up AFTER INSERT ON {table} REFERENCING NEW TABLE AS fresh
    FOR EACH STATEMENT EXECUTE FUNCTION {table}_roll_up();
"""


def second() -> str:
    """Make the tables of files and batches."""
    return ";\n".join(shelf.tables("bytea"))


MIGRATIONS: list[Step] = [first, second]
"""Step n brings the tables from version n to version n + 1. A step is never changed once released."""
