"""What tests in a real browser share: processes, ports, requests, and when a page is there."""

import contextlib
import http.client
import json
import os
import shutil
import subprocess
import sys
import time

import pytest
from playwright.sync_api import expect

from benchmarks.common import free_port

__all__ = ["ARGS", "CHROMIUM", "MARKS", "ask", "free_port", "is_loaded", "process"]

expect.set_options(timeout=60_000)  # how long a check waits for what is not there yet

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
ARGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

MARKS = [
    pytest.mark.xdist_group("console"),
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium: apt install chromium"),
]


def ask(port, method, path, body=None, **headers):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    data = body if isinstance(body, str) else None if body is None else json.dumps(body)
    connection.request(method, path, data, {"content-type": "application/json"} | headers)
    answer = connection.getresponse()
    return answer.status, answer.read(), dict(answer.getheaders())


@contextlib.contextmanager
def process(home, *command, ready, **settings):
    """Run a module as a process until the block ends; `ready` is (port, path) that must answer."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(("AIGRID_", "PYTEST_"))}
    env |= {"AIGRID_HOME": str(home)} | settings
    log = home / f"{ready[0]}.log"
    with open(log, "w") as out:
        child = subprocess.Popen([sys.executable, "-m", *command], cwd=home, env=env, stdout=out, stderr=out)
    try:
        until = time.monotonic() + 180
        while True:
            with contextlib.suppress(OSError):
                if ask(ready[0], "GET", ready[1])[0] < 500:
                    break
            assert child.poll() is None, log.read_text()
            assert time.monotonic() < until, log.read_text()
            time.sleep(0.1)
        yield log
    finally:
        child.terminate()
        child.wait(60)


def is_loaded(page):
    expect(page.get_by_text("connected")).to_be_attached()
