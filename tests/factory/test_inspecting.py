import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from aigrid.client.http import Gateway
from aigrid.core.errors import AigridError, BadRequest, ConfigError, NotFound
from aigrid.engines.echo import EchoEngine
from aigrid.factory import exams, inspecting, run
from aigrid.factory.attach import attach
from aigrid.factory.rows import Row
from aigrid.factory.serving import UNSURE
from tests.factory.test_flow import line
from tests.gateway.conftest import Door, open_door

pytest.importorskip("inspect_ai", reason="inspect-ai is not installed: pip install 'aigrid[evaluate]'")


@asynccontextmanager
async def served(folder: Path, *engines: Any) -> AsyncIterator[Door]:
    """A gateway that serves the pack `tastes`."""
    await asyncio.to_thread(lambda: run.build(line(folder, known=1)))
    async with open_door(list(engines), [attach]) as door:
        yield door


async def test_a_pack_is_examined_through_the_gateway_beside_a_model(tmp_path: Path) -> None:
    async with served(tmp_path, EchoEngine()) as door:
        exam = exams.of("tastes", line(tmp_path, known=1), limit=20)
        told: list[int] = []
        pack, model = await asyncio.to_thread(
            inspecting.examine, Gateway(door.url, door.secret), ["tastes", "echo"], {"tastes"}, exam,
            inspecting.Way(shots=2), lambda done, total, what: told.append(done),
        )  # fmt: skip
        records = await door.records()
    assert (pack.score.n, pack.shots, model.shots, pack.errors) == (20, 0, 2, 0)
    assert 0.3 < pack.score.value < 1
    assert model.score.value == 0
    assert model.gain is not None
    assert (model.gain.difference, model.gain.lost) == (pack.score.value, 0)
    assert pack.gain is None
    assert told == [*range(1, 21)] * 2
    ledger = {name: [record for record in records if record.model == name] for name in ("tastes", "echo")}
    for each in (pack, model):
        assert len(ledger[each.model]) == 20
        assert each.cost_nusd == sum(record.revenue_nusd for record in ledger[each.model]) > 0
        assert 0 < each.energy_mj <= sum(record.energy_mj for record in ledger[each.model])  # idle time is shared later
        assert 0 < each.p50_ms <= each.p99_ms
    assert {one.name for one in pack.slices} <= {"sweet", "salty", "sour"}
    assert sum(one.score.n for one in pack.slices) <= 20


async def test_inspect_s_log_has_every_answer_and_no_key(tmp_path: Path) -> None:
    from inspect_ai.log import read_eval_log

    async with served(tmp_path) as door:
        exam = exams.of("tastes", limit=5)
        [pack] = await asyncio.to_thread(
            inspecting.examine, Gateway(door.url, door.secret), ["tastes"], {"tastes"}, exam
        )
        log = await asyncio.to_thread(read_eval_log, pack.log)
        assert log.samples is not None
        assert [sample.metadata["row"] for sample in log.samples] == [row.id for row in exam.rows]
        text = log.model_dump_json()
        assert door.secret not in text
        assert exam.rows[0].input in text
    assert Path(pack.log.removeprefix("file://")).parent == inspecting.folder()


async def test_a_worker_that_answers_nothing_is_an_error_that_says_why(tmp_path: Path) -> None:
    async with served(tmp_path) as door:
        exam = exams.of("tastes", limit=2)
        with pytest.raises(AigridError, match=r"answered none of 2 questions.*gone"):
            await asyncio.to_thread(inspecting.examine, Gateway(door.url, door.secret), ["gone"], set(), exam)


def test_the_questions_are_those_that_the_line_kept(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="tastes"):
        exams.of("tastes")
    made = line(tmp_path)
    run.build(made, until="curate")
    exam = exams.of("tastes", made)
    assert {row.split for row in exam.rows} == {"test"}
    assert {row.split for row in exam.lessons} == {"train"}
    assert exam.settings.slices == "output"
    drawn = exams.of("tastes", made, limit=7)
    assert drawn.rows == exams.of("tastes", made, limit=7).rows
    assert len(drawn.rows) == 7
    lead = inspecting.lesson(exam, 3)
    assert [role for role, _ in lead] == ["system", *["user", "assistant"] * 3]
    assert all(name in lead[0][1] for name in ("sweet", "salty", "sour"))


def test_a_metric_that_is_code_needs_its_blueprint(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text("def half(said, row):\n    return 0.5\n")
    made = line(tmp_path, evaluate={"metric": "own.py:half"})
    run.build(made)
    with pytest.raises(ConfigError, match="--line"):
        exams.of("tastes")
    assert exams.of("tastes", made).metric("x", Row("x")) == 0.5
    (tmp_path / "learnt.jsonl").write_text('{"input": "x", "output": "y", "split": "train"}\n')
    with pytest.raises(BadRequest, match="nothing to ask"):
        exams.of("tastes", made, tmp_path / "learnt.jsonl")


def test_an_answer_is_understood_as_the_row_s_own_kind() -> None:
    assert inspecting.understood(UNSURE, Row("x", "y")) is None
    assert inspecting.understood(' {"a": 1} ', Row("x", {"a": "1"})) == {"a": 1}
    assert inspecting.understood("no json", Row("x", {"a": "1"})) == "no json"
    assert inspecting.understood('{"a": 1}', Row("x", "y")) == '{"a": 1}'


@pytest.mark.parametrize("absent", ["inspect_ai", "openai"])
def test_what_is_missing_is_named(absent: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inspecting.importlib.util, "find_spec", lambda name: None if name == absent else object())
    with pytest.raises(ConfigError, match=absent.replace("_", "-") + r" is not installed.*aigrid\[evaluate\]"):
        inspecting.needs()
