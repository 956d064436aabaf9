"""The SQLite ledger: one owner, many readers, keys that are seen at once, records that never change."""

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable

import pytest

from aigrid.core.config import Config, LedgerConfig
from aigrid.core.errors import (
    BadRequest,
    BudgetExceeded,
    ConfigError,
    Conflict,
    LedgerUnavailable,
    NotFound,
    Unauthorized,
)
from aigrid.core.ids import new_id
from aigrid.ledger import open_ledger, schema
from aigrid.ledger.base import Filter, Key, Ledger, Limits, Order
from aigrid.ledger.energy import Sample
from aigrid.ledger.keys import new_secret
from aigrid.ledger.sqlite import SqliteLedger, connect

CONFIG = Config(ledger=LedgerConfig(commit_ms=5))


class FakeMeter:
    """A meter that shows a joule each time it is asked."""

    source = "fake"

    asked = 0

    def sample(self) -> Sample:
        self.asked += 1
        return Sample(1000, 1_000_000, "fake")

    def describe(self) -> str:
        return "a fake"


@pytest.fixture
async def ledger(tmp_path) -> AsyncIterator[SqliteLedger]:
    ledger = SqliteLedger(tmp_path / "ledger", CONFIG, meter=FakeMeter())
    await ledger.open()
    yield ledger
    await ledger.close()


def order(key: Key, completion: int = 100, **more: object) -> Order:
    return Order(new_id("req_"), key, "m", "local", "fast", 0, completion, **more)


async def spend(ledger: Ledger, key: Key, completion: int = 5) -> str:
    hold = await ledger.hold(order(key))
    hold.count(completion)
    ledger.settle(hold, "finished")
    return hold.id


async def until(true: Callable[[], object]) -> None:
    async with asyncio.timeout(60):
        while not true():
            await asyncio.sleep(0.01)


async def test_a_settled_request_stands_in_the_ledger_soon_by_itself(ledger):
    key, _ = await ledger.create_key("acme")
    id_ = await spend(ledger, key, 7)
    async with asyncio.timeout(60):
        while (record := await ledger.record(id_)) is None:
            await asyncio.sleep(0.01)
    assert (record.completion_tokens, record.tenant, record.outcome) == (7, "acme", "finished")
    assert record.energy_source == "fake"
    assert record.energy_mj > 0
    await until(lambda: ledger.health()["waiting"] == 0)


async def test_what_was_spent_outlives_a_restart(tmp_path):
    first = SqliteLedger(tmp_path, CONFIG)
    await first.open()
    key, secret = await first.create_key("acme", limits=Limits(total_nusd=100_000))
    hold = await first.hold(order(key, 400))
    hold.count(400)
    first.settle(hold, "finished")
    await first.close()
    second = SqliteLedger(tmp_path, CONFIG)
    assert await second.open() == []
    assert second.authenticate(secret) == key
    with pytest.raises(BudgetExceeded, match=r"\$0.00002 left"):
        await second.hold(order(key, 101))
    await second.hold(order(key, 100))
    await second.close()


async def test_open_holds_survive_a_graceful_stop_and_count_no_more(tmp_path):
    first = SqliteLedger(tmp_path, CONFIG)
    await first.open()
    key, _ = await first.create_key("acme")
    hold = await first.hold(order(key))
    hold.count(3)
    await first.close()
    hold.count(5)

    async def said(ids: list[str]) -> dict[str, int]:
        return {ids[0]: 4}

    second = SqliteLedger(tmp_path, CONFIG, recover=said)
    (record,) = await second.open()
    assert (record.id, record.outcome, record.completion_tokens) == (hold.id, "recovered", 3)
    assert "engine said 4" in record.note
    assert await second.check() == []
    await second.close()


async def test_engines_that_cannot_be_asked_do_not_stop_recovery(tmp_path):
    first = SqliteLedger(tmp_path, CONFIG)
    await first.open()
    key, _ = await first.create_key("acme")
    await first.hold(order(key))
    await first.close()

    async def broken(ids: list[str]) -> dict[str, int]:
        raise OSError("no engine")

    second = SqliteLedger(tmp_path, CONFIG, recover=broken)
    (record,) = await second.open()
    assert "engine did not report" in record.note
    await second.close()


async def test_a_second_owner_is_told_who_has_it(ledger):
    import os

    other = SqliteLedger(ledger.folder, CONFIG)
    with pytest.raises(Conflict, match=f"in use by process {os.getpid()}; stop that one, or set AIGRID_HOME"):
        await other.open()


