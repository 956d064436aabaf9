import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from aigrid.engines.echo import EchoEngine
from tests.factory.test_inspecting import served

pytest.importorskip("inspect_ai", reason="inspect-ai is not installed: pip install 'aigrid[evaluate]'")


async def test_the_command_prints_both_workers_and_where_the_answers_are(tmp_path: Path, aigrid: Any) -> None:
    rows = tmp_path / "own.jsonl"
    rows.write_text("".join(json.dumps({"input": f"give me {food} now", "output": taste, "meta": {"kind": taste}}) + "\n"
        for food, taste in [("cake", "sweet"), ("chips", "salty"), ("lemon", "sour")]))  # fmt: skip
    async with served(tmp_path, EchoEngine()) as door:
        to = ["pack", "evaluate", "tastes", "--rows", str(rows), "--url", door.url, "--key", door.secret]
        done = await asyncio.to_thread(aigrid, *to, "--against", "echo", "--json")
        shown = await asyncio.to_thread(aigrid, *to, "--limit", "2")
        wrong = await asyncio.to_thread(aigrid, *to, "--against", "nobody")
    assert done.code == 0, done.err
    assert done.json["questions"] == 3
    assert [worker["model"] for worker in done.json["workers"]] == ["tastes", "echo"]
    assert done.json["workers"][0]["score"]["value"] == 1.0
    assert done.json["workers"][1]["gain"]["won"] == 3
    assert shown.code == 0
    assert "2 questions" in shown.out
    assert "inspect view" in shown.out
    assert (wrong.code, "serves no `nobody`" in wrong.err) == (1, True)
