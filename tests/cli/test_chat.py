import io
import json
import os
import pty
import signal
import subprocess
import sys
import time

import pytest

from aigrid.cli.chat import price_line
from aigrid.client.http import Answer
from tests.cli.waiting import until


def test_one_question_one_answer_one_price(aigrid, in_factory):
    result = aigrid("chat", "red green [echo tokens=4]")
    assert result.code == 0
    assert result.out == "red green red green \n"
    assert " + 4 tokens (prompt + completion) · first token after " in result.err
    assert "$0.0000" in result.err


def test_with_json_the_answer_and_its_price_are_one_document(aigrid, in_factory):
    answer = aigrid("chat", "red green [echo tokens=4]", "--json").json
    assert answer["text"] == "red green red green "
    assert answer["model"] == "echo"
    assert answer["finish_reason"] == "stop"
    assert answer["completion_tokens"] == 4
    assert answer["cost_nusd"] > 0


def test_the_ledger_has_what_was_shown(aigrid, in_factory):
    answer = aigrid("chat", "red green [echo tokens=4]", "--tier", "overnight", "--json").json
    assert answer["record"]

    def overnight():
        tiers = aigrid("ledger", "--by", "tier", "--json").json["groups"]["tier"]
        return [tier["completion_tokens"] for tier in tiers if tier["name"] == "overnight"]

    assert until(overnight, bool) == [4]


def test_thinking_shows_its_candidates_and_why_one_won(aigrid, in_factory):
    result = aigrid("chat", "green [echo tokens=1]", "--think", "low")
    assert result.out == "green \n"
    assert "candidate 1: green\n" in result.err
    assert "3 of 3 candidates agree" in result.err  # which decides a vote of 4
    answer = aigrid("chat", "green [echo tokens=1]", "--think", "low", "--max-cost", "0.001", "--json").json
    assert answer["thinking"]["votes"] == {"green": 3}
    assert answer["reasoning_tokens"] == answer["completion_tokens"] - 1
    assert answer["cost_nusd"] == answer["thinking"]["spent"]["nusd"] <= 1_000_000


def test_a_pipe_is_a_question(aigrid, in_factory, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO("blue [echo tokens=2]\n"))
    assert aigrid("chat").out == "blue blue \n"
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    assert "nothing to ask" in aigrid("chat").err


def test_the_longest_answer_is_kept(aigrid, in_factory):
    answer = aigrid("chat", "a [echo tokens=50]", "--max-tokens", "7", "--json").json
    assert (answer["completion_tokens"], answer["finish_reason"]) == (7, "length")


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("--model", "gpt-17"), "gpt-17"),
        (("--key", "sk-aigrid-wrong"), "aigrid keys create"),
        (("--url", "http://127.0.0.1:1"), "aigrid up"),
        (("--url", "ftp://x"), "http://127.0.0.1:8470"),
    ],
)
def test_what_goes_wrong_is_one_line(aigrid, in_factory, args, said):
    result = aigrid("chat", "hi", *args)
    assert result.code == 1
    assert result.err.startswith("aigrid: ")
    assert result.err.count("\n") == 1
    assert said in result.err


def test_an_answer_that_breaks_off_is_an_error_after_what_came(aigrid, in_factory):
    result = aigrid("chat", "a [echo tokens=9 fail=500 after=3]")
    assert result.code == 1
    assert result.out.startswith("a a a")
    assert "failed" in result.err


def test_ctrl_c_stops_the_answer_and_not_the_conversation(in_factory):
    terminal, end = pty.openpty()
    command = [sys.executable, "-m", "aigrid.cli", "chat"]
    process = subprocess.Popen(command, stdin=end, stdout=end, stderr=end, start_new_session=True, env=os.environ)
    os.close(end)
    seen = ""

    def until(text):
        nonlocal seen
        deadline = time.monotonic() + 60
        while text not in seen:
            assert time.monotonic() < deadline, seen
            seen += os.read(terminal, 4096).decode()

    until("> ")
    os.write(terminal, b"slow [echo tokens=500 rate=20]\n")
    until("slow slow slow ")
    process.send_signal(signal.SIGINT)
    until("stopped")
    seen = seen.partition("stopped")[2]
    os.write(terminal, b"quick [echo tokens=2]\n")
    until("quick quick ")
    until("$0.0")
    os.write(terminal, b"\x04")
    assert process.wait(60) == 0
    os.close(terminal)


def test_a_price_says_how_energy_was_measured():
    answer = Answer(prompt_tokens=3, completion_tokens=1, energy_mj=1500, cost_nusd=7)
    for source, said in (
        ("estimate", "estimated from processor load"),
        ("rapl", "measured by rapl"),
        ("nvml+estimate", "nvml measured, processors estimated"),
    ):
        answer.energy_source = source
        assert said in price_line(answer)
    assert "$0.000000007" in price_line(answer)
    assert json.dumps(price_line(Answer())).count("J") == 0