async def test_a_reader_administers_but_does_not_hold(ledger):
    reader = SqliteLedger(ledger.folder, CONFIG, owner=False)
    await reader.open()
    key, _ = await reader.create_key("acme")
    with pytest.raises(Conflict, match="reading and administration only"):
        await reader.hold(order(key))
    hold = await ledger.hold(order(key))
    report = await reader.report(0)
    assert (report.open_holds, report.held_nusd) == (1, hold.amount_nusd)
    await reader.close()


async def test_a_key_made_elsewhere_works_at_once_and_a_revoked_one_stops_soon(ledger):
    admin = SqliteLedger(ledger.folder, CONFIG, owner=False)
    await admin.open()
    key, secret = await admin.create_key("acme", name="ci", scope="admin", limits=Limits(concurrency=3))
    assert ledger.authenticate(secret) is None
    assert await ledger.lookup(secret) == key
    assert ledger.authenticate(secret) == key
    hold = await ledger.hold(order(key))
    await admin.revoke_key(key.id)
    await until(lambda: ledger.authenticate(secret) is None)
    assert await ledger.lookup(secret) is None
    with pytest.raises(Unauthorized, match="revoked"):
        await ledger.hold(order(key))
    ledger.settle(hold, "finished")
    await admin.close()


async def test_limits_changed_elsewhere_hold_soon_even_for_requests_with_an_old_key(ledger):
    admin = SqliteLedger(ledger.folder, CONFIG, owner=False)
    await admin.open()
    key, _ = await ledger.create_key("acme")
    await admin.set_tenant("acme", Limits(total_nusd=0))
    await until(lambda: ledger.book.tenants["acme"].limits.total_nusd == 0)
    with pytest.raises(BudgetExceeded):
        await ledger.hold(order(key))
    await admin.close()


async def test_guessing_keys_asks_the_database_once_for_many(ledger, monkeypatch):
    asked = []
    read = ledger._read

    async def counting(ask: Callable) -> object:
        asked.append(1)
        return await read(ask)

    monkeypatch.setattr(ledger, "_read", counting)
    secret = new_secret()
    await asyncio.gather(*(ledger.lookup(new_secret()) for _ in range(500)))
    assert len(asked) <= 3
    await ledger.lookup(secret)
    before = len(asked)
    for _ in range(50):
        assert await ledger.lookup(secret) is None
    assert len(asked) <= before + 1  # the poll may fall in between


async def test_secrets_are_nowhere_on_disk(ledger):
    _, secret = await ledger.create_key("acme")
    await ledger.flush()
    await ledger._write(lambda run: run("SELECT 1", ()))
    for path in ledger.folder.iterdir():
        assert secret.encode() not in path.read_bytes()
        assert path.stat().st_mode & 0o077 == 0, path


async def test_many_tasks_spend_a_tiny_budget_to_the_last_request(ledger):
    key, _ = await ledger.create_key("acme", limits=Limits(total_nusd=47 * 200 + 199))
    done, refused = [], []

    async def client() -> None:
        for _ in range(5):
            try:
                hold = await ledger.hold(order(key, 1))
            except BudgetExceeded:
                refused.append(1)
                continue
            await asyncio.sleep(0)
            hold.count(1)
            await asyncio.sleep(0)
            ledger.settle(hold, "finished")
            done.append(hold.id)

    await asyncio.gather(*(client() for _ in range(200)))
    await ledger.flush()
    assert len(done) == 47
    assert len(refused) == 1000 - 47
    assert (await ledger.report(0)).totals.revenue_nusd == 47 * 200
    assert await ledger.check() == []


async def test_threads_may_spend_through_the_loop(ledger):
    key, _ = await ledger.create_key("acme", limits=Limits(total_nusd=30 * 200))
    loop = asyncio.get_running_loop()
    results: list[bool] = []

    async def one() -> bool:
        try:
            hold = await ledger.hold(order(key, 1))
        except BudgetExceeded:
            return False
        await asyncio.sleep(0)
        hold.count(1)
        ledger.settle(hold, "finished")
        return True

    def client() -> None:
        results.extend(asyncio.run_coroutine_threadsafe(one(), loop).result() for _ in range(10))

    threads = [threading.Thread(target=client) for _ in range(8)]
    for thread in threads:
        thread.start()
    await until(lambda: len(results) == 80)
    for thread in threads:
        thread.join()
    assert sum(results) == 30
    await ledger.flush()
    assert (await ledger.report(0)).totals.revenue_nusd == 30 * 200


