"""The bank's simulated world and its scripted customer, on data of our own."""

import json

from benchmarks.tau3 import scored
from benchmarks.tau3_world import Customer, World, matches

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
    row = scored(TASK, world, ["doc_b"], "turns")
    assert [kept for _, kept in world.checks] == [True] * 4
    assert (row["retrieved"], row["needed"], row["retrieved_by_first_words"]) == (1, 2, 1)
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
