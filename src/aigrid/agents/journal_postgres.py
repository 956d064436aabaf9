"""Journals in PostgreSQL, of all runs in one table, so that any gateway can go on with what another began.

Who works on a run holds an advisory lock on it, which PostgreSQL takes back the moment that process is gone. A step's
number is chosen by who appends it: should a lock be lost with its connection, the next step of one of the two is
refused, and nothing is recorded twice. Every step is committed before anything else happens.
"""

import contextlib
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
import psycopg

from aigrid.agents.journal import ONCE, Journal, Kind, Step
from aigrid.core.errors import Conflict, Unavailable
from aigrid.ledger.postgres_writer import address

_PAGE = 200
_MIGRATION_LOCK = 0x6167_656E_7473
_SCHEMA = f"""
CREATE TABLE agent_runs (run text COLLATE "C" PRIMARY KEY);
CREATE TABLE agent_steps (
    run text COLLATE "C" NOT NULL REFERENCES agent_runs, seq bigint NOT NULL, at_ns bigint NOT NULL,
    kind text NOT NULL, key text NOT NULL, digest text NOT NULL, body text NOT NULL, PRIMARY KEY (run, seq)
);
CREATE UNIQUE INDEX agent_steps_once ON agent_steps (run, kind, key)
    WHERE kind IN ({", ".join(f"'{kind}'" for kind in ONCE)});
CREATE FUNCTION agent_steps_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'agent_steps is append-only' USING ERRCODE = 'integrity_constraint_violation';
END $$;
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON agent_steps EXECUTE FUNCTION agent_steps_refuse();
"""
_KEY = "hashtextextended(%s, 0)"
_WAITS_S = (0.0, 0.05, 0.1, 0.2, 0.4)
_AT_WORK = f"""
SELECT EXISTS (
    SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND granted AND objsubid = 1
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND ((classid::bigint << 32) | objid::bigint) = {_KEY}
)
"""


class Line:
    """One connection for all threads of this process, made when it is needed and again when it is lost."""

    def __init__(self, url: str) -> None:
        self._url = address(url, "aigrid agents")
        self._lock = threading.Lock()
        self._connection: psycopg.Connection[tuple[Any, ...]] | None = None
        self._migrated = False
        self.made = 0
        """How many connections there were: what was locked on an earlier one is not locked any more."""

    def ask(self, sql: str, values: Sequence[Any] = (), made: int | None = None) -> list[tuple[Any, ...]]:
        """Return the rows of one statement; raises `Unavailable`, with `made` where that connection is lost.

        `psycopg.errors.UniqueViolation` is the caller's to understand.
        """
        with self._lock:
            if made is not None and (self._connection is None or made != self.made):
                raise _away("the connection that held the run was lost")
            try:
                try:
                    return self._run(sql, values)
                except psycopg.OperationalError:
                    if made is not None or not self._lost():
                        raise
                    return self._run(sql, values)
            except psycopg.errors.UniqueViolation:
                raise
            except psycopg.Error as error:
                self._lost()
                raise _away(" ".join(str(error).split())) from error

    def _run(self, sql: str, values: Sequence[Any]) -> list[tuple[Any, ...]]:
        if self._connection is None:
            self._connection = psycopg.connect(self._url, autocommit=True)
            self.made += 1
            if not self._migrated:
                _migrate(self._connection)
                self._migrated = True
        cursor = self._connection.execute(sql.encode(), values)
        return cursor.fetchall() if cursor.description else []

    def _lost(self) -> bool:
        """Let go of a connection that is dead; returns whether there is none now."""
        if self._connection is not None and self._connection.closed:
            self._connection = None
        return self._connection is None

    def close(self) -> None:
        """Let go of the connection."""
        with self._lock:
            connection, self._connection = self._connection, None
            if connection is not None:
                connection.close()


class PostgresShelf:
    """All journals of a database. `at_work` are the runs that this process works on."""

    def __init__(self, url: str) -> None:
        self.reader, self.writer = Line(url), Line(url)
        self.at_work: set[str] = set()

    def place(self, run: str) -> "RowsPlace":
        """Return where a run's journal is, or would be."""
        return RowsPlace(self, run)

    def places(self) -> "Iterator[RowsPlace]":
        """Yield all, newest first."""
        last = "~"  # after every id
        sql = (
            "SELECT run, (SELECT coalesce(max(seq), 0) FROM agent_steps s WHERE s.run = r.run) FROM agent_runs r "
            f"WHERE run < %s ORDER BY run DESC LIMIT {_PAGE}"
        )
        while rows := self.reader.ask(sql, [last]):
            for run, seq in rows:
                yield RowsPlace(self, run, seq)
            last = rows[-1][0]

    def close(self) -> None:
        """Let go of the connections, and with them of all runs."""
        self.reader.close()
        self.writer.close()


