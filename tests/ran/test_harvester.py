"""The harvester beside a real process and a radio's page that the test writes: when in doubt, AI yields."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from aigrid.core.errors import NotFound
from aigrid.engines.meter import Meter
from aigrid.ran.harvest import guard as guarding
from aigrid.ran.harvest.governor import CpuGovernor, control_group
from aigrid.ran.harvest.harvester import SETTLE_NS, Clocks, Harvester
from aigrid.ran.harvest.works import BurnWork
from aigrid.ran.state import RECENT_WORK, RUNNING, STOPPED, Page

SLOT_NS = 500_000


class Scene:
    """A radio's page and a harvester in a time that the test makes: `go(seconds)` writes and looks ten times a second."""

    def __init__(self, path, work):
        self.page, self.meter = Page(path, create=True), work.meter_path
        self.mono = self.boot = 1_000_000_000_000
        self.load, self.quiet, self.slot = 0.2, False, 0
        self.page.write({"pid": os.getpid(), "phase": RUNNING, "slot_ns": SLOT_NS, "cell_prb": 51, "cpu": 0,
                         "real_time": 1, "updated_ns": self.mono})  # fmt: skip
        self.harvester = Harvester(path, self.meter, guard=False, clocks=Clocks(lambda: self.mono, lambda: self.boot))
        self.co = self.harvester.co

    def go(self, seconds=0.1):
        for _ in range(round(seconds * 10)):
            self.mono += 100_000_000
            self.boot += 100_000_000
            if not self.quiet:
                self.tick(200)
            time.sleep(0.001)
            decision = self.harvester.look()
        return decision

    def tick(self, slots):
        places = (self.slot + 1 + np.arange(slots)) % 1024
        self.slot += slots
        work = round(self.load * SLOT_NS)
        self.page.write(
            {"slot": self.slot, "updated_ns": self.mono, "cpu_ns": self.slot * work}, {RECENT_WORK: (places, work)}
        )


@pytest.fixture
def work():
    with BurnWork(threads=1) as made:
        yield made


@pytest.fixture
def scene(tmp_path, work):
    made = Scene(tmp_path / "page", work)
    made.harvester.govern()
    yield made
    made.harvester.let_go()


def state_of(pid):
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def until(said, seconds=60.0):
    end = time.monotonic() + seconds
    while not said():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)


def test_beside_a_quiet_radio_ai_has_all_and_promises_what_it_keeps(scene, work):
    assert os.sched_getscheduler(work.pid) == os.SCHED_IDLE
    assert scene.go().processors == os.sched_getaffinity(0) - {0}, "nothing is known yet"
    until(lambda: scene.go(1.0) and scene.co.promised > 0)
    assert scene.go(3.0).processors == os.sched_getaffinity(0)
    assert scene.co.need == pytest.approx(0.2, abs=0.01)
    assert scene.co.radio_cpu == pytest.approx(0.2, abs=0.01)
    assert Meter(work.meter_path)["promised_mtps"] == pytest.approx(1000 * scene.co.promised, abs=1)


def test_a_busy_radio_has_its_processor_for_itself(scene, work):
    scene.load = 0.9
    decision = scene.go(8.0)
    assert 0 not in decision.processors
    assert os.sched_getaffinity(work.pid) == decision.processors
    Meter(work.meter_path)["slots"] = 64
    scene.go()
    assert Meter(work.meter_path)["most_running"] == 64 * len(decision.processors) // len(os.sched_getaffinity(0))
    assert scene.co.reason == "the radio will need most of its processor: AI keeps off it"


def test_a_radio_that_says_nothing_stops_ai_until_it_speaks(scene, work):
    assert not scene.go(1.0).pause
    scene.quiet = True
    assert scene.go().pause
    meter = Meter(work.meter_path)
    assert meter["pause"]
    assert meter["promised_mtps"] == 0
    assert "says nothing" in scene.co.reason
    until(lambda: scene.go() and meter["paused"])
    scene.quiet = False
    assert not scene.go().pause


def test_a_dead_radio_stops_ai_and_says_so(scene):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    scene.go(1.0)
    scene.page.write({"pid": gone.pid})
    scene.quiet = True
    assert scene.go().pause
    assert "the radio has died" in scene.co.reason


def test_a_radio_that_died_while_it_wrote_is_dead(scene):
    scene.quiet = True
    scene.page.words[0] += 1
    assert scene.go().pause
    assert "the radio has died" in scene.co.reason


def test_a_radio_that_ended_leaves_the_machine_to_ai(scene):
    scene.page.write({"phase": STOPPED})
    assert scene.go().processors == os.sched_getaffinity(0)
    assert "no radio runs" in scene.co.reason


