"""ask-your-database: only reading gets through, plans become the SQL they mean, results are shown."""

import http.server
import json
import os
import sqlite3
import subprocess
import sys
import threading
import xml.etree.ElementTree as ET
from functools import partial
from pathlib import Path

import psycopg
import pytest
from askdb.ask import ask, form_of
from askdb.database import Refused, Result, open_database, schema
from askdb.evaluate import evaluate, same, without_a_model
from askdb.example import make
from askdb.narrow import narrowed
from askdb.plan import sql_of
from askdb.show import bars, svg, table
from askdb.sqlite import SqliteDatabase as Database
from askdb.tools import database_schema, run_query

from aigrid.client.model import Model
from aigrid.engines.openvino_schema import bounded
from tests.blueprints.conftest import BLUEPRINTS

HERE = BLUEPRINTS / "ask-your-database"
RESULT = Result(["city", "sum"], [("Tokyo", 12345), ("Osaka & Kobe", 7.5)])


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("shop") / "shop.sqlite"
    make(path)
    return path


@pytest.mark.parametrize(
    "sql",
    [
        "DELETE FROM orders",
        "DROP TABLE orders",
        "UPDATE orders SET total = 0",
        "INSERT INTO orders (id) VALUES (1)",
        "CREATE TABLE mine (a)",
        "PRAGMA writable_schema = 1",
        "ATTACH DATABASE '/tmp/other.sqlite' AS other",
        "SELECT 1; DELETE FROM orders",
        "SELECT sql FROM sqlite_master",
        "SELECT load_extension('/tmp/x')",
        "WITH x AS (SELECT 1) DELETE FROM orders",
        "VACUUM INTO '/tmp/copy.sqlite'",
        "",
    ],
)
def test_only_reading_gets_through(shop: Path, sql: str) -> None:
    before = shop.read_bytes()
    with pytest.raises(Refused):
        Database(shop).ask(sql)
    assert shop.read_bytes() == before


def test_a_question_that_never_ends_is_stopped_and_rows_are_limited(shop: Path) -> None:
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT COUNT(*) FROM n"
    with pytest.raises(Refused, match=r"more than 0\.2 s"):
        Database(shop, max_seconds=0.2).ask(endless)
    few = Database(shop, max_rows=3).ask("SELECT id FROM orders")
    assert (len(few.rows), few.cut) == (3, True)


PLAN = {
    "table": "orders",
    "show": [{"column": "total", "function": "sum"}],
    "where": [
        {"column": "city", "comparison": "is", "value": "tokyo"},
        {"column": "month", "comparison": "less than", "value": 7},
    ],
    "for_each": "product",
    "order": {"by": "result", "direction": "down"},
    "limit": 3,
}


def test_a_plan_becomes_the_sql_it_means(shop: Path) -> None:
    database = Database(shop)
    sql, values = sql_of(PLAN, database.tables)
    assert sql == (
        'SELECT "product", SUM("total") FROM "orders" WHERE LOWER("city") = LOWER(?) AND "month" < ? '
        'GROUP BY "product" ORDER BY SUM("total") DESC LIMIT 3'
    )
    direct = sqlite3.connect(shop).execute(
        "SELECT product, SUM(total) FROM orders WHERE city = 'Tokyo' AND month < 7 GROUP BY 1 ORDER BY 2 DESC LIMIT 3"
    )
    assert database.ask(sql, values).rows == direct.fetchall() != []


@pytest.mark.parametrize(
    "change",
    [
        {"table": "orders; DROP TABLE orders"},
        {"for_each": 'product" FROM sqlite_master --'},
        {"show": [{"column": "1; DELETE", "function": "none"}]},
        {"where": [{"column": "city", "comparison": "= 1 OR", "value": 1}]},
        {"order": {"by": "total) --", "direction": "up"}},
        {"limit": "many"},
        {"show": None},
    ],
)
def test_a_plan_can_name_nothing_outside_the_schema(shop: Path, change: dict[str, object]) -> None:
    with pytest.raises(Refused):
        sql_of({**PLAN, **change}, Database(shop).tables)


def test_a_value_is_never_sql(shop: Path) -> None:
    evil = {**PLAN, "where": [{"column": "city", "comparison": "is", "value": "x' OR 1=1 --"}]}
    assert Database(shop).ask(*sql_of(evil, Database(shop).tables)).rows == []


