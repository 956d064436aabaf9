"""Agents over HTTP and from the command line: runs of one's own, answers by who administers, feedback that teaches."""

import json

import pytest
from test_engine import ADD, PAY, served  # noqa: F401 - a fixture

from aigrid.agents import feedback, shelf
from aigrid.cli.app import run as command


async def test_a_waiting_call_is_shown_approved_over_http_and_resumed(served):  # noqa: F811
    async with served([("pay", {"to": "bob", "amount": 5})], "paid", tools=PAY) as door:
        _, headers, _ = await door.chat("pay", model="agent:worker")
        run = headers["x-aigrid-run"]
        _, admin = await door.ledger.create_key("acme", scope="admin")
        status, _, body = await door.ask("GET", "/admin/agents/approvals?state=waiting", secret=admin)
        assert status == 200
        [one] = body["approvals"]
        assert one["arguments"] == {"to": "bob", "amount": 5}
        place = f"/admin/agents/approvals/{one['id']}"
        assert (await door.ask("POST", place, {"approve": True, "digest": one["digest"]}))[0] == 403
        wrong = {"approve": True, "digest": "0" * 64}
        assert (await door.ask("POST", place, wrong, secret=admin))[0] == 400
        answer = {"approve": True, "digest": one["digest"], "reason": "ok"}
        assert (await door.ask("POST", place, answer, secret=admin))[0] == 200
        _, _, seen = await door.ask("GET", f"/v1/agents/runs/{run}")
        assert (seen["state"], seen["agent"]) == ("waiting", "worker")
        _, other = await door.ledger.create_key("globex")
        assert (await door.ask("GET", f"/v1/agents/runs/{run}", secret=other))[0] == 404
        assert (await door.ask("GET", "/v1/agents/runs", secret=other))[2]["data"] == []
        assert any(entry.act == "agents.decide" for entry in await door.ledger.audit_log())
        await door.chat("go on", model="agent:worker", metadata={"run": run})
        _, _, seen = await door.ask("GET", "/admin/agents/runs?agent=worker", secret=admin)
        assert [each["state"] for each in seen["runs"]] == ["done"]


async def test_the_commands_show_list_decide_and_replay(bench, capsys, tmp_path):
    from fakes import ScriptedMind

    tools = "  pay: {kind: python, function: work.pay, approve: true}\n"
    outcome = await bench.start(bench.agent(tools), ScriptedMind([("pay", {"to": "bob", "amount": 5})], "done"))
    text = "name: worker\ninstructions: Work.\ntools:\n  add: {kind: python, function: work.add}\n"
    (tmp_path / "worker.yaml").write_text(text)

    def said(*args):
        import concurrent.futures

        with concurrent.futures.ThreadPoolExecutor() as pool:  # these commands have event loops of their own
            assert pool.submit(command, ["agents", *args, "--json"]).result() == 0
        return json.loads(capsys.readouterr().out)

    assert said("show", str(tmp_path / "worker.yaml"))["tools"][0]["name"] == "add"
    assert said("list") == {"agents": [], "wrong": {}}
    assert said("runs")["runs"][0]["state"] == "waiting"
    assert said("runs", outcome.run)["journal"][0]["kind"] == "start"
    [waiting] = said("approvals")["approvals"]
    assert said("deny", waiting["id"], "--reason", "no")["state"] == "denied"
    assert said("approvals")["approvals"] == []
    await bench.resume(outcome.run, ScriptedMind([("pay", {"to": "bob", "amount": 5})], "done"))
    assert said("replay", outcome.run)["output"] == "done"
    assert command(["agents", "runs", "run_nothing"]) == 1
    assert "aigrid agents runs" in capsys.readouterr().err


