"""The tutorial, run from top to bottom against a real factory with the echo engine."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from aigrid.core.config import Config
from aigrid.core.models import resolve
from benchmarks import common
from tests.docs.pages import ROOT, blocks

TUTORIAL = ROOT / "docs/tutorial/first-factory.md"


def runnable():
    found = [block for kind in ("bash", "python") for block in blocks(kind, [TUTORIAL]) if "run" in block.info.split()]
    text = TUTORIAL.read_text()
    return sorted(found, key=lambda block: text.index(block.text))


@pytest.mark.skipif(
    not resolve("all-minilm-l6-v2", Config()).present,
    reason="the embedding model is not here: `aigrid models pull all-minilm-l6-v2` lets this run",
)
def test_the_tutorial_works_as_it_is_written(tmp_path):
    steps = runnable()
    assert len(steps) > 6
    with common.factory("--engine", "echo") as factory:
        binaries = Path(sys.executable).parent
        env = common.environment(factory.home, {"PATH": f"{binaries}:{os.environ['PATH']}"})
        for step in steps:
            code = step.text.replace("http://127.0.0.1:8470", factory.url)
            command = (
                [sys.executable, "-c", code]
                if step.info.startswith("python")
                else ["bash", "-euo", "pipefail", "-c", code]
            )
            done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=60)
            assert done.returncode == 0, f"{step.text}\n{done.stdout}\n{done.stderr}"
            assert done.stdout or ">" in step.text, f"said nothing:\n{step.text}"
        lab = [row for row in factory.run("ledger")["groups"]["tenant"] if row["name"] == "lab"]
        assert lab[0]["requests"] == 1
        assert factory.run("ledger", "--check")["check"]["agrees"]
