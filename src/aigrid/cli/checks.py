"""The checks of `aigrid doctor`. Each looks at one thing and says what it found and how to mend it."""

import os
import platform
import resource
import shutil
import sqlite3
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import msgspec

from aigrid.cli import factory, preflight
from aigrid.client.http import Gateway
from aigrid.core.config import Config, cache
from aigrid.core.errors import AigridError

GIB = 1 << 30
MIN_FREE_DISK = 2 * GIB
MIN_MEMORY = 2 * GIB
MIN_FILES = 4096
BUILT_IN_2026 = 1_767_225_600
"""2026-01-01 in Unix seconds: no right clock is before it."""


class Finding(msgspec.Struct, frozen=True):
    """What one check found; `mend` says what to do where it is not `ok`."""

    name: str
    level: Literal["ok", "warn", "fail"]
    text: str
    mend: str = ""


def python(config: Config) -> Finding:
    """Look at the interpreter."""
    text = f"Python {platform.python_version()} on {platform.system()} {platform.machine()}"
    if sys.prefix == sys.base_prefix:
        mend = "install into an environment of its own: python3 -m venv .venv && .venv/bin/pip install aigrid"
        return Finding("python", "warn", f"{text}, not in a virtual environment", mend)
    return Finding("python", "ok", text)


def processor(config: Config) -> Finding:
    """Look for the vector instructions that make the engine quick."""
    cores = len(os.sched_getaffinity(0))
    if platform.machine() != "x86_64":
        return Finding("processor", "ok", f"{cores} cores, {platform.machine()}")
    flags = Path("/proc/cpuinfo").read_text().partition("flags")[2].partition("\n")[0].split()
    have = [name for name in ("avx2", "avx512f", "avx512_vnni", "amx_tile") if name in flags]
    if "avx2" not in have:
        mend = "use a machine with AVX2, or a server elsewhere: aigrid up --engine none --upstream NAME=URL"
        return Finding("processor", "warn", f"{cores} cores without AVX2: the engine will be slow", mend)
    return Finding("processor", "ok", f"{cores} cores with {', '.join(have)}")


def memory(config: Config) -> Finding:
    """Look for memory for the model and its cache."""
    lines = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
    free = int(lines["MemAvailable"].split()[0]) * 1024
    text = f"{free / GIB:.1f} GiB available"
    if free < MIN_MEMORY and config.engine.kind == "openvino":
        return Finding(
            "memory", "warn", text, "close other programs, or set engine.cache_gb = 1 and a small engine.max_batch"
        )
    return Finding("memory", "ok", text)


def disk(config: Config) -> Finding:
    """Look for room for state and downloads, and whether the state folder can be written."""
    home = factory.writable_home()
    for path, what in ((home, "AIGRID_HOME"), (cache(), "the download cache")):
        free = shutil.disk_usage(path).free
        if free < MIN_FREE_DISK:
            variable = "AIGRID_HOME" if path == home else "XDG_CACHE_HOME"
            mend = f"free some, or set {variable} to a larger disk"
            return Finding("disk", "fail", f"{free / GIB:.1f} GiB free for {what} at {path}", mend)
    return Finding("disk", "ok", f"{shutil.disk_usage(home).free / GIB:.0f} GiB free; state in {home}")


def ports(config: Config) -> Finding:
    """See that the ports are free, or that our own factory has them."""
    gateway = config.gateway
    if there := factory.running():
        return Finding("ports", "ok", f"this factory serves at {there.api}")
    try:
        preflight.check_port(gateway.host, gateway.port, "--port")
        if config.console.enabled:
            preflight.check_port(gateway.host, config.console.port, "--console-port")
    except AigridError as error:
        return Finding("ports", "warn", error.message, "or set gateway.port and console.port in aigrid.toml")
    return Finding("ports", "ok", f"{gateway.port} and {config.console.port} on {gateway.host} are free")


