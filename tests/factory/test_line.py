"""Lines: read with clear errors, run once, kept by what went in, and unhurt by kill -9."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from aigrid.core.errors import ConfigError, Conflict, NotFound
from aigrid.factory import base, digest, run
from aigrid.factory.line import Line, load
from aigrid.factory.record import amdahl, builds, lines

HERE = Path(__file__).parent
LINE = """
line: toy
about: adds
data: {start: {file: start.txt, licence: CC0}}
stages:
  - one: {use: toy, log: LOG}
  - two: {use: toy, add: 10, log: LOG}
  - three: {use: toy, add: 100, log: LOG, after: [two]}
"""


@pytest.fixture(autouse=True)
def _toys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(HERE))
    monkeypatch.setitem(base.STAGES, "toy", "toy_stages")
    monkeypatch.setenv("AIGRID_HOME", str(tmp_path / "home"))
    (tmp_path / "start.txt").write_text("5")


def write(tmp_path: Path, text: str = LINE) -> Path:
    path = tmp_path / "line.yaml"
    path.write_text(text.replace("LOG", str(tmp_path / "log")))
    return path


def made(tmp_path: Path, text: str = LINE) -> Line:
    return load(write(tmp_path, text))


def ran(tmp_path: Path) -> list[str]:
    log = tmp_path / "log"
    return log.read_text().split() if log.exists() else []


def test_a_line_runs_and_what_is_done_is_kept(tmp_path: Path) -> None:
    first = run.build(made(tmp_path))
    assert [stage.figures["number"] for stage in first.stages] == [7, 18, 119]
    assert [stage.state for stage in first.stages] == ["done"] * 3
    assert (run.result(first.stages[2].key) / "number").read_text() == "119"
    second = run.build(made(tmp_path))
    assert [stage.state for stage in second.stages] == ["kept"] * 3
    assert ran(tmp_path) == ["one", "two", "three"]
    assert [build.number for build in builds(run.root(), "toy")] == [2, 1]
    assert lines(run.root()) == ["toy"]
    assert second.ns == first.ns
    assert second.cost == first.cost
    assert first.cost.mj >= 0
    assert first.cost.source


@pytest.mark.parametrize(
    ("change", "again"),
    [
        (("add: 10,", "add: 11,"), ["two", "three"]),
        (("add: 100", "add: 101"), ["three"]),
        (("about: adds", "seed: 2"), ["one", "two", "three"]),
        (("add: 10,", "add: 10 ,"), []),
    ],
)
def test_only_what_a_change_touches_runs_again(tmp_path: Path, change: tuple[str, str], again: list[str]) -> None:
    run.build(made(tmp_path))
    run.build(made(tmp_path, LINE.replace(*change)))
    assert ran(tmp_path)[3:] == again


def test_other_data_run_the_line_anew(tmp_path: Path) -> None:
    run.build(made(tmp_path))
    (tmp_path / "start.txt").write_text("6")
    assert run.build(made(tmp_path)).stages[2].figures["number"] == 120


def test_a_stage_with_the_same_result_leaves_the_next_ones_kept(tmp_path: Path) -> None:
    run.build(made(tmp_path))
    text = LINE.replace("use: toy, log: LOG}\n  - two", "use: toy, add: 0, log: LOG}\n  - two").replace(
        "two: {use: toy, add: 10", "two: {use: toy, add: 11"
    )
    run.build(made(tmp_path, text))
    assert ran(tmp_path)[3:] == ["one", "two"]


def test_a_failure_is_written_down_and_the_next_build_goes_on(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError):
        run.build(made(tmp_path, LINE.replace("add: 10,", "add: 10, fail: true,")))
    newest = builds(run.root(), "toy")[0]
    assert [stage.state for stage in newest.stages] == ["done", "failed"]
    assert newest.stages[1].error == "RuntimeError: told to fail"
    assert newest.ended_ns is None
    assert run.build(made(tmp_path)).stages[0].state == "kept"


@pytest.mark.parametrize("where", ["one:0", "two:2", "three:1"])
def test_killed_it_goes_on_where_it_was_to_the_same_bytes(tmp_path: Path, where: str) -> None:
    path = write(tmp_path)
    script = (
        "from pathlib import Path; from aigrid.factory import base, run; from aigrid.factory.line import load;"
        f"base.register(toy='toy_stages'); run.build(load(Path({str(path)!r})))"
    )
    env = {**os.environ, "TOY_KILL": where, "PYTHONPATH": f"{HERE}:{os.environ.get('PYTHONPATH', '')}"}
    dead = subprocess.run([sys.executable, "-c", script], env=env, check=False)
    assert dead.returncode == -signal.SIGKILL
    after = run.build(made(tmp_path))
    name, step = where.split(":")
    stage = next(stage for stage in after.stages if stage.name == name)
    assert stage.measured == {"steps_done_before": int(step)}
    os.environ["AIGRID_HOME"] = str(tmp_path / "other")
    plain = run.build(made(tmp_path))
    assert [stage.digest for stage in plain.stages] == [stage.digest for stage in after.stages]


def test_two_builds_of_a_line_exclude_each_other(tmp_path: Path) -> None:
    with run._alone("toy"), pytest.raises(Conflict, match="another process"):
        run.build(made(tmp_path))


def test_it_says_which_stage_is_worth_speeding_up(tmp_path: Path) -> None:
    build = run.build(made(tmp_path))
    for stage, ns in zip(build.stages, (80, 10, 10), strict=True):
        stage.ns = ns
    first = amdahl(build)[0]
    assert (first.name, first.share) == ("one", 0.8)
    assert first.twice == pytest.approx(1 / 0.6)
    assert first.free == pytest.approx(5)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("stages: []", "`line`"),
        ("line: toy\nstages: []", "has no stages"),
        ("line: toy\nstagse: []", "did you mean `stages`"),
        ("line: To y\nstages: []", "line"),
        ("line: toy\nstages: [{one: {use: toy, ad: 1}}]", "did you mean `add`"),
        ("line: toy\nstages: [{one: {use: toys}}]", "unknown stage `toys`"),
        ("line: toy\nstages: [{one: {use: toy, add: x}}]", "stage `one`"),
        ("line: toy\nstages: [{one: {use: toy}}, {one: {use: toy}}]", "another name"),
        ("line: toy\nstages: [{one: {use: toy, after: [two]}}]", "no stage before it"),
        ("line: toy\nstages: [{one: {use: toy}, two: {}}]", "must be one name"),
        ("line: toy\ndata: {x: {file: gone.csv}}\nstages: [{one: {use: toy}}]", "--data"),
        ("line: toy\nline: toy", "twice"),
        ("[1", "is not YAML"),
        ("3", "must be a mapping"),
    ],
)
def test_a_wrong_line_is_refused_with_what_to_do(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        made(tmp_path, text)


def test_a_missing_line_and_a_line_never_built(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read the line"):
        load(tmp_path / "gone")
    with pytest.raises(NotFound, match="built were: none"):
        builds(run.root(), "gone")


def test_the_digest_of_a_folder_is_of_names_and_bytes(tmp_path: Path) -> None:
    for name, files in {"a": {"x": "1", "d/y": "2"}, "b": {"d/y": "2", "x": "1"}, "c": {"x": "2", "d/y": "1"}}.items():
        for file, text in files.items():
            path = tmp_path / name / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
    assert digest.of_folder(tmp_path / "a") == digest.of_folder(tmp_path / "b") != digest.of_folder(tmp_path / "c")
