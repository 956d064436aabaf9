"""A run from task to answer: tools, journal, resuming without repeating, replaying without a model."""

import pytest
from fakes import ScriptedMind

from aigrid.agents import shelf
from aigrid.agents.journal import Diverged
from aigrid.agents.journal_sqlite import runs_folder
from aigrid.core.errors import UpstreamError

pytestmark = pytest.mark.usefixtures("keeping")

ADD = "  add: {kind: python, function: work.add, safe_to_retry: true}\n"
WRITE = "  write: {kind: python, function: work.write}\n"


async def test_a_run_calls_tools_and_answers(bench):
    mind = ScriptedMind([("add", {"a": 1, "b": 2})], "the sum is 3")
    outcome = await bench.start(bench.agent(ADD), mind)
    assert (outcome.state, outcome.output) == ("done", "the sum is 3")
    assert (outcome.steps, outcome.tool_calls) == (2, 1)
    assert (outcome.prompt_tokens, outcome.completion_tokens) == (20, 6)
    last = mind.requests[-1].messages
    assert [message["role"] for message in last] == ["system", "user", "assistant", "tool"]
    assert last[0]["content"].startswith("Do the work.")
    assert last[1]["content"] == "go"
    assert last[3] == {"role": "tool", "tool_call_id": "call_0_0", "content": "3"}
    function = mind.requests[0].tools[0]["function"]
    assert (function["name"], function["description"]) == ("add", "Add two numbers.")


async def test_a_run_begins_with_a_call_where_the_file_says_so(bench):
    for first in (True, False):
        mind = ScriptedMind([("add", {"a": 2})], "4")
        await bench.start(bench.agent(ADD, f"tool_first: {str(first).lower()}"), mind)
        assert [each.tool_choice for each in mind.requests] == ["required" if first else "auto", "auto"]


async def test_a_finished_run_replays_without_a_model(bench, keeping):
    mind = ScriptedMind([("write", {"text": "a"}), ("write", {"text": "b"})], "two lines")
    outcome = await bench.start(bench.agent(WRITE), mind)
    assert [path.name for path in runs_folder().iterdir()] == ([f"{outcome.run}.db"] if keeping == "sqlite" else [])
    assert await bench.replay(outcome.run) == outcome
    assert bench.read("out.txt") == ["a", "b"]
    again = await bench.resume(outcome.run, ScriptedMind(AssertionError("no model is asked")))
    assert again == outcome


async def test_an_engine_that_fails_leaves_a_run_that_goes_on(bench):
    failing = ScriptedMind([("write", {"text": "once"})], UpstreamError("gone"))
    with pytest.raises(UpstreamError):
        await bench.start(bench.agent(WRITE), failing)
    run = next(shelf.places()).run
    outcome = await bench.resume(run, ScriptedMind([], "done now"))
    assert (outcome.state, outcome.output) == ("done", "done now")
    assert bench.read("out.txt") == ["once"]


async def test_what_goes_wrong_in_a_tool_is_read_by_the_model(bench):
    mind = ScriptedMind([("broken", {})], "sorry")
    tools = "  broken: {kind: python, function: work.broken}\n"
    outcome = await bench.start(bench.agent(tools), mind)
    assert outcome.output == "sorry"
    assert mind.requests[1].messages[-1]["content"] == '{"error":"ValueError: no luck"}'


@pytest.mark.parametrize(
    "call", [("add", "not json"), ("add", {"a": "x"}), ("add", {"a": 1, "z": 2}), ("add", {}), ("missing", {"a": 1})]
)
async def test_a_call_that_makes_no_sense_is_answered_and_the_run_goes_on(bench, call):
    mind = ScriptedMind([call], "well")
    outcome = await bench.start(bench.agent(ADD), mind)
    assert (outcome.state, outcome.output) == ("done", "well")
    assert mind.requests[1].messages[-1]["role"] == "tool"
    assert await bench.replay(outcome.run) == outcome


async def test_budgets_of_steps_calls_and_tokens_end_a_run(bench):
    forever = ScriptedMind([("add", {"a": 1, "b": 1})])
    for budget, reason in (
        ("steps: 3", "budget.steps"),
        ("tool_calls: 2", "budget.tool_calls"),
        ("tokens: 40", "budget.tokens"),
    ):
        outcome = await bench.start(bench.agent(ADD, f"budget: {{{budget}}}"), forever)
        assert outcome.state == "stopped"
        assert reason in outcome.reason


async def test_a_step_with_other_input_than_recorded_is_not_taken_for_the_same(bench):
    outcome = await bench.start(bench.agent(ADD), ScriptedMind("hello"))
    with shelf.find(outcome.run).open() as run, pytest.raises(Diverged):
        run.find("model", "0", "another digest")


async def test_structured_output_has_the_shape_that_the_file_states(bench):
    shape = "output: {type: object, properties: {n: {type: integer}}, required: [n]}"
    mind = ScriptedMind('{"n": 4}')
    outcome = await bench.start(bench.agent(more=shape), mind)
    assert outcome.output == '{"n":4}'
    assert mind.requests[0].grammar.kind == "json_schema"