def model(config: Config) -> Finding:
    """See that the model is here and is the one that was pinned."""
    if config.engine.kind != "openvino":
        return Finding("model", "ok", f"none needed for engine {config.engine.kind}")
    from aigrid.core.download import digest
    from aigrid.core.models import resolve
    from aigrid.engines import gguf

    found = resolve(config.engine.model, config)
    if not found.present:
        mend = f"nothing to do: `aigrid up` fetches it; or fetch it now with `aigrid models pull {found.id}`"
        return Finding("model", "warn", f"{found.id} is not here yet ({found.bytes / 1e6:.0f} MB)", mend)
    if found.sha256 and found.path.is_file() and digest(found.path) != found.sha256:
        mend = f"fetch it again: aigrid models rm {found.id} && aigrid models pull {found.id}"
        return Finding("model", "fail", f"{found.path} is damaged: its SHA-256 is not the pinned one", mend)
    if found.path.is_file():
        gguf.check(found.path)
    checked = "SHA-256 is right" if found.sha256 else "no digest is pinned"
    return Finding("model", "ok", f"{found.id} is here ({found.bytes / 1e6:.0f} MB, {checked})")


def energy(config: Config) -> Finding:
    """Say how joules are measured, and how to measure them better."""
    from aigrid.ledger.energy import find_meter

    meter = find_meter(config.site.tdp_w)
    if "estimate" in meter.source.split("+"):
        mend = "set site.tdp_w to the processors' real power, or run on bare metal where RAPL can be read"
        return Finding("energy", "warn", meter.describe(), mend)
    return Finding("energy", "ok", meter.describe())


def clock(config: Config) -> Finding:
    """See that the clock is plausible: budgets per day and per month depend on it."""
    now = time.time()
    text = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(now))
    if now < BUILT_IN_2026:
        return Finding("clock", "fail", f"it says {text}, which is past", "set the clock, e.g. with systemd-timesyncd")
    return Finding("clock", "ok", text)


def files(config: Config) -> Finding:
    """See that enough files (connections) may be open at once."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < MIN_FILES and soft != resource.RLIM_INFINITY:
        mend = (
            f"for many clients at once: ulimit -n {min(65536, hard) if hard > 0 else 65536}, or LimitNOFILE= in systemd"
        )
        return Finding("open files", "warn", f"at most {soft}: about {soft // 2} streams at once", mend)
    return Finding("open files", "ok", f"at most {'any number' if soft < 0 else soft}")


def ledger(config: Config) -> Finding:
    """See that the ledger's database can be used."""
    if not config.ledger.url.startswith("sqlite"):
        try:
            import psycopg
        except ImportError:
            mend = "install it: pip install 'aigrid[postgres]'"
            return Finding("ledger", "fail", "PostgreSQL is set, but its driver is not installed", mend)
        try:
            with psycopg.connect(config.ledger.url, connect_timeout=3) as connection:
                version = connection.info.server_version // 10_000
        except psycopg.OperationalError as error:
            mend = "start the server, or correct ledger.url"
            return Finding("ledger", "fail", f"cannot reach PostgreSQL: {str(error).strip().splitlines()[-1]}", mend)
        return Finding("ledger", "ok", f"PostgreSQL {version} answers")
    if sqlite3.sqlite_version_info < (3, 35):
        return Finding("ledger", "fail", f"SQLite {sqlite3.sqlite_version}", "install SQLite 3.35 or later")
    return Finding("ledger", "ok", f"SQLite {sqlite3.sqlite_version}")


def running(config: Config) -> Finding:
    """Ask the factory of this AIGRID_HOME, where one runs, whether it is well."""
    there = factory.running()
    if there is None:
        return Finding("factory", "ok", "none runs in this AIGRID_HOME; start one with `aigrid up`")
    try:
        status, body = Gateway(there.api, timeout_s=5).get("/health/ready")
    except AigridError as error:
        mend = "wait for its restart, or stop and start `aigrid up`; its log says why"
        return Finding("factory", "fail", f"process {there.pid} runs, but {error.message}", mend)
    if status != 200:
        return Finding(
            "factory", "warn", f"{there.api} is not ready: {body}", "wait, or look at the log of `aigrid up`"
        )
    return Finding("factory", "ok", f"ready at {there.api}")


ALL: dict[str, Callable[[Config], Finding]] = {
    "python": python,
    "processor": processor,
    "memory": memory,
    "disk": disk,
    "ports": ports,
    "model": model,
    "energy": energy,
    "clock": clock,
    "open files": files,
    "ledger": ledger,
    "factory": running,
}