@pytest.mark.parametrize(
    ("question", "table", "part", "wanted"),
    [
        ("How many customers are in Tokyo?", "customers", "show", ["count"]),
        ("What is the average price of products in the kitchen category?", "products", "show", ["average"]),
        ("What is the total of all orders for each city?", "orders", "for_each", ["city"]),
    ],
)
def test_the_words_of_a_question_narrow_the_form(
    shop: Path, question: str, table: str, part: str, wanted: list[str]
) -> None:
    parts = narrowed(question, Database(shop))["properties"]
    assert parts["table"] == {"const": table}
    shown = parts["show"]["items"]["anyOf"][0]["properties"]["function"]["enum"]
    assert (shown if part == "show" else parts[part]["enum"]) == wanted


def test_the_engine_can_enforce_the_form(shop: Path) -> None:
    assert bounded(form_of("?", Database(shop)), 512) is not None


def test_tables_and_charts_show_the_rows() -> None:
    assert table(RESULT).splitlines() == [
        "city             sum",
        "------------  ------",
        "Tokyo         12,345",
        "Osaka & Kobe     7.5",
    ]
    assert bars(RESULT, 10).splitlines()[0] == "Tokyo         ██████████ 12,345"
    drawn = ET.fromstring(svg(RESULT, "Totals <by city>"))
    assert [float(bar.get("width") or 0) for bar in drawn.iter() if bar.tag.endswith("rect")] == [360.0, 0.2]
    assert svg(Result(["n"], [(1,)]), "one number") == bars(Result(["n"], [(1,)])) == ""


def test_answers_are_right_by_their_rows() -> None:
    right = Result(["city", "n"], [("a", 1), ("b", 2)])
    assert same(Result(["n", "city"], [(2.0, "b"), (1, "a")]), right)
    assert same(Result(["id", "city", "n"], [(9, "a", 1), (8, "b", 2)]), right)
    assert not same(Result(["city", "n"], [("a", 1)]), right)
    assert not same(Result(["city", "n"], [("a", 2), ("b", 2)]), right)


@pytest.fixture
def model(shop: Path):
    """A server that answers every question with PLAN."""
    seen: list[dict[str, object]] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            seen.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            call = {"function": {"name": "query", "arguments": json.dumps({"plan": PLAN})}}
            body = json.dumps({"choices": [{"message": {"tool_calls": [call]}}]}).encode()
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield Model(f"http://127.0.0.1:{server.server_port}/v1", "k", "m"), seen
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_question_goes_with_the_schema_and_comes_back_as_rows(shop: Path, model) -> None:
    server, seen = model
    answer = ask("Which sell best in Tokyo in the first half?", Database(shop), server)
    assert len(answer.result.rows) == 3
    assert "city (text): " in seen[0]["messages"][0]["content"]
    assert seen[0]["tool_choice"] == "required"
    gold = "SELECT product, SUM(total) FROM orders WHERE city='Tokyo' AND month<7 GROUP BY 1 ORDER BY 2 DESC LIMIT 3"
    judged = evaluate(
        [["a?", gold], ["b?", "SELECT 1"]], Database(shop), partial(ask, database=Database(shop), model=server)
    )
    assert [one.right for one in judged] == [True, False]


def test_every_question_of_the_example_has_an_answer(shop: Path) -> None:
    pairs = json.loads((HERE / "data" / "questions.json").read_text())
    assert all(Database(shop).ask(sql).rows for _, sql in pairs)


def test_the_agents_tools_say_what_is_wrong_instead_of_failing(shop: Path) -> None:
    assert "table products" in schema(Database(shop).tables) == database_schema(str(shop))
    assert run_query("DELETE FROM orders", database=str(shop))["error"].startswith("only reading is allowed")
    assert run_query("SELECT city, COUNT(*) FROM orders GROUP BY city", database=str(shop))["svg"].startswith("<svg")


def test_the_one_command_runs_without_a_model_for_sql(shop: Path, model, tmp_path: Path) -> None:
    def run(*args: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(HERE / "run.py"), "--database", str(shop), *args]
        return subprocess.run(command, capture_output=True, text=True, env={**os.environ})

    chart = tmp_path / "chart.svg"
    done = run("--sql", "SELECT city, SUM(total) FROM orders GROUP BY city", "--svg", str(chart))
    assert (done.returncode, done.stderr) == (0, "")
    assert "Tokyo" in done.stdout
    assert ET.parse(chart).getroot().tag.endswith("svg")
    assert run("--sql", "DROP TABLE orders").returncode == 1
    asked = run("What sells best in Tokyo?", "--url", model[0].url, "--model", "m")
    assert 'ORDER BY SUM("total") DESC' in asked.stdout


