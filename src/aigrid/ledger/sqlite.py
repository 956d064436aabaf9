"""The ledger on SQLite: the default, for one gateway and any number of readers.

What is promised: a hold and every count are durable against `kill -9` of any process before the call returns (the
journal), and a settled request is in the database some 50 ms later (WAL, `synchronous=FULL`, one fsync per group).
A power cut may lose what the kernel had not written: the last group commit, and counts of the last seconds.
"""

import asyncio
import contextlib
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from aigrid.core.clock import day_start, month_start, now_ns
from aigrid.core.config import Config
from aigrid.ledger import admin, checks, journal, recovery, reports
from aigrid.ledger.base import Hold, Order, Record, Run
from aigrid.ledger.energy import Meter
from aigrid.ledger.holds import OpenHold
from aigrid.ledger.journal import Journal
from aigrid.ledger.ownership import Lock
from aigrid.ledger.owning import Owning
from aigrid.ledger.recovery import Recover
from aigrid.ledger.schema import insert, migrate
from aigrid.ledger.till import Till
from aigrid.ledger.writer import Writer, runner, unavailable

T = TypeVar("T")

_READERS = 3
_CHECK_WAIT_S = 10


def connect(path: Path, *, reading: bool = False) -> sqlite3.Connection:
    """Open the database as the ledger uses it; raises `sqlite3.Error`."""
    connection = sqlite3.connect(path, timeout=5.0, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA journal_size_limit = 67108864")
    if reading:
        connection.execute("PRAGMA query_only = 1")
    return connection


class SqliteLedger(Owning):
    """A ledger in a folder: `ledger.db`, `journal` and `lock`. Its methods are called from one event loop."""

    backend = "sqlite"
    poll_s = 0.2

    def __init__(
        self,
        folder: Path,
        config: Config,
        *,
        owner: bool = True,
        meter: Meter | None = None,
        recover: Recover | None = None,
    ) -> None:
        super().__init__(config, owner, meter, recover)
        self.folder = folder
        self._local = threading.local()
        self._readers = ThreadPoolExecutor(_READERS, "aigrid-ledger-reader")
        self._lock: Lock | None = None
        self._writer: Writer | None = None

    async def open(self) -> list[Record]:
        """Open or make the database; the owner also settles holds found open, and returns their records.

        Raises `Conflict` where another process owns the ledger, `LedgerUnavailable` where the database fails.
        """
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if self.owner:
            self._lock = Lock(self.folder / "lock")
        self._loop = asyncio.get_running_loop()
        try:
            self._writer = Writer(lambda: connect(self._path), self._on_commit)
            await self._loop.run_in_executor(self._readers, self._prepare)
            await self.refresh()
            recovered = await self._own() if self.owner else []
        except BaseException:
            await self._let_go()
            raise
        return recovered

    async def hold(self, order: Order, parent: Hold | None = None) -> OpenHold:
        """Reserve; raises `BudgetExceeded` or `RateLimited`, and then nothing is held or charged."""
        assert parent is None or isinstance(parent, OpenHold)
        till = self._owned()
        idle = not till.open
        hold = till.hold(order, parent)
        if idle:
            self._wake()
        return hold

    async def check(self) -> list[str]:
        """Derive every balance again from the records and return each disagreement as a sentence; empty is good."""
        found = await self._read(
            lambda run: [f"database: {row[0]}" for row in run("PRAGMA quick_check", ()) if row[0] != "ok"]
        )
        found += await self._read(checks.check)
        if self._till is not None:
            found += await self._check_book()
        return found

    @property
    def _path(self) -> Path:
        return self.folder / "ledger.db"

    @property
    def _journal_path(self) -> Path:
        return self.folder / "journal"

    def _prepare(self) -> None:
        try:
            with contextlib.closing(connect(self._path)) as connection:
                self._path.chmod(0o600)
                migrate(connection)
        except (sqlite3.Error, OSError) as error:
            raise unavailable(error) from error

    async def _own(self) -> list[Record]:
        entries = await self._loop.run_in_executor(self._readers, journal.read, self._journal_path)
        left, unreadable = recovery.left_behind(entries)
        found_open = [one.hold.id for one in left if one.settled is None]
        engine = await recovery.ask_engines(self._recover, found_open)
        site = self._config.site.id
        recovered = await self._write(
            lambda run: recovery.commit(run, left, unreadable, engine, site, now_ns(), insert)
        )
        await self._write(lambda run: admin.note_prices(run, self.prices))
        now = now_ns()
        spans = (0, day_start(now), month_start(now))
        total, day, month = await self._read(lambda run: [reports.spent(run, since) for since in spans])
        self.book.load(total, day, month, now)
        self._till = Till(self.book, Journal(self._journal_path), self.prices, site)
        assert self._writer is not None
        self._start(self._till, self._writer.submit)
        return recovered

    async def _let_go(self) -> None:
        writer, self._writer = self._writer, None
        if writer is not None:
            await self._loop.run_in_executor(None, writer.stop)
        await asyncio.sleep(0)
        till, self._till = self._till, None
        if till is not None:
            till.close()
        self._readers.shutdown(wait=True)
        if self._lock is not None:
            self._lock.release()

    def _on_commit(self, slots: list[int]) -> None:
        # Called on the writer's thread.
        with contextlib.suppress(RuntimeError):  # the loop was closed without closing the ledger
            self._loop.call_soon_threadsafe(self._free, slots)

    async def _held(self) -> tuple[int, int]:
        if self._till is not None:
            return len(self._till.open), self._till.held_nusd
        entries = await self._loop.run_in_executor(self._readers, journal.read, self._journal_path)
        found = [entry for entry in entries if entry.settlement is None]
        return len(found), sum(entry.amount_nusd for entry in found)

    async def _read(self, ask: Callable[[Run], T]) -> T:
        return await self._loop.run_in_executor(self._readers, self._ask, ask)

    def _ask(self, ask: Callable[[Run], T]) -> T:
        try:
            connection = getattr(self._local, "connection", None)
            if connection is None:
                connection = self._local.connection = connect(self._path, reading=True)
            return ask(runner(connection))
        except (sqlite3.Error, OSError) as error:
            self._local.connection = None
            raise unavailable(error) from error

    async def _write(self, do: Callable[[Run], T]) -> T:
        assert self._writer is not None
        return await asyncio.wrap_future(self._writer.act(lambda connection: do(runner(connection))))

    async def _check_book(self) -> list[str]:
        """Compare the accounts in memory with the records: what was spent before and after bounds what they say."""
        before = {id_: account.spent for id_, account in self.book.keys.items()}
        try:
            async with asyncio.timeout(_CHECK_WAIT_S):
                await self.flush()
        except TimeoutError:
            return [f"{self.health()['waiting']} settled requests wait for the database: {self.health()['error']}"]
        stored = await self._read(reports.spent)
        by_key: dict[str, int] = {}
        for (_, key_id), spent in stored.items():
            by_key[key_id] = by_key.get(key_id, 0) + spent
        return [
            f"key {id_}: the records say {by_key.get(id_, 0)} nano-dollars were spent, memory says {account.spent}"
            for id_, account in self.book.keys.items()
            if not before.get(id_, 0) <= by_key.get(id_, 0) <= account.spent
        ]
