"""The kinds of tools, each against the real thing: databases, processes, servers."""

import asyncio
import json
import re
import sqlite3
import sys

import msgspec
import pytest
from aiohttp import web

from aigrid.agents import box, spec
from aigrid.agents.tools.base import Call, Searched, Site, ToolError
from aigrid.core import sandbox
from aigrid.core.errors import ConfigError
from aigrid.engines.echo import EchoEngine
from tests.gateway.conftest import open_door

CALL = Call("run_1", "call_0_0", "acme")


async def tool(folder, text, world=None):
    agent = spec.parse(f"name: a\ninstructions: i\ntools:\n  t: {text}\n")
    return (await box.pack(agent, Site(folder, world)))["t"]


async def use(boxed, **arguments):
    return await boxed.built.work(boxed.policy.check(arguments), CALL)


@pytest.fixture
def shop(tmp_path):
    database = sqlite3.connect(tmp_path / "shop.db")
    database.executescript(
        "CREATE TABLE items (name TEXT, price INTEGER); CREATE TABLE staff (name TEXT, wage INTEGER);"
        "CREATE VIEW cheap AS SELECT name FROM items WHERE price < 5;"
        "INSERT INTO items VALUES ('pen', 2), ('book', 12), ('bag', 40); INSERT INTO staff VALUES ('ann', 9);"
    )
    database.commit()
    database.close()
    return tmp_path


async def test_sql_answers_with_columns_and_rows_up_to_a_limit(shop):
    boxed = await tool(shop, "{kind: sql, database: shop.db, max_rows: 2}")
    assert "CREATE TABLE items" in boxed.offer.about
    found = await use(boxed, query="SELECT name, price FROM items ORDER BY price")
    assert found == {"columns": ["name", "price"], "rows": [["pen", 2], ["book", 12]], "more": True}


@pytest.mark.parametrize(
    "query",
    [
        "DELETE FROM items", "DROP TABLE items", "INSERT INTO items VALUES ('x', 1)", "UPDATE items SET price = 0",
        "ATTACH '/tmp/x.db' AS x", "PRAGMA query_only = 0", "PRAGMA writable_schema = 1", "VACUUM INTO '/tmp/y.db'",
        "CREATE TEMP TABLE t (a)", "SELECT load_extension('x')", "SELECT 1; DELETE FROM items", "nonsense", "",
        "SELECT zeroblob(1000000000)",
    ],
)  # fmt: skip
async def test_sql_only_reads(shop, query):
    boxed = await tool(shop, "{kind: sql, database: shop.db}")
    before = (shop / "shop.db").read_bytes()
    with pytest.raises((ToolError, Exception)) as raised:
        await use(boxed, query=query)
    assert raised.type.__name__ in ("ToolError", "Refused")
    assert (shop / "shop.db").read_bytes() == before


async def test_sql_reads_the_tables_that_the_file_names_and_no_other(shop):
    boxed = await tool(shop, "{kind: sql, database: shop.db, tables: [items, cheap]}")
    assert "staff" not in boxed.offer.about
    assert (await use(boxed, query="SELECT name FROM cheap"))["rows"] == [["pen"]]
    for query in ("SELECT * FROM staff", "SELECT (SELECT wage FROM staff) FROM items", "SELECT sql FROM sqlite_master"):
        with pytest.raises(ToolError, match="refused"):
            await use(boxed, query=query)


async def test_sql_that_takes_too_long_is_stopped(shop):
    boxed = await tool(shop, "{kind: sql, database: shop.db, timeout_s: 0.2}")
    forever = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"
    with pytest.raises(ToolError, match="longer than"):
        await use(boxed, query=forever)


async def test_the_sandbox_computes_and_says_what_was_printed(tmp_path):
    boxed = await tool(tmp_path, "{kind: sandbox}")
    code = "import statistics\nprint('hi')\nstatistics.mean([1, 2, 6])"
    assert await use(boxed, code=code) == {"printed": "hi\n", "value": "3"}
    assert "ZeroDivisionError" in (await use(boxed, code="1 / 0"))["error"]
    assert "SyntaxError" in (await use(boxed, code="def"))["error"]


