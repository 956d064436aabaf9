"""The scaling curve on a served model: the same command, in front of a server of somebody else's."""

import subprocess
import sys

from benchmarks import common, thinking_curve


def test_a_served_model_makes_the_same_curve():
    port = common.free_port()
    with common.program("echo", "--port", str(port), "--model", "theirs"):
        found = thinking_curve.measure(3, f"http://127.0.0.1:{port}", "theirs")
    assert (found["model"], found["questions"]) == ("theirs", 3)
    points = found["curve"]
    assert [point["n"] for point in points] == list(thinking_curve.SIZES)
    assert [point["tokens"] for point in points] == sorted({point["tokens"] for point in points})
    assert [point["nusd"] for point in points] == sorted({point["nusd"] for point in points})
    assert points[0]["nusd"] > 0
    assert found["stops_helping_at"] == 1  # an echo says the same each time


def test_what_a_server_refuses_is_said():
    port = common.free_port()
    with common.program("echo", "--port", str(port), "--model", "theirs"):
        command = [sys.executable, "-m", "benchmarks.thinking_curve", "--json", "--questions", "1"]
        command += ["--upstream", f"http://127.0.0.1:{port}", "--model", "other"]
        done = subprocess.run(command, capture_output=True, text=True, cwd=common.ROOT)
    assert done.returncode == 1
    assert "'other' does not exist here; models: theirs" in done.stderr
    assert done.stdout == ""
