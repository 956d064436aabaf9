"""The blueprints that climb a ladder read their data's format and train; on a few rows in that format, made here."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from aigrid.factory import run
from aigrid.factory.ladder import open as opening
from aigrid.factory.line import Line, load
from tests.factory import ladder_rows

BLUEPRINTS = Path(__file__).parents[2] / "blueprints"


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIGRID_HOME", str(tmp_path / "home"))


def write(path: Path, value: Any) -> None:
    path.write_bytes(gzip.compress(json.dumps(value).encode()))


def without_models(line: Line) -> Line:
    """Return the line with those rungs only that take no model from elsewhere."""
    for stage in line.stages:
        if stage.use == "train":
            stage.settings.rungs = [name for name in stage.settings.rungs if name not in ("head", "prompt")]
    return line


def test_a_booking_clerk_is_built_and_answers_with_the_arguments_of_its_tool(tmp_path: Path) -> None:
    said: dict[str, list[Any]] = {"train": [], "test": []}
    for row in ladder_rows.bookings():
        spans = [(slot, row.input.index(value), len(value)) for slot, value in row.output.items()]
        labels = [{"slot": slot, "valueSpan": {"startIndex": at, "endIndex": at + size}} for slot, at, size in spans]
        for label in labels:  # the data leave out a start of 0
            if not label["valueSpan"]["startIndex"]:
                del label["valueSpan"]["startIndex"]
        utterance = {"userInput": {"text": row.input}, "labels": labels}
        said["test" if row.split == "test" else "train"].append(utterance)
    said["train"].append({"userInput": {"text": "12"}, "context": {"requestedSlots": ["people"]},
                          "labels": [{"slot": "people", "valueSpan": {"endIndex": 2}}]})  # fmt: skip
    write(tmp_path / "restaurant8k.train_0.json.gz", said["train"])
    write(tmp_path / "restaurant8k.test.json.gz", said["test"])
    made = run.build(without_models(load(BLUEPRINTS / "booking-clerk", (tmp_path,))), until="train")
    clerk = opening.open(run.result(made.stages[-1].key) / "candidate")
    assert clerk.about.kind == "tagger"
    assert clerk.about.tool is not None
    assert clerk.about.tool["name"] == "book_table"
    [answer] = clerk.answer(["book tomorrow for 3"])
    assert answer.output == {"date": "tomorrow", "people": "3"}
    assert set(clerk.about.task.names) <= set(clerk.about.tool["parameters"]["properties"])


def test_an_intent_router_is_built_and_says_what_is_out_of_scope(tmp_path: Path) -> None:
    splits: dict[str, list[Any]] = {name: [] for name in ("train", "val", "test", "oos_train", "oos_val", "oos_test")}
    for row in ladder_rows.intents():
        name = {"train": "train", "dev": "val", "test": "test"}[row.split]
        stranger = row.output == "none"
        splits[f"oos_{name}" if stranger else name].append([row.input, "oos" if stranger else row.output])
    write(tmp_path / "clinc150_full.json.gz", splits)
    made = run.build(without_models(load(BLUEPRINTS / "intent-router", (tmp_path,))), until="train")
    assert made.stages[0].figures["test"] == len(splits["test"]) + len(splits["oos_test"])
    router = opening.open(run.result(made.stages[-1].key) / "candidate")
    assert router.about.threshold is not None
    assert router.about.threshold.answer == "oos"
    assert router.answer(["what is the weather tomorrow"])[0].output == "weather"