class RowsPlace:
    """The rows of one run."""

    def __init__(self, shelf: PostgresShelf, run: str, seq: int | None = None) -> None:
        self._shelf = shelf
        self._run = run
        self._seq = seq

    @property
    def run(self) -> str:
        """The run's id."""
        return self._run

    def there(self) -> bool:
        """Return whether the journal is there."""
        return bool(self._shelf.reader.ask("SELECT 1 FROM agent_runs WHERE run = %s", [self._run]))

    def open(self, *, new: bool = False) -> Journal:
        """Open it to go on with; raises `Conflict` where another process works on it."""
        return PostgresJournal(self._shelf, self._run, new=new)

    def read(self) -> list[Step]:
        """Return the steps, of a run that may be at work."""
        return _steps(self._shelf.reader, self._run)

    def at_work(self) -> bool:
        """Return whether a process works on the run now."""
        return bool(self._shelf.reader.ask(_AT_WORK, [self._run])[0][0])

    def changed(self) -> int:
        """Return how many steps there are."""
        if self._seq is not None:
            return self._seq
        sql = "SELECT coalesce(max(seq), 0) FROM agent_steps WHERE run = %s"
        count: int = self._shelf.reader.ask(sql, [self._run])[0][0]
        return count

    def remove(self) -> None:
        """Take away a journal that holds no step."""
        self._shelf.writer.ask("DELETE FROM agent_runs WHERE run = %s", [self._run])


class PostgresJournal(Journal):
    """An open journal, claimed for this process."""

    quick = False

    def __init__(self, shelf: PostgresShelf, run: str, *, new: bool = False) -> None:
        super().__init__(run)
        self._shelf = shelf
        if run in shelf.at_work:
            raise _busy(run)
        shelf.at_work.add(run)
        try:
            self._claim(run)
            self._made = shelf.writer.made
            if new:
                shelf.writer.ask("INSERT INTO agent_runs (run) VALUES (%s)", [run], self._made)
            for step in _steps(shelf.writer, run, self._made):
                self._take(step)
        except BaseException:
            shelf.at_work.discard(run)
            raise

    def _claim(self, run: str) -> None:
        """Take the run's lock; the server frees that of a process that was killed a moment after it is gone."""
        for wait in _WAITS_S:
            time.sleep(wait)
            if self._shelf.writer.ask(f"SELECT pg_try_advisory_lock({_KEY})", [run])[0][0]:
                return
        raise _busy(run)

    def _write(self, at_ns: int, kind: Kind, key: str, digest: str, body: bytes, durable: bool) -> int:
        seq = len(self.steps) + 1
        sql = "INSERT INTO agent_steps (run, seq, at_ns, kind, key, digest, body) VALUES (%s, %s, %s, %s, %s, %s, %s)"
        values = [self.run, seq, at_ns, kind, key, digest, body.decode()]
        try:
            self._shelf.writer.ask(sql, values, self._made)
        except psycopg.errors.UniqueViolation:
            raise Conflict(f"this run has a step {kind} {key} already, or another process went on with it") from None
        return seq

    def close(self) -> None:
        """Let go of the run."""
        self._shelf.at_work.discard(self.run)
        with contextlib.suppress(Unavailable):  # then it was let go of with the connection
            self._shelf.writer.ask(f"SELECT pg_advisory_unlock({_KEY})", [self.run], self._made)


def _steps(line: Line, run: str, made: int | None = None) -> list[Step]:
    sql = "SELECT seq, at_ns, kind, key, digest, body FROM agent_steps WHERE run = %s ORDER BY seq"
    return [
        Step(seq, at_ns, kind, key, digest, msgspec.json.decode(body))
        for seq, at_ns, kind, key, digest, body in line.ask(sql, [run], made)
    ]


def _migrate(connection: psycopg.Connection[tuple[Any, ...]]) -> None:
    """Make the tables where they are missing; several gateways may start at once."""
    with connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(%s)", [_MIGRATION_LOCK])
        found = connection.execute("SELECT to_regclass('agent_steps') IS NOT NULL").fetchone()
        if not (found and found[0]):
            connection.execute(_SCHEMA.encode())


def _busy(run: str) -> Conflict:
    return Conflict(f"the run {run} is being worked on; wait for it, or stop it")


def _away(why: str) -> Unavailable:
    return Unavailable(
        f"the database of the agents' journals cannot be reached ({why}); what is recorded is kept, go on with the run "
        "when it is back",
        code="journal_unavailable", retry_after=2.0,
    )  # fmt: skip
