"""Statements for reports and administration, run on threads of their own, in transactions that read or write."""

import asyncio
import contextlib
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import psycopg

from aigrid.ledger.base import Run
from aigrid.ledger.postgres_desk import clean
from aigrid.ledger.postgres_schema import ADMIN_LOCK, migrate
from aigrid.ledger.postgres_writer import address, unreachable

T = TypeVar("T")
_THREADS = 3

Connection = psycopg.Connection[tuple[Any, ...]]


class Database:
    """A few threads with a connection each, made when needed. Every failure is a `LedgerUnavailable`."""

    def __init__(self, url: str) -> None:
        self._url = address(url, "aigrid")
        self._local = threading.local()
        self._threads = ThreadPoolExecutor(_THREADS, "aigrid-ledger-reader")
        self._connections: set[Connection] = set()

    async def migrate(self) -> None:
        """Bring the tables up to date; raises `ConfigError` where they are newer than this program."""
        await asyncio.get_running_loop().run_in_executor(self._threads, self._migrate)

    async def read(self, ask: Callable[[Run], T]) -> T:
        """Ask in one read-only transaction."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._ask, ask, False)

    async def write(self, do: Callable[[Run], T]) -> T:
        """Change something in one transaction; administrative acts come one after the other."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._ask, do, True)

    async def close(self) -> None:
        """End the threads, when what they do is done, and close their connections."""
        await asyncio.get_running_loop().run_in_executor(None, self._threads.shutdown)
        for connection in self._connections:
            connection.close()
        self._connections.clear()

    def _migrate(self) -> None:
        try:
            with psycopg.connect(self._url, autocommit=True) as connection:
                migrate(connection)
        except psycopg.Error as error:
            raise unreachable(str(error).strip()) from error

    def _ask(self, ask: Callable[[Run], T], writing: bool) -> T:
        """Ask on this thread's connection or, if that turns out dead before anything was asked, on a new one."""
        try:
            try:
                connection = self._begin(writing)
            except psycopg.OperationalError:
                self._drop()
                connection = self._begin(writing)
            try:
                answer = ask(_runner(connection))
                connection.commit()
            except BaseException:
                with contextlib.suppress(psycopg.Error):
                    connection.rollback()
                raise
        except (psycopg.Error, OSError) as error:
            self._drop()
            raise unreachable(str(error).strip()) from error
        return answer

    def _begin(self, writing: bool) -> Connection:
        connection: Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = psycopg.connect(self._url)
            self._local.connection = connection
            self._connections.add(connection)
        if writing:  # one at a time: the row numbers of keys and tenants grow in the order of their commits
            connection.execute("SELECT pg_advisory_xact_lock(%s)", [ADMIN_LOCK])
        else:
            connection.execute("SET TRANSACTION READ ONLY")
        return connection

    def _drop(self) -> None:
        connection, self._local.connection = getattr(self._local, "connection", None), None
        if connection is not None:
            self._connections.discard(connection)
            with contextlib.suppress(psycopg.Error):
                connection.close()


def _runner(connection: Connection) -> Run:
    """Return what runs one statement with `?` for parameters and returns its rows."""

    def run(sql: str, params: Sequence[Any]) -> list[tuple[Any, ...]]:
        cursor = connection.execute(sql.replace("%", "%%").replace("?", "%s"), [clean(value) for value in params])
        return cursor.fetchall() if cursor.description else []

    return run
