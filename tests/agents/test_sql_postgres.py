"""The SQL tool on a real PostgreSQL: it reads, within limits of rows and time, and nothing that is asked of it changes anything."""

import contextlib
import time

import psycopg
import pytest

from aigrid.agents.spec import SqlTool
from aigrid.agents.tools import sql
from aigrid.agents.tools.base import Call, Site, ToolError

pytestmark = pytest.mark.xdist_group("postgres")
CALL = Call("run_1", "call_0_0", "acme")
TABLES = """
CREATE TABLE parts (name text, amount int);
INSERT INTO parts SELECT 'part ' || n, n FROM generate_series(1, 500) n;
CREATE SEQUENCE numbers;
CREATE FUNCTION sell() RETURNS int LANGUAGE sql VOLATILE AS $$ DELETE FROM parts RETURNING 1 $$;
CREATE FUNCTION loosen() RETURNS text LANGUAGE sql VOLATILE AS
    $$ SELECT set_config('transaction_read_only', 'off', false) $$;
"""
ATTACKS = {
    "delete": "DELETE FROM parts",
    "delete that returns": "DELETE FROM parts RETURNING *",
    "update": "UPDATE parts SET amount = 0 RETURNING *",
    "insert": "INSERT INTO parts VALUES ('x', 1) RETURNING *",
    "truncate": "TRUNCATE parts",
    "drop": "DROP TABLE parts",
    "create": "CREATE TABLE stolen AS SELECT * FROM parts",
    "select into": "SELECT * INTO stolen FROM parts",
    "two statements": "SELECT 1; DELETE FROM parts",
    "out of the brackets": "SELECT 1) AS a; DELETE FROM parts; SELECT * FROM (SELECT 1",
    "commented brackets": "SELECT 1) AS a; COMMIT; DELETE FROM parts; --",
    "transaction control": "COMMIT",
    "loosened by SET": "SET TRANSACTION READ WRITE",
    "loosened session": "SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE",
    "loosened by a setting": "SELECT set_config('default_transaction_read_only', 'off', false); DELETE FROM parts",
    "no time limit": "SET statement_timeout = 0",
    "CTE that deletes": "WITH gone AS (DELETE FROM parts RETURNING *) SELECT * FROM gone",
    "CTE that inserts": "WITH more AS (INSERT INTO parts VALUES ('x', 1) RETURNING *) SELECT * FROM more",
    "function that deletes": "SELECT sell()",
    "loosened and then deleted": "SELECT loosen(), sell()",
    "loosened in an order": "SELECT * FROM (SELECT loosen() OFFSET 0) a, LATERAL (SELECT sell() WHERE a.loosen <> '') b",
    "next number": "SELECT nextval('numbers')",
    "reset number": "SELECT setval('numbers', 1000)",
    "do block": "DO $$ BEGIN DELETE FROM parts; END $$",
    "copy out": "COPY parts TO '/tmp/stolen'",
    "copy to a program": "COPY parts TO PROGRAM 'cat > /tmp/stolen'",
    "copy in": "COPY parts FROM '/etc/passwd'",
    "lock": "LOCK TABLE parts",
    "lock rows": "SELECT * FROM parts FOR UPDATE",
    "notify": "NOTIFY everyone",
    "listen": "LISTEN everyone",
    "new role": "CREATE ROLE thief SUPERUSER",
    "explain analyse": "EXPLAIN ANALYZE DELETE FROM parts",
    "sleep": "SELECT pg_sleep(600)",
    "sleep without a limit": "SELECT set_config('statement_timeout', '0', true), pg_sleep(600)",
    "endless": "WITH RECURSIVE n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n",
}
SECRETS = {
    "file": "SELECT pg_read_file('/etc/passwd')",
    "file as bytes": "SELECT pg_read_binary_file('/etc/passwd')",
    "folder": "SELECT pg_ls_dir('/')",
    "file as large object": "SELECT lo_get(lo_import('/etc/passwd'))",
    "roles' passwords": "SELECT rolpassword FROM pg_authid",
    "end others": "SELECT pg_terminate_backend(pid) FROM pg_stat_activity",
}


@pytest.fixture
def database(postgres_url, monkeypatch):
    with psycopg.connect(postgres_url) as connection:
        connection.execute(TABLES)
    monkeypatch.setenv("SHOP", postgres_url)
    return postgres_url


