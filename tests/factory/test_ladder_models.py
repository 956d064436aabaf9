"""Rungs that run a model: a head on the encoder's vectors, a prompt to an engine, a tuned model; and what they cost."""

from pathlib import Path
from typing import Any

import pytest

from aigrid.core import models
from aigrid.core.config import Config, UpstreamConfig
from aigrid.core.errors import ConfigError
from aigrid.engines.echo import EchoEngine
from aigrid.factory import digest
from aigrid.factory.base import Cost, quiet
from aigrid.factory.ladder import asking, head, lora, prompt, task
from aigrid.factory.ladder.base import Fit
from aigrid.factory.lora.settings import Result
from aigrid.factory.lora.settings import Settings as Training
from aigrid.factory.rows import Row
from tests.factory import ladder_rows


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIGRID_HOME", str(tmp_path / "home"))


def fit(tmp_path: Path, rows: list[Row], settings: Any, name: str = "fitted") -> tuple[Fit, Path]:
    folder = tmp_path / name
    folder.mkdir()
    learnt, dev = ([row for row in rows if row.split == split] for split in ("train", "dev"))
    return Fit(task.of(learnt), learnt, dev, settings, 1, tmp_path, quiet, Cost()), folder


def test_a_head_on_the_encoder_learns_intents_and_keeps_the_vectors(tmp_path: Path) -> None:
    if not models.resolve("all-minilm-l6-v2", Config()).present:
        pytest.skip("the model is not here: `aigrid models pull all-minilm-l6-v2` lets this run")
    rows = ladder_rows.intents()
    given, folder = fit(tmp_path, rows, head.Settings())
    assert head.unfit(given.task, given.settings) == ""
    head.fit(given, folder)
    [kept] = tmp_path.glob("vectors-*.npy")
    made = kept.stat().st_mtime_ns
    test = [row for row in rows if row.split == "test"]
    answers = head.load(folder).answer([row.input for row in test])
    assert sum(answer.output == row.output for answer, row in zip(answers, test, strict=True)) >= 0.9 * len(test)
    again, other = fit(tmp_path, rows, head.Settings(), "other")
    head.fit(again, other)
    assert digest.of_folder(other) == digest.of_folder(folder)
    assert kept.stat().st_mtime_ns == made


def test_a_prompt_shows_rows_with_different_answers_and_counts_what_it_costs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "_engine", lambda model, upstream, config: (EchoEngine("echo"), (50, 200)))
    rows = [Row(f"say {at} again", f"{at}", split="train") for at in range(9)]
    given, folder = fit(tmp_path, rows, prompt.Settings(model="echo", shots=3, tokens=5, instructions="Repeat."))
    prompt.fit(given, folder)
    candidate = prompt.load(folder)
    said = candidate.answer(["one two three four five six seven", "just this"])
    assert said[0].output.split() == ["one", "two", "three", "four", "five"]
    assert all(0 <= answer.confidence <= 1 for answer in said)
    tokens = candidate.cost.tokens
    assert candidate.cost.nusd > 50 * tokens
    assert len(set(candidate._made.shots)) == 3
    assert candidate._chat("x")[0] == {"role": "system", "content": "Repeat."}
    candidate.close()
    assert candidate.answer(["it starts again"])[0].output
    assert candidate.cost.tokens > tokens
    candidate.close()


def test_answers_are_held_to_the_form_of_the_task() -> None:
    labels = prompt.grammar(task.of([Row(str(at), "a.b" if at % 2 else "c|d") for at in range(8)]))
    assert labels is not None
    assert (labels.kind, labels.value) == ("regex", r"a\.b|c\|d")
    slots = task.of([Row("2", {"people": "2"})])
    assert prompt.parsed(slots, '{"people": "2"}') == {"people": "2"}
    assert prompt.parsed(slots, "two people") == prompt.parsed(slots, "[1]") == {}
    assert prompt.grammar(task.of([Row(str(at), str(at)) for at in range(4)])) is None


def test_an_upstream_is_found_with_its_prices_or_refused() -> None:
    there = UpstreamConfig(
        "cloud", "http://127.0.0.1:9", models=["big"], prompt_usd_per_mtok=0.5, completion_usd_per_mtok=2.0
    )
    engine, prices = asking._engine("big", "cloud", Config(upstreams=[there]))
    assert (engine.name, prices) == ("cloud", (500, 2000))
    with pytest.raises(ConfigError, match="no upstream `clod`"):
        asking._engine("big", "clod", Config(upstreams=[there]))


@pytest.mark.slow
def test_the_embedded_model_is_asked(tmp_path: Path) -> None:
    if not models.resolve("smollm2-135m-instruct", Config()).present:
        pytest.skip("the model is not here: `aigrid models pull smollm2-135m-instruct` lets this run")
    rows = ladder_rows.intents()
    given, folder = fit(tmp_path, rows, prompt.Settings(shots=2))
    prompt.fit(given, folder)
    asked = prompt.load(folder)
    [answer] = asked.answer(["play some jazz"])
    asked.close()
    assert answer.output in given.task.names
    assert 0 < answer.confidence <= 1


def test_a_tuned_model_is_taught_each_row_and_asked_without_examples(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sft = pytest.importorskip("aigrid.factory.lora.sft", reason="pip install 'aigrid[train]' lets this run")
    merge = pytest.importorskip("aigrid.factory.lora.merge", reason="pip install 'aigrid[train]' lets this run")
    base, taught = tmp_path / "base.gguf", []
    base.write_bytes(b"GGUF")
    (tmp_path / "made").mkdir()

    def train(rows: Any, dev: Any, training: Training, work: Path, progress: Any) -> Result:
        taught.extend([rows, dev, training, work])
        progress({"step": 1, "steps": 2, "loss": 0.5})
        return Result(
            adapter=tmp_path / "made", steps=2, dev_loss=None, first_dev_loss=None, metric=None, tokens=77, seconds=1.0,
            stopped_early=False, threads=1, precision="float32", device="cpu",
        )  # fmt: skip

    monkeypatch.setattr(sft, "train", train)
    monkeypatch.setattr(
        merge, "merge", lambda base, adapter, target, kind, rows: target.write_bytes(f"{kind} {len(rows)}".encode())
    )
    rows = [Row(f"{at} people", {"people": str(at)}, split="train" if at % 2 else "dev") for at in range(12)]
    given, folder = fit(tmp_path, rows, lora.Settings(model=str(base), rows=4, epochs=3), "tuned")
    lora.fit(given, folder)
    learnt, dev, training, work = taught
    assert len(learnt) == 4
    assert len(dev) == 6
    assert all(row["completion"] == f'{{"people":"{row["prompt"].split()[0]}"}}' for row in learnt)
    assert (training.base, training.epochs, work) == (base, 3, tmp_path / "lora")
    assert given.cost.tokens == 77
    assert (folder / "model.gguf").read_text() == "auto 4"
    tuned = lora.load(folder)
    assert tuned._made.model == str(folder / "model.gguf")
    assert tuned._chat("2 people") == [{"role": "user", "content": "2 people"}]