async def test_feedback_on_a_step_becomes_a_training_row_that_says_where_it_is_from(served):  # noqa: F811
    async with served([("add", {"a": 1, "b": 2})], "the sum is 4", tools=ADD) as door:
        _, headers, _ = await door.chat("add 1 and 2", model="agent:worker")
        run = headers["x-aigrid-run"]

        async def give(**body):
            return (await door.ask("POST", "/v1/agents/feedback", {"run": run, **body}))[0]

        assert await give(rating=-1, correction="the sum is 3") == 201
        assert await give(step=0, rating=1) == 201
        assert await give(comment="hm") == 201
        assert await give() == 400
        assert await give(step=9, rating=1) == 400
        corrected, praised = feedback.training()
        asked, answer = corrected["messages"]
        assert (asked["content"], answer["content"]) == ("add 1 and 2", "the sum is 3")
        assert corrected["provenance"]["run"] == run
        digests = {step.key: step.digest for step in shelf.read(run) if step.kind == "model"}
        assert corrected["provenance"]["digest"] == digests["1"]
        assert praised["messages"][1]["content"] == 'add({"a": 1, "b": 2})'


async def test_what_a_run_took_is_what_the_ledger_has_of_its_steps(served):  # noqa: F811
    async with served([("add", {"a": 1, "b": 2})], "the sum is 3", tools=ADD) as door:
        _, headers, _ = await door.chat("add 1 and 2", model="agent:worker")
        place = f"/v1/agents/runs/{headers['x-aigrid-run']}"
        parts = [record for record in await door.records() if record.parent is not None]
        _, _, run = await door.ask("GET", place)
        assert sorted(run["records"]) == sorted(part.id for part in parts)
        assert run["cost_nusd"] == sum(part.revenue_nusd for part in parts) > 0
        assert run["energy_mj"] == sum(part.energy_mj for part in parts) > 0
        assert run["energy_source"] == parts[0].energy_source
        said = [step["body"] for step in run["journal"] if step["kind"] == "model"]
        assert sum(body["energy_mj"] for body in said) == run["energy_mj"]
        assert (run["prompt_tokens"], run["completion_tokens"]) == (20, 6)
        assert (run["model"], run["model_steps"], run["tool_calls"]) == ("m", 2, 1)


async def test_who_administers_gives_feedback_on_any_run_and_reads_it(served):  # noqa: F811
    async with served("hello") as door:
        _, headers, _ = await door.chat("greet", model="agent:worker")
        run = headers["x-aigrid-run"]
        _, admin = await door.ledger.create_key("boss", scope="admin")
        said = {"run": run, "rating": 1, "comment": "kind"}
        assert (await door.ask("POST", "/admin/agents/feedback", said))[0] == 403
        assert (await door.ask("POST", "/admin/agents/feedback", said, secret=admin))[0] == 201
        _, _, found = await door.ask("GET", f"/admin/agents/feedback?run={run}", secret=admin)
        assert [(row["step"], row["said"], row["feedback"]["comment"]) for row in found["feedback"]] == [
            (0, "hello", "kind")
        ]
        _, _, none = await door.ask("GET", "/admin/agents/feedback?run=run_other", secret=admin)
        assert none == {"feedback": []}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name: a\ninstructions: i\nmodle: m", "did you mean `model`"),
        (
            "name: a\ninstructions: i\ntools: {t: {kind: python, function: a.b, arguments: {x: {maximun: 1}}}}",
            "maximum",
        ),
        ("name: a\ninstructions: i\ntools: {t: {kind: pyton}}", "did you mean `python`"),
        ("name: a\ninstructions: i\nname: b", "stands twice"),
        ("name: A b\ninstructions: i", "regex"),
        ("name: a", "instructions"),
        ("- 1", "mapping"),
        ("name: [", "not valid YAML"),
        ("name: a\ninstructions: i\nbudget: {steps: 0}", "budget.steps"),
    ],
)
def test_an_agent_file_that_cannot_be_meant_says_what_is_wrong(text, said):
    from aigrid.agents import spec
    from aigrid.core.errors import ConfigError

    with pytest.raises(ConfigError, match=said):
        spec.parse(text)


def test_importing_aigrid_imports_no_agent_framework():
    import subprocess
    import sys

    code = "import sys, aigrid.cli.gateway, aigrid.cli.app, aigrid.agents.attach\nprint(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"pydantic_ai", "mcp", "yaml", "jsonschema"} & set(modules)