async def test_revoking_lists_and_names(ledger):
    key, _ = await ledger.create_key("acme", name="one")
    other, _ = await ledger.create_key("zeta")
    assert await ledger.keys() == [key, other]
    revoked = await ledger.revoke_key(key.id)
    assert revoked.revoked_ns is not None
    assert await ledger.revoke_key(key.id) == revoked
    assert await ledger.keys() == [other]
    assert await ledger.keys(include_revoked=True) == [revoked, other]
    assert [tenant.name for tenant in await ledger.tenants()] == ["acme", "zeta"]
    made = (await ledger.tenants())[0]
    changed = await ledger.set_tenant("acme", Limits(day_nusd=5))
    assert (changed.created_ns, changed.limits.day_nusd) == (made.created_ns, 5)
    assert (await ledger.create_key("acme"))[0].tenant == "acme"
    assert (await ledger.tenants())[0].limits == Limits(day_nusd=5)
    with pytest.raises(NotFound, match="no key key_x"):
        await ledger.revoke_key("key_x")
    for bad in ("", "  ", "a\nb", "x" * 300):
        with pytest.raises(BadRequest):
            await ledger.create_key(bad)
    with pytest.raises(BadRequest, match="day_nusd"):
        await ledger.create_key("acme", limits=Limits(day_nusd=-1))


async def test_a_change_is_in_the_audit_log_or_did_not_happen(ledger, monkeypatch):
    key, _ = await ledger.create_key("acme", scope="admin", actor="root", address="10.0.0.1")
    await ledger.set_tenant("acme", Limits(day_nusd=7), actor="root")
    await ledger.revoke_key(key.id)
    await ledger.revoke_key(key.id)  # changes nothing
    assert [(entry.act, entry.actor, entry.address, entry.detail) for entry in await ledger.audit_log()] == [
        ("keys.revoke", "aigrid", "", f"{key.id} tenant=acme"),
        ("tenants.set", "root", "", 'acme limits={"day_nusd":7}'),
        ("keys.create", "root", "10.0.0.1", f"{key.id} tenant=acme scope=admin limits={{}}"),
    ]

    def full(*_: object) -> None:
        raise sqlite3.OperationalError("disk full")

    monkeypatch.setattr("aigrid.ledger.admin.append_audit", full)
    with pytest.raises(LedgerUnavailable, match="disk full"):
        await ledger.create_key("evil")
    assert [key.tenant for key in await ledger.keys(include_revoked=True)] == ["acme"]


async def test_the_audit_log_shows_the_newest_first(ledger):
    for number in range(5):
        await ledger.audit("root", "keys.create", f"key {number}", "127.0.0.1")
    log = await ledger.audit_log(2)
    assert [entry.detail for entry in log] == ["key 4", "key 3"]
    assert (log[0].actor, log[0].act, log[0].address) == ("root", "keys.create", "127.0.0.1")


@pytest.mark.parametrize("table", ["usage", "meter", "keys", "tenants", "prices", "audit"])
async def test_the_database_itself_refuses_to_change_the_past(ledger, table):
    key, _ = await ledger.create_key("acme")
    await ledger.audit("a", "b")
    await spend(ledger, key)
    await ledger.flush()
    connection = connect(ledger.folder / "ledger.db")
    assert connection.execute(f"SELECT COUNT(*) FROM {table}").fetchone()[0] > 0
    for statement in (f"UPDATE {table} SET seq = seq + 100", f"DELETE FROM {table}"):
        with pytest.raises(sqlite3.IntegrityError, match=f"{table} is append-only"):
            connection.execute(statement)
    connection.close()


async def test_prices_in_force_are_written_down_when_they_change(tmp_path):
    from aigrid.core.config import PriceConfig

    for prices in ([], [], [PriceConfig(model="m")]):
        ledger = SqliteLedger(tmp_path, Config(prices=prices))
        await ledger.open()
        await ledger.close()
    assert connect(tmp_path / "ledger.db").execute("SELECT COUNT(*) FROM prices").fetchone() == (2,)


def test_a_database_is_brought_up_to_date_in_order_and_never_halfway(tmp_path, monkeypatch):
    connection = connect(tmp_path / "old.db")
    schema.migrate(connection)
    connection.execute("INSERT INTO audit VALUES (1, 'a', 1, 'x', 'y', '', '')")
    now = len(schema.MIGRATIONS)

    def second(connection: sqlite3.Connection) -> None:
        connection.execute("ALTER TABLE audit ADD COLUMN colour TEXT NOT NULL DEFAULT 'grey'")

    def broken(connection: sqlite3.Connection) -> None:
        connection.execute("CREATE TABLE half (x)")
        raise RuntimeError("power cut")

    monkeypatch.setattr(schema, "MIGRATIONS", [*schema.MIGRATIONS, second, broken])
    with pytest.raises(RuntimeError):
        schema.migrate(connection)
    assert connection.execute("PRAGMA user_version").fetchone() == (now,)
    assert connection.execute("SELECT COUNT(*) FROM sqlite_master WHERE name = 'half'").fetchone() == (0,)
    monkeypatch.setattr(schema, "MIGRATIONS", schema.MIGRATIONS[: now + 1])
    schema.migrate(connection)
    schema.migrate(connection)
    assert connection.execute("PRAGMA user_version").fetchone() == (now + 1,)
    assert connection.execute("SELECT id, colour FROM audit").fetchone() == ("a", "grey")
    monkeypatch.setattr(schema, "MIGRATIONS", schema.MIGRATIONS[:now])
    with pytest.raises(ConfigError, match="made by a newer aigrid"):
        schema.migrate(connection)


