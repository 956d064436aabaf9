"""A database that fails stops nothing: requests go on from memory and journal, and nothing is lost or doubled."""

import asyncio
import contextlib
import sqlite3
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from aigrid.core.config import Config, LedgerConfig
from aigrid.core.errors import BudgetExceeded, LedgerUnavailable
from aigrid.core.ids import new_id
from aigrid.ledger import sqlite
from aigrid.ledger.base import Key, Limits, Order
from aigrid.ledger.keys import new_secret
from aigrid.ledger.sqlite import SqliteLedger

CONFIG = Config(ledger=LedgerConfig(commit_ms=5))
connect = sqlite.connect


class Faults:
    """What the connections of a ledger do wrong, while `on`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.monkeypatch = monkeypatch
        self.lost_answers = 0

    def full(self) -> None:
        """Make SQLite itself find the disk full, on every connection from now on."""

        def limited(path: Any, **more: Any) -> sqlite3.Connection:
            connection = connect(path, **more)
            connection.execute("PRAGMA max_page_count = 1")
            return connection

        self.monkeypatch.setattr(sqlite, "connect", limited)

    def impatient(self) -> None:
        """Let connections give up on a lock at once."""

        def hasty(path: Any, **more: Any) -> sqlite3.Connection:
            connection = connect(path, **more)
            connection.execute("PRAGMA busy_timeout = 1")
            return connection

        self.monkeypatch.setattr(sqlite, "connect", hasty)

    def gone(self) -> None:
        """Let no connection be made."""

        def refused(path: Any, **more: Any) -> sqlite3.Connection:
            raise sqlite3.OperationalError("unable to open database file")

        self.monkeypatch.setattr(sqlite, "connect", refused)

    def forgetful(self, times: int) -> None:
        """Commit, and then say that it failed, so many times."""
        self.lost_answers = times
        faults = self

        class Forgetful:
            def __init__(self, connection: sqlite3.Connection) -> None:
                self._connection = connection

            def __getattr__(self, name: str) -> Any:
                return getattr(self._connection, name)

            def execute(self, sql: str, *params: Any) -> sqlite3.Cursor:
                cursor = self._connection.execute(sql, *params)
                if sql == "COMMIT" and faults.lost_answers:
                    faults.lost_answers -= 1
                    raise sqlite3.OperationalError("disk I/O error")
                return cursor

        self.monkeypatch.setattr(sqlite, "connect", lambda path, **more: Forgetful(connect(path, **more)))

    def none(self) -> None:
        self.monkeypatch.setattr(sqlite, "connect", connect)


@pytest.fixture
def faults(monkeypatch) -> Faults:
    return Faults(monkeypatch)


@pytest.fixture
async def ledger(tmp_path) -> AsyncIterator[SqliteLedger]:
    ledger = SqliteLedger(tmp_path / "ledger", CONFIG)
    await ledger.open()
    yield ledger
    await ledger.close()


def start_anew(ledger: SqliteLedger) -> None:
    """Drop the writer's connection, so that its next one is a faulty one."""
    connection, ledger._writer._connection = ledger._writer._connection, None
    if connection is not None:
        connection.close()


async def spend(ledger: SqliteLedger, key: Key, times: int) -> None:
    for _ in range(times):
        hold = await ledger.hold(Order(new_id("req_"), key, "m", "local", "fast", 0, 100))
        hold.count(1)
        ledger.settle(hold, "finished")
        await asyncio.sleep(0)


async def failing(ledger: SqliteLedger) -> None:
    async with asyncio.timeout(60):
        while ledger.health()["ok"]:
            await asyncio.sleep(0.005)


@contextlib.contextmanager
def locked(ledger: SqliteLedger) -> Iterator[None]:
    with contextlib.closing(connect(ledger.folder / "ledger.db")) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


async def test_a_full_disk_stops_no_request_and_loses_no_record(ledger, faults):
    key, secret = await ledger.create_key("acme", limits=Limits(total_nusd=410 * 200 + 19_800))
    await spend(ledger, key, 10)
    await ledger.flush()
    faults.full()
    start_anew(ledger)
    await spend(ledger, key, 300)  # enough that the database must grow
    await failing(ledger)
    assert ledger.authenticate(secret) == key
    assert "full" in ledger.health()["error"]
    assert ledger.health()["failing_since_ns"] > 0
    assert ledger.health()["waiting"] > 0
    with pytest.raises(LedgerUnavailable, match="full"):
        await ledger.audit("root", "note", "x" * 100_000)
    await spend(ledger, key, 100)
    with pytest.raises(BudgetExceeded):
        await spend(ledger, key, 1)
    faults.none()
    async with asyncio.timeout(60):
        await ledger.flush()
    assert ledger.health()["ok"]
    assert ledger.health()["waiting"] == 0
    assert (await ledger.report(0)).totals.requests == 410
    assert await ledger.check() == []


async def test_a_database_locked_by_another_process_delays_records_only(ledger, faults):
    key, _ = await ledger.create_key("acme")
    faults.impatient()
    start_anew(ledger)
    with locked(ledger):
        await spend(ledger, key, 50)
        await failing(ledger)
        assert "locked" in ledger.health()["error"]
        assert ledger.health()["waiting"] == 50
    async with asyncio.timeout(60):
        await ledger.flush()
    assert (await ledger.report(0)).totals.requests == 50
    assert await ledger.check() == []


