import json
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from aigrid.core.config import home
from aigrid.factory import near, run
from aigrid.factory.line import Line, load
from aigrid.factory.on_ray import OnRay

ray = pytest.importorskip("ray", reason="Ray is not installed: pip install 'aigrid[ray]'")
pytest.importorskip("py3langid", reason="py3langid is not installed: pip install 'aigrid[factory]'")
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("ray")]

SENTENCE = "the hotel room was clean and the breakfast good but we could not sleep for the noise of the street"
WORDS = SENTENCE.split()


@pytest.fixture(scope="module")
def spread() -> Iterator[OnRay]:
    """A cluster of one small machine."""
    patch = pytest.MonkeyPatch()
    patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    patch.setenv("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
    ray.init(num_cpus=2, object_store_memory=100 << 20, include_dashboard=False, log_to_driver=False, logging_level=40)
    yield OnRay()
    ray.shutdown()
    patch.undo()


def line(folder: Path) -> Line:
    """A line over texts that are broken, foreign, there twice, nearly there twice, and part of the examination."""
    rng = random.Random(1)
    texts = [" ".join(rng.choices(WORDS, k=rng.randint(4, 20))) for _ in range(600)]
    texts += [text + rng.choice(["", "!", " indeed"]) for text in rng.choices(texts, k=300)]
    texts += [
        "Das Zimmer war sauber, aber wir konnten vor lauter Lärm nicht schlafen",
        "\ufffd" * 9,
        "  a\r\nb ",
    ]
    asked = [" ".join(rng.choices(WORDS, k=15)) for _ in range(50)]
    texts += [f"well {text}" for text in asked[:20]]
    rng.shuffle(texts)
    for name, found in {"said": texts, "asked": asked}.items():
        rows = [{"input": text, "output": "long" if len(text) > 60 else "short"} for text in found]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    curate = {
        "sources": [{"data": "said"}, {"data": "asked", "evaluate": True}],
        "near": 0.8, "languages": ["en"], "contaminated": "drop", "least": 4,
    }  # fmt: skip
    data = {name: {"file": f"{name}.jsonl"} for name in ("said", "asked")}
    (folder / "line.yaml").write_text(json.dumps({"line": "spread", "data": data, "stages": [{"curate": curate}]}))
    return load(folder)


def test_a_cluster_curates_to_the_same_bytes(tmp_path: Path, spread: OnRay, monkeypatch: pytest.MonkeyPatch) -> None:
    planned = line(tmp_path)
    here = run.build(planned).stages[0]
    before = {path.name: path.read_bytes() for path in run.result(here.key).iterdir()}
    for reason in ("near duplicate", "duplicate", "language", "broken text", "contaminated", "too short"):
        assert here.figures[f"dropped: {reason}"] > 0  # type: ignore[operator]
    monkeypatch.setenv("AIGRID_HOME", str(tmp_path / "cluster"))
    assert not (home() / "factory").exists()
    there = run.build(planned, spread=spread).stages[0]
    assert (there.state, there.key, there.digest) == ("done", here.key, here.digest)
    assert {path.name: path.read_bytes() for path in run.result(there.key).iterdir()} == before


def test_near_duplicates_of_near_duplicates_are_chosen_in_order(spread: OnRay) -> None:
    rng = random.Random(2)
    texts = [" ".join(rng.choices(WORDS[:6], k=8)) for _ in range(300)]
    assert list(spread.near(texts, 0.7)) == list(near.near(texts, 0.7))
    assert list(spread.near([], 0.7)) == []
    assert list(spread.map(_doubled, list(range(1234)))) == list(range(0, 2468, 2))


def _doubled(found: list[int]) -> list[int]:
    return [2 * each for each in found]
