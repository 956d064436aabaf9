"""aigrid as an MCP server: both ages of the protocol, tools under the caller's key, errors that clients understand."""

import json

import msgspec
import pytest

from aigrid.engines.echo import EchoEngine
from aigrid.engines.http import HttpClient
from aigrid.ledger.base import Limits
from tests.knowledge.fakes import PlainLibrary, WordsEmbedder, read_paragraphs

NOW = "2026-07-28"
META = "io.modelcontextprotocol/"
ENVELOPE = {f"{META}protocolVersion": NOW, f"{META}clientCapabilities": {}}


@pytest.fixture
async def mcp(door, tmp_path):
    for name in ("public", "secret"):
        (tmp_path / name).mkdir()
        (tmp_path / name / f"{name}.txt").write_text(f"The {name} canteen opens at noon.")
    embedder = WordsEmbedder()
    library = PlainLibrary(tmp_path / "library", lambda: embedder, kind="sqlite", read=read_paragraphs)
    library.add([str(tmp_path / "public")])
    library.add([str(tmp_path / "secret")], ["globex"])
    async with door([EchoEngine("local")]) as door:
        door.gateway.knowledge._library = library

        async def call(message, secret=None, **headers):
            body = message if isinstance(message, bytes) else msgspec.json.encode(message)
            headers = {"authorization": f"Bearer {secret or door.secret}", **headers}
            client = HttpClient("mcp", door.url, headers=headers, connect_timeout=60, timeout=60)
            async with await client.request("POST", "/mcp", body) as answer:
                raw = await answer.read_all(20)
                return answer.status, msgspec.json.decode(raw) if raw else None

        async def modern(method, secret=None, meta=ENVELOPE, **params):
            headers = {"mcp-protocol-version": NOW, "mcp-method": method}
            if "name" in params:
                headers["mcp-name"] = params["name"]
            message = {"jsonrpc": "2.0", "id": 7, "method": method, "params": {**params, "_meta": meta}}
            return await call(message, secret, **headers)

        door.call, door.modern = call, modern
        yield door


def legacy(method, **params):
    return {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}


async def test_a_stateless_client_discovers_lists_and_calls(mcp):
    status, answer = await mcp.modern("server/discover")
    assert status == 200
    assert answer["id"] == 7
    assert answer["result"]["supportedVersions"][0] == NOW
    assert answer["result"]["resultType"] == "complete"
    assert answer["result"]["_meta"][f"{META}serverInfo"]["name"] == "aigrid"
    assert "serverInfo" not in answer["result"]
    _, listed = await mcp.modern("tools/list")
    assert [tool["name"] for tool in listed["result"]["tools"]] == [
        "knowledge_search",
        "knowledge_ask",
        "ledger_usage",
    ]
    assert listed["result"]["ttlMs"] > 0
    status, called = await mcp.modern("tools/call", name="knowledge_search", arguments={"query": "canteen"})
    result = called["result"]
    assert (status, result["isError"], result["resultType"]) == (200, False, "complete")
    assert json.loads(result["content"][0]["text"]) == result["structuredContent"]
    assert [p["text"] for p in result["structuredContent"]["passages"]] == ["The public canteen opens at noon."]


async def test_a_client_of_before_shakes_hands_lists_and_calls(mcp):
    client = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}
    status, answer = await mcp.call(legacy("initialize", **client))
    assert status == 200
    assert answer["result"]["protocolVersion"] == "2025-11-25"
    assert answer["result"]["capabilities"] == {"tools": {}}
    assert answer["result"]["serverInfo"]["name"] == "aigrid"
    assert await mcp.call({"jsonrpc": "2.0", "method": "notifications/initialized"}) == (202, None)
    headers = {"mcp-protocol-version": "2025-11-25"}
    assert (await mcp.call(legacy("ping"), **headers))[1]["result"] == {}
    _, listed = await mcp.call(legacy("tools/list"), **headers)
    assert "resultType" not in listed["result"]
    _, called = await mcp.call(
        legacy("tools/call", name="knowledge_ask", arguments={"question": "When does the canteen open?"}), **headers
    )
    answer = called["result"]["structuredContent"]
    assert {"answer", "known", "citations", "aigrid"} <= answer.keys()


@pytest.mark.parametrize(("wanted", "given"), [("2025-06-18", "2025-06-18"), ("2099-01-01", "2025-11-25")])
async def test_a_handshake_settles_on_a_version_that_is_spoken(mcp, wanted, given):
    assert (await mcp.call(legacy("initialize", protocolVersion=wanted)))[1]["result"]["protocolVersion"] == given


async def test_an_unknown_version_is_told_which_are_known(mcp):
    meta = {**ENVELOPE, f"{META}protocolVersion": "2030-01-01"}
    status, answer = await mcp.modern("tools/list", meta=meta)
    assert (status, answer["error"]["code"]) == (400, -32022)
    assert NOW in answer["error"]["data"]["supported"]
    assert answer["error"]["data"]["requested"] == "2030-01-01"
    status, answer = await mcp.call(legacy("tools/list"), **{"mcp-protocol-version": "1900-01-01"})
    assert (status, answer["error"]["code"]) == (400, -32022)


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({}, -32020),
        ({"mcp-protocol-version": "2025-11-25"}, -32020),
        ({"mcp-protocol-version": NOW, "mcp-method": "tools/call"}, -32020),
        ({"mcp-protocol-version": NOW, "mcp-method": "tools/list"}, None),
    ],
)
async def test_headers_must_say_what_the_body_says(mcp, headers, code):
    message = {"jsonrpc": "2.0", "id": "a", "method": "tools/list", "params": {"_meta": ENVELOPE}}
    status, answer = await mcp.call(message, **headers)
    assert answer["id"] == "a"
    assert (status, answer.get("error", {}).get("code")) == ((400, code) if code else (200, None))


