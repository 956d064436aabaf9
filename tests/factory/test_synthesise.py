"""Synthesis: every new row has its parents, repeats none, tells no answer of an examination, and stays in its budget."""

import json
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aigrid.client.http import Gateway
from aigrid.core.errors import ConfigError
from aigrid.factory import perturb, rows, run
from aigrid.factory.base import Cost, quiet
from aigrid.factory.by_model import Asked
from aigrid.factory.grammar import Grammar, Template, draw
from aigrid.factory.line import load
from aigrid.factory.rows import Row

GRAMMAR = """
templates:
  - {input: "a table for {people} at {time}", output: {people: "{people}", time: "{time}"}}
  - {input: "{time} for {people}, please", output: {people: "{people}", time: "{time}"}}
slots:
  people: [two, three, "{many}"]
  many: [seven, eight]
  time: [noon, "5 pm"]
"""


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIGRID_HOME", str(tmp_path / "home"))


class Scripted(Gateway):
    """A gateway whose model says other words, and whose judge agrees with every second question."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []

    def post(self, path: str, body: dict[str, Any]) -> tuple[int, Any]:
        self.asked.append(body)
        shape = body["response_format"]["json_schema"]
        if shape["name"] == "question":
            said = {"question": f"other words {len(self.asked)}"}
        else:
            choices = shape["schema"]["properties"]["verdict"]["enum"]
            said = {"verdict": choices[len(self.asked) // 2 % 2 % len(choices)]}
        message = {"message": {"content": json.dumps(said)}}
        return 200, {"choices": [message], "usage": {"total_tokens": 50}, "aigrid": {"cost_nusd": 7}}


def synthesise(folder: Path, settings: dict[str, Any], gateway: Gateway | None = None) -> tuple[list[Row], run.Build]:
    found = [{"input": f"book a table for {at} people", "output": "book" if at % 2 else "ask"} for at in range(6)]
    (folder / "d.jsonl").write_text("".join(json.dumps(each) + "\n" for each in found))
    (folder / "t.jsonl").write_text(json.dumps({"input": "a table for two at noon", "output": "book"}) + "\n")
    (folder / "grammar.yaml").write_text(GRAMMAR)
    (folder / "own.py").write_text(
        "from aigrid.factory.rows import Row\n"
        "def more(lessons, seed, data):\n"
        "    for row in lessons:\n"
        "        yield Row(row.input + ' tomorrow', row.output, parents=(row.id,))\n"
    )
    sources = [{"data": "d"}, {"data": "t", "evaluate": True}]
    stages = [{"curate": {"sources": sources, "dev": 0}}, {"synthesise": settings}]
    line = {"line": "t", "data": {"d": {"file": "d.jsonl"}, "t": {"file": "t.jsonl"}}, "stages": stages}
    (folder / "line.yaml").write_text(json.dumps(line))
    built = run.build(load(folder), gateway=None if gateway is None else lambda: gateway)
    return rows.read(run.result(built.stages[1].key)), built


def new(found: list[Row]) -> list[Row]:
    return [row for row in found if row.origin not in ("d", "t")]


def test_templates_give_questions_with_their_answers(tmp_path: Path) -> None:
    found = new(synthesise(tmp_path, {"templates": {"count": 100, "file": "grammar.yaml"}})[0])
    assert len(found) == 2 * 4 * 2 - 1  # one of them is in the examination
    for row in found:
        assert row.output["people"] in row.input
        assert row.output["time"] in row.input
        assert row.split == "train"
    assert all(row.input != "a table for two at noon" for row in found)


def test_small_changes_keep_the_answer_and_name_the_parent(tmp_path: Path) -> None:
    found, _ = synthesise(tmp_path, {"perturb": {"count": 40}})
    parents = {row.id: row for row in found}
    assert len(new(found)) >= 15
    for row in new(found):
        [parent] = row.parents
        assert row.output == parents[parent].output
        assert row.input != parents[parent].input
        assert row.split == "train"


def test_a_blueprint_s_own_rows(tmp_path: Path) -> None:
    found = new(synthesise(tmp_path, {"own": "own.py:more"})[0])
    assert len(found) == 6
    assert all(row.input.endswith(" tomorrow") and row.parents and row.origin == "own" for row in found)


def test_a_model_s_questions_are_judged_and_paid_for(tmp_path: Path) -> None:
    gateway = Scripted()
    want = {"count": 8, "tokens": 10_000, "model": "m"}
    found, built = synthesise(tmp_path, {"paraphrase": want}, gateway)
    made = new(found)
    assert 0 < len(made) < 8
    assert all(row.parents and row.origin == "paraphrase" for row in made)
    cost = built.stages[1].cost
    assert cost.tokens == 50 * len(gateway.asked) == 800
    assert cost.nusd >= 7 * 16
    assert all(body["response_format"]["json_schema"]["strict"] for body in gateway.asked)


def test_a_budget_ends_the_asking(tmp_path: Path) -> None:
    gateway = Scripted()
    _, built = synthesise(tmp_path, {"paraphrase": {"count": 100, "tokens": 250, "model": "m"}}, gateway)
    assert built.stages[1].cost.tokens == 300  # the last question began within it
    assert len(gateway.asked) == 6


def test_what_was_asked_before_a_crash_is_not_asked_again(tmp_path: Path) -> None:
    found = [rows.named(Row(f"question {at}", str(at))) for at in range(5)]
    first = Scripted()
    one = Asked(first, "m", "", 10_000, tmp_path / "kept", Cost())
    half = [made.input for made in one.make("paraphrase", found, 3, 1, quiet)]
    second, cost = Scripted(), Cost()
    second.asked = list(first.asked)
    other = Asked(second, "m", "", 10_000, tmp_path / "kept", cost)
    whole = [made.input for made in other.make("paraphrase", found, 6, 1, quiet)]
    assert whole[: len(half)] == half
    assert len(second.asked) == 12
    assert cost.tokens == 600


def test_without_a_gateway_it_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="aigrid up"):
        synthesise(tmp_path, {"from_answer": {"count": 1, "tokens": 100, "model": "m"}})


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"perturb": {"count": 1, "ways": ["shout"]}}, "no way `shout`"),
        ({"templates": {"count": 1, "file": "gone.yaml"}}, "cannot read the grammar"),
        ({"templates": {"count": 1, "file": "own.py"}}, "is no grammar"),
        ({"own": "own.py:less"}, "no function `less`"),
    ],
)
def test_wrong_settings_say_what_is_wrong(tmp_path: Path, settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        synthesise(tmp_path, settings)


@pytest.mark.parametrize(
    ("template", "slots", "said"),
    [
        (Template("x {a}", "y"), {}, "no values for `a`"),
        (Template("x {a}", {"z": ["{b}"]}), {"a": ["1"], "b": ["1"]}, "answered but not asked"),
    ],
)
def test_a_wrong_grammar_is_refused(template: Template, slots: dict[str, list[str]], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        Grammar([template], slots).check("g")


def test_a_grammar_that_holds_itself_ends() -> None:
    with pytest.raises(ConfigError, match="deep"):
        list(draw(Grammar([Template("{a}", "x")], {"a": ["{a} {a}"]}), 1, random.Random(1)))


@given(st.text(min_size=1, max_size=60), st.sampled_from(list(perturb.WAYS)), st.integers(0, 5))
def test_words_of_the_answer_are_never_touched(text: str, kind: str, seed: int) -> None:
    row = Row(f"{text} for seven people", {"people": "seven"})
    changed = perturb.perturbed(row, kind, random.Random(seed))
    assert changed is None or "seven" in changed