async def test_a_commit_whose_answer_is_lost_counts_once(ledger, faults):
    key, _ = await ledger.create_key("acme")
    faults.forgetful(times=3)
    start_anew(ledger)
    await spend(ledger, key, 40)
    async with asyncio.timeout(60):
        await ledger.flush()
    assert faults.lost_answers == 0
    report = await ledger.report(0)
    assert (report.totals.requests, report.totals.revenue_nusd) == (40, 40 * 200)
    assert await ledger.check() == []


async def test_without_any_database_known_keys_work_and_unknown_ones_are_not_called_wrong(ledger, faults):
    key, secret = await ledger.create_key("acme")
    faults.gone()
    start_anew(ledger)
    ledger._local = threading.local()  # readers connect anew as well
    assert ledger.authenticate(secret) == key
    await spend(ledger, key, 20)
    await failing(ledger)
    with pytest.raises(LedgerUnavailable, match="unable to open"):
        await ledger.lookup(new_secret())
    with pytest.raises(LedgerUnavailable):
        await ledger.report(0)
    faults.none()
    async with asyncio.timeout(60):
        await ledger.flush()
    assert (await ledger.report(0)).totals.requests == 20


async def test_all_who_wait_for_an_answer_hear_that_the_database_is_away(ledger, monkeypatch):
    elsewhere = SqliteLedger(ledger.folder, CONFIG, owner=False)
    await elsewhere.open()
    ledger._poller.cancel()
    _, secret = await elsewhere.create_key("acme")
    read = ledger._read

    async def away(ask: Any) -> Any:
        await asyncio.sleep(0.01)
        raise LedgerUnavailable("away")

    monkeypatch.setattr(ledger, "_read", away)
    found = await asyncio.gather(*(ledger.lookup(secret) for _ in range(5)), return_exceptions=True)
    assert [type(one) for one in found] == [LedgerUnavailable] * 5
    monkeypatch.setattr(ledger, "_read", read)
    assert (await ledger.lookup(secret)).tenant == "acme"
    await elsewhere.close()


async def test_an_act_that_nobody_waits_for_any_more_does_not_end_the_writer(ledger):
    key, _ = await ledger.create_key("acme")
    began, go_on = threading.Event(), threading.Event()

    def slow(run: Any) -> None:
        began.set()
        go_on.wait(60)

    running = asyncio.create_task(ledger._write(slow))
    await asyncio.to_thread(began.wait, 60)
    waiting = asyncio.create_task(ledger.audit("a", "b"))
    await asyncio.sleep(0.01)
    for task in (running, waiting):
        task.cancel()
    await asyncio.wait([running, waiting])
    go_on.set()
    await spend(ledger, key, 3)
    async with asyncio.timeout(60):
        await ledger.flush()
    assert ledger.health()["ok"]
    assert (await ledger.report(0)).totals.requests == 3


async def test_a_writer_that_has_ended_is_not_called_well(ledger):
    ledger._writer.stop()
    assert ledger.health()["ok"] is False
    assert "restart the gateway" in ledger.health()["error"]


async def test_the_next_good_act_ends_the_alarm_of_one_that_failed(ledger, faults):
    faults.gone()
    start_anew(ledger)
    with pytest.raises(LedgerUnavailable):
        await ledger.audit("a", "b")
    assert ledger.health()["ok"] is False
    faults.none()
    await ledger.audit("a", "b")
    assert (ledger.health()["ok"], ledger.health()["failing_since_ns"]) == (True, 0)


async def test_a_stop_during_an_outage_leaves_records_to_the_next_start(tmp_path, faults):
    first = SqliteLedger(tmp_path, CONFIG)
    await first.open()
    key, _ = await first.create_key("acme")
    first._writer._stop_s = 0.1
    faults.gone()
    start_anew(first)
    await spend(first, key, 25)
    open_hold = await first.hold(Order("open", key, "m", "local", "fast", 0, 100))
    open_hold.count(2)
    await first.close()
    faults.none()
    second = SqliteLedger(tmp_path, CONFIG)
    assert [record.id for record in await second.open()] == ["open"]
    totals = (await second.report(0)).totals
    assert (totals.requests, totals.completion_tokens) == (26, 27)
    assert await second.check() == []
    await second.close()


async def test_a_journal_that_cannot_grow_refuses_new_holds_with_a_reason(ledger, monkeypatch):
    key, _ = await ledger.create_key("acme", limits=Limits(concurrency=10_000))
    monkeypatch.setattr("os.posix_fallocate", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    holds = []
    with pytest.raises(LedgerUnavailable, match="cannot grow") as refused:
        for number in range(5000):
            holds.append(await ledger.hold(Order(f"r{number}", key, "m", "local", "fast", 0, 1)))
    assert refused.value.retry_after
    assert ledger.health()["refuses_holds"]
    account = ledger.book.keys[key.id]
    assert (account.running, account.held) == (len(holds), sum(hold.amount_nusd for hold in holds))
    for hold in holds:
        ledger.settle(hold, "stopped", note="n" * 300)
    await ledger.flush()
    await ledger.hold(Order("again", key, "m", "local", "fast", 0, 1))
    assert not ledger.health()["refuses_holds"]
    assert (await ledger.record(holds[0].id)).note == "n" * 300


async def test_a_broken_meter_does_not_stop_settlement(tmp_path):
    class Broken:
        source = "broken"

        def sample(self) -> None:
            raise OSError("sensor gone")

        def describe(self) -> str:
            return ""

    ledger = SqliteLedger(tmp_path, CONFIG, meter=Broken())
    await ledger.open()
    key, _ = await ledger.create_key("acme")
    await spend(ledger, key, 3)
    await ledger.flush()
    assert (await ledger.report(0)).totals.requests == 3
    assert await ledger.check() == []
    await ledger.close()
