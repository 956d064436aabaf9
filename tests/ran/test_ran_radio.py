"""A real radio in a real process: deadlines, and what happens when the machine or a person is unkind to it.

These radios stay in the ordinary scheduling class, so that they disturb nothing; how punctual they are is a matter for
the benchmark.
"""

import contextlib
import ctypes
import importlib.util
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from aigrid.core.errors import BadRequest, ConfigError, NotFound, Unavailable
from aigrid.ran import process, realtime
from aigrid.ran.radio import Plan, Radio
from aigrid.ran.slots import DOWNLINK_NS, EARLY_UPLINK_NS, SLOT_NS, UPLINK_NS
from aigrid.ran.state import RECENT, RUNNING, STOPPED, WORDS, Page
from aigrid.ran.trace import Trace


def load(prb=6, mcs=10, slots=100):
    one, rate = np.full(slots, prb, np.int16), np.full(slots, mcs, np.int16)
    return Trace(51, one, rate, one, rate)


def plan(seconds=0.5, **more):
    return Plan(load(), seconds, real_time=False, **more)


def until(said, seconds=60.0):
    end = time.monotonic() + seconds
    while not said():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.005)


def test_the_gate_is_the_public_one():
    assert (SLOT_NS, UPLINK_NS, EARLY_UPLINK_NS, DOWNLINK_NS) == (500_000, 4_500_000, 2_000_000, 1_155_000)


@pytest.mark.parametrize(("pattern", "down", "up"), [("tdd", 600, 200), ("fdd", 1000, 1000)])
def test_every_slot_is_run_and_every_deadline_counted(pattern, down, up):
    with Radio(plan(pattern=pattern)) as radio:
        result = radio.wait()
    assert result.ended == "done"
    assert result.slots == 1000
    assert result.downlink_done + result.downlink_missed == down
    assert up - 10 <= result.uplink_done + result.uplink_missed <= up
    assert result.late_slots <= result.downlink_missed + result.uplink_missed
    assert result.tick_us.count == 1000
    assert result.dropped <= result.downlink_missed + result.uplink_missed
    assert result.bad_blocks == 0
    assert 0 < result.cpu_share < 1
    assert not radio.folder.exists()


def test_its_page_can_be_read_while_it_runs():
    with Radio(plan(60.0)) as radio:
        until(lambda: radio.state().slot > 200)
        first = radio.state()
        assert first.phase == RUNNING
        assert not first.stale(10_000_000_000)
        assert first.cell_prb == 51
        assert first.recent_downlink_prb.shape == (RECENT,)
        assert set(first.recent_downlink_prb[-20:]) == {0, 6}
        assert first.recent_work_ns[-200:].sum() > 0
        assert first.cpu_ns >= first.recent_work_ns[-200:].sum()
        seen = []
        for _ in range(2000):
            state = radio.state()
            assert 0 <= lost(state) <= state.dropped
            seen.append(state.slot)
        assert seen == sorted(seen)
        begin = time.monotonic()
        radio.stop()
        assert time.monotonic() - begin < 30, "its plan was to run for a minute"
    assert radio.result().slots >= first.slot
    with pytest.raises(NotFound, match="is the radio started"):
        Page(radio.page)


def lost(state):
    """Downlink work that was dropped is missed without a time."""
    return state.downlink_done + state.downlink_missed - int(state.downlink_histogram.sum())


def test_empty_ticks_are_the_control():
    with Radio(plan(0.3, empty=True)) as radio:
        result = radio.wait()
    assert result.busy_slots == 480
    assert result.downlink_done + result.downlink_missed == 360
    assert result.tick_us.count == 600
    assert result.cpu_share < 0.3


def test_a_stopped_process_drops_what_is_too_late_and_returns_to_its_clock():
    """SIGSTOP and SIGCONT, as when a machine is paused: no drift, the lost slots are missed and said to be."""
    with Radio(plan(4.0)) as radio:
        until(lambda: radio.state().slot > 400)
        pid = radio.state().pid
        os.kill(pid, signal.SIGSTOP)
        time.sleep(0.5)
        with contextlib.suppress(Unavailable):  # it may have been stopped while it wrote
            assert radio.state().stale()
        os.kill(pid, signal.SIGCONT)
        result = radio.wait()
    assert result.slots == 8000
    assert result.dropped > 400
    assert result.late_slots > 400
    assert result.tick_most_us > 400_000
    assert result.ended == "done"
    assert not result.holds


