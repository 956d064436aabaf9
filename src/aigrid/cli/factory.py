"""The factory in AIGRID_HOME: one at a time, and where it can be reached. Also the command line's own key."""

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import msgspec

from aigrid.client.http import Gateway
from aigrid.core.config import Config, home, load
from aigrid.core.errors import ConfigError, Conflict
from aigrid.ledger.base import Key, Ledger

CLI_KEY_NAME = "aigrid command line"
TENANT = "default"
ACTOR = "aigrid up"
_LOCK = "factory.lock"
_LOCK_TRIES = 5


class Running(msgspec.Struct):
    """A factory that runs: its process, its addresses (`console` is empty without one) and where its ledger is."""

    pid: int
    api: str
    console: str = ""
    ledger: str = ""


def writable_home() -> Path:
    """Return the state folder; raises `ConfigError` where it cannot be written."""
    path = home()
    if not os.access(path, os.W_OK | os.X_OK):
        raise ConfigError(f"cannot write to {path}; set AIGRID_HOME to a folder you can write")
    return path


@contextlib.contextmanager
def claim() -> Iterator[Path]:
    """Hold AIGRID_HOME for this process and yield its file of addresses; raises `Conflict` where another has it."""
    path = writable_home() / _LOCK
    try:
        lock = open(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600), "r+b")  # noqa: SIM115 - closed below
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror}; set AIGRID_HOME to a folder you can write") from None
    with lock:
        if not _lock(lock):
            there = running()
            where = f" (process {there.pid}, {there.api})" if there else ""
            raise Conflict(
                f"a factory already runs in {path.parent}{where}; stop it, or set AIGRID_HOME to another folder"
            )
        addresses = path.with_name("factory.json")
        addresses.unlink(missing_ok=True)  # of a factory that was killed
        try:
            yield addresses
        finally:
            addresses.unlink(missing_ok=True)


def _lock(lock: IO[bytes]) -> bool:
    """Take the lock, at once or within the moment that `running` looks at it."""
    for _ in range(_LOCK_TRIES):
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            time.sleep(0.02)
    return False


def running() -> Running | None:
    """Return the factory that runs in AIGRID_HOME, or None: one that was killed has let go of its lock."""
    try:
        found = msgspec.json.decode((home() / "factory.json").read_bytes(), type=Running)
        with (home() / _LOCK).open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return found
    except (OSError, msgspec.DecodeError):
        pass
    return None


def settings() -> Config:
    """Return the settings, with the ledger of the factory that runs in AIGRID_HOME where one does."""
    config = load()
    if (there := running()) and there.ledger:
        config.ledger.url = there.ledger
    return config


def announce(addresses: Path, api: str, console: str, ledger: str) -> None:
    """Write where this process's factory can be reached, for its owner alone: the ledger's URL may hold a password."""
    _write_private(addresses, msgspec.json.encode(Running(os.getpid(), api, console, ledger)))


def http_url(host: str, port: int) -> str:
    """Return the address at which this machine reaches a server that listens on `host`."""
    host = {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def gateway(url: str = "", key: str = "") -> Gateway:
    """Return the gateway named, else the one that runs in AIGRID_HOME, else where the settings say one would."""
    key = key or os.environ.get("AIGRID_KEY", "") or saved_key()
    if not (url := url or os.environ.get("AIGRID_URL", "")):
        there = running()
        config = load().gateway
        url = there.api if there else http_url(config.host, config.port)
    return Gateway(url, key)


def saved_key() -> str:
    """Return the command line's key for the factory in AIGRID_HOME; empty before the first `aigrid up`."""
    try:
        return (home() / "cli.key").read_text().strip()
    except OSError:
        return ""


def _write_private(path: Path, data: bytes) -> None:
    new = path.with_name(f"{path.name}.new")
    new.unlink(missing_ok=True)
    with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(data)
    new.replace(path)


async def ensure_key(ledger: Ledger) -> str:
    """Return the command line's key, made (mode 0600) where there is none or it was revoked."""
    secret = saved_key()
    if secret and await ledger.lookup(secret):
        return secret
    _, secret = await ledger.create_key(TENANT, name=CLI_KEY_NAME, actor=ACTOR)
    _write_private(home() / "cli.key", f"{secret}\n".encode())
    return secret


async def first_key(ledger: Ledger) -> tuple[Key, str] | None:
    """Make and return a first inference key, with its secret; None where somebody has one already."""
    keys = await ledger.keys(include_revoked=True)
    if any(key.scope == "inference" and key.name != CLI_KEY_NAME for key in keys):
        return None
    return await ledger.create_key(TENANT, name="first key", actor=ACTOR)
