"""`aigrid up` as a user meets it: a process, its output, its children, its end."""

import http.client
import json
import os
import signal
import socket
import stat
import subprocess
import time
from urllib.parse import urlsplit

import pytest

from aigrid.cli.factory import announce, claim, running, settings

ECHO = ("--engine", "echo", "--no-console")


def get(url, path, key=""):
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)
    connection.request("GET", path, headers={"authorization": f"Bearer {key}"} if key else {})
    response = connection.getresponse()
    return response.status, json.loads(response.read())


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_until(holds, what, timeout_s=60):
    until = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < until, f"not within {timeout_s} s: {what}"
        time.sleep(0.02)


def serves(url, key):
    try:
        return get(url, "/v1/models", key)[0] == 200
    except OSError:
        return False


def test_the_first_start_makes_a_key_that_works_and_the_second_does_not(up):
    first = up(*ECHO)
    key = first.printed["key"]
    assert get(first.url, "/v1/models", key)[1]["data"][0]["id"] == "echo"
    assert first.printed["api"] == f"{first.url}/v1"
    assert first.stop().code == 0
    second = up(*ECHO)
    assert second.printed["key"] is None
    assert get(second.url, "/v1/models", key)[0] == 200


def test_it_asks_one_question_and_says_what_the_answer_cost(up):
    factory = up(*ECHO, "--ask", "one two three [echo tokens=6 rate=100]")
    answer = factory.printed["ask"]
    assert answer["text"].split() == ["one", "two", "three"] * 2
    assert answer["completion_tokens"] == 6
    assert answer["prompt_tokens"] > 0
    assert answer["cost_nusd"] > 0
    assert answer["energy_mj"] >= 0
    assert answer["energy_source"]
    assert 0 < answer["first_token_ns"] < answer["duration_ns"]


def test_people_get_the_answer_its_price_the_addresses_and_a_line_to_paste(up, state_in_a_temporary_folder):
    import sys

    command = [sys.executable, "-m", "aigrid.cli", "up", *ECHO, "--port", "0", "--ask", "hello [echo tokens=2]"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    lines = []
    for line in process.stdout:
        lines.append(line)
        if line.startswith("Serving"):
            break
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)
    text = "".join(lines) + out
    assert text.startswith("hello hello")
    assert "API      http://127.0.0.1:" in text
    assert "sk-aigrid-" in text
    assert "curl http://127.0.0.1:" in text
    assert "tokens (prompt + completion)" in err
    assert "$0.00" in err
    assert "estimated from processor load" in err or "measured by" in err
    assert "Traceback" not in err
    assert process.returncode == 0