@pytest.mark.parametrize(
    "code",
    [
        "open('/etc/passwd').read()", "open('/tmp/x', 'w')", "open({secret!r}).read()", "import os; os.listdir('/')",
        "import socket; socket.socket()", "import os; os.system('id') == 0 or 1 / 0", "import subprocess; subprocess.run(['id'])",
        "import os; os.fork()", "import os; os.kill(os.getppid(), 9)", "import threading; threading.Thread(target=print).start()",
        "open('/proc/self/environ').read()", "import ctypes; ctypes.CDLL(None).execve(b'/bin/true', None, None) == 0 or 1/0",
    ],
)  # fmt: skip
async def test_the_sandbox_reaches_nothing(tmp_path, code):
    secret = tmp_path / "secret.txt"
    secret.write_text("top secret")
    boxed = await tool(tmp_path, "{kind: sandbox}")
    answer = await use(boxed, code=code.replace("{secret!r}", repr(str(secret))))
    assert "error" in answer
    assert "secret" not in answer.get("value", "")


async def test_the_sandbox_has_no_environment_of_ours(tmp_path, monkeypatch):
    monkeypatch.setenv("MY_SECRET_KEY", "sk-123")
    boxed = await tool(tmp_path, "{kind: sandbox}")
    assert "sk-123" not in str(await use(boxed, code="import os; dict(os.environ)"))


@pytest.mark.parametrize(
    "code", ["while True: pass", "x = 'a' * (1 << 40)", "x = []\nwhile True: x.append('a' * 10000000)"]
)
async def test_the_sandbox_ends_what_takes_too_much(code):
    try:
        said = str(await sandbox.run(code, 1.0, 128 << 20, 60.0))
    except sandbox.SandboxError as error:
        said = error.message
    assert re.search("MemoryError|more time or memory", said)


API = {
    "openapi": "3.1.0",
    "components": {
        "schemas": {"Order": {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}}
    },
    "paths": {
        "/pets/{name}": {
            "parameters": [{"name": "name", "in": "path", "required": True, "schema": {"type": "string"}}],
            "get": {
                "operationId": "getPet",
                "parameters": [{"name": "q", "in": "query", "schema": {"type": "string"}}],
            },
        },
        "/orders": {
            "post": {
                "operationId": "order",
                "requestBody": {
                    "required": True,
                    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Order"}}},
                },
            }
        },
        "/away": {"get": {"operationId": "away"}},
    },
}


@pytest.fixture
async def api(tmp_path):
    seen = []

    async def answer(request):
        seen.append((request.method, request.raw_path, request.headers.copy(), await request.text()))
        if request.path == "/away":
            raise web.HTTPFound("http://169.254.169.254/")
        return web.json_response({"ok": True})

    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    place = web.TCPSite(runner, "127.0.0.1", 0)
    await place.start()
    port = place._server.sockets[0].getsockname()[1]
    (tmp_path / "api.json").write_text(json.dumps({**API, "servers": [{"url": f"http://127.0.0.1:{port}"}]}))
    yield tmp_path, seen
    await runner.cleanup()


async def test_an_http_operation_is_a_tool_with_its_parameters(api, monkeypatch):
    folder, seen = api
    monkeypatch.setenv("PET_KEY", "sk-pet")
    pet = await tool(folder, "{kind: http, file: api.json, operation: getPet, key_env: PET_KEY}")
    assert pet.offer.safe_to_retry
    assert pet.offer.schema["required"] == ["name"]
    assert await use(pet, name="a/../b?x=1", q="1&admin=2") == {"ok": True}
    method, path, headers, _ = seen[0]
    assert (method, path) == ("GET", "/pets/a%2F..%2Fb%3Fx%3D1?q=1%26admin%3D2")
    assert headers["authorization"] == "Bearer sk-pet"
    assert "sk-pet" not in str(msgspec.to_builtins(pet.offer))
    with pytest.raises(ToolError, match=r"`\.\.`"):
        await use(pet, name="..")
    order = await tool(folder, "{kind: http, file: api.json, operation: order}")
    assert (order.offer.safe_to_retry, order.offer.idempotent) == (False, False)
    assert await use(order, body={"n": 3}) == {"ok": True}
    assert seen[1][3] == '{"n":3}'
    assert seen[1][2]["idempotency-key"] == "run_1:call_0_0"
    with pytest.raises(Exception, match="integer"):
        await use(order, body={"n": "x"})