def test_a_radio_that_dies_is_said_to_be_dead():
    with Radio(plan(60.0)) as radio:
        until(lambda: radio.state().slot > 100)
        os.kill(radio.state().pid, signal.SIGKILL)
        result = radio.wait()
        assert result.ended.startswith("the radio died (SIGKILL) in slot ")
        page = Page(radio.page)
        until(lambda: page.last().stale())
        assert page.last().phase == RUNNING
    assert radio.result().ended == result.ended


def test_a_radio_ends_when_its_parent_is_gone():
    """Nothing of the real-time class may stay behind when the program that wanted it was killed."""
    code = (
        "import signal\nimport numpy as np\nfrom aigrid.ran.radio import Plan, Radio\nfrom aigrid.ran.trace import Trace\n"
        "ones = np.ones(100, np.int16)\nradio = Radio(Plan(Trace(51, ones, ones, ones, ones), 600.0, real_time=False))\n"
        "radio.start()\nprint(radio.page, flush=True)\nsignal.pause()\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as parent:
        page = Page(Path(parent.stdout.readline().strip()))
        until(lambda: page.read().slot > 50)
        parent.kill()
    until(lambda: page.read().phase == STOPPED)
    assert not page.path.parent.exists()


def test_a_clock_that_steps_does_not_matter(monkeypatch):
    """Deadlines are on the monotonic clock, which no one can set; a wall clock that jumps is not looked at."""
    from aigrid.ran import slots

    assert slots._MONOTONIC == time.CLOCK_MONOTONIC
    monkeypatch.setattr(time, "time", lambda: 0.0)
    monkeypatch.setattr(time, "time_ns", lambda: 0)
    begin = slots.ticks_ahead(0.01)
    timespec = np.zeros(2, np.int64)
    assert 0 <= slots.sleep_until(begin, timespec) - begin < 60_000_000_000
    text = (Path(slots.__file__).read_text()) + Path(process.__file__).read_text()
    assert "time.time(" not in text
    assert "REALTIME" not in text


def test_what_is_not_permitted_is_said(monkeypatch):
    def refuse(*_):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "sched_setscheduler", refuse)
    monkeypatch.setattr(realtime.resource, "setrlimit", lambda *_: None)
    said = realtime.first_in_line()
    assert said is not None
    assert "CAP_SYS_NICE" in said
    assert "ordinary class" in said

    class Refusing:
        def mlockall(self, _):
            ctypes.set_errno(1)
            return -1

    monkeypatch.setattr(realtime.ctypes, "CDLL", lambda *_, **__: Refusing())
    assert "memory is not locked" in (realtime.lock_memory() or "")
    assert "cannot stay on processor 4000" in (realtime.pin(4000) or "")


def test_without_its_extra_the_radio_says_what_to_install(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="aigrid\\[ran\\]"), Radio(plan()):
        pass


def test_wrong_plans_and_pages_are_refused(tmp_path):
    for wrong in ({"seconds": 0}, {"seconds": float("nan")}, {"seconds": 1e9}, {"pattern": "half"}):
        with pytest.raises(BadRequest):
            plan(**wrong)
    (tmp_path / "short").write_bytes(b"x")
    with pytest.raises(NotFound, match="has 1 bytes"):
        Page(tmp_path / "short")
    (tmp_path / "zeros").write_bytes(bytes(WORDS * 8))
    with pytest.raises(NotFound, match="not the page of a radio of this version"):
        Page(tmp_path / "zeros")


def test_a_page_half_written_by_a_dead_radio_is_not_believed(tmp_path):
    page = Page(tmp_path / "page", create=True)
    page.write({"slot": 7, "slot_ns": SLOT_NS})
    assert page.read().slot == 7
    page.words[0] += 1
    with pytest.raises(Unavailable, match="died while it wrote"):
        page.read()
    assert page.last().slot == 7
    page.write({"slot": 8})
    assert page.read().slot == 8
