"""ask-your-database: only reading gets through, plans become the SQL they mean, results are shown."""

import http.server
import json
import os
import sqlite3
import subprocess
import sys
import threading
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from askdb.ask import Server, ask, request_of
from askdb.database import Database, Refused, Result
from askdb.evaluate import evaluate, same
from askdb.example import make
from askdb.narrow import narrowed
from askdb.plan import sql_of
from askdb.show import bars, svg, table
from askdb.tools import database_schema, run_query

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
        'SELECT "product", SUM("total") FROM "orders" WHERE "city" = ? COLLATE NOCASE AND "month" < ? '
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

    schema = request_of("?", Database(shop), "m")["tools"][0]["function"]["parameters"]
    assert bounded(schema, 512) is not None


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
    yield Server(f"http://127.0.0.1:{server.server_port}/v1", "k", "m"), seen
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_question_goes_with_the_schema_and_comes_back_as_rows(shop: Path, model, tmp_path: Path) -> None:
    server, seen = model
    answer = ask("Which sell best in Tokyo in the first half?", Database(shop), server)
    assert len(answer.result.rows) == 3
    assert "city (text): " in seen[0]["messages"][0]["content"]
    assert seen[0]["tool_choice"] == "required"
    gold = "SELECT product, SUM(total) FROM orders WHERE city='Tokyo' AND month<7 GROUP BY 1 ORDER BY 2 DESC LIMIT 3"
    (tmp_path / "q.json").write_text(json.dumps([["a?", gold], ["b?", "SELECT 1"]]))
    assert evaluate(tmp_path / "q.json", Database(shop), server).endswith("1 of 2 right")


def test_every_question_of_the_example_has_an_answer(shop: Path) -> None:
    pairs = json.loads((HERE / "data" / "questions.json").read_text())
    assert all(Database(shop).ask(sql).rows for _, sql in pairs)


def test_the_agents_tools_say_what_is_wrong_instead_of_failing(shop: Path) -> None:
    assert "table products" in database_schema(str(shop))
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
