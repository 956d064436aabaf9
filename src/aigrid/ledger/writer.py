"""The one thread that writes to SQLite: batches of records in group commits, and administrative acts between them.

A group costs one fsync, never one per request. When the database fails (disk full, locked, gone) batches wait here
and are tried again with backoff, on a new connection each time; whoever submitted them is told only of success.
"""

import contextlib
import logging
import queue
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, Generic, TypeVar

import msgspec

from aigrid.core.clock import now_ns
from aigrid.core.errors import LedgerUnavailable
from aigrid.ledger.attribution import MeterRow
from aigrid.ledger.base import Run
from aigrid.ledger.schema import METER, USAGE, insert
from aigrid.ledger.till import Batch, Row

log = logging.getLogger(__name__)
T = TypeVar("T")

_ROWS_PER_TRANSACTION = 4096
_BACKOFF_S = (0.05, 0.1, 0.25, 0.5, 1.0, 2.0)


class Act(Generic[T]):
    """Something to do on the writer's connection, in a transaction of its own."""

    def __init__(self, do: Callable[[sqlite3.Connection], T]) -> None:
        self.do = do
        self.done: Future[T] = Future()


def runner(connection: sqlite3.Connection) -> Run:
    """Return what runs one statement and returns its rows."""
    return lambda sql, params: connection.execute(sql, params).fetchall()


def insert_usage(connection: sqlite3.Connection, rows: Sequence[Row]) -> None:
    """Insert records, those that are there already excepted."""
    insert(runner(connection), "usage", USAGE, rows)


def insert_meter(connection: sqlite3.Connection, row: MeterRow) -> None:
    """Insert a meter row, if it is not there already."""
    insert(runner(connection), "meter", METER, [msgspec.structs.astuple(row)])