async def test_a_tool_name_in_a_header_must_match_and_may_be_wrapped(mcp):
    params = {"name": "knowledge_search", "arguments": {"query": "canteen"}, "_meta": ENVELOPE}
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
    headers = {"mcp-protocol-version": NOW, "mcp-method": "tools/call"}
    assert (await mcp.call(message, **headers))[1]["error"]["code"] == -32020
    assert (await mcp.call(message, **headers, **{"mcp-name": "knowledge_ask"}))[1]["error"]["code"] == -32020
    assert (await mcp.call(message, **headers, **{"mcp-name": "=?base64?a25vd2xlZGdlX3NlYXJjaA==?="}))[0] == 200
    assert (await mcp.call(message, **headers, **{"mcp-name": "=?base64?!!?="}))[1]["error"]["code"] == -32020


async def test_a_stateless_request_without_its_fields_is_malformed(mcp):
    status, answer = await mcp.modern("tools/list", meta={f"{META}protocolVersion": NOW})
    assert (status, answer["error"]["code"]) == (400, -32602)
    status, answer = await mcp.call(legacy("server/discover"))
    assert (status, answer["error"]["code"]) == (400, -32602)


@pytest.mark.parametrize("method", ["initialize", "ping", "resources/list", "tools/destroy"])
async def test_a_method_that_the_stateless_age_has_not_is_not_found(mcp, method):
    status, answer = await mcp.modern(method)
    assert (status, answer["error"]["code"]) == (404, -32601)


async def test_a_method_that_the_age_before_has_not_is_an_error_in_its_answer(mcp):
    status, answer = await mcp.call(legacy("resources/list"))
    assert (status, answer["error"]["code"]) == (200, -32601)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"{", -32700),
        (b"[]", -32600),
        (b"{}", -32600),
        (b'{"jsonrpc":"1.0","id":1,"method":"ping"}', -32600),
        (b'{"jsonrpc":"2.0","id":null,"method":"ping"}', -32600),
        (b'{"jsonrpc":"2.0","id":1.5,"method":"ping"}', -32600),
        (b'{"jsonrpc":"2.0","id":1,"method":"ping","params":[]}', -32602),
        (b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"rm"}}', -32602),
        (b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"knowledge_ask","arguments":[]}}', -32602),
    ],
)
async def test_what_is_no_request_is_refused(mcp, body, code):
    status, answer = await mcp.call(body)
    assert (status, answer["error"]["code"]) == (400, code)


async def test_a_tool_that_fails_says_so_to_the_model(mcp):
    bad = await mcp.modern("tools/call", name="knowledge_search", arguments={"query": ""})
    assert bad[1]["result"]["isError"]
    _, poor = await mcp.ledger.create_key("poor", limits=Limits(total_nusd=0))
    _, broke = await mcp.modern("tools/call", poor, name="knowledge_search", arguments={"query": "canteen"})
    assert broke["result"]["isError"]
    assert "budget" in broke["result"]["content"][0]["text"]


async def test_tools_see_what_the_key_sees_and_are_charged_to_it(mcp):
    search = {"name": "knowledge_search", "arguments": {"query": "secret canteen"}}
    _, mine = await mcp.modern("tools/call", **search)
    assert "secret" not in json.dumps(mine["result"])
    _, secret = await mcp.ledger.create_key("globex")
    _, theirs = await mcp.modern("tools/call", secret, **search)
    assert "The secret canteen" in json.dumps(theirs["result"])
    assert {record.tenant for record in await mcp.records()} == {"acme", "globex"}


async def test_the_ledger_tool_tells_a_key_its_own_usage_and_no_others(mcp):
    _, other = await mcp.ledger.create_key("acme")
    await mcp.modern("tools/call", name="knowledge_search", arguments={"query": "canteen"})
    await mcp.records()
    _, mine = await mcp.modern("tools/call", name="ledger_usage", arguments={"days": 1})
    found = mine["result"]["structuredContent"]
    assert (found["key"], found["totals"]["requests"], found["complete"]) == (mcp.key.id, 1, True)
    assert found["totals"]["prompt_tokens"] > 0
    assert list(found["models"].values()) == [found["totals"]]
    _, theirs = await mcp.modern("tools/call", other, name="ledger_usage", arguments={})
    assert theirs["result"]["structuredContent"]["totals"]["requests"] == 0
    _, bad = await mcp.modern("tools/call", name="ledger_usage", arguments={"days": 0})
    assert bad["result"]["isError"]


async def test_pages_of_other_sites_and_other_methods_are_refused(mcp):
    status, _ = await mcp.call(legacy("ping"), origin="http://evil.example")
    assert status == 403
    own = mcp.url
    assert (await mcp.call(legacy("ping"), origin=own))[0] == 200
    for method in ("GET", "DELETE"):
        assert (await mcp.ask(method, "/mcp"))[0] == 405
