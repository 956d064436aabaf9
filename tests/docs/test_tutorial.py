"""The tutorials, run from top to bottom against a real factory: the echo engine, and for the agent a model by script."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from aigrid.core.config import Config
from aigrid.core.models import resolve
from benchmarks import common
from tests.docs.pages import ROOT, blocks
from tests.system.scripted import Model, model_server

TUTORIAL = ROOT / "docs/tutorial/first-factory.md"
AGENT = ROOT / "docs/tutorial/first-agent.md"


def runnable(page):
    found = [block for kind in ("bash", "python") for block in blocks(kind, [page]) if "run" in block.info.split()]
    text = page.read_text()
    return sorted(found, key=lambda block: text.index(block.text))


def walk(page, factory, folder):
    """Run a page's steps one after another; returns what each said."""
    binaries = Path(sys.executable).parent
    env = common.environment(factory.home, {"PATH": f"{binaries}:{os.environ['PATH']}"})
    said = []
    for step in runnable(page):
        code = step.text.replace("http://127.0.0.1:8470", factory.url)
        command = (
            [sys.executable, "-c", code] if step.info.startswith("python") else ["bash", "-euo", "pipefail", "-c", code]
        )
        done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, f"{step.text}\n{done.stdout}\n{done.stderr}"
        assert done.stdout or ">" in step.text, f"said nothing:\n{step.text}"
        said.append(done.stdout + done.stderr)
    return said


@pytest.mark.skipif(
    not resolve("all-minilm-l6-v2", Config()).present,
    reason="the embedding model is not here: `aigrid models pull all-minilm-l6-v2` lets this run",
)
def test_the_tutorial_works_as_it_is_written(tmp_path):
    assert len(runnable(TUTORIAL)) > 6
    with common.factory("--engine", "echo") as factory:
        walk(TUTORIAL, factory, tmp_path)
        until = time.monotonic() + 60
        while not (lab := [row for row in factory.run("ledger")["groups"]["tenant"] if row["name"] == "lab"]):
            assert time.monotonic() < until
        assert lab[0]["requests"] == 1
        assert factory.run("ledger", "--check")["check"]["agrees"]


def test_the_first_agent_calls_asks_goes_on_and_replays(tmp_path):
    script = {
        "15 dollars": [[("refund", {"order": "A-1234", "amount": 15})], "Refunded."],
        "90 dollars": [[("refund", {"order": "A-1234", "amount": 90})], "Refunded, too."],
    }
    with model_server(Model(script)) as url:
        (tmp_path / "aigrid.toml").write_text(f'[engine]\nkind = "none"\n[[upstreams]]\nname = "rack"\nurl = "{url}"\n')
        with common.factory(home=tmp_path) as factory:
            said = walk(AGENT, factory, tmp_path)
    assert "desk" in said[0]
    assert "refunded 15 of A-1234" in said[2]
    assert "refunded 90" not in said[3]
    assert '"amount":90' in said[4].replace(" ", "")
    assert "Refunded, too." in said[5] + said[7]
