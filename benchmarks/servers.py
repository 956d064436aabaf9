"""Servers under measurement: started on cores of their own, watched, and stopped whatever happens."""

import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from benchmarks import common

ROOT = Path(__file__).resolve().parent.parent
_TICKS = os.sysconf("SC_CLK_TCK")


class Server:
    """One process that serves HTTP on `url`."""

    def __init__(self, process: subprocess.Popen[bytes], url: str, log: Path) -> None:
        self.process = process
        self.url = url
        self.log = log

    def cpu_seconds(self) -> float:
        """Return the processor time used by the process until now."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(") ")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS

    def rss_mib(self) -> float:
        """Return the memory of the process, in MiB."""
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / (1 << 20)


def cores() -> tuple[set[int], set[int]]:
    """Return the cores for what is measured and the cores for load and mock; the same one where there is one."""
    mine = sorted(os.sched_getaffinity(0))
    return {mine[-1]}, set(mine[:-1]) or {mine[-1]}


@contextmanager
def server(
    arguments: Sequence[str], port: int, *, on: set[int], env: Mapping[str, str] | None = None, path: str = "/",
    patience: float = 120.0,
) -> Iterator[Server]:  # fmt: skip
    """Start a server pinned to cores `on` and wait until it answers; kill it at the end."""
    log = Path(tempfile.mkstemp(prefix="aigrid-bench-", suffix=".log")[1])
    with log.open("wb") as sink:
        process = subprocess.Popen(
            list(arguments), env={**os.environ, **(env or {})}, stdout=sink, stderr=sink, cwd=ROOT,
            start_new_session=True, preexec_fn=lambda: os.sched_setaffinity(0, on),
        )  # fmt: skip
    found = Server(process, f"http://127.0.0.1:{port}", log)
    try:
        _wait(found, path, patience)
        yield found
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        log.unlink()


def _wait(found: Server, path: str, patience: float) -> None:
    end = time.monotonic() + patience
    while time.monotonic() < end:
        if found.process.poll() is not None:
            raise RuntimeError(f"{found.process.args} ended: {found.log.read_text()[-2000:]}")
        try:
            urllib.request.urlopen(found.url + path, timeout=2).close()
        except urllib.error.HTTPError as error:
            if error.code < 500:
                return
        except OSError:
            pass
        else:
            return
        time.sleep(0.1)
    raise RuntimeError(f"{found.process.args} did not answer in {patience:g} s: {found.log.read_text()[-2000:]}")


@contextmanager
def echo(*, on: set[int], rate: float = 0.0) -> Iterator[Server]:
    """Start the echo upstream."""
    port = common.free_port()
    command = [sys.executable, "-m", "aigrid.cli", "echo", "--port", str(port), "--rate", str(rate)]
    with server(command, port, on=on, path="/v1/models") as found:
        yield found


@contextmanager
def gateway(upstream: str, *, on: set[int], home: Path, settings: Mapping[str, str] | None = None) -> Iterator[Server]:
    """Start one governed gateway process in front of an upstream that serves the model `echo`."""
    port = common.free_port()
    home.mkdir(parents=True, exist_ok=True)
    toml = f'[[upstreams]]\nname = "up"\nurl = "{upstream}"\nmodels = ["echo"]\n'
    (home / "aigrid.toml").write_text(toml)
    env = {
        "AIGRID_HOME": str(home),
        "AIGRID_CONFIG": str(home / "aigrid.toml"),
        "AIGRID_GATEWAY_PORT": str(port),
        "AIGRID_ENGINE_KIND": "none",
        **(settings or {}),
    }
    with server([sys.executable, "-m", "aigrid.gateway"], port, on=on, env=env, path="/health/live") as found:
        yield found


def make_key(home: Path, *options: str, tenant: str = "bench") -> str:
    """Make a key in the ledger of `home`, with the command that users have."""
    command = [sys.executable, "-m", "aigrid.cli", "keys", "create", "--tenant", tenant, *options, "--json"]
    done = subprocess.run(command, env={**os.environ, "AIGRID_HOME": str(home)}, capture_output=True, check=True)
    return str(json.loads(done.stdout)["key"])


def ledger_totals(home: Path) -> dict[str, int]:
    """Return the ledger's totals of all time, with the command that users have."""
    command = [sys.executable, "-m", "aigrid.cli", "ledger", "--since", "1970-01-01", "--json"]
    done = subprocess.run(command, env={**os.environ, "AIGRID_HOME": str(home)}, capture_output=True, check=True)
    return dict(json.loads(done.stdout)["totals"])