def test_a_radio_that_is_not_first_in_line_keeps_a_processor(scene):
    scene.page.write({"real_time": 0})
    assert 0 not in scene.go().processors
    assert "not first in line" in scene.co.reason


def test_another_vendors_radio_is_taken_for_busy(scene):
    scene.page.write({"source": 1})
    assert 0 not in scene.go(3.0).processors


@pytest.mark.parametrize("what", ["suspended", "stood still"])
def test_when_the_machine_was_away_ai_waits_a_second(scene, what):
    assert not scene.go(1.0).pause
    scene.boot += 60_000_000_000
    if what == "stood still":
        scene.mono += 60_000_000_000
    assert scene.go().pause
    assert "suspended" in scene.co.reason
    scene.go(SETTLE_NS / 1e9)
    assert "suspended" not in scene.co.reason


def test_a_wall_clock_that_steps_changes_nothing(scene, monkeypatch):
    before = scene.go(3.0)
    monkeypatch.setattr(time, "time", lambda: 0.0)
    monkeypatch.setattr(time, "time_ns", lambda: 0)
    assert scene.go() == before


def test_when_the_engine_dies_its_successor_is_taken_over(scene, work):
    scene.go(0.3)
    assert work._process is not None
    os.kill(work.pid, signal.SIGKILL)
    work._process.wait()
    scene.go()
    assert scene.co.engine == "died"
    assert "the engine died" in scene.co.reason
    heir = subprocess.Popen(
        [sys.executable, "-m", "aigrid.ran.harvest.burn", str(work.meter_path), "1", str(os.getpid())]
    )
    try:
        until(lambda: Meter(work.meter_path)["pid"] == heir.pid)
        scene.go()
        assert os.sched_getscheduler(heir.pid) == os.SCHED_IDLE
        assert scene.co.engine == "running"
    finally:
        heir.kill()
        heir.wait()


@pytest.mark.parametrize("radio_first", [0, 1])
def test_an_engine_halted_by_a_harvester_that_is_killed_goes_on_as_it_was(scene, work, radio_first):
    scene.harvester.let_go()
    scene.page.write({"real_time": radio_first})
    groups = Path(f"/proc/{work.pid}/cgroup").read_text()
    code = (
        "import os, signal, sys\nfrom pathlib import Path\nfrom aigrid.ran.harvest.harvester import Harvester\n"
        f"h = Harvester(Path({str(scene.page.path)!r}), Path({str(work.meter_path)!r}), guard=False)\nh.govern()\n"
        f"h.look()\nos.kill({work.pid}, signal.SIGSTOP)\nprint('halted', flush=True)\nsignal.pause()\n"
    )
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stdout.readline() == "halted\n"
    until(lambda: state_of(work.pid) == "T")
    child.kill()
    child.wait()
    child.stdout.close()
    until(lambda: state_of(work.pid) != "T")
    until(lambda: not Meter(work.meter_path).governed)
    until(lambda: os.sched_getscheduler(work.pid) == os.SCHED_OTHER)
    until(lambda: os.sched_getaffinity(work.pid) == os.sched_getaffinity(0))
    until(lambda: Path(f"/proc/{work.pid}/cgroup").read_text() == groups)
    until(lambda: not list(Path("/sys/fs/cgroup").glob(f"**/aigrid-harvest-{work.pid}")))


def test_what_is_not_permitted_is_said_and_ai_waits_beside_an_ordinary_radio(tmp_path, work, monkeypatch):
    def refuse(*_):
        raise PermissionError(1, "Operation not permitted")

    scene = Scene(tmp_path / "page", work)
    monkeypatch.setattr(os, "sched_setscheduler", refuse)
    monkeypatch.setattr(os, "sched_setaffinity", refuse)
    scene.page.write({"real_time": 0})
    scene.harvester.governor = CpuGovernor(work.pid, Path("/nowhere"))
    scene.harvester.govern()
    try:
        assert scene.go().pause
        assert "cannot be kept away" in scene.co.reason
        said = " ".join(scene.co.notes)
        assert "not put behind other programs (Operation not permitted)" in said
        assert "CAP_SYS_NICE" in said
        assert "no control group" in said
    finally:
        scene.harvester.let_go()


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two processors")
def test_ai_waits_where_the_engine_moves_its_threads_back(tmp_path, work):
    scene = Scene(tmp_path / "page", work)
    scene.page.write({"real_time": 0})
    scene.harvester.govern()
    try:
        assert not scene.go(0.3).pause
        os.sched_setaffinity(work.pid, os.sched_getaffinity(0))
        assert scene.go(0.2).pause
        assert "cannot be kept away" in scene.co.reason
        assert "moves its threads" in " ".join(scene.co.notes)
    finally:
        scene.harvester.let_go()


