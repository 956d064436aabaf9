"""A2A 1.0: the card says what is there, a message is a request of the caller's, a task is a run of its own."""

import httpx
import msgspec
import pytest

from aigrid.agents import shelf
from aigrid.agents.desk import Desk
from tests.agents.test_team import DELEGATE, team

ASKS = "about: writes\ntools: {write: {kind: python, function: work.write, approve: true}}"
V1 = "a2a-version: 1.0\r\n"


async def call(door, method, params, secret=None, headers=V1, status=200, **more):
    """Return the answer to one JSON-RPC request, which has the status 200 whatever it says, where it is one."""
    client = door.client(secret)
    body = msgspec.json.encode({"jsonrpc": "2.0", "id": 7, "method": method, "params": params, **more})
    async with await client.request("POST", "/a2a", body, headers) as answer:
        assert answer.status == status
        said = msgspec.json.decode(await answer.read_all(20))
    assert (said["jsonrpc"], said["id"]) == ("2.0", 7)
    return said


def message(text="go", **more):
    return {"message": {"messageId": "m1", "role": "ROLE_USER", "parts": [{"text": text}], **more}}


async def test_the_card_names_the_agents_and_only_what_is_there():
    async with team({"anna": ("ok",)}, anna=ASKS, bert="") as door:
        status, headers, card = await door.ask("GET", "/.well-known/agent-card.json", secret="none")
        assert (status, headers["content-type"]) == (200, "application/json")
        assert [(skill["id"], skill["description"]) for skill in card["skills"]] == [
            ("anna", "writes"), ("bert", "The agent bert."),
        ]  # fmt: skip
        assert card["skills"][0]["tags"] == ["agent", "python"]
        [interface] = card["supportedInterfaces"]
        assert interface == {"url": f"{door.url}/a2a", "protocolBinding": "JSONRPC", "protocolVersion": "1.0"}
        needed = {"name", "description", "version", "capabilities", "defaultInputModes", "defaultOutputModes"}
        assert needed <= set(card)
        assert not any(card["capabilities"].values())
        for method in ("SendStreamingMessage", "SubscribeToTask", "GetExtendedAgentCard", "ListTasks"):
            assert (await call(door, method, {}))["error"]["code"] == -32004
        assert (await call(door, "CreateTaskPushNotificationConfig", {}))["error"]["code"] == -32003


async def test_a_message_is_answered_by_the_agent_it_names_on_the_callers_account():
    cast = {"boss": (DELEGATE, "all done"), "anna": ("seven",)}
    async with team(cast, boss="team: {}", anna="") as door:
        named = message(metadata={"skillId": "boss"})
        task = (await call(door, "SendMessage", named))["result"]["task"]
        assert task["status"]["state"] == "TASK_STATE_COMPLETED"
        assert task["artifacts"][0]["parts"] == [{"text": "all done"}]
        assert (await call(door, "GetTask", {"id": task["id"]}))["result"] == task
        assert task["metadata"]["costNusd"] == sum(each.revenue_nusd for each in await door.records()) > 0
        _, other = await door.ledger.create_key("globex")
        assert (await call(door, "GetTask", {"id": task["id"]}, other))["error"]["code"] == -32001
        assert (await call(door, "CancelTask", {"id": task["id"]}))["error"]["code"] == -32002
        again = await call(door, "SendMessage", message(taskId=task["id"]))
        assert again["error"]["code"] == -32004


