"""`aigrid router`: train, show, try; learn from feedback; and a factory that refuses what was not tested."""

import json
import random
from types import SimpleNamespace
from xml.etree import ElementTree

import pytest

from aigrid.agents import feedback
from aigrid.client.http import Gateway


def judged(count=400, seed=3):
    luck = random.Random(seed)
    for at in range(count):
        word = "prove theorem" if at % 2 else "greet guest"
        yield {"prompt": f"{word} {luck.randint(1, 10**9)}", "label": "strong" if at % 2 else "weak"}


@pytest.fixture
def trained(aigrid, tmp_path):
    """Train on some rows; returns what was printed and the file."""

    def train(*options, rows=None, weak="echo", strong="echo@self_consistency:3"):
        file, out = tmp_path / "judged.jsonl", tmp_path / "router.json"
        file.write_text("".join(json.dumps(row) + "\n" for row in rows or judged()))
        return aigrid("router", "train", str(file), "--weak", weak, "--strong", strong, "-o", str(out), *options), out

    return train


def test_train_show_and_try(aigrid, trained, tmp_path):
    done, out = trained("--cost", "0.5", "--plot", str(tmp_path / "curve.svg"))
    assert done.code == 0, done.err
    for said in ("APGR", "CPT(80 %)", "echo@self_consistency:3", f'router = "{out}"', "50% strong"):
        assert said in done.out
    assert ElementTree.parse(tmp_path / "curve.svg").getroot().tag.endswith("svg")
    shown = aigrid("router", "show", str(out), "--json").json
    assert shown["test"]["apgr"]["low"] > 0.5
    assert shown["refused"] == ""
    assert "weights" not in shown
    for text, side in (("prove theorem 5", "strong"), ("greet guest 5", "weak")):
        assert aigrid("router", "try", str(out), text, "--json").json["side"] == side
    assert "below the threshold" in aigrid("router", "try", str(out), "greet guest 5").out


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--weak", "a", "--strong", "b"), "name a file"),
        (("nothing.jsonl", "--weak", "a", "--strong", "b"), "cannot read nothing.jsonl"),
        (("x", "--weak", "a", "--strong", "b", "--cost", "0.1", "--quality", "0.9"), "not both"),
        (("x", "--weak", "a@clever", "--strong", "b"), "MODEL@STRATEGY:N"),
        (("--from-feedback", "--weak", "a", "--strong", "b"), "needs at least 100"),
    ],
)
def test_what_cannot_be_trained_is_said_in_one_line(aigrid, options, said):
    done = aigrid("router", "train", *options)
    assert (done.code, said in done.err) == (1, True), done.err


def test_bad_rows_are_named(trained):
    done, out = trained(rows=[*judged(), {"prompt": "a", "weak": 3, "strong": 1}])
    assert "line 401" in done.err
    assert not out.exists()


def test_ratings_of_the_weak_models_answers_teach(aigrid, monkeypatch, tmp_path):
    def row(task, model, **given):
        said = {"rating": None, "correction": None, **given}
        return SimpleNamespace(task=task, model=model, feedback=SimpleNamespace(**said))

    rows = []
    for at, each in enumerate(judged()):
        bad = each["label"] == "strong"
        rows.append(
            row(
                each["prompt"],
                "small",
                **({"correction": "no"} if bad and at % 4 == 1 else {"rating": -1 if bad else 1}),
            )
        )
        rows.append(row(each["prompt"], "large", rating=1))
        rows.append(row(each["prompt"], "another", rating=-1))
    rows.append(row("never asked of the small one", "large", rating=1))
    monkeypatch.setattr(feedback, "rows", lambda: iter(rows))
    out = tmp_path / "r.json"
    done = aigrid(
        "router", "train", "--from-feedback", "--weak", "small", "--strong", "large", "-o", str(out), "--json"
    )
    assert done.code == 0, done.err
    assert sum(done.json["data"][part] for part in ("train", "calibration", "test")) == 400
    assert aigrid("router", "try", str(out), "prove theorem 5", "--json").json["target"] == {"model": "large"}


def test_a_router_that_may_be_guessing_is_written_for_a_look_but_not_used(aigrid, trained):
    luck = random.Random(9)
    done, out = trained(rows=[{**row, "label": luck.choice(["weak", "strong"])} for row in judged()])
    assert done.code == 0
    assert "refuses it" in done.out
    assert "no better than guessing" in aigrid("router", "try", str(out), "x").err


def test_a_factory_uses_a_good_router_and_does_not_start_with_a_bad_one(trained, up, state_in_a_temporary_folder):
    _, out = trained("--cost", "0.5")
    rule = f'[[tiers]]\ntier = "fast"\nmodel = "auto"\nrouter = "{out}"\n'
    (state_in_a_temporary_folder / "aigrid.toml").write_text(rule)
    factory = up("--engine", "echo", "--no-console")
    assert factory.url, factory.stop().err
    asked = {"model": "auto", "messages": [{"role": "user", "content": "prove theorem 5"}], "max_tokens": 5}
    status, answer = Gateway(factory.url, factory.printed["key"]).post("/v1/chat/completions", asked)
    factory.stop()
    assert (status, answer["model"], answer["aigrid"]["routed"]["side"]) == (200, "echo", "strong")
    out.write_text(out.read_text().replace('"threshold": 0.', '"threshold": 0.0'))
    refused = up("--engine", "echo", "--no-console")
    assert "has changed since it was made" in refused.printed["error"]["message"]
    trained("--cost", "0.5", strong="large")
    missing = up("--engine", "echo", "--no-console")
    assert "chooses large, which nobody here serves" in missing.printed["error"]["message"]