@pytest.mark.parametrize("sig", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_is_graceful_and_leaves_nothing_behind(up, sig):
    factory = up(*ECHO)
    pid = factory.printed["pids"]["gateway"]
    result = factory.stop(sig)
    assert result.code == 0
    assert result.out == "", "more than one document on stdout"
    assert "Traceback" not in result.err
    assert not alive(pid)
    assert running() is None


def stream(factory, text, tokens):
    """Begin a streamed answer; returns the response after its first line."""
    messages = [{"role": "user", "content": text}]
    body = {"model": "echo", "messages": messages, "max_tokens": tokens, "stream": True}
    connection = http.client.HTTPConnection(urlsplit(factory.url).netloc, timeout=120)
    headers = {"authorization": f"Bearer {factory.printed['key']}", "content-type": "application/json"}
    connection.request("POST", "/v1/chat/completions", json.dumps(body), headers)
    response = connection.getresponse()
    response.readline()
    return response


def test_the_second_ctrl_c_does_not_wait_for_answers(up):
    factory = up(*ECHO)
    response = stream(factory, "a [echo tokens=2000 rate=20]", 2000)
    factory.process.send_signal(signal.SIGINT)
    wait_until(lambda: not serves(factory.url, factory.printed["key"]), "the door is closed")
    assert factory.process.poll() is None
    result = factory.stop(signal.SIGINT)
    assert "stopping at once" in result.err
    assert not alive(factory.printed["pids"]["gateway"])
    response.close()


def test_a_stop_lets_running_answers_finish(up):
    factory = up(*ECHO)
    response = stream(factory, "a [echo tokens=40 rate=40]", 40)
    factory.process.send_signal(signal.SIGTERM)
    rest = response.read().decode()
    assert rest.count('"content":"a') >= 38
    assert rest.endswith("data: [DONE]\n\n")
    assert factory.stop().code == 0


def test_a_killed_gateway_is_started_again_and_knows_its_keys(up):
    factory = up(*ECHO)
    os.kill(factory.printed["pids"]["gateway"], signal.SIGKILL)
    wait_until(lambda: not alive(factory.printed["pids"]["gateway"]), "the gateway is gone")
    wait_until(lambda: serves(factory.url, factory.printed["key"]), "a new gateway serves")
    assert "the gateway ended (killed by SIGKILL); starting it again" in factory.stop().err


def test_children_die_with_a_killed_supervisor(up):
    factory = up(*ECHO)
    factory.process.kill()
    wait_until(lambda: not alive(factory.printed["pids"]["gateway"]), "the gateway is gone")
    again = up(*ECHO)
    assert again.url
    assert again.printed["key"] is None


def test_a_killed_factory_does_not_run_even_if_another_process_has_its_id(state_in_a_temporary_folder):
    addresses = state_in_a_temporary_folder / "factory.json"
    with claim() as path:
        assert path == addresses
        assert running() is None
        announce(addresses, "http://127.0.0.1:1", "", "sqlite")
        assert running().pid == os.getpid()
        kept = addresses.read_bytes()
    addresses.write_bytes(kept)  # as a kill leaves it
    assert running() is None
    with claim():
        assert running() is None, "what a killed factory announced is not taken for the one that starts"


def test_commands_beside_a_factory_use_its_ledger_whatever_the_settings_say(aigrid, state_in_a_temporary_folder):
    with claim() as addresses:
        announce(addresses, "http://127.0.0.1:1", "", "postgresql://me:hunter2@127.0.0.1:1/books")
        assert stat.S_IMODE(addresses.stat().st_mode) == 0o600
        assert settings().ledger.url == "postgresql://me:hunter2@127.0.0.1:1/books"
        made = aigrid("keys", "create", "--tenant", "lab")
        assert made.code == 1
        assert "hunter2" not in made.err
    assert settings().ledger.url == "sqlite"
    assert aigrid("keys", "list", "--json").json["keys"] == []


def test_the_keys_that_a_start_makes_are_in_the_audit_log(up):
    entries = get(up(*ECHO).url, "/admin/audit")[1]["entries"]
    assert [(entry["act"], entry["actor"]) for entry in entries] == [("keys.create", "aigrid up")] * 2


def test_a_second_factory_in_the_same_home_is_refused(up):
    first = up(*ECHO)
    second = up(*ECHO)
    second.process.wait(120)
    result = second.stop()
    assert result.code == 1
    assert "Traceback" not in result.err
    message = second.printed["error"]["message"]
    assert "already runs in" in message
    assert str(first.process.pid) in message
    assert first.url in message
    assert "AIGRID_HOME" in message


def test_a_port_in_use_is_named_with_the_option_that_changes_it(up, aigrid):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        result = aigrid("up", *ECHO, "--port", port)
        assert result.code == 1
        assert result.err.startswith(f"aigrid: port {port} on 127.0.0.1 is in use")
        assert "--port" in result.err
        result = aigrid("up", "--engine", "echo", "--port", "0", "--console-port", port)
        assert "--console-port" in result.err


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("--upstream", "lab"), "NAME=URL"),
        (("--upstream", "lab=10.0.0.5:8000"), "NAME=URL"),
        (("--engine", "none"), "nothing to serve"),
        (("--engine", "none", "--upstream", "lab=http://127.0.0.1:1"), "no upstream answers"),
        (("--ledger", "mysql://db"), "--ledger"),
        (("--host", "192.0.2.1"), "192.0.2.1"),
        (("--host", "no.such.host.invalid"), "no.such.host.invalid"),
        (("--engine", "openvino", "--model", "smollm3"), "did you mean `smollm2-135m-instruct`"),
    ],
)
def test_what_cannot_work_fails_at_once_in_one_line(aigrid, args, said):
    result = aigrid("up", "--no-console", "--port", "0", *args)
    assert result.code == 1
    assert result.out == ""
    assert result.err.startswith("aigrid: ")
    assert result.err.count("\n") == 1
    assert said in result.err
    assert running() is None


def test_a_home_that_cannot_be_written_is_named(aigrid, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("AIGRID_HOME", str(tmp_path / "file"))
    result = aigrid("up", *ECHO)
    assert result.code == 1
    assert result.err.count("\n") == 1
    assert str(tmp_path / "file") in result.err


def test_an_engine_and_an_upstream_serve_side_by_side(up, tmp_path):
    behind = up(*ECHO, home=tmp_path / "behind")
    os.environ["BEHIND_KEY"] = behind.printed["key"]
    (tmp_path / "aigrid.toml").write_text(
        f'[[upstreams]]\nname = "behind"\nurl = "{behind.url}"\nkey_env = "BEHIND_KEY"\n'
    )
    front = up(
        "--engine", "none", "--no-console", "--ask", "hi [echo tokens=3]", AIGRID_CONFIG=str(tmp_path / "aigrid.toml")
    )
    assert front.printed["models"] == ["echo"]
    assert front.printed["ask"]["completion_tokens"] == 3


def test_the_console_is_started_beside_the_gateway(up):
    factory = up("--engine", "echo", "--console-port", "0")
    assert factory.printed.get("console"), factory.printed
    assert set(factory.printed["pids"]) == {"gateway", "console"}
    connection = http.client.HTTPConnection(urlsplit(factory.printed["console"]).netloc, timeout=120)
    connection.request("GET", "/")
    response = connection.getresponse()
    assert response.status == 200
    assert b"aigrid" in response.read().lower()
    assert factory.stop().code == 0
