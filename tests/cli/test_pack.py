import os
import shutil

import pytest

from aigrid import packs

RECIPE = """
name = "router"
version = "{version}"
kind = "model"
created = 2026-01-01T00:00:00Z
licence = "Apache-2.0"
summary = "Sends questions where they belong."

[runtime]
engine = "linear"

[[evidence]]
name = "accuracy"
value = {accuracy}
low = 0.88
high = 0.92
n = 500

[files]
weights = "model.json"
"""


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture
def built(aigrid, tmp_path):
    """Two versions on the shelf."""
    (tmp_path / "model.json").write_text("{}")
    for version, accuracy in (("1.0", 0.9), ("1.1", 0.95)):
        (tmp_path / "pack.toml").write_text(RECIPE.format(version=version, accuracy=accuracy))
        done = aigrid("pack", "build", str(tmp_path / "pack.toml"))
        assert done.code == 0, done.err
        assert f"router:{version}" in done.out
    return packs.Shelf()


def test_a_pack_is_made_listed_looked_at_and_checked(aigrid, built):
    listed = aigrid("pack", "list")
    assert "router:1.0" in listed.out
    assert "router:1.1" in listed.out
    shown = aigrid("pack", "inspect", "router:1.0")
    for said in ("Sends questions", "engine=linear", "0.88 to 0.92", "weights/model.json", "by this installation"):
        assert said in shown.out
    checked = aigrid("pack", "verify", "router:1.0")
    assert checked.code == 0
    assert "is whole, signed by this installation" in checked.out
    assert aigrid("pack", "verify", "router:1.0", "--json").json["ok"] is True


def test_a_tampered_pack_is_refused_and_the_file_named(aigrid, built):
    pack = built.get("router", "1.0")
    (pack.path / "blobs/sha256" / pack.find("weights").digest[7:]).write_text("[]")
    checked = aigrid("pack", "verify", "router:1.0")
    assert checked.code == 1
    assert "Weights/model.json" in checked.out
    found = aigrid("pack", "verify", "router:1.0", "--json")
    assert found.code == 1
    assert [problem["name"] for problem in found.json["problems"]] == ["weights/model.json"]
    assert aigrid("pack", "sign", "router:1.0").code == 1


def test_two_packs_are_compared(aigrid, built):
    shown = aigrid("pack", "diff", "router:1.0", "router:1.1").out
    assert "+0.05" in shown
    assert "README.md (changed)" in shown
    found = aigrid("pack", "diff", "router:1.0", "router:1.1", "--json").json
    assert [field["name"] for field in found["fields"]] == ["version"]


def test_keys_are_shown_and_trusted(aigrid, built, tmp_path, monkeypatch):
    mine = aigrid("pack", "key", "--json").json
    shutil.copytree(built.get("router", "1.0").path, tmp_path / "handed-over")
    monkeypatch.setenv("AIGRID_HOME", str(tmp_path / "others"))
    assert "not trusted here" in aigrid("pack", "verify", str(tmp_path / "handed-over")).out
    (tmp_path / "acme.pub").write_text(mine["pem"])
    assert "signed by acme" in aigrid("pack", "trust", str(tmp_path / "acme.pub")).out
    assert "signed by acme" in aigrid("pack", "verify", str(tmp_path / "handed-over")).out


def test_packs_are_removed_unless_in_service(aigrid, built):
    built.serve("router", "1.0", why="first", by="test")
    assert "in service" in aigrid("pack", "rm", "router:1.0").err
    assert aigrid("pack", "rm", "router:1.1", "--json").json["freed_bytes"] > 0
    assert [pack.manifest.version for pack in built.packs()] == ["1.0"]


def test_a_folder_can_be_made_instead(aigrid, built, tmp_path):
    done = aigrid("pack", "build", str(tmp_path / "pack.toml"), "--out", str(tmp_path / "out"), "--unsigned")
    assert done.code == 0
    assert aigrid("pack", "verify", str(tmp_path / "out")).code == 1
    assert aigrid("pack", "sign", str(tmp_path / "out")).code == 0
    assert aigrid("pack", "verify", str(tmp_path / "out")).code == 0


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("inspect", "nothing"), "no pack `nothing` here"),
        (("inspect", "./nothing"), "there is no such pack"),
        (("build", "nothing.toml"), "there is no such file"),
        (("push", "router:1.0", "somewhere"), "place in a registry"),
        (("pull", "http://x/y"), "place in a registry"),
        (("trust", "nothing.pub"), "cannot read the public key"),
        (("rm", "router"), "version"),
    ],
)
def test_mistakes_are_told(aigrid, built, args, message):
    done = aigrid("pack", *args)
    assert done.code == 1
    assert message in done.err
    assert "Traceback" not in done.err


def test_a_pack_goes_from_one_site_to_another_through_a_registry(aigrid, built, tmp_path, monkeypatch):
    from tests.packs.conftest import RegistryProcess, program

    if not program():
        pytest.skip("no registry to talk to: install Debian's package docker-registry")
    running = RegistryProcess(tmp_path)
    try:
        place = f"{running.url}/team/router:1.1"
        sent = aigrid("pack", "push", "router:1.1", place, "--plain-http")
        assert sent.code == 0, sent.err
        (tmp_path / "team.pub").write_text(aigrid("pack", "key", "--json").json["pem"])
        monkeypatch.setenv("AIGRID_HOME", str(tmp_path / "site"))
        os.makedirs(tmp_path / "site")
        refused = aigrid("pack", "pull", place, "--plain-http")
        assert refused.code == 1
        assert "not trusted here" in refused.err
        assert aigrid("pack", "list", "--json").json["packs"] == []
        aigrid("pack", "trust", str(tmp_path / "team.pub"))
        taken = aigrid("pack", "pull", place, "--plain-http")
        assert taken.code == 0, taken.err
        assert "signed by team" in taken.out
        assert aigrid("pack", "verify", "router").code == 0
    finally:
        running.stop()
