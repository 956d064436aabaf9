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


def test_another_radios_log_is_followed(tmp_path, capsys):
    log = tmp_path / "gnb.log"
    log.write_text(
        "x [METRICS ] Scheduler cell pci=1 metrics: nof_prbs=106 nof_dl_slots=1400 nof_ul_slots=600 "
        "pdsch_rbs_per_slot=50 pusch_rbs_per_slot=9 pdschs_per_slot=1.08 puschs_per_slot=1 max_latency=120usec\nhalf a l"
    )
    assert run(["ran", "watch", "srsran", str(log), "--seconds", "0.1", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["slot"], said["cell_prb"], said["downlink_prb"]) == (2000, 106, 35)
    assert run(["ran", "watch", "srsran", str(tmp_path / "none.log"), "--seconds", "0.1"]) == 1
    assert "cannot read the radio's log" in capsys.readouterr().err
    assert run(["ran", "watch", "huawei", str(log)]) == 1
    assert "there are aerial, oai, srsran" in capsys.readouterr().err


def test_ways_to_share_are_compared(capsys):
    args = "--work burn --minutes 0.1 --slice 0.2 --policies static,harvester --json"
    assert run(["ran", "compare", *args.split()]) == 0
    said = json.loads(capsys.readouterr().out)
    assert set(said) == {"floor", "radio", "ai", "static", "harvester"}
    assert said["harvester"]["busy_slots"] > 0
    assert said["harvester"]["added_misses"]["low"] <= said["harvester"]["added_misses"]["high"]
    assert said["ai"]["tokens_per_s"]["value"] > 0
    assert run(["ran", "compare", "--policies", "magic"]) == 1
    assert "there are static, plain, nice, idle, harvester" in capsys.readouterr().err
