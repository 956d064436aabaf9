"""`aigrid ran run`: what it prints, and what it says when it cannot."""

import json
import subprocess
import sys

from aigrid.cli.app import run


def test_a_radio_runs_from_the_command_line(capsys):
    assert run(["ran", "run", "--seconds", "0.3", "--no-fifo", "--scale", "30", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["slots"] == 600
    assert said["real_time"] is False
    assert said["downlink_done"] + said["downlink_missed"] > 0
    assert set(said["tick_us"]) == {"count", "p50", "p99", "p999", "most"}


def test_a_trace_is_run_and_shown_to_people(tmp_path, capsys):
    path = tmp_path / "trace.csv"
    path.write_text("slot,direction,prb,mcs\n0,dl,4,5\n1,dl,4,5\n")
    assert run(["ran", "run", "--trace", str(path), "--seconds", "0.2", "--no-fifo", "--pattern", "fdd"]) == 0
    said = capsys.readouterr().out
    assert "400 slots, 400 with work" in said
    assert "downlink" in said


def test_a_wrong_trace_is_one_sentence(tmp_path, capsys):
    path = tmp_path / "trace.csv"
    path.write_text("slot,direction,prb,mcs\n0,dl,4,5\n5,dl,4,5\n")
    assert run(["ran", "run", "--trace", str(path)]) == 1
    assert "row 3: slot is 5 after 0, where 1 was expected" in capsys.readouterr().err


def test_importing_the_commands_imports_no_compiler():
    code = "import aigrid, aigrid.cli.app, sys; print([name for name in ('numba', 'llvmlite') if name in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"
