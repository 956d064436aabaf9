"""doctor, echo, models and bench."""

import http.client
import json
import signal
import socket
import subprocess
import sys

import pytest

from aigrid.cli import checks


def test_the_doctor_finds_this_machine_in_order(aigrid):
    result = aigrid("doctor", "--json")
    assert result.code == 0
    found = {finding["name"]: finding for finding in result.json["findings"]}
    assert set(found) == {"settings", *checks.ALL}
    assert all(finding["level"] in ("ok", "warn") for finding in found.values())
    assert all(finding["mend"] for finding in found.values() if finding["level"] == "warn")
    assert "Energy is taken from" in found["energy"]["text"]


def test_the_doctor_says_how_to_mend(aigrid, monkeypatch):
    monkeypatch.setenv("AIGRID_GATEWAY_PROT", "1")
    result = aigrid("doctor")
    assert result.code == 1
    assert "✗ settings" in result.out
    assert "→ " in result.out


@pytest.mark.parametrize(
    ("settings", "check", "level"),
    [
        ({"AIGRID_ENGINE_MODEL": "smollm9"}, "model", "fail"),
        ({"AIGRID_LEDGER_URL": "postgresql://127.0.0.1:1/none"}, "ledger", "fail"),
    ],
)
def test_the_doctor_finds_what_is_wrong(aigrid, monkeypatch, settings, check, level):
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    found = {finding["name"]: finding for finding in aigrid("doctor", "--json").json["findings"]}
    assert found[check]["level"] == level


def test_the_doctor_notices_a_damaged_model(aigrid, monkeypatch, tmp_path):
    (tmp_path / "own.gguf").write_bytes(b"damaged")
    (tmp_path / "aigrid.toml").write_text(
        f'[engine]\nmodel = "own"\n[[models]]\nid = "own"\nsource = "file:{tmp_path}/own.gguf"\nsha256 = "{"0" * 64}"\n'
    )
    monkeypatch.setenv("AIGRID_CONFIG", str(tmp_path / "aigrid.toml"))
    found = {finding["name"]: finding for finding in aigrid("doctor", "--json").json["findings"]}
    assert found["model"]["level"] == "fail"
    assert "aigrid models pull own" in found["model"]["mend"]


def test_the_doctor_notices_a_port_in_use(aigrid, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        monkeypatch.setenv("AIGRID_GATEWAY_PORT", str(taken.getsockname()[1]))
        found = {finding["name"]: finding for finding in aigrid("doctor", "--json").json["findings"]}
    assert found["ports"]["level"] == "warn"


def test_the_doctor_asks_the_running_factory(aigrid, in_factory):
    found = {finding["name"]: finding for finding in aigrid("doctor", "--json").json["findings"]}
    assert found["factory"]["text"] == f"ready at {in_factory.url}"


def test_a_check_that_breaks_is_a_finding_and_not_a_crash(aigrid, monkeypatch):
    monkeypatch.setitem(checks.ALL, "clock", lambda config: 1 / 0)
    found = {finding["name"]: finding for finding in aigrid("doctor", "--json").json["findings"]}
    assert "ZeroDivisionError" in found["clock"]["text"]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_the_echo_serves_alone_and_ends_when_told():
    lines = []
    for _ in range(5):  # another process may take the port in between
        port = free_port()
        command = [sys.executable, "-m", "aigrid.cli", "echo", "--port", str(port), "--rate", "100", "--json"]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for line in process.stdout:
            lines.append(line)
            if line.startswith("}"):
                break
        if lines or "in use" not in process.communicate()[1]:
            break
    assert json.loads("".join(lines))["url"] == f"http://127.0.0.1:{port}"
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", "/v1/models")
    assert json.loads(connection.getresponse().read())["data"][0]["id"] == "echo"
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0
    assert err == ""


def test_the_echo_says_when_its_port_is_taken(aigrid):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        result = aigrid("echo", "--port", str(taken.getsockname()[1]))
    assert result.code == 1
    assert "--port" in result.err


@pytest.fixture
def own_model(monkeypatch, tmp_path):
    (tmp_path / "own.gguf").write_bytes(b"x" * 1000)
    (tmp_path / "aigrid.toml").write_text(f'[[models]]\nid = "own"\nsource = "file:{tmp_path}/own.gguf"\n')
    monkeypatch.setenv("AIGRID_CONFIG", str(tmp_path / "aigrid.toml"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "own.gguf"


def test_models_are_listed_with_where_they_come_from(aigrid, own_model):
    listed = {model["id"]: model for model in aigrid("models", "list", "--json").json["models"]}
    assert listed["own"]["present"]
    assert not listed["smollm2-135m-instruct"]["present"]
    assert "smollm2-135m-instruct (default)" in aigrid("models", "list").out


def test_a_model_is_pulled_and_an_own_file_is_never_removed(aigrid, own_model):
    assert aigrid("models", "pull", "own", "--json").json["path"] == str(own_model)
    assert "your own file" in aigrid("models", "rm", "own").out
    assert own_model.exists()


def test_an_unknown_model_is_named_with_the_nearest_one(aigrid, own_model):
    result = aigrid("models", "pull", "smollm2")
    assert result.code == 1
    assert "did you mean `smollm2-135m-instruct`" in result.err


def test_the_running_factory_is_measured(aigrid, in_factory):
    measured = aigrid("bench", "--streams", "1,4", "--tokens", "16", "--json").json
    assert [row["streams"] for row in measured["results"]] == [1, 4]
    assert [row["completion_tokens"] for row in measured["results"]] == [16, 64]
    assert all(row["tokens_per_second"] > 0 for row in measured["results"])
    assert "tokens/s" in aigrid("bench", "--streams", "1", "--tokens", "4").out


@pytest.mark.parametrize("streams", ["0", "x", "", "1001"])
def test_numbers_of_streams_are_checked(aigrid, in_factory, streams):
    assert "--streams" in aigrid("bench", "--streams", streams).err


def test_an_unknown_benchmark_is_refused(aigrid, tmp_path, monkeypatch):
    assert aigrid("bench", "nothing").code == 1
    monkeypatch.chdir(tmp_path)
    assert "checkout" in aigrid("bench", "nothing").err
