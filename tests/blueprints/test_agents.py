"""The blueprints' agents: each file is one, and each tool it names is there and answers."""

from pathlib import Path

import pytest

from aigrid.agents import spec
from aigrid.agents.box import pack
from aigrid.agents.tools.base import Site
from aigrid.agents.tools.python import build
from tests.blueprints.conftest import BLUEPRINTS

AGENTS = sorted(BLUEPRINTS.glob("*/agent.yaml"))


@pytest.mark.parametrize("path", AGENTS, ids=lambda path: path.parent.name)
async def test_each_agent_is_one_and_its_tools_are_there(path: Path) -> None:
    agent = spec.parse(path.read_text(), str(path))
    assert agent.name == path.parent.name
    box = await pack(agent, Site(path.parent))
    assert set(box) == set(agent.tools) != set()


async def test_the_model_chooses_neither_the_file_nor_the_advisories() -> None:
    folder = BLUEPRINTS / "vulnerability-triage"
    agent = spec.parse((folder / "agent.yaml").read_text())
    box = await pack(agent, Site(folder))
    assert set(box["explain_package"].offer.schema["properties"]) == {"package"}
    assert not box["list_vulnerabilities"].offer.schema.get("properties")


async def test_a_tool_of_each_agent_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for name, tool, arguments, wanted in (
        ("vulnerability-triage", "draft_fix", {"file": "", "advisories": ""}, "sqlparse==0.4.4"),
        ("ask-your-database", "run_query", {"sql": "SELECT COUNT(*) AS n FROM orders"}, "600"),
    ):
        agent = spec.parse((BLUEPRINTS / name / "agent.yaml").read_text())
        built = build(agent.tools[tool], Site(BLUEPRINTS / name))
        assert wanted in str(await built.work(arguments, None))
