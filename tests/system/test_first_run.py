"""What a newcomer does, with the real model: the first start, its question, the second start; and `make`."""

import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from aigrid.core.config import Config
from aigrid.core.models import resolve
from benchmarks.common import environment, factory

ROOT = Path(__file__).resolve().parents[2]
MODEL = resolve("smollm2-135m-instruct", Config())
needs_model = pytest.mark.skipif(
    not MODEL.present, reason="the model is not here: `aigrid models pull smollm2-135m-instruct` lets this run"
)
QUESTION = "Explain in one sentence what a factory does."


def workers(home):
    """The engine processes that work for this home."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            command = (entry / "cmdline").read_bytes().decode().split("\0")
        except OSError:
            continue
        if "aigrid.engines.worker" in command and any(word.startswith(str(home)) for word in command):
            found.append(int(entry.name))
    return found


def committed(found, requests):
    """The factory's ledger, once it has so many records."""
    until = time.monotonic() + 60
    while (report := found.run("ledger", "--since", "1h", "--check"))["totals"]["requests"] < requests:
        assert time.monotonic() < until, f"fewer than {requests} records: {report}"
    return report


@needs_model
@pytest.mark.slow
@pytest.mark.xdist_group("engine")
def test_the_first_run_answers_and_says_what_it_cost_and_the_second_has_the_same_books(tmp_path):
    with factory("--ask", QUESTION, home=tmp_path) as first:
        answer = first.printed["ask"]
        assert "factory" in answer["text"].lower()
        assert answer["model"] == MODEL.id
        assert answer["prompt_tokens"] > 10
        assert answer["completion_tokens"] > 5
        assert answer["tokens_per_second"] > 0
        assert answer["energy_source"]
        assert first.key.startswith("sk-aigrid-")
        totals = committed(first, 1)["totals"]
        assert totals["completion_tokens"] == answer["completion_tokens"]
        assert totals["revenue_nusd"] == answer["cost_nusd"] > 0
        assert workers(tmp_path)
    until = time.monotonic() + 60
    while workers(tmp_path):
        assert time.monotonic() < until, "the engine outlived its factory"
        time.sleep(0.05)
    with factory("--ask", QUESTION, home=tmp_path) as second:
        assert second.key == ""
        assert second.printed["ask"]["text"] == answer["text"]
        assert committed(second, 2)["check"]["agrees"]


@needs_model
@pytest.mark.slow
@pytest.mark.xdist_group("engine")
def test_a_model_that_the_engine_cannot_run_is_refused_before_anything_starts(tmp_path):
    (tmp_path / "bad.gguf").write_bytes(b"GGUF" + b"\0" * 64)
    with (
        pytest.raises(RuntimeError, match=r"bad\.gguf"),
        factory("--model", f"file:{tmp_path}/bad.gguf", home=tmp_path / "home"),
    ):
        pass


def make(folder, *args):
    env = {name: value for name, value in environment(folder).items() if not name.startswith("MAKE")}
    return subprocess.run(["make", *args], cwd=folder, env=env, capture_output=True, text=True, check=True).stdout


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
def test_installing_twice_does_nothing_the_second_time(tmp_path):
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    assert "python3 -m venv .venv" in make(tmp_path, "-n", "install")
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv/.installed").touch()
    assert "venv" not in make(tmp_path, "-n", "install")
    assert make(tmp_path, "-n", "run").strip().startswith(".venv/bin/aigrid up --ask")
    later = time.time() + 10
    os.utime(tmp_path / "pyproject.toml", (later, later))
    assert "pip install" in make(tmp_path, "-n", "install")