def test_control_groups_are_found_or_said_to_be_missing(tmp_path):
    assert control_group(tmp_path)[1] is None
    (tmp_path / "cgroup.controllers").write_text("memory pids\n")
    said, base = control_group(tmp_path)
    assert base is None
    assert "without the cpu controller" in said
    (tmp_path / "cgroup.controllers").write_text("cpu memory\n")
    assert control_group(tmp_path) == ("cgroup v2", tmp_path)


@pytest.mark.parametrize("radio_first", [0, 1])
def test_the_engine_is_given_back_as_it_was(tmp_path, work, radio_first):
    before = os.sched_getscheduler(work.pid), os.sched_getaffinity(work.pid)
    groups = Path(f"/proc/{work.pid}/cgroup").read_text()
    scene = Scene(tmp_path / "page", work)
    scene.page.write({"real_time": radio_first})
    scene.harvester.govern()
    scene.go(0.3)
    assert (Path(f"/proc/{work.pid}/cgroup").read_text() == groups) == bool(radio_first or scene.co.notes)
    assert os.sched_getscheduler(work.pid) == os.SCHED_IDLE
    scene.harvester.let_go()
    assert (os.sched_getscheduler(work.pid), os.sched_getaffinity(work.pid)) == before
    assert Path(f"/proc/{work.pid}/cgroup").read_text() == groups
    assert not Meter(work.meter_path).governed


def test_the_guard_halts_the_engine_when_work_reaches_into_the_next_slot(tmp_path, work):
    """And lets it go on soon after. That this takes less than a slot is measured by the benchmark, on a quiet machine."""
    page = Page(tmp_path / "page", create=True)
    page.write({"pid": os.getpid(), "phase": RUNNING, "slot_ns": SLOT_NS, "updated_ns": 1})
    with Harvester(page.path, work.meter_path) as harvester:
        guard = harvester.guard
        assert guard.halts == 0
        for more in range(1, 1_000):  # a sign in every slot or two, until it is seen
            page.write({"overruns": more})
            if guard.halts:
                break
            time.sleep(0.0005)
        until(lambda: guard.causes()["overrun"] >= 1)
        until(lambda: guard.held_ns > 0)
        until(lambda: state_of(work.pid) != "T")
        assert harvester.co.engine == "running"


def held(trouble, slots=2_000):
    """Return the share of `slots` for which the guard's rule holds the engine; `trouble(at, halted)` is its sign."""
    control = np.zeros(guarding.CONTROL, np.int64)
    stood = 0
    for at in range(slots):
        cause = guarding.BY_OVERRUN if trouble(at, bool(control[guarding.HALTED])) else 0
        guarding.weigh(control, cause, True, (at + 1_000_000) * SLOT_NS)
        stood += control[guarding.HALTED]
    return stood / slots


def test_the_guard_holds_an_engine_that_is_at_fault_and_hardly_one_that_is_not():
    assert held(lambda at, halted: False) == 0
    assert held(lambda at, halted: at % 5 == 0) == 0, "signs that stand alone"
    assert held(lambda at, halted: at in (100, 101, 103, 104)) == 10 / 2_000, "5 ms"
    assert held(lambda at, halted: not halted) > 0.9, "whenever it runs, there is trouble: it waits longer and longer"
    assert held(lambda at, halted: True) < 0.1, "trouble whether it runs or not is not of its making"
    assert held(lambda at, halted: at % 150 < 4) < 0.1, "trouble that comes later"


def test_no_page_and_no_meter_are_said(tmp_path, work):
    page = Page(tmp_path / "page", create=True)
    with pytest.raises(NotFound, match="is the radio started"):
        Harvester(tmp_path / "none", work.meter_path)
    with pytest.raises(NotFound, match="is the engine started"):
        Harvester(page.path, tmp_path / "none")
    meter = Meter(tmp_path / "meter", create=True)
    meter["pid"] = 2**22 - 1
    with pytest.raises(NotFound, match="is gone"):
        Harvester(page.path, tmp_path / "meter", guard=False).govern()


def test_a_harvester_that_fails_lets_ai_wait(tmp_path, work, monkeypatch):
    page = Page(tmp_path / "page", create=True)
    monkeypatch.setattr(Harvester, "look", lambda self: 1 / 0)
    meter = Meter(work.meter_path)
    with Harvester(page.path, work.meter_path, guard=False):
        until(lambda: meter["pause"] and meter["promised_mtps"] == 0)
    assert not Meter(work.meter_path)["pause"]
