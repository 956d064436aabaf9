"""Journals in SQLite, a file for each run.

While a run is open SQLite keeps a log beside the file; a closed one is the one file.
"""

import contextlib
import fcntl
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import msgspec

from aigrid.agents.journal import ONCE, Journal, Kind, Step
from aigrid.core.config import home
from aigrid.core.errors import Conflict

_SCHEMA = f"""
CREATE TABLE steps (
  seq INTEGER PRIMARY KEY, at_ns INTEGER NOT NULL, kind TEXT NOT NULL, key TEXT NOT NULL, digest TEXT NOT NULL,
  body BLOB NOT NULL
) STRICT;
CREATE UNIQUE INDEX once ON steps (kind, key) WHERE kind IN ({", ".join(f"'{kind}'" for kind in ONCE)});
CREATE TRIGGER no_update BEFORE UPDATE ON steps BEGIN SELECT RAISE(ABORT, 'steps is append-only'); END;
CREATE TRIGGER no_delete BEFORE DELETE ON steps BEGIN SELECT RAISE(ABORT, 'steps is append-only'); END;
PRAGMA user_version = 1;
"""


def runs_folder() -> Path:
    """Return the folder of journals, made if missing."""
    path = home() / "runs"
    path.mkdir(exist_ok=True, mode=0o700)
    return path


class FileShelf:
    """A folder of journals."""

    def place(self, run: str) -> "FilePlace":
        """Return where a run's journal is, or would be."""
        return FilePlace(runs_folder() / f"{run}.db")

    def places(self) -> "Iterator[FilePlace]":
        """Yield all, newest first."""
        for path in sorted(runs_folder().glob("run_*.db"), reverse=True):
            yield FilePlace(path)

    def close(self) -> None:
        """There is nothing to let go of: each open journal has a file of its own."""


class FilePlace:
    """The file of one run."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def run(self) -> str:
        """The run's id: the file's name."""
        return self.path.stem

    def there(self) -> bool:
        """Return whether the journal is there."""
        return self.path.is_file()

    def open(self, *, new: bool = False) -> Journal:
        """Open it to go on with; raises `Conflict` where another process works on it."""
        return SqliteJournal(self.path, new=new)

    def read(self) -> list[Step]:
        """Return the steps, of a run that may be at work."""
        with contextlib.closing(SqliteJournal(self.path, write=False)) as journal:
            return journal.steps

    def at_work(self) -> bool:
        """Return whether a process works on the run now."""
        try:
            lock = os.open(_lock_path(self.path), os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(lock)
        return False

    def changed(self) -> int:
        """Return when the file was written last."""
        return self.path.stat().st_mtime_ns

    def remove(self) -> None:
        """Take away a journal that holds no step."""
        self.path.unlink()


class SqliteJournal(Journal):
    """An open journal. What is recorded is in the one file when it is closed."""

    quick = True

    def __init__(self, path: Path, *, new: bool = False, write: bool = True) -> None:
        super().__init__(path.stem)
        self.path = path
        self._lock: int | None = None
        if write:
            self._lock = _claim(path)
        try:
            self._database = self._open(new, write)
        except BaseException:
            self._unlock()
            raise
        begun = self._database.execute("PRAGMA user_version").fetchone()[0]  # else it is being made at this moment
        for row in (
            ()
            if not begun
            else self._database.execute("SELECT seq, at_ns, kind, key, digest, body FROM steps ORDER BY seq")
        ):
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

    def _write(self, at_ns: int, kind: Kind, key: str, digest: str, body: bytes, durable: bool) -> int:
        if durable:
            self._database.execute("PRAGMA synchronous = FULL")
        try:
            row = self._database.execute(
                "INSERT INTO steps (at_ns, kind, key, digest, body) VALUES (?, ?, ?, ?, ?) RETURNING seq",
                (at_ns, kind, key, digest, body),
            ).fetchone()
        except sqlite3.IntegrityError:
            raise Conflict(f"this run has a step {kind} {key} already") from None
        finally:
            if durable:
                self._database.execute("PRAGMA synchronous = NORMAL")
        seq: int = row[0]
        return seq

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