async def test_the_check_finds_a_ledger_that_was_tampered_with(tmp_path):
    ledger = SqliteLedger(tmp_path, CONFIG, meter=FakeMeter())
    await ledger.open()
    key, _ = await ledger.create_key("acme")
    await spend(ledger, key)
    await ledger.flush()
    assert await ledger.check() == []
    connection = connect(tmp_path / "ledger.db")
    connection.execute("DROP TRIGGER usage_no_update")
    connection.execute("UPDATE usage SET revenue_nusd = revenue_nusd + 1, energy_mj = energy_mj + 1")
    connection.close()
    found = "\n".join(await ledger.check())
    assert "usage: 1 of its sums over 60 s" in found
    assert "meter: energy_mj totals" in found
    await ledger.close()


async def test_energy_of_a_record_is_complete_and_the_meter_adds_up(ledger):
    key, _ = await ledger.create_key("acme")
    holds = [await ledger.hold(order(key)) for _ in range(20)]
    for _ in range(5):
        for hold in holds:
            hold.count(1)
        await asyncio.sleep(0.01)
    for hold in holds:
        ledger.settle(hold, "finished")
    await ledger.flush()
    report = await ledger.report(0)
    assert report.energy_source == "fake"
    assert report.totals.energy_mj > 0
    total = connect(ledger.folder / "ledger.db").execute("SELECT SUM(total_mj) FROM meter").fetchone()[0]
    assert report.totals.energy_mj + report.idle.energy_mj == total
    assert await ledger.check() == []


async def test_idling_costs_energy_too_and_is_written_down_at_the_end(tmp_path):
    meters = [FakeMeter(), FakeMeter()]
    for meter in meters:
        ledger = SqliteLedger(tmp_path, CONFIG, meter=meter)
        await ledger.open()
        await ledger.close()
    ledger = SqliteLedger(tmp_path, CONFIG, owner=False)
    await ledger.open()
    assert (await ledger.report(0)).idle.energy_mj == 1000 * sum(meter.asked for meter in meters) >= 2000
    await ledger.close()


async def test_records_page_backwards_and_export_has_all(ledger, monkeypatch):
    monkeypatch.setattr("aigrid.ledger.answers.PAGE", 7)
    key, _ = await ledger.create_key("acme")
    other, _ = await ledger.create_key("zeta")
    ids = [await spend(ledger, key if number % 3 else other) for number in range(30)]
    await ledger.flush()
    newest = await ledger.records(Filter(limit=10))
    assert [record.id for record in newest] == ids[:-11:-1]
    page = await ledger.records(Filter(limit=10, before=newest[-1].id))
    assert [record.id for record in page] == ids[-11:-21:-1]
    pages = [page async for page in ledger.export(Filter(tenant="acme"))]
    assert [record.id for page in pages for record in page] == [
        id_ for number, id_ in reversed(list(enumerate(ids))) if number % 3
    ]
    assert max(map(len, pages)) == 7
    assert await ledger.records(Filter(key_id=other.id, outcome="failed")) == []


async def test_the_configuration_chooses_the_ledger(tmp_path, monkeypatch):
    monkeypatch.setenv("AIGRID_HOME", str(tmp_path))
    ledger = open_ledger(Config(), owner=True, meter=FakeMeter())
    await ledger.open()
    await ledger.close()
    assert (tmp_path / "ledger" / "ledger.db").exists()
    with pytest.raises(ConfigError, match="mysql://x"):
        open_ledger(Config(ledger=LedgerConfig(url="mysql://x")), owner=False)


async def test_a_flush_under_load_ends(ledger):
    key, _ = await ledger.create_key("acme")
    stop = asyncio.Event()

    async def load() -> None:
        while not stop.is_set():
            await spend(ledger, key)
            await asyncio.sleep(0)

    loading = asyncio.create_task(load())
    for _ in range(3):
        id_ = await spend(ledger, key)
        await ledger.flush()
        assert await ledger.record(id_) is not None
    stop.set()
    await loading


async def test_opening_and_closing_leaves_no_thread_behind(tmp_path):
    before = set(threading.enumerate())
    ledger = SqliteLedger(tmp_path, CONFIG)
    await ledger.open()
    await ledger.close()
    assert {thread.name for thread in set(threading.enumerate()) - before if "aigrid" in thread.name} == set()
