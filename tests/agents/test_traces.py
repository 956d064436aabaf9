"""Traces: made from the journal alone, in OpenTelemetry's names, one trace for a whole team."""

import asyncio
import http.server
import json
import threading

import pytest
from fakes import ScriptedMind

from aigrid.agents import shelf, traces
from aigrid.cli.app import run as command
from aigrid.core.config import TracesConfig
from tests.agents.test_team import DELEGATE, hire, runs, team


def spans_of(request):
    [resource] = request["resourceSpans"]
    [scope] = resource["scopeSpans"]
    return {span["name"]: span for span in scope["spans"]}


def attributes(span):
    return {each["key"]: next(iter(each["value"].values())) for each in span["attributes"]}


async def test_a_team_is_one_trace_with_the_recruits_below_the_call_that_recruited_them(capsys):
    cast = {"boss": (DELEGATE, "ok"), "anna": ("secret answer",)}
    async with team(cast, boss="team: {}", anna="") as door:
        _, headers, _ = await door.chat("secret task", model="agent:boss")
    run = headers["x-aigrid-run"]
    assert command(["agents", "trace", run]) == 0
    text = capsys.readouterr().out
    spans = spans_of(json.loads(text))
    assert list(spans) == ["invoke_agent boss", "chat m", "execute_tool delegate", "invoke_agent anna"]
    boss, tool, anna = (spans[name] for name in ("invoke_agent boss", "execute_tool delegate", "invoke_agent anna"))
    assert len({span["traceId"] for span in spans.values()}) == 1
    assert (boss["parentSpanId"], tool["parentSpanId"], anna["parentSpanId"]) == ("", boss["spanId"], tool["spanId"])
    assert len(boss["traceId"]) == 32
    assert len(boss["spanId"]) == 16
    for span in spans.values():
        assert int(span["startTimeUnixNano"]) <= int(span["endTimeUnixNano"])
    inside = [int(anna[at]) for at in ("startTimeUnixNano", "endTimeUnixNano")]
    assert int(tool["startTimeUnixNano"]) <= inside[0] <= inside[1] <= int(tool["endTimeUnixNano"])
    about, outcome = attributes(boss), runs()["boss"].outcome
    assert (about["gen_ai.operation.name"], about["gen_ai.agent.name"]) == ("invoke_agent", "boss")
    assert about["gen_ai.usage.input_tokens"] == str(outcome.prompt_tokens)
    assert about["aigrid.cost_nusd"] == str(outcome.cost_nusd)
    assert attributes(tool)["gen_ai.tool.name"] == "delegate"
    assert attributes(spans["chat m"])["gen_ai.request.model"] == "m"
    assert "secret" not in text
    assert traces.trace(shelf.find(run)) == json.loads(text)


async def test_what_was_refused_and_what_was_stopped_is_an_error(bench):
    agent = bench.agent("  add: {kind: python, function: work.add}\n", "budget: {steps: 1}")
    outcome = await bench.start(agent, ScriptedMind([("add", {"a": "x"})]))
    spans = spans_of(traces.trace(shelf.find(outcome.run)))
    assert attributes(spans["execute_tool add"])["error.type"] == "refused"
    assert attributes(spans["invoke_agent worker"])["error.type"] == "stopped"
    assert spans["invoke_agent worker"]["status"]["code"] == traces.ERROR


@pytest.fixture
def collector():
    """A collector on loopback; what it was sent is in `.sent`."""

    class Take(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["content-length"]))
            self.server.sent.append((self.path, self.headers["authorization"], json.loads(body)))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Take)
    server.sent = []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


async def test_a_run_that_has_ended_is_sent_once_to_the_collector(bench, collector, monkeypatch):
    monkeypatch.setenv("OTLP_KEY", "k1")
    outcome = await bench.start(bench.agent(), ScriptedMind("done"))
    exporter = traces.Exporter(TracesConfig(f"http://127.0.0.1:{collector.server_port}/", "OTLP_KEY"))
    exporter.ended(outcome.run)
    await exporter.stop()
    [(path, key, body)] = collector.sent
    assert (path, key) == ("/v1/traces", "Bearer k1")
    assert "invoke_agent worker" in spans_of(body)


async def test_a_collector_that_is_not_there_troubles_nobody(bench, caplog):
    outcome = await bench.start(bench.agent(), ScriptedMind("done"))
    exporter = traces.Exporter(TracesConfig("http://127.0.0.1:9"))
    exporter.ended(outcome.run)
    await asyncio.wait_for(exporter.stop(), 60)
    assert "was not taken by http://127.0.0.1:9" in caplog.text


def test_the_scores_of_a_task_are_shown_part_by_part(capsys, tmp_path):
    hire(anna="", bert="")
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"agent": "bert", "task": "add a bill", "score": 1}\n')
    assert command(["agents", "scores", "--add", str(rows), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"added": 1}
    assert command(["agents", "scores", "add the bill", "--json"]) == 0
    ranking = json.loads(capsys.readouterr().out)["ranking"]
    assert [(each["agent"], each["success"]) for each in ranking] == [("bert", 1.0), ("anna", None)]
    assert command(["agents", "scores", "add the bill"]) == 0
    assert "unknown" in capsys.readouterr().out
