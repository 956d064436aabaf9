"""The journal of one run: an append-only SQLite file of steps, enough to go on from, and to replay without a model.

Steps are found by what they are of: (`model`, 3), (`tool`, `call_3_0`). A step is there at most once, so whatever was
recorded is never done again. While a run is open SQLite keeps a log beside the file; a closed one is the one file.
"""

import contextlib
import fcntl
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import msgspec

from aigrid.agents.digest import canonical
from aigrid.core.clock import now_ns
from aigrid.core.config import home
from aigrid.core.errors import AigridError, Conflict, NotFound

Kind = Literal[
    "start", "model", "refused", "asked", "answered", "began", "tool", "recruited", "joined", "resumed", "paused", "end",
    "feedback",
]  # fmt: skip
"""What a step is: `began` stands before a tool's side effect, `tool` after it, with its outcome; `recruited` says who
was chosen for a part and why, `joined` what that run came to."""
ONCE = ("start", "model", "asked", "answered", "began", "tool", "recruited", "joined", "end")
"""Kinds of which there is one step to a key."""

_SCHEMA = """
CREATE TABLE steps (
  seq INTEGER PRIMARY KEY, at_ns INTEGER NOT NULL, kind TEXT NOT NULL, key TEXT NOT NULL, digest TEXT NOT NULL,
  body BLOB NOT NULL
) STRICT;
CREATE UNIQUE INDEX once ON steps (kind, key) WHERE kind IN
  ('start','model','asked','answered','began','tool','recruited','joined','end');
CREATE TRIGGER no_update BEFORE UPDATE ON steps BEGIN SELECT RAISE(ABORT, 'steps is append-only'); END;
CREATE TRIGGER no_delete BEFORE DELETE ON steps BEGIN SELECT RAISE(ABORT, 'steps is append-only'); END;
PRAGMA user_version = 1;
"""


class Step(msgspec.Struct, frozen=True):
    """One step. `digest` is of what went in (canonical JSON, SHA-256), `body` is what came out."""

    seq: int
    at_ns: int
    kind: Kind
    key: str
    digest: str
    body: Any


class Diverged(AigridError):
    """A step that was recorded is not the one that would be taken now."""

    status = 409
    default_code = "run_diverged"


def runs_folder() -> Path:
    """Return the folder of journals, made if missing."""
    path = home() / "runs"
    path.mkdir(exist_ok=True, mode=0o700)
    return path


def run_path(run: str) -> Path:
    """Return the file of a run by its id; raises `NotFound` where there is none."""
    path = runs_folder() / f"{run}.db"
    plain = run.isascii() and run.replace("_", "").isalnum() and len(run) <= 64
    if not plain or not path.is_file():
        raise NotFound(f"there is no run `{run[:80]}` here; `aigrid agents runs` lists them", param="run")
    return path


class Journal:
    """An open journal. One process works on a run at a time (`claim`); any may read it."""

    def __init__(self, path: Path, *, new: bool = False, write: bool = True) -> None:
        self.path = path
        self._lock: int | None = None
        if write:
            self._lock = _claim(path)
        try:
            self._database = self._open(new, write)
        except BaseException:
            self._unlock()
            raise
        self._steps: dict[tuple[str, str], Step] = {}
        self.steps: list[Step] = []
        for row in self._database.execute("SELECT seq, at_ns, kind, key, digest, body FROM steps ORDER BY seq"):
            seq, at_ns, kind, key, digest, body = row
            self._take(Step(seq, at_ns, kind, key, digest, msgspec.json.decode(body)))

    def _open(self, new: bool, write: bool) -> sqlite3.Connection:
        if new:
            os.close(os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        mode = "rw" if write else "ro"
        uri = f"{self.path.absolute().as_uri()}?mode={mode}"
        database = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False)
        try:
            if write:
                database.execute("PRAGMA journal_mode = WAL")
                database.execute("PRAGMA synchronous = NORMAL")
            if write and not database.execute("PRAGMA user_version").fetchone()[0]:
                # New, or killed before its first moment was over.
                database.executescript(f"BEGIN;{_SCHEMA}COMMIT;")
        except sqlite3.DatabaseError as error:
            database.close()
            raise Conflict(f"{self.path} is not the journal of a run: {error}") from None
        return database

    def _take(self, step: Step) -> None:
        self.steps.append(step)
        self._steps[(step.kind, step.key)] = step

    def find(self, kind: Kind, key: str = "", digest: str | None = None) -> Step | None:
        """Return a step, None where it was not taken; raises `Diverged` where its input was another one."""
        step = self._steps.get((kind, key))
        if step is not None and digest is not None and step.digest != digest:
            raise Diverged(
                f"step {step.seq} of this run ({kind} {key}) was taken with other input than it would be now; "
                "its agent, tools or aigrid itself have changed since; start a new run",
            )
        return step

    def add(self, kind: Kind, key: str, digest: str, body: Any, *, durable: bool = False) -> Step:
        """Append a step; it survives the end of this process at once and, with `durable`, that of the machine.

        Raises `Conflict` where it is there already.
        """
        at_ns = now_ns()
        encoded = canonical(body)
        if durable:
            self._database.execute("PRAGMA synchronous = FULL")
        try:
            row = self._database.execute(
                "INSERT INTO steps (at_ns, kind, key, digest, body) VALUES (?, ?, ?, ?, ?) RETURNING seq",
                (at_ns, kind, key, digest, encoded),
            ).fetchone()
        except sqlite3.IntegrityError:
            raise Conflict(f"this run has a step {kind} {key} already") from None
        finally:
            if durable:
                self._database.execute("PRAGMA synchronous = NORMAL")
        step = Step(row[0], at_ns, kind, key, digest, msgspec.json.decode(encoded))
        self._take(step)
        return step

    def close(self) -> None:
        """Let go of the run; what is recorded is in the one file then."""
        with contextlib.suppress(sqlite3.Error):  # another process may be reading
            if self._lock is not None:
                self._database.execute("PRAGMA journal_mode = DELETE")
        self._database.close()
        self._unlock()

    def _unlock(self) -> None:
        if self._lock is not None:
            _lock_path(self.path).unlink(missing_ok=True)
            os.close(self._lock)
            self._lock = None

    def __enter__(self) -> "Journal":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def read(path: Path) -> list[Step]:
    """Return the steps of a run, which may be at work."""
    with contextlib.closing(Journal(path, write=False)) as journal:
        return journal.steps


def paths() -> Iterator[Path]:
    """Yield the files of all runs, newest first."""
    yield from sorted(runs_folder().glob("run_*.db"), reverse=True)


def at_work(path: Path) -> bool:
    """Return whether a process is working on a run now."""
    try:
        lock = os.open(_lock_path(path), os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False


def _lock_path(path: Path) -> Path:
    return path.with_suffix(".lock")


def _claim(path: Path) -> int:
    """Take the run for this process; raises `Conflict` where another has it."""
    while True:
        lock = os.open(_lock_path(path), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            raise Conflict(f"the run {path.stem} is being worked on; wait for it, or stop it") from None
        with contextlib.suppress(FileNotFoundError):
            if os.stat(_lock_path(path)).st_ino == os.fstat(lock).st_ino:
                return lock
        os.close(lock)  # its last holder took the file away in between
