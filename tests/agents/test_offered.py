"""Agents as a tool of aigrid's own MCP server, by the real client; and their endpoints in the published document."""

import json

import pytest
from test_engine import ADD, PAY, served  # noqa: F401 - a fixture

from aigrid.agents.desk import Desk


@pytest.fixture
def called():
    """Call a tool of a door's MCP server with the real client, as a key."""
    import httpx2
    from mcp.client.client import Client
    from mcp.client.streamable_http import streamable_http_client

    async def call(door, name, secret=None, **arguments):
        headers = {"authorization": f"Bearer {secret or door.secret}"}
        async with (
            httpx2.AsyncClient(headers=headers, timeout=20) as http,
            Client(streamable_http_client(f"{door.url}/mcp", http_client=http)) as client,
        ):
            names = [tool.name for tool in (await client.list_tools()).tools]
            assert {"knowledge_ask", "knowledge_search", "ledger_usage", "agent_run"} == set(names)
            return await client.call_tool(name, arguments)

    return call


async def test_an_agent_is_run_approved_and_gone_on_with_over_mcp(served, called):  # noqa: F811
    async with served([("pay", {"to": "bob", "amount": 5})], "paid", tools=PAY) as door:
        waits = (await called(door, "agent_run", agent="worker", task="pay bob")).structured_content
        assert waits["state"] == "waiting"
        assert waits["approval"]
        _, other = await door.ledger.create_key("globex")
        theirs = await called(door, "agent_run", other, agent="worker", task="x", run=waits["run"])
        assert theirs.is_error
        desk = Desk()
        desk.decide(waits["approval"], True, approver="ann")
        desk.close()
        done = (await called(door, "agent_run", agent="worker", task="x", run=waits["run"])).structured_content
        assert (done["state"], done["answer"], done["run"]) == ("done", "paid", waits["run"])
        await door.records()
        used = (await called(door, "ledger_usage")).structured_content
        assert used["totals"]["cost_nusd"] == waits["aigrid"]["cost_nusd"] + done["aigrid"]["cost_nusd"] > 0
        assert set(used["models"]) == {"m", "agent:worker"}
        nobody = await called(door, "agent_run", agent="nobody", task="x")
        assert nobody.is_error


async def test_every_endpoint_of_agents_under_v1_is_in_the_published_document(served):  # noqa: F811
    async with served("hello", tools=ADD) as door:
        _, _, document = await door.ask("GET", "/openapi.json")
        published = {
            (method.upper(), path.replace("{id}", "*")) for path, at in document["paths"].items() for method in at
        }
        routes = {route for route in door.gateway._routes if route[1].startswith("/v1/agents/")}
        assert len(routes) >= 9
        assert routes <= published
        names = {part.split('"')[0] for part in json.dumps(document).split('"#/components/schemas/')[1:]}
        assert names <= set(document["components"]["schemas"])