class Writer:
    """The thread and its queue."""

    def __init__(
        self, connect: Callable[[], sqlite3.Connection], committed: Callable[[list[int]], None], *, stop_s: float = 5.0
    ) -> None:
        self._connect = connect
        self._committed = committed
        self._stop_s = stop_s
        self._queue: queue.SimpleQueue[Batch | Act[Any] | None] = queue.SimpleQueue()
        self._pending: deque[Batch] = deque()
        self._group: Batch | None = None
        self._connection: sqlite3.Connection | None = None
        self._failures = 0
        self._retry_at = 0.0
        self._stopping_at: float | None = None
        self.error: str | None = None
        self.failing_since_ns = 0
        self.committed_ns = 0
        self._thread = threading.Thread(target=self._run, name="aigrid-ledger-writer", daemon=True)
        self._thread.start()

    def submit(self, batch: Batch) -> None:
        """Commit a batch as soon as may be."""
        self._queue.put(batch)

    def act(self, do: Callable[[sqlite3.Connection], T]) -> "Future[T]":
        """Do something in a transaction after all batches submitted so far; fails if the database does."""
        act = Act(do)
        self._queue.put(act)
        return act.done

    def health(self) -> dict[str, Any]:
        """Return whether all is well, what is wrong since when, and the time of the last commit."""
        error = self.error
        if not self._thread.is_alive():
            error = "the ledger's writer has ended and nothing is committed; restart the gateway"
        return {
            "ok": error is None,
            "error": error,
            "failing_since_ns": self.failing_since_ns,
            "committed_ns": self.committed_ns,
        }

    def stop(self) -> None:
        """Commit what waits (for some seconds, if the database fails) and end. What is left is in the journal."""
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        acts: list[Act[Any]] = []
        while True:
            acts += self._receive()
            self._commit_pending()
            for act in acts:
                self._do(act)
            acts = []
            if self._stopping_at is not None and (not self._waiting or time.monotonic() > self._stopping_at):
                break
        if self._connection is not None:
            with contextlib.suppress(sqlite3.Error):
                self._connection.close()

    @property
    def _waiting(self) -> bool:
        return self._group is not None or bool(self._pending)

    def _receive(self) -> list[Act[Any]]:
        """Take what is in the queue: wait for it unless something pending is to be tried again."""
        acts: list[Act[Any]] = []
        wait = max(0.0, self._retry_at - time.monotonic()) if self._waiting else None
        with contextlib.suppress(queue.Empty):
            item = self._queue.get(timeout=wait)
            while True:
                if item is None:
                    self._stopping_at = time.monotonic() + self._stop_s
                elif isinstance(item, Act):
                    acts.append(item)
                else:
                    self._pending.append(item)
                item = self._queue.get_nowait()
        return acts

    def _commit_pending(self) -> None:
        while self._waiting and time.monotonic() >= self._retry_at:
            # A group that failed is tried again as it was: its commit may have succeeded and only the answer failed.
            group = self._group = self._group or self._next_group()
            try:
                connection = self._open()
                connection.execute("BEGIN IMMEDIATE")
                insert_usage(connection, group.rows)
                if group.meter is not None:
                    insert_meter(connection, group.meter)
                connection.execute("COMMIT")
            except Exception as error:  # whatever it is, the records are in the journal and the thread must live
                self._failed(error)
                return
            self._worked()
            self.committed_ns = now_ns()
            self._group = None
            self._committed(group.slots)

    def _next_group(self) -> Batch:
        """Merge waiting batches into one, up to some thousand rows."""
        group = self._pending.popleft()
        while self._pending and len(group.rows) + len(self._pending[0].rows) <= _ROWS_PER_TRANSACTION:
            meter = merged(group.meter, self._pending[0].meter)
            if meter is None and (group.meter or self._pending[0].meter):
                break
            other = self._pending.popleft()
            group = Batch(group.rows + other.rows, meter, group.slots + other.slots)
        return group

    def _do(self, act: Act[Any]) -> None:
        if not act.done.set_running_or_notify_cancel():  # whoever asked has left
            return
        try:
            connection = self._open()
            connection.execute("BEGIN IMMEDIATE")
            try:
                result = act.do(connection)
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:  # a full disk has rolled it back already
                    connection.execute("ROLLBACK")
                raise
        except (sqlite3.Error, OSError) as error:
            self._failed(error)
            act.done.set_exception(unavailable(error))
        except Exception as error:  # the caller's own, e.g. NotFound; it must not end the writer
            act.done.set_exception(error)
        else:
            if not self._waiting:  # else the records that wait say whether all is well
                self._worked()
            act.done.set_result(result)

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            self._connection = self._connect()
        return self._connection

    def _worked(self) -> None:
        if self._failures:
            log.warning("the ledger's database works again after %d failures", self._failures)
        self._failures, self.error, self.failing_since_ns = 0, None, 0

    def _failed(self, error: Exception) -> None:
        if not self._failures:
            log.error("the ledger's database fails: %s; requests go on, records wait", error)
            self.failing_since_ns = now_ns()
        self._retry_at = time.monotonic() + _BACKOFF_S[min(self._failures, len(_BACKOFF_S) - 1)]
        self._failures += 1
        self.error = str(error)
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(sqlite3.Error):
                connection.rollback()
            with contextlib.suppress(sqlite3.Error):
                connection.close()


def merged(first: MeterRow | None, second: MeterRow | None) -> MeterRow | None:
    """Return two successive meter rows as one; None where their sources differ (or there is none)."""
    if first is None or second is None:
        return first or second
    if first.source != second.source or first.note != second.note or first.owner != second.owner:
        return None
    values = {name: getattr(second, name) for name in METER}
    for name in METER:
        if name == "interval_ns" or name.startswith(("total_", "idle_")):
            values[name] = getattr(first, name) + getattr(second, name)
    return MeterRow(**values)


def unavailable(error: Exception) -> LedgerUnavailable:
    """Return the error that a user sees for a failing database."""
    return LedgerUnavailable(
        f"the ledger's database fails: {error}; check the disk that holds AIGRID_HOME and try again", retry_after=2.0
    )
