import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from aigrid import packs
from aigrid.core.errors import Conflict, NotFound
from aigrid.packs import keys


@pytest.fixture
def shelf():
    return packs.Shelf()


def test_a_pack_on_the_shelf_is_found_by_name_and_version(shelf, make):
    shelf.put(make(version="1.0"))
    shelf.put(make(version="2.0", created="2026-02-01T00:00:00Z"))
    assert shelf.get("router", "1.0").manifest.version == "1.0"
    assert shelf.get("router").manifest.version == "2.0"
    assert shelf.versions("router") == ["1.0", "2.0"]
    assert [pack.manifest.version for pack in shelf.packs()] == ["1.0", "2.0"]
    assert packs.verify(shelf.get("router").path, keys.trusted()).ok
    with pytest.raises(NotFound, match=r"there are: 1\.0, 2\.0"):
        shelf.get("router", "3.0")
    with pytest.raises(NotFound, match="there are: router"):
        shelf.get("rooter")


def test_the_same_pack_again_changes_nothing_and_another_is_refused(shelf, make, tmp_path):
    shelf.put(make(sign=False))
    assert not packs.verify(shelf.get("router").path, keys.trusted()).ok
    shelf.put(make(out=tmp_path / "again"))
    assert packs.verify(shelf.get("router").path, keys.trusted()).ok  # it has got its signature
    with pytest.raises(Conflict, match="another version"):
        shelf.put(make(weights=b"{}", out=tmp_path / "other"))


def test_moving_leaves_nothing_behind(shelf, make):
    folder = make()
    shelf.put(folder, move=True)
    assert not folder.exists()
    assert packs.verify(shelf.get("router").path, keys.trusted()).ok


def test_moving_from_another_disk(shelf, make):
    if not os.access("/dev/shm", os.W_OK) or os.stat("/dev/shm").st_dev == os.stat(shelf.folder.parent).st_dev:
        pytest.skip("no second file system here: /dev/shm is the same as the state folder's")
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        shelf.put(make(out=Path(folder) / "pack"), move=True)
    assert packs.verify(shelf.get("router").path, keys.trusted()).ok


def test_a_damaged_pack_does_not_get_on_the_shelf(shelf, make):
    folder = make()
    (folder / "blobs/sha256" / packs.open(folder).find("weights").digest[7:]).write_bytes(b"x")
    with pytest.raises(packs.PackError, match=r"weights/model\.json"):
        shelf.put(folder)
    (folder / "extra").write_text("x")
    with pytest.raises(packs.PackError, match="extra was added"):
        shelf.put(folder)
    assert shelf.packs() == []


def test_service_is_a_history_and_a_roll_back_one_step(shelf, make):
    for version in ("1", "2", "3"):
        shelf.put(make(version=version))
    assert shelf.in_service("router") is None
    for version in ("1", "2", "3"):
        shelf.serve("router", version, why="better", by="gate")
    assert shelf.get("router").manifest.version == "3"
    assert shelf.roll_back("router", why="slower", by="gate").version == "2"
    assert shelf.roll_back("router", why="worse", by="tom").version == "1"
    with pytest.raises(Conflict, match="nothing to go back to"):
        shelf.roll_back("router", why="?", by="tom")
    shelf.serve("router", "3", why="mended", by="tom")
    assert shelf.roll_back("router", why="not so", by="tom").version == "1"
    with pytest.raises(Conflict, match="in service"):
        shelf.remove("router", "1")
    shelf.withdraw("router", why="enough", by="tom")
    assert shelf.in_service("router") is None
    assert shelf.remove("router", "1") > 0
    assert [(entry.action, entry.version) for entry in shelf.history("router")] == [
        *(("serve", version) for version in "123"),
        ("roll_back", "2"),
        ("roll_back", "1"),
        ("serve", "3"),
        ("roll_back", "1"),
        ("withdraw", "1"),
    ]
    assert all(entry.digest and entry.why and entry.by for entry in shelf.history("router"))
    with pytest.raises(NotFound):
        shelf.serve("router", "1", why="?", by="tom")


def test_removing_a_pack_removes_its_checked_copies(shelf, make, own_cache):
    pack = shelf.put(make())
    copy = pack.file("weights")
    assert copy.is_relative_to(own_cache)
    shelf.remove("router", "1.0")
    assert not copy.exists()
    assert shelf.packs() == []


@pytest.mark.parametrize("name", ["../x", "", "a/b", "Router", "größe", "."])
def test_names_that_lead_off_the_shelf_are_refused(shelf, name):
    for ask in (
        shelf.get,
        shelf.history,
        lambda name: shelf.remove(name, "1"),
        lambda name: shelf.serve(name, "1", why="", by=""),
    ):
        with pytest.raises(Exception, match="name"):
            ask(name)


PUT = "import sys; from pathlib import Path; from aigrid import packs; packs.Shelf().put(Path(sys.argv[1]))"


def test_many_processes_put_the_same_pack_at_once(shelf, make):
    folder = make()
    started = [subprocess.Popen([sys.executable, "-c", PUT, str(folder)], stderr=subprocess.PIPE) for _ in range(4)]
    assert [process.communicate()[1] for process in started] == [b""] * 4
    assert packs.verify(shelf.get("router").path, keys.trusted()).ok
    assert os.listdir(shelf.folder / "router") == ["1.0"]


def test_a_put_killed_at_any_moment_leaves_a_whole_pack_or_none(shelf, make, tmp_path):
    chance = random.Random(7)
    folder = make(weights=os.urandom(4 << 20), more={})
    killed = 0
    for _ in range(8):
        process = subprocess.Popen([sys.executable, "-c", PUT, str(folder)])
        begun = time.monotonic()
        while process.poll() is None and not list((shelf.folder / "router").glob(".*.part")):
            assert time.monotonic() - begun < 120
        time.sleep(chance.uniform(0, 0.03))
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            killed += 1
        process.wait()
        for pack in shelf.packs():
            assert packs.verify(pack.path, keys.trusted()).ok
        shutil.rmtree(shelf.folder / "router" / "1.0", ignore_errors=True)
    assert killed
    shelf.put(folder)
    assert os.listdir(shelf.folder / "router") == ["1.0"]  # what the killed ones left is gone


def test_what_is_in_service_survives_a_kill(shelf, make):
    shelf.put(make(version="1"))
    shelf.put(make(version="2"))
    shelf.serve("router", "1", why="first", by="gate")
    program = (
        "from aigrid.packs import Shelf\nshelf = Shelf()\n"
        "while True:\n    shelf.serve('router', '2', why='x', by='y'); shelf.roll_back('router', why='x', by='y')"
    )
    process = subprocess.Popen([sys.executable, "-c", program])
    while len(shelf.history("router")) < 5:
        assert process.poll() is None
        time.sleep(0.01)
    process.kill()
    process.wait()
    assert shelf.in_service("router").version in ("1", "2")
    shelf.serve("router", "2", why="after", by="gate")
    assert json.loads((shelf.folder / "router" / "service.json").read_text())[-1]["why"] == "after"