async def test_an_http_tool_follows_no_redirect(api):
    folder, seen = api
    away = await tool(folder, "{kind: http, file: api.json, operation: away}")
    with pytest.raises(ToolError, match="302"):
        await use(away)
    assert len(seen) == 1


async def test_a_tool_of_our_own_mcp_server_is_found_and_called(tmp_path):
    async with open_door([EchoEngine("local")]) as door:

        async def find(key, question, limit, spent, parent=None):
            return []

        door.gateway.knowledge.find = find
        text = f"{{kind: mcp, server: '{door.url}/mcp', tool: knowledge_search, key_env: DOOR_KEY}}"
        with pytest.MonkeyPatch.context() as patch:
            with pytest.raises(ConfigError, match="DOOR_KEY is not set"):
                await tool(tmp_path, text)
            patch.setenv("DOOR_KEY", door.secret)
            boxed = await tool(tmp_path, text)
            assert boxed.offer.schema["required"] == ["query"]
            assert (await use(boxed, query="canteen"))["passages"] == []
            with pytest.raises(ConfigError, match="has no tool `nothing`; it has: knowledge_search"):
                await tool(tmp_path, text.replace("knowledge_search", "nothing"))


OLD_SERVER = """
import json, sys
for line in sys.stdin:
    message = json.loads(line)
    if "id" not in message:
        continue
    method, answer = message["method"], None
    if method == "initialize":
        answer = {"protocolVersion": "2025-11-25", "capabilities": {"tools": {}}, "serverInfo": {"name": "o", "version": "1"}}
    elif method == "tools/list":
        shape = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
        answer = {"tools": [{"name": "double", "description": "Double.", "inputSchema": shape}]}
    elif method == "tools/call":
        text = str(2 * message["params"]["arguments"]["a"])
        answer = {"content": [{"type": "text", "text": text}], "isError": False}
    error = {"error": {"code": -32601, "message": "no such method"}}
    print(json.dumps({"jsonrpc": "2.0", "id": message["id"], **({"result": answer} if answer else error)}), flush=True)
"""


async def test_a_program_that_speaks_the_protocol_of_before_is_a_server_too(tmp_path):
    (tmp_path / "old.py").write_text(OLD_SERVER)
    boxed = await tool(tmp_path, f"{{kind: mcp, server: ['{sys.executable}', old.py], tool: double}}")
    assert not boxed.offer.safe_to_retry
    assert await use(boxed, a=21) == "42"


async def test_a_knowledge_search_asks_as_the_caller(tmp_path):
    class World:
        async def search(self, question, limit):
            return [Searched(f"{question} {limit}", "a.txt, line 1")]

    boxed = await tool(tmp_path, "{kind: knowledge, limit: 3}", World())
    assert await use(boxed, query="tea") == [{"text": "tea 3", "place": "a.txt, line 1", "source": ""}]


async def test_a_python_tool_without_types_or_name_is_refused(tmp_path):
    (tmp_path / "bad.py").write_text("def f(a): pass\ndef g(*a: int): pass\n")
    for name, said in (
        ("bad.f", "no type"),
        ("bad.g", "takes"),
        ("bad.h", "no function"),
        ("x", "module"),
        ("no.f", "load"),
    ):
        with pytest.raises(ConfigError, match=said):
            await tool(tmp_path, f"{{kind: python, function: {name}}}")


async def test_a_tool_that_takes_too_long_is_given_up(bench):
    from fakes import ScriptedMind

    (bench.folder / "slow.py").write_text(
        "import asyncio\nasync def nap() -> str:\n    await asyncio.sleep(900)\n    return ''\n"
    )
    mind = ScriptedMind([("nap", {})], "tired")
    async with asyncio.timeout(60):
        await bench.start(bench.agent("  nap: {kind: python, function: slow.nap, timeout_s: 0.1}\n"), mind)
    assert "longer than 0.1 s; it may have been done" in mind.requests[1].messages[-1]["content"]