async def test_the_protocol_s_own_client_reads_the_card_and_has_a_task_done():
    from a2a.client import A2ACardResolver, ClientConfig, ClientFactory
    from a2a.types import CancelTaskRequest, GetTaskRequest, Message, Part, Role, SendMessageRequest, TaskState

    async with (
        team({"anna": ("seven",), "bert": ([("write", {"text": "a"})], "x")}, anna="about: adds", bert=ASKS) as door,
        httpx.AsyncClient(headers={"authorization": f"Bearer {door.secret}"}) as http,
    ):
        card = await A2ACardResolver(http, door.url).get_agent_card()
        assert [(skill.id, skill.description) for skill in card.skills] == [("anna", "adds"), ("bert", "writes")]
        assert card.security_schemes["key"].http_auth_security_scheme.scheme == "Bearer"
        client = ClientFactory(ClientConfig(httpx_client=http, streaming=False)).create(card)

        async def send(skill):
            told = Message(message_id="m", role=Role.ROLE_USER, parts=[Part(text="go")])
            told.metadata.update({"skillId": skill})
            [event] = [event async for event in client.send_message(SendMessageRequest(message=told))]
            return event.task

        done = await send("anna")
        assert done.status.state == TaskState.TASK_STATE_COMPLETED
        assert done.artifacts[0].parts[0].text == "seven"
        assert (await client.get_task(GetTaskRequest(id=done.id))) == done
        waits = await send("bert")
        assert waits.status.state == TaskState.TASK_STATE_INPUT_REQUIRED
        gone = await client.cancel_task(CancelTaskRequest(id=waits.id))
        assert gone.status.state == TaskState.TASK_STATE_CANCELED


async def test_a_task_that_needs_a_person_goes_on_with_a_message_when_one_has_answered():
    cast = {"anna": ([("write", {"text": "a"})], "written")}
    async with team(cast, anna=ASKS) as door:
        task = (await call(door, "SendMessage", message()))["result"]["task"]  # the only agent need not be named
        assert task["status"]["state"] == "TASK_STATE_INPUT_REQUIRED"
        assert "a person has to approve write" in task["status"]["message"]["parts"][0]["text"]
        desk = Desk()
        desk.decide(desk.all("waiting")[0].id, True, approver="ann")
        desk.close()
        done = (await call(door, "SendMessage", message(taskId=task["id"])))["result"]["task"]
        assert (done["id"], done["status"]["state"]) == (task["id"], "TASK_STATE_COMPLETED")
        assert len(list(shelf.places())) == 1


@pytest.mark.parametrize(
    ("params", "code"),
    [
        ({}, -32602),
        (message() | {"configuration": {"returnImmediately": True}}, -32004),
        ({"message": {"messageId": "m", "role": "ROLE_AGENT", "parts": [{"text": "x"}]}}, -32602),
        ({"message": {"messageId": "m", "role": "ROLE_USER", "parts": []}}, -32602),
        ({"message": {"messageId": "m", "role": "ROLE_USER", "parts": [{"url": "https://x"}]}}, -32005),
        (message(metadata={"skillId": "nobody"}), -32602),
        (message(taskId="run_none"), -32001),
        (message(taskId="../../etc/passwd"), -32001),
    ],
)
async def test_what_cannot_be_is_refused_with_the_code_of_the_standard(params, code):
    async with team({"anna": ("ok",)}, anna="") as door:
        assert (await call(door, "SendMessage", params))["error"]["code"] == code
        assert list(shelf.places()) == []


async def test_other_versions_methods_and_strangers_are_refused():
    async with team({"anna": ("ok",)}, anna="") as door:
        assert (await call(door, "SendMessage", message(), headers=""))["error"]["code"] == -32009
        assert (await call(door, "SendMessage", message(), headers="a2a-version: 2.0\r\n"))["error"]["code"] == -32009
        assert (await call(door, "message/send", message()))["error"]["code"] == -32601
        assert (await call(door, "SendMessage", message(), status=400, jsonrpc="1.0"))["error"]["code"] == -32600
        assert (await call(door, "SendMessage", [], status=400))["error"]["code"] == -32600
        assert (await door.ask("POST", "/a2a", b"[]"))[0] == 400
        assert (await door.ask("POST", "/a2a", {}, secret="wrong"))[0] == 401


async def test_without_agents_there_is_no_card():
    async with team({}) as door:
        assert (await door.ask("GET", "/.well-known/agent-card.json"))[0] == 404