def test_the_form_alone_answers_what_its_words_decide(shop: Path) -> None:
    answer = without_a_model("How many customers are in Tokyo?", Database(shop))
    assert answer.result.rows == Database(shop).ask("SELECT COUNT(*) FROM customers WHERE city = 'Tokyo'").rows


@pytest.fixture
def shop_in_postgres(shop: Path, postgres_url: str) -> str:
    """The same shop in PostgreSQL, and the URL of a user who may read it."""
    source = sqlite3.connect(shop)
    with psycopg.connect(postgres_url) as connection:
        for name, sql in source.execute("SELECT name, sql FROM sqlite_master WHERE type = 'table'").fetchall():
            connection.execute(sql.replace("total REAL", "total NUMERIC").encode())
            rows = source.execute(f"SELECT * FROM {name}").fetchall()
            marks = ", ".join(["%s"] * len(rows[0]))
            connection.cursor().executemany(f"INSERT INTO {name} VALUES ({marks})".encode(), rows)
        if not connection.execute("SELECT 1 FROM pg_roles WHERE rolname = 'reader'").fetchall():
            connection.execute("CREATE ROLE reader LOGIN")
        connection.execute("GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader")
    return postgres_url.replace("postgres@", "reader@")


def test_postgresql_gives_the_same_answers_as_sqlite(shop: Path, shop_in_postgres: str, model) -> None:
    there, here = open_database(shop_in_postgres), open_database(shop)
    kinds = {(table.name, column.name): column.kind for table in here.tables for column in table.columns}
    assert {(table.name, column.name): column.kind for table in there.tables for column in table.columns} == kinds
    for question, sql in json.loads((HERE / "data" / "questions.json").read_text()):
        assert same(there.ask(sql), here.ask(sql)), question
        assert same(without_a_model(question, there).result, without_a_model(question, here).result), question
    assert same(ask("?", there, model[0]).result, ask("?", here, model[0]).result)
    chart = svg(there.ask("SELECT city, SUM(total) FROM orders GROUP BY city"), "Totals")
    assert chart.count("<rect") == 5


@pytest.mark.parametrize(
    "sql",
    [
        "DELETE FROM orders",
        "UPDATE orders SET total = 0 RETURNING *",
        "CREATE TABLE mine (a int)",
        "SELECT 1; DELETE FROM orders",
        "SELECT 1) AS a; DELETE FROM orders; SELECT * FROM (SELECT 1",
        "WITH x AS (DELETE FROM orders RETURNING *) SELECT * FROM x",
        "SELECT setval('s', 1)",
        "SELECT pg_read_file('/etc/passwd')",
        "COPY orders TO PROGRAM 'cat'",
        "",
    ],
)
def test_postgresql_is_only_read(shop_in_postgres: str, sql: str) -> None:
    database = open_database(shop_in_postgres)
    with pytest.raises(Refused):
        database.ask(sql)
    assert database.ask("SELECT COUNT(*) FROM orders").rows == [(600,)]


def test_postgresql_keeps_both_limits(shop_in_postgres: str) -> None:
    from askdb.postgres import PostgresDatabase

    with pytest.raises(Refused, match=r"more than 0\.2 s"):
        PostgresDatabase(shop_in_postgres, max_seconds=0.2).ask("SELECT pg_sleep(5)")
    few = PostgresDatabase(shop_in_postgres, max_rows=3).ask("SELECT id FROM orders")
    assert (len(few.rows), few.cut) == (3, True)
    with pytest.raises(Refused, match="cannot be opened"):
        open_database(shop_in_postgres.replace("reader@", "nobody-there@"))


def test_the_one_command_takes_a_postgresql_url(shop_in_postgres: str) -> None:
    command = [sys.executable, str(HERE / "run.py"), "--database", shop_in_postgres]
    done = subprocess.run([*command, "--sql", "SELECT MAX(total) FROM orders"], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    refused = subprocess.run([*command, "--sql", "DROP TABLE orders"], capture_output=True, text=True)
    assert (refused.returncode, refused.stdout) == (1, "")
