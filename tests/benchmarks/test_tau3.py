"""The bank's simulated world and its scripted customer, on data of our own."""

import asyncio
import http.server
import json
import threading
from types import SimpleNamespace

import aiohttp
import pytest

from benchmarks.tau3 import Bank, figures_of, hold_all, retrieval, scored
from benchmarks.tau3_grounded import grounded
from benchmarks.tau3_world import Customer, World, matches, tools

MIA = {"name": "Mia Bell", "user_id": "u1", "email": "mia@bell.example", "phone_number": "512-555-0147",
       "date_of_birth": "03/15/1992", "address": "7 Elm St, Austin, TX 78701"}  # fmt: skip
DB = {"users": {"data": {"u1": MIA}}, "orders": {"data": {"o1": {"user_id": "u1", "order": "o1"}}},
      "credit_card_accounts": {"data": {"c1": {"user_id": "u1", "card": "Gold"}}}}  # fmt: skip
GET = {"agent_tool_name": "get_orders_1234", "arguments": '{"user_id": "u1"}'}
TASK = {
    "id": "t",
    "required_documents": ["doc_a", "doc_b"],
    "evaluation_criteria": {
        "actions": [
            {"requestor": "assistant", "name": "log_verification", "arguments": {"user_id": "u1"}},
            {"requestor": "assistant", "name": "call_discoverable_agent_tool", "arguments": GET},
            {"requestor": "user", "name": "apply_for_credit_card", "arguments": {"card_type": "Gold Card"}},
        ]
    },
}
SCRIPT = """**Your character:** Mia Bell, a teacher. Your phone is 512-555-0147, your email mia@bell.example.
1. Start: "Hi, I would like to know about my orders." 2. Then: "And which credit card is the best?" """


def test_rules_kept_and_an_honest_conversation_score_full():
    world = World(TASK, DB, said="512-555-0147, mia@bell.example")
    world.searched(["doc_a", "doc_c"], "use get_orders_1234(user_id)")
    assert "Mia Bell" in world.call("get_user_information_by_name", {"name": "mia bell"})
    world.call("log_verification", {"user_id": "u1"})
    world.call("unlock_discoverable_agent_tool", {"agent_tool_name": "get_orders_1234"})
    assert json.loads(world.call("call_discoverable_agent_tool", GET))[0] == DB["users"]["data"]["u1"]
    world.act("I recommend the Gold Card.")
    row = scored(TASK, world, "turns")
    assert [kept for _, kept in world.checks] == [True] * 4
    assert (row["retrieved"], row["needed"]) == (1, 2)
    assert row["right"] == {"agent": 2, "customer": 1}
    assert row["extra"] == 1  # the unlocking, which is no gold action of this task


def test_each_broken_rule_is_counted_and_a_locked_tool_does_nothing():
    world = World(TASK, DB, said="Mia Bell, 512-555-0147")
    assert "not unlocked" in world.call("call_discoverable_agent_tool", GET)
    world.call("unlock_discoverable_agent_tool", {"agent_tool_name": "made_up_1"})
    world.call("log_verification", {"user_id": "u1"})
    assert [kept for _, kept in world.checks] == [False] * 4
    world.act("There is nothing I can do.")
    assert world.acted == []


def test_the_customer_tells_facts_when_asked_else_goes_on_with_the_script():
    customer = Customer(SCRIPT)
    assert customer.opening() == "Hi, I would like to know about my orders."
    assert customer.reply("What are your phone number and email?") == "mia@bell.example, 512-555-0147"
    assert customer.reply("Thank you.") == "And which credit card is the best?"
    assert customer.reply("The Gold Card.") is None


def test_only_the_arguments_that_a_task_compares_count():
    action = {"name": "transfer_to_human_agents", "arguments": {"summary": "x"}, "compare_args": []}
    assert matches(action, "transfer_to_human_agents", {"summary": "y"})
    assert not matches({**action, "compare_args": None}, "transfer_to_human_agents", {"summary": "y"})
    assert matches({"name": "f", "arguments": {"a": '{"b": 1}'}}, "f", {"a": '{"b":1}'})


LOOKED_UP = ("get_user_information_by_name", {"name": "Mia Bell"})
VERIFIED = ("log_verification", {"user_id": "u1"})
UNLOCKED = ("unlock_discoverable_agent_tool", {"agent_tool_name": "get_orders_1234"})
CALLED = ("call_discoverable_agent_tool", GET)
ASKED, SOLD = "May I have your email and phone number?", "I recommend the Gold Card."
OBEDIENT = [[LOOKED_UP], ASKED, [VERIFIED, UNLOCKED], [CALLED], SOLD, "Anything else?"]
HASTY = [[CALLED], [UNLOCKED, VERIFIED], [("change_user_email", {"user_id": "u1", "new_email": "m@x.example"})], SOLD]
"""What an upstream does after its searches: a list is calls, a text is said."""


