"""The ladder: the cheapest rung that clears the bar is taken, says why, is the same each time, and serves as it scored."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from aigrid.core.errors import BadRequest, ConfigError
from aigrid.factory import digest, rows, train
from aigrid.factory.base import Job
from aigrid.factory.ladder import open as opening
from aigrid.factory.ladder import task
from aigrid.factory.rows import Row
from tests.factory import ladder_rows

HERE = Path(__file__).parent


def job(tmp_path: Path, found: list[Row], name: str = "one") -> Job:
    before, out, work = tmp_path / name / "curate", tmp_path / name / "out", tmp_path / name / "work"
    for folder in (before, out, work):
        folder.mkdir(parents=True, exist_ok=True)
    rows.write(before / "rows.jsonl", found)
    return Job("train", 1, HERE, {}, {"curate": before}, out, work)


def climb(at: Job, **said: Any) -> dict[str, Any]:
    train.run(at, msgspec.convert(said, train.Settings))
    table: dict[str, Any] = msgspec.json.decode((at.out / "ladder.json").read_bytes())
    return table


def test_the_cheapest_rung_that_clears_the_bar_is_taken(tmp_path: Path) -> None:
    at = job(tmp_path, ladder_rows.bookings())
    table = climb(at, metric="slots", bar=0.8, clears="value", rungs=["tagger", "nearest"])
    nearest, tagger = table["rungs"]
    assert (nearest["rung"], nearest["clears"], tagger["rung"], tagger["clears"]) == ("nearest", False, "tagger", True)
    assert nearest["score"]["value"] < 0.8 <= tagger["score"]["value"]
    assert table["picked"] == at.figures["picked"] == "tagger"
    assert "tagger is the cheapest rung that clears the bar of 80.0%" in table["why"]
    assert "cheaper rungs fall short: nearest" in table["why"]
    for rung in ("nearest", "tagger"):
        assert 0 < at.measured[f"{rung}_p50_ns"] <= at.measured[f"{rung}_p99_ns"]
        assert at.measured[f"{rung}_nusd_per_1000"] > 0


def test_it_stops_where_the_bar_is_cleared_unless_all_are_wanted(tmp_path: Path) -> None:
    table = climb(job(tmp_path, ladder_rows.bookings()), bar=0.02, clears="value", rungs=["nearest", "tagger"])
    assert table["picked"] == "nearest"
    assert "there is no cheaper one" in table["why"]
    assert table["rungs"][1]["why_not"] == "not tried: a cheaper rung clears the bar"
    table = climb(
        job(tmp_path, ladder_rows.bookings(), "all"), bar=0.02, clears="value", rungs=["nearest", "tagger"], climb="all"
    )
    assert table["picked"] == "nearest"
    assert all(step["clears"] for step in table["rungs"])


def test_where_none_clears_the_bar_the_best_is_taken_and_marked(tmp_path: Path) -> None:
    at = job(tmp_path, ladder_rows.bookings())
    table = climb(at, bar=1.0, rungs=["nearest", "tagger", "linear"])
    assert (table["picked"], table["cleared"], at.figures["clears"]) == ("tagger", False, False)
    assert "no rung clears the bar of 100.0%" in table["why"]
    assert table["rungs"][1]["why_not"] == "it answers with one of two or more labels"


def test_the_interval_may_decide_or_the_value(tmp_path: Path) -> None:
    value = climb(job(tmp_path, ladder_rows.bookings()), bar=0.1, rungs=["tagger"])["rungs"][0]["score"]
    assert value["low"] < value["value"]
    bar = (value["low"] + value["value"]) / 2
    assert not climb(job(tmp_path, ladder_rows.bookings(), "low"), bar=bar, rungs=["tagger"])["cleared"]
    at = job(tmp_path, ladder_rows.bookings(), "value")
    assert climb(at, bar=bar, rungs=["tagger"], clears="value")["cleared"]


@pytest.mark.parametrize(("found", "rungs"), [("bookings", ["nearest", "tagger"]), ("intents", ["nearest", "linear"])])
def test_what_serves_is_what_was_scored_and_the_same_each_time(tmp_path: Path, found: str, rungs: list[str]) -> None:
    examples = getattr(ladder_rows, found)()
    tables = []
    for name in ("one", "two"):
        at = job(tmp_path, examples, name)
        tables.append(climb(at, bar=1.0, rungs=rungs))
    one, two = (tmp_path / name / "out" for name in ("one", "two"))
    assert digest.of_folder(one) == digest.of_folder(two)
    candidate = opening.open(one / "candidate")
    dev = [row for row in examples if row.split == "dev"]
    answers = candidate.answer([row.input for row in dev])
    share = sum(answer.output == row.output for answer, row in zip(answers, dev, strict=True)) / len(dev)
    picked = next(step for step in tables[0]["rungs"] if step["rung"] == tables[0]["picked"])
    assert share == pytest.approx(picked["score"]["value"])
    assert candidate.answer([dev[3].input]) == [answers[3]]
    assert all(0 <= answer.confidence <= 1 for answer in answers)


def test_answering_needs_no_training_packages(tmp_path: Path) -> None:
    for found, rung in (("bookings", "tagger"), ("intents", "linear")):
        climb(job(tmp_path, getattr(ladder_rows, found)(), rung), bar=1.0, rungs=[rung])
        script = (
            "import sys\nfrom pathlib import Path\nfrom aigrid.factory.ladder.open import open\n"
            f"print(open(Path({str(tmp_path / rung / 'out' / 'candidate')!r})).answer(['play jazz for 3'])[0].output)\n"
            "assert not {'sklearn', 'scipy', 'torch'} & set(sys.modules), 'heavy'"
        )
        subprocess.run([sys.executable, "-c", script], check=True)


def test_killed_between_rungs_it_goes_on_to_the_same_bytes(tmp_path: Path) -> None:
    whole = job(tmp_path, ladder_rows.bookings(), "whole")
    climb(whole, bar=1.0, rungs=["nearest", "tagger"])
    killed = job(tmp_path, ladder_rows.bookings(), "killed")
    script = (
        "import os, signal, sys\nfrom pathlib import Path\nfrom tests.factory import ladder_rows, test_ladder\nfrom aigrid.factory.ladder import tagger\n"
        "tagger.fit = lambda fit, folder: os.kill(os.getpid(), signal.SIGKILL)\n"
        "at = test_ladder.job(Path(sys.argv[1]), ladder_rows.bookings(), 'killed')\n"
        "test_ladder.climb(at, bar=1.0, rungs=['nearest', 'tagger'])"
    )
    env = {**os.environ, "PYTHONPATH": f"{HERE.parent.parent}:{os.environ.get('PYTHONPATH', '')}"}
    dead = subprocess.run([sys.executable, "-c", script, str(tmp_path)], env=env, check=False)
    assert dead.returncode == -signal.SIGKILL
    fitted = killed.work / "rungs" / "nearest" / "step.json"
    before = fitted.stat().st_mtime_ns
    climb(killed, bar=1.0, rungs=["nearest", "tagger"])
    assert fitted.stat().st_mtime_ns == before
    assert digest.of_folder(killed.out) == digest.of_folder(whole.out)


def test_it_says_that_it_does_not_know(tmp_path: Path) -> None:
    examples = ladder_rows.intents()
    unsure = {"answer": "none", "wrong": 0.02}
    at = job(tmp_path, examples)
    table = climb(at, metric="label", bar=0.5, rungs=["linear"], unsure=unsure)
    step = table["rungs"][0]
    assert step["wrong"] <= 0.02
    assert 0.5 < step["coverage"] < 1
    candidate = opening.open(at.out / "candidate")
    assert candidate.about.threshold is not None
    far, near = candidate.answer(["zyx wvu tsr", "what is the weather tomorrow"])
    assert (far.output, near.output) == ("none", "weather")
    assert far.confidence < candidate.about.threshold.least <= near.confidence


def test_the_tool_goes_with_the_slots(tmp_path: Path) -> None:
    at = job(tmp_path, ladder_rows.bookings())
    climb(at, bar=0.0, rungs=["nearest"], tool={"name": "book_table", "parameters": {"type": "object"}})
    assert opening.about(at.out / "candidate").tool == {"name": "book_table", "parameters": {"type": "object"}}


def test_rules_come_first(tmp_path: Path) -> None:
    at = job(tmp_path, ladder_rows.bookings())
    rules = {r"^(?P<people>\d+) (guests|of us)$": {}, r"parking": {}}
    climb(at, bar=0.0, rungs=[{"nearest": {"rules": rules}}])
    candidate = opening.open(at.out / "candidate")
    assert [answer.output for answer in candidate.answer(["7 Guests", "parking for 2"])] == [{"people": "7"}, {}]


def test_macro_f1_counts_every_label_the_same(tmp_path: Path) -> None:
    at = job(tmp_path, ladder_rows.intents())
    score = climb(at, metric="macro-f1", bar=0.5, rungs=["linear"])["rungs"][0]["score"]
    assert score["low"] <= score["value"] <= score["high"]


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"rungs": ["linaer"]}, "no rung `linaer`"),
        ({"rungs": ["nearest", "nearest"]}, "named twice"),
        ({"rungs": [{"nearest": {}, "linear": {}}]}, "one name with its settings"),
        ({"rungs": [{"linear": {"char": [2, 3]}}]}, "did you mean `chars`"),
        ({"rungs": [{"linear": {"c": -1.0}}]}, "rung `linear`"),
        ({"rungs": ["tagger"]}, "no rung of the ladder can do this task"),
        ({"rungs": [{"nearest": {"rules": {"(": "x"}}}]}, "no regular expression"),
        ({"metric": "wer"}, "no metric `wer`"),
        ({"task": "slots"}, "the task is `slots`"),
    ],
)
def test_what_cannot_be_is_refused_with_what_to_do(tmp_path: Path, said: dict[str, Any], why: str) -> None:
    with pytest.raises((ConfigError, BadRequest), match=why):
        climb(job(tmp_path, ladder_rows.intents()), bar=0.5, **said)


def test_rows_that_ask_for_different_things_are_refused() -> None:
    with pytest.raises(BadRequest, match="all outputs must be texts"):
        task.of([Row("a", "x"), Row("b", {"y": "z"})])
    with pytest.raises(BadRequest, match="no rows to train on"):
        task.of([])
    assert task.of([Row(str(at), str(at)) for at in range(4)]).kind == "text"
    assert task.of([Row(str(at), str(at % 2)) for at in range(4)]).names == ("0", "1")
    assert task.of([Row("2 at noon", {"people": "2", "time": "noon"}), Row("hi", {})]).names == ("people", "time")


def test_a_folder_that_is_no_candidate_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadRequest, match=r"no candidate\.json"):
        opening.open(tmp_path)
    (tmp_path / "candidate.json").write_text("{")
    with pytest.raises(BadRequest, match="damaged"):
        opening.open(tmp_path)
