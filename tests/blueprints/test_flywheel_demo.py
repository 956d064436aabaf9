"""The flywheel's demo: 200 ratings lift the pack that serves, and nobody has a hand in it."""

import asyncio
import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pytest

from aigrid.client.http import Gateway
from aigrid.core.config import Config
from aigrid.factory import run
from aigrid.factory.attach import attach
from aigrid.factory.fly import Wheel
from aigrid.factory.line import load
from aigrid.factory.stats import paired
from tests.gateway.conftest import open_door

DEMO = Path(__file__).resolve().parents[2] / "blueprints" / "flywheel-demo"


def program(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"flywheel_{name}", DEMO / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_data_are_what_the_program_makes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    maker = program("make_data")
    monkeypatch.setattr(maker, "HERE", tmp_path)
    (tmp_path / "data").mkdir()
    maker.main()
    for path in (tmp_path / "data").iterdir():
        assert path.read_text() == (DEMO / "data" / path.name).read_text()
    exam = {json.loads(line)["input"] for line in (DEMO / "data" / "examination.jsonl").read_text().splitlines()}
    rated = {json.loads(line)["input"] for line in (DEMO / "data" / "ratings.jsonl").read_text().splitlines()}
    assert len(rated) == 200
    assert not exam & rated


async def test_ratings_lift_the_pack_in_service() -> None:
    demo = program("run")
    await asyncio.to_thread(lambda: run.build(load(DEMO)))
    async with open_door([], [attach]) as door:
        gateway = Gateway(door.url, door.secret)
        before = await asyncio.to_thread(demo.examine, gateway)
        count, wrong = await asyncio.to_thread(demo.rate, gateway, DEMO / "data" / "ratings.jsonl")
        assert count == 200
        assert wrong > 50
        wheel = Wheel(lambda: load(DEMO), Config(), lessons=200, budget_nusd=10**9, at_once=True)
        turn = await asyncio.to_thread(wheel.turn)
        assert turn.why == "build 2 with 200 new lessons: in service"
        after = await asyncio.to_thread(demo.examine, gateway)
    gain = paired(after, before)
    assert gain.better
    assert gain.low > 0.2