@pytest.fixture
def bank_server(request):
    """One server that is both: it finds documents, and it answers chats as the parameter says."""
    script, seen = list(request.param), []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            if self.path == "/v1/knowledge/search":
                answer = {"data": [{"path": "kb/doc_a.md", "text": "Call get_orders_1234 with the user_id."}]}
            else:
                seen.append(body["model"])
                query = json.dumps({"query": body["messages"][-1]["content"]})
                forced = body.get("tool_choice")
                turn = [("KB_search", query)] if forced else script.pop(0) if script else "Goodbye."
                calls = [{"id": f"c{at}", "type": "function", "function": {"name": name, "arguments": (
                    given if isinstance(given, str) else json.dumps(given))}} for at, (name, given) in enumerate(turn)
                ] if isinstance(turn, list) else []  # fmt: skip
                answer = {"choices": [{"message": {"content": None if calls else turn, "tool_calls": calls}}]}
            data = json.dumps(answer).encode()
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            pass

    running = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=running.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{running.server_port}", seen
    running.shutdown()
    thread.join()
    running.server_close()


def held(url, tmp_path):
    """Hold the one conversation through an upstream; returns the figures, and the search's own."""
    (tmp_path / "db.json").write_text(json.dumps(DB))
    components = tmp_path / "prompts" / "components"
    components.mkdir(parents=True)
    for name in ("policy_header", "additional_instructions"):
        (components / f"{name}.md").write_text("Verify first.")
    task = {**TASK, "user_scenario": {"instructions": SCRIPT}}
    options = SimpleNamespace(minutes=1, max_tokens=50)

    async def talk():
        async with aiohttp.ClientSession() as session:
            bank = Bank(SimpleNamespace(url=url, key="k"), f"{url}/v1", "strong", session)
            alone = await retrieval(bank, [task])
            return figures_of(await hold_all(bank, tmp_path, [task], options, False)), alone

    return asyncio.run(talk())


@pytest.mark.parametrize("bank_server", [OBEDIENT], indirect=True)
def test_an_upstream_that_does_all_right_scores_full_in_tools_and_policy(bank_server, tmp_path):
    url, seen = bank_server
    figures, alone = held(url, tmp_path)
    assert set(seen) == {"strong"}
    assert figures["tools"]["share_right_of_agent"] == figures["tools"]["share_right_of_customer"] == 1.0
    assert figures["policy"]["share_respected"] == 1.0
    assert figures["policy"]["checks"] == 4
    assert figures["retrieval"]["recall_of_required_documents"] == alone["recall_by_first_words"] == 0.5


@pytest.mark.parametrize("bank_server", [HASTY], indirect=True)
def test_an_upstream_that_acts_before_it_verifies_breaks_the_policy(bank_server, tmp_path):
    figures, _ = held(bank_server[0], tmp_path)
    kept = figures["policy"]["respected_by_check"]
    assert kept["the verification is logged before customer data is touched"] == [1, 2]
    assert kept["a tool is unlocked before it is called"] == [0, 1]
    assert kept["only who has told two facts on record is verified"] == [0, 1]
    assert figures["tools"]["share_of_changing_calls_that_are_not_gold"] > 0
    assert figures["tools"]["tasks_all_right"] == 0.0


def test_grounded_tools_offer_what_stands_in_the_conversation_and_nothing_else():
    world = World(TASK, DB, said="I am Mia Bell.")

    def choices():
        offered = {tool["function"]["name"]: tool["function"]["parameters"] for tool in grounded(tools(), world, "Hi")}
        return {name: {key: one.get("enum") for key, one in each["properties"].items()}
                for name, each in offered.items()}  # fmt: skip

    assert choices()["get_user_information_by_name"] == {"name": ["Mia Bell"]}
    assert not {"log_verification", "change_user_email", "get_referrals_by_user"} & set(choices())
    world.call("get_user_information_by_name", {"name": "Mia Bell"})
    world.call("get_current_time", {})
    world.searched(["doc_a"], "use get_orders_1234")
    assert choices()["log_verification"]["phone_number"] == [MIA["phone_number"]]
    assert choices()["unlock_discoverable_agent_tool"] == {"agent_tool_name": ["get_orders_1234"]}
    assert "get_user_information_by_name" not in choices()  # made already
    world.call("log_verification", {"user_id": "u1"})
    assert choices()["get_credit_card_accounts_by_user"] == {"user_id": ["u1"]}
