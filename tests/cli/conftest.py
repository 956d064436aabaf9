import json
import os
import signal
import subprocess
import sys

import pytest

from aigrid.cli import output
from aigrid.cli.app import run

AIGRID = [sys.executable, "-m", "aigrid.cli"]


class Result:
    def __init__(self, code, out, err):
        self.code = code
        self.out = out
        self.err = err

    @property
    def json(self):
        return json.loads(self.out)


@pytest.fixture
def aigrid(capsys):
    """Run one command line in this process."""

    def call(*args):
        output.out.cache_clear()
        output.err.cache_clear()
        code = run(args)
        captured = capsys.readouterr()
        return Result(code, captured.out, captured.err)

    return call


class Up:
    """A factory started by `aigrid up --json`, with what it printed."""

    def __init__(self, home, *args, **env):
        environment = {**os.environ, "AIGRID_HOME": str(home), **env}
        environment.pop("PYTEST_CURRENT_TEST", None)  # NiceGUI behaves differently where it sees this
        self.process = subprocess.Popen(
            [*AIGRID, "up", "--json", "--port", "0", *args],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        lines = []
        for line in self.process.stdout:
            lines.append(line)
            if line.startswith("}"):
                break
        self.printed = json.loads("".join(lines)) if lines else None
        self.url = (self.printed or {}).get("url", "")

    def stop(self, sig=signal.SIGTERM):
        if self.process.poll() is None:
            self.process.send_signal(sig)
        rest, err = self.process.communicate(timeout=120)
        return Result(self.process.returncode, rest, err)


@pytest.fixture
def up(state_in_a_temporary_folder):
    """Start factories that end with the test."""
    started = []

    def start(*args, home=state_in_a_temporary_folder, **env):
        started.append(Up(home, *args, **env))
        return started[-1]

    yield start
    for each in started:
        if each.process.poll() is None:
            each.process.kill()
            each.process.communicate()


@pytest.fixture(scope="module")
def factory(tmp_path_factory):
    """A factory with the echo engine for the tests of one file: its home, and what `up` printed."""
    home = tmp_path_factory.mktemp("factory")
    for name in [name for name in os.environ if name.startswith("AIGRID_")]:
        pytest.fail(f"{name} must not be set when tests are run")
    found = Up(home, "--engine", "echo", "--no-console", AIGRID_ENGINE_ECHO_RATE="200")
    found.home = home
    assert found.url, found.stop().err
    yield found
    found.stop()


@pytest.fixture
def in_factory(factory, monkeypatch):
    """Let commands of this test find the file's factory."""
    monkeypatch.setenv("AIGRID_HOME", str(factory.home))
    return factory