@pytest.fixture
def reader(database, monkeypatch):
    """The same database as a role that may read its tables alone, as the docs say."""
    with psycopg.connect(database) as connection:
        connection.execute("DROP ROLE IF EXISTS reader")
        connection.execute("CREATE ROLE reader LOGIN")
        connection.execute("GRANT SELECT ON parts TO reader")
    monkeypatch.setenv("SHOP", database.replace("postgres@", "reader@"))
    yield database
    with psycopg.connect(database) as connection:
        connection.execute("DROP OWNED BY reader")
        connection.execute("DROP ROLE reader")


def tool(tmp_path, timeout_s=60.0, **more):
    built = sql.build(SqlTool(database_env="SHOP", timeout_s=timeout_s, **more), Site(tmp_path))

    async def ask(query):
        return await built.work({"query": query}, CALL)

    return ask


def state(url):
    with psycopg.connect(url) as connection:
        return connection.execute(
            "SELECT (SELECT sum(amount) FROM parts), (SELECT last_value FROM numbers), "
            "(SELECT count(*) FROM pg_class WHERE relname = 'stolen'), (SELECT count(*) FROM pg_largeobject_metadata), "
            "(SELECT count(*) FROM pg_roles WHERE rolname = 'thief')"
        ).fetchone()


async def test_a_question_is_answered_with_as_many_rows_as_are_allowed(database, tmp_path):
    ask = tool(tmp_path, max_rows=3)
    answer = await ask("SELECT name, amount, amount / 2.0 AS half, NULL AS none FROM parts ORDER BY amount;")
    assert answer["columns"] == ["name", "amount", "half", "none"]
    assert answer["rows"][0] == ["part 1", 1, "0.50000000000000000000", None]
    assert (len(answer["rows"]), answer["more"]) == (3, True)
    assert (await ask("SELECT count(*) FROM parts WHERE name LIKE '%1%' -- how many")) == {
        "columns": ["count"], "rows": [[176]], "more": False,
    }  # fmt: skip
    assert (await ask("WITH few AS (SELECT * FROM parts WHERE amount < 3) SELECT amount FROM few ORDER BY 1"))["rows"] == [
        [1], [2],
    ]  # fmt: skip


@pytest.mark.parametrize("attack", ATTACKS)
async def test_nothing_that_is_asked_changes_anything_even_as_the_superuser(database, tmp_path, attack):
    before, began = state(database), time.monotonic()
    with pytest.raises(ToolError, match="the database refused"):
        await tool(tmp_path, timeout_s=1.0)(ATTACKS[attack])
    assert time.monotonic() - began < 60
    assert state(database) == before


@pytest.mark.parametrize("attack", SECRETS)
async def test_a_role_that_may_read_its_tables_alone_reads_no_files_and_no_secrets(reader, tmp_path, attack):
    ask = tool(tmp_path)
    assert (await ask("SELECT count(*) FROM parts"))["rows"] == [[500]]
    with pytest.raises(ToolError, match=r"permission denied|must be a superuser"):
        await ask(SECRETS[attack])


async def test_what_the_database_lets_pass_is_rolled_back(database, tmp_path):
    before = state(database)
    with contextlib.suppress(ToolError):  # large objects may be written in read-only transactions before version 16
        await tool(tmp_path)("SELECT lo_from_bytea(0, 'x')")
    assert state(database) == before


async def test_a_loosened_session_is_not_the_next_question_s(database, tmp_path):
    ask = tool(tmp_path)
    await ask("SELECT set_config('default_transaction_read_only', 'off', false)")
    with pytest.raises(ToolError, match="read-only transaction"):
        await ask("SELECT sell()")
    assert state(database)[0] == 125_250


async def test_answers_have_a_largest_size(database, tmp_path):
    answer = await tool(tmp_path, max_rows=100)("SELECT repeat('x', 1000000) FROM generate_series(1, 100)")
    assert (len(answer["rows"]), answer["more"]) == (4, True)
    assert await tool(tmp_path)("SELECT name AS part FROM parts WHERE amount < 0") == {
        "columns": ["part"], "rows": [], "more": False,
    }  # fmt: skip
