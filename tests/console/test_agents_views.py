"""What the agents pages show: arguments as they are, nothing that is markup, sources that open, what a call has come to."""

import json

import msgspec
import pytest

from aigrid.agents import spec
from aigrid.console.agents_steps import Timeline, result_view
from aigrid.console.agents_views import agent_view, agents_table, as_agent, exact


def step(seq, kind, key, body):
    return {"seq": seq, "at_ns": seq * 1_000_000, "kind": kind, "key": key, "digest": "", "body": body}


def said(text="", calls=()):
    usage = {"prompt_tokens": 5, "completion_tokens": 2}
    asked = [{"id": f"call_0_{at}", "name": name, "arguments": given} for at, (name, given) in enumerate(calls)]
    cost = {"cost_nusd": 10, "energy_mj": 1500, "energy_source": "estimate"}
    return {"text": text, "reasoning": "", "calls": asked, "finish": "stop", "usage": usage, **cost}


def run(*steps, state="running", **agent):
    start = {"agent": agent, "task": {"text": "go", "history": [], "facts": ""}}
    journal = [("start", "", start), *steps]
    return {"state": state, "journal": [step(at, *each) for at, each in enumerate(journal, 1)]}


@pytest.mark.parametrize(
    ("char", "shown"), [("\u202e", "\\u202e"), ("\u200b", "\\u200b"), ("\u2028", "\\u2028"), ("\x07", "\\u0007")]
)
def test_what_cannot_be_seen_in_arguments_is_written_out(char, shown):
    assert exact({"to": f"a{char}b"}) == f'{{\n  "to": "a{shown}b"\n}}'
    assert json.loads(exact({"to": f"a{char}b"})) == {"to": f"a{char}b"}


def test_letters_of_any_language_stay_as_they_are():
    assert exact("Größe 大 é") == '"Größe 大 é"'


def test_passages_open_their_sources_and_rows_are_a_table():
    found = [{"text": "<b>90</b> euros", "place": "fees.md, line 3", "source": "src 1"}]
    shown = result_view(json.dumps(found))
    assert 'href="/knowledge/source/src%201"' in shown
    assert "&lt;b&gt;90&lt;/b&gt; euros" in shown
    assert "<td" in result_view('{"columns": ["a"], "rows": [["<i>"]], "more": false}')
    assert "&lt;i&gt;" in result_view('{"columns": ["a"], "rows": [["<i>"]], "more": false}')


@pytest.mark.parametrize(
    "result",
    [
        '{"columns": ["a"], "rows": [[1, 2]], "more": false}',
        '{"columns": 1, "rows": 2, "more": 3}',
        '[{"text": "x", "place": "y"}]',
        "[]",
        "<script>",
        "not json {",
    ],
)
def test_a_result_that_only_looks_like_one_of_these_is_shown_as_it_is(result):
    shown = result_view(result)
    assert shown.startswith('<pre class="box result">')
    assert "<script>" not in shown


@pytest.mark.parametrize(
    ("steps", "state", "tag"),
    [
        ([], "running", "comes next"),
        ([("began", "call_0_0/0", {})], "running", "at work"),
        ([("began", "call_0_0/0", {})], "interrupted", "cut off"),
        ([("asked", "approve:call_0_0", {})], "waiting", "asks a person"),
        ([("began", "call_0_0/0", {}), ("tool", "call_0_0", "ok")], "done", "done"),
        ([("refused", "call_0_0", "refused: no")], "done", "refused"),
    ],
)
def test_a_call_says_what_it_has_come_to(steps, state, tag):
    timeline = Timeline(run(("model", "0", said(calls=[("pay", '{"to": "<bob>"}')])), *steps, state=state))
    shown = timeline.items()[1]
    assert f">{tag}</span>" in shown
    assert "&lt;bob&gt;" in shown


def test_the_model_is_thinking_only_while_no_call_is_out():
    calls = ("model", "0", said(calls=[("pay", "{}")]))
    assert Timeline(run()).thinking()
    assert not Timeline(run(calls)).thinking()
    assert Timeline(run(calls, ("tool", "call_0_0", "ok"))).thinking()
    assert not Timeline(run(("model", "0", said("the end")))).thinking()


def test_arguments_that_are_no_json_are_shown_all_the_same():
    shown = Timeline(run(("model", "0", said(calls=[("pay", "{<b>")])))).items()[1]
    assert "{&lt;b&gt;" in shown


def test_an_agent_is_shown_with_what_its_file_leaves_out():
    text = "name: a\ninstructions: <i>Do</i> it.\ntools: {t: {kind: python, function: w.t, approve: true}}\n"
    agent = as_agent({**msgspec.to_builtins(spec.parse(text)), "path": "/a.yaml"})
    assert "50,000 tokens" in agents_table([agent])
    assert "t · asks first" in agents_table([agent])
    assert "&lt;i&gt;Do&lt;/i&gt; it." in agent_view(agent, "/a.yaml")
