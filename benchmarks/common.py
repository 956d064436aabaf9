"""What every benchmark needs: the machine in words, spreads, one JSON object, and a factory of its own."""

import argparse
import contextlib
import json
import math
import os
import platform
import random
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PATH = os.pathsep.join((str(ROOT), str(ROOT / "src")))
"""What is measured is the source beside these benchmarks, wherever it is installed."""
START_S = 300.0
STOP_S = 60.0


def machine() -> dict[str, Any]:
    """Return what the figures were measured on."""
    model = ""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    memory_kb = int(Path("/proc/meminfo").read_text().split()[1])
    return {
        "processor": model or platform.machine(),
        "cores": os.cpu_count(),
        "memory_gib": round(memory_kb / (1 << 20), 1),
        "python": platform.python_version(),
        "kernel": platform.release().partition("-")[0],
        "load_before": round(os.getloadavg()[0], 2),
    }


def first_in_line() -> str:
    """Run this process and its children before all others, where permitted, so that neighbours do not distort them.

    Returns what was reached: `SCHED_RR`, or `default`. All that is compared runs in the same class.
    """
    try:
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(10))
    except OSError:
        return "default"
    return "SCHED_RR"


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value below which `share` (0 to 1) of the values lie (nearest rank)."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def spread(values: Sequence[float]) -> dict[str, float]:
    """Return median, 5th and 95th percentile and the number of values."""
    return {
        "median": statistics.median(values),
        "p5": percentile(values, 0.05),
        "p95": percentile(values, 0.95),
        "n": len(values),
    }


def interval(right: int, of: int) -> list[float] | None:
    """Return the 95 % confidence interval of a share (Wilson 1927), rounded; None where nothing was asked."""
    if not of:
        return None
    z2 = 1.96**2
    middle, half = right / of + z2 / (2 * of), math.sqrt(right * (of - right) / of + z2 / 4) * 1.96 / of
    return [round(max(0.0, (middle - half) / (1 + z2 / of)), 4), round(min(1.0, (middle + half) / (1 + z2 / of)), 4)]


def arguments(description: str) -> argparse.ArgumentParser:
    """Return a parser with the options that every benchmark has."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else on stdout")
    return parser


def report(result: Mapping[str, Any], as_json: bool) -> None:
    """Print a result: as one JSON object, or for people. Exit with 1 where a claim does not hold."""
    value = {"machine": machine(), **result}
    if as_json:
        print(json.dumps(value))
    else:
        print(json.dumps(value, indent=2))
        for claim, holds in value["holds"].items():
            print(f"{'holds' if holds else 'DOES NOT HOLD'}: {claim}")
    sys.exit(0 if all(value["holds"].values()) else 1)


def log(text: str) -> None:
    """Say what is going on, on stderr."""
    print(text, file=sys.stderr, flush=True)


def free_port() -> int:
    """Return a port of 127.0.0.1 that is free now, of those that the system gives to nobody who asks for any."""
    while True:
        port = random.SystemRandom().randrange(10_000, 16_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


@dataclass(frozen=True)
class Factory:
    """A running factory: its base address, a first key, its state folder, its process, and what `up` printed."""

    url: str
    key: str
    home: Path
    process: subprocess.Popen[str]
    pids: dict[str, int]
    printed: dict[str, Any]

    def run(self, *args: str) -> Any:
        """Run an `aigrid` command on this factory with --json; returns what it printed."""
        env = environment(self.home)
        output = subprocess.check_output([sys.executable, "-m", "aigrid.cli", *args, "--json"], env=env, text=True)
        return json.loads(output)


def environment(home: Path, more: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment of a process that works on `home` and sees no other aigrid settings."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("AIGRID_")}
    return {**env, "AIGRID_HOME": str(home), "PYTHONPATH": PATH, **(more or {})}


@contextlib.contextmanager
def factory(*args: str, env: Mapping[str, str] | None = None, home: Path | None = None) -> Iterator[Factory]:
    """Run `aigrid up --json --no-console --port 0` with `args` in a temporary AIGRID_HOME until the block ends."""
    with tempfile.TemporaryDirectory(prefix="aigrid-") as temporary:
        folder = home or Path(temporary)
        command = [sys.executable, "-m", "aigrid.cli", "up", "--json", "--no-console", "--port", "0", *args]
        process = subprocess.Popen(
            command, env=environment(folder, env), stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        try:
            started = json.loads(read_document(process))
            if "error" in started:
                raise RuntimeError(f"the factory did not start: {started['error']['message']}")
            yield Factory(started["url"], started["key"] or "", folder, process, started["pids"], started)
        finally:
            stop(process)


@contextlib.contextmanager
def program(*args: str, env: Mapping[str, str] | None = None) -> Iterator[subprocess.Popen[str]]:
    """Run an `aigrid` command with --json until the block ends; its first document has been printed by then."""
    with tempfile.TemporaryDirectory(prefix="aigrid-") as temporary:
        command = [sys.executable, "-m", "aigrid.cli", *args, "--json"]
        process = subprocess.Popen(
            command, env=environment(Path(temporary), env), stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        try:
            read_document(process)
            yield process
        finally:
            stop(process)


def read_document(process: subprocess.Popen[str]) -> str:
    """Return the first JSON document that a process prints on stdout."""
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        if line.startswith("}"):
            break
    if not lines:
        raise RuntimeError(f"the process ended with exit code {process.wait()} and said nothing")
    return "".join(lines)


def stop(process: subprocess.Popen[str]) -> None:
    """End a process politely, after a minute at once."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    if process.stdout is not None:
        process.stdout.close()


def cpu_seconds(pid: int) -> float:
    """Return the processor time that a process has used, in seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_bytes(pid: int) -> int:
    """Return the resident memory of a process, in bytes."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def settle_down(seconds: float = 1.0) -> None:
    """Let the machine become quiet between measurements."""
    time.sleep(seconds)
