"""Many gateways on one PostgreSQL: budgets hold for all of them together, and no outage or death loses a token."""

import asyncio
import contextlib
import signal
import stat
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest

from aigrid.core.config import Config, PriceConfig
from aigrid.core.errors import BudgetExceeded, ConfigError, LedgerUnavailable, RateLimited
from aigrid.core.ids import new_id
from aigrid.ledger import postgres_recovery, recovery
from aigrid.ledger.base import Key, Limits, Order
from aigrid.ledger.postgres import PostgresLedger

pytestmark = pytest.mark.xdist_group("postgres")

PROMPT, COMPLETION = 1000, 3000
COST = 10 * PROMPT + 20 * COMPLETION
Gateway = Callable[..., Awaitable[PostgresLedger]]


def config() -> Config:
    made = Config(prices=[PriceConfig(prompt_usd_per_mtok=1.0, completion_usd_per_mtok=3.0)])
    made.ledger.commit_ms = 5
    return made


def order(key: Key, prompt: int = 10, completion: int = 20, **more: Any) -> Order:
    return Order(new_id("req_"), key, "model", "local", "fast", prompt, completion, **more)


@pytest.fixture
async def gateway(postgres_url: str, tmp_path: Path) -> AsyncIterator[Gateway]:
    """Return what opens a gateway by name; the same name is the same gateway again."""
    opened: list[PostgresLedger] = []

    async def open_(name: str = "a", **settings: Any) -> PostgresLedger:
        made = PostgresLedger(postgres_url, config(), folder=tmp_path / name, **settings)
        await made.open()
        opened.append(made)
        return made

    yield open_
    for made in reversed(opened):
        with contextlib.suppress(Exception):
            await made.close()


async def until(condition: Callable[[], Any], within_s: float = 60.0) -> None:
    async with asyncio.timeout(within_s):
        while True:
            answer = condition()
            if await answer if asyncio.iscoroutine(answer) else answer:
                return
            await asyncio.sleep(0.02)


def serve(ledger: PostgresLedger, hold: Any, completion: int = 20) -> None:
    hold.count_prompt(10)
    hold.count(completion)
    ledger.settle(hold, "finished")


async def test_two_gateways_together_never_overspend_by_one_nano_dollar(gateway):
    a, b = await gateway("a"), await gateway("b")
    key, _ = await a.create_key("acme", limits=Limits(total_nusd=37 * COST + COST - 1))
    await b.refresh()
    asked = [(one, one.hold(order(key))) for one in (a, b) * 100]
    answers = await asyncio.gather(*(hold for _, hold in asked), return_exceptions=True)
    held = [(one, answer) for (one, _), answer in zip(asked, answers, strict=True) if not isinstance(answer, Exception)]
    assert len(held) == 37
    assert all(isinstance(answer, BudgetExceeded) for answer in answers if isinstance(answer, Exception))
    assert (await a.report(0)).held_nusd == 37 * COST
    for one, hold in held:
        serve(one, hold)
    await asyncio.gather(a.flush(), b.flush())
    report = await b.report(0)
    assert (report.totals.revenue_nusd, report.held_nusd, report.open_holds) == (37 * COST, 0, 0)
    assert await a.check() == []


async def test_what_one_gateway_gives_back_another_may_hold(gateway):
    a, b = await gateway("a"), await gateway("b")
    key, _ = await a.create_key("acme", limits=Limits(day_nusd=COST))
    await b.refresh()
    hold = await a.hold(order(key))
    with pytest.raises(BudgetExceeded):
        await b.hold(order(key))
    a.settle(hold, "client_gone")
    await a.flush()
    serve(b, await b.hold(order(key)))


async def test_rates_and_concurrency_count_over_all_gateways(gateway):
    a, b = await gateway("a"), await gateway("b")
    slow, _ = await a.create_key("slow", limits=Limits(requests_per_minute=2))
    few, _ = await a.create_key("few", limits=Limits(concurrency=2))
    await b.refresh()
    for key, what in ((slow, "per minute"), (few, "concurrency")):
        await a.hold(order(key))
        await b.hold(order(key))
        for one in (a, b):
            with pytest.raises(RateLimited, match=what):
                await one.hold(order(key))


async def test_random_traffic_of_two_gateways_ends_in_exact_balances(gateway):
    a, b = await gateway("a"), await gateway("b")
    await a.set_tenant("acme", Limits(total_nusd=60 * COST))
    keys = [(await a.create_key("acme", limits=Limits(month_nusd=9 * COST)))[0] for _ in range(8)]
    keys += [(await a.create_key("free"))[0]]
    await b.refresh()

    async def client(number: int) -> int:
        one, key, counted = (a, b)[number % 2], keys[number % len(keys)], 0
        for i in range(6):
            try:
                hold = await one.hold(order(key))
            except BudgetExceeded:
                continue
            child = await one.hold(order(key, 0, 5), hold) if i % 3 == 0 else None
            await asyncio.sleep(0)
            hold.count_prompt(10)
            hold.count(i)
            if child is not None:
                child.count(4)
                one.settle(child, "finished")
                counted += 4
            one.settle(hold, "finished")
            counted += 10 + i
        return counted

    counted = sum(await asyncio.gather(*(client(number) for number in range(60))))
    await asyncio.gather(a.flush(), b.flush())
    report = await a.report(0)
    assert report.totals.tokens == counted
    assert await b.check() == []
    await until(lambda: held(a, 0))


async def held(ledger: PostgresLedger, amount: int) -> bool:
    return (await ledger.report(0)).held_nusd == amount


async def test_an_ask_that_nobody_waits_for_any_more_holds_nothing(gateway):
    ledger = await gateway()
    key, _ = await ledger.create_key("acme", limits=Limits(total_nusd=COST))
    for _ in range(20):
        task = asyncio.create_task(ledger.hold(order(key)))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
    await until(lambda: held_in_database(ledger, 0))
    serve(ledger, await ledger.hold(order(key)))
    await ledger.flush()
    assert await ledger.check() == []


async def held_in_database(ledger: PostgresLedger, amount: int) -> bool:
    sql = "SELECT coalesce(sum(amount_nusd), 0) FROM holds"
    return (await ledger._read(lambda run: run(sql, ())))[0][0] == amount


async def test_keys_changed_at_one_gateway_are_seen_at_the_others_within_a_second(gateway):
    a, b = await gateway("a"), await gateway("b")
    assert b.poll_s < 1
    key, secret = await a.create_key("acme")
    await until(lambda: b.authenticate(secret) is not None)
    await a.revoke_key(key.id)
    await until(lambda: b.authenticate(secret) is None)


async def test_an_outage_stops_budgets_only_and_loses_nothing(gateway, postgres_server):
    ledger = await gateway()
    rich, secret = await ledger.create_key("rich", limits=Limits(total_nusd=10**12))
    free, _ = await ledger.create_key("free")
    rated, _ = await ledger.create_key("rated", limits=Limits(requests_per_minute=1))
    counted = served = 0
    refused: list[LedgerUnavailable] = []
    running = True

    async def client(key: Key) -> None:
        nonlocal counted, served
        while running:
            try:
                hold = await ledger.hold(order(key))
            except LedgerUnavailable as error:
                refused.append(error)
                await asyncio.sleep(0.01)
                continue
            await asyncio.sleep(0.005)
            serve(ledger, hold, 7)
            counted += 17
            served += 1

    clients = [asyncio.create_task(client(key)) for key in (rich, free) * 4]
    try:
        await until(lambda: served > 10)
        await asyncio.to_thread(postgres_server.stop, "immediate")
        await until(lambda: not ledger.health()["ok"])
        before = served
        assert ledger.authenticate(secret) == rich
        assert await ledger.lookup(secret) == rich
        with pytest.raises(LedgerUnavailable):  # it may be a good key: nobody can tell
            await ledger.lookup("sk-aigrid-" + "x" * 40)
        with pytest.raises(LedgerUnavailable) as unavailable:
            await ledger.hold(order(rich))
        assert unavailable.value.retry_after > 0
        await until(lambda: served > before + 10 and refused)
        serve(ledger, await ledger.hold(order(rated)), 7)
        with pytest.raises(RateLimited):
            await ledger.hold(order(rated))
        counted, served = counted + 17, served + 1
        assert ledger.health()["waiting"] > 0
    finally:
        await asyncio.to_thread(postgres_server.start)
    await until(lambda: ledger.health()["ok"])
    again = served
    await until(lambda: served > again + 10)
    running = False
    await asyncio.gather(*clients)
    await ledger.flush()
    report = await ledger.report(0)
    assert (report.totals.requests, report.totals.tokens) == (served, counted)
    await until(lambda: held_in_database(ledger, 0))
    assert await ledger.check() == []
    assert ledger.health()["waiting"] == 0


async def test_a_gateway_that_starts_during_an_outage_serves_the_keys_it_knew(gateway, postgres_server, tmp_path):
    ledger = await gateway()
    free, secret = await ledger.create_key("free")
    rich, _ = await ledger.create_key("rich", limits=Limits(total_nusd=10**12))
    hold = await ledger.hold(order(free))
    hold.count(3)
    file = tmp_path / "a" / "keys.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert secret not in file.read_text()
    postgres_server.stop("immediate")
    try:
        await ledger.close()
        again = await gateway()
        assert again.authenticate(secret) == free
        other = await again.hold(order(free))
        serve(again, other, 5)
        with pytest.raises(LedgerUnavailable):
            await again.hold(order(rich))
        await again.close()
        third = await gateway()
        serve(third, await third.hold(order(free)), 6)
        with pytest.raises(LedgerUnavailable):
            await gateway("never-seen-it")
    finally:
        postgres_server.start()
    await until(lambda: third.health()["ok"])
    await third.flush()
    found = sorted((record.completion_tokens, record.outcome) for record in await third.records())
    assert found == [(3, "recovered"), (5, "finished"), (6, "finished")]
    assert await third.check() == []


GATEWAY = """
import asyncio, os, signal, sys
from pathlib import Path
from aigrid.core.config import Config, PriceConfig
from aigrid.core.ids import new_id
from aigrid.ledger import postgres_recovery
from aigrid.ledger.base import Order
from aigrid.ledger.postgres import PostgresLedger
from aigrid.ledger.recovery import left_behind

async def main(url, folder, lease_s):
    prices = [PriceConfig(prompt_usd_per_mtok=1.0, completion_usd_per_mtok=3.0)]
    ledger = PostgresLedger(url, Config(prices=prices), folder=Path(folder), lease_s=float(lease_s))
    await ledger.open()
    for key in await ledger.keys():
        order = Order(new_id("req_"), key, "model", "local", "fast", 10, 20)
        hold = await ledger.hold(order)
        hold.count_prompt(10)
        hold.count(4)
        child = await ledger.hold(Order(new_id("req_"), key, "model", "local", "fast", 0, 2), hold)
        child.count(1)
        done = await ledger.hold(Order(new_id("req_"), key, "model", "local", "fast", 10, 20))
        done.count(2)
        ledger.settle(done, "finished")
    await ledger.flush()
    while float(lease_s) < 10 and await reported(ledger) != [1, 1, 4, 4]:
        await asyncio.sleep(0.02)
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    for hold in list(ledger._till.open.values()):
        hold.count(1)
    os.kill(os.getpid(), signal.SIGKILL)  # before it can report that

async def reported(ledger):
    rows = await ledger._read(lambda run: run("SELECT open FROM holds", ()))
    left = [one for (open_,) in rows for one in left_behind(postgres_recovery._entries(open_))[0]]
    return sorted(one.entry.completion_tokens for one in left)

asyncio.run(main(*sys.argv[1:]))
"""


@contextlib.asynccontextmanager
async def killed(url: str, folder: Path, lease_s: float) -> AsyncIterator[None]:
    """A gateway that holds for every key, and is killed in the middle of its work when the block ends."""
    command = [sys.executable, "-c", GATEWAY, url, str(folder), str(lease_s)]
    process = await asyncio.create_subprocess_exec(*command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        async with asyncio.timeout(120):
            assert await process.stdout.readline() == b"ready\n"
            yield
            process.stdin.close()
            assert await process.wait() == -signal.SIGKILL
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def test_a_killed_gateway_settles_its_own_holds_when_it_returns(gateway, postgres_url, tmp_path):
    first = await gateway("first")
    await first.create_key("rich", limits=Limits(total_nusd=10**12))
    await first.create_key("free")
    async with killed(postgres_url, tmp_path / "second", 120):
        pass
    again = PostgresLedger(postgres_url, config(), folder=tmp_path / "second")
    recovered = await again.open()
    assert sorted(record.completion_tokens for record in recovered) == [2, 2, 5, 5]
    assert {record.outcome for record in recovered} == {"recovered"}
    assert sum(record.revenue_nusd for record in recovered) == 2 * (10 * PROMPT + 7 * COMPLETION)
    report = await again.report(0)
    assert (report.totals.requests, report.held_nusd) == (6, 0)
    assert await again.check() == []
    await again.close()
    assert await first.check() == []


async def test_holds_that_a_stop_leaves_open_count_no_more_and_engines_that_hang_do_not_stop_their_recovery(
    gateway, postgres_url, tmp_path, monkeypatch
):
    monkeypatch.setattr(recovery, "ENGINES_WAIT_S", 0.05)
    first = await gateway("a")
    key, _ = await first.create_key("acme")
    hold = await first.hold(order(key))
    hold.count(3)
    await first.close()
    hold.count(5)
    again = PostgresLedger(postgres_url, config(), folder=tmp_path / "a", recover=lambda ids: asyncio.Future())
    async with asyncio.timeout(60):
        (record,) = await again.open()
    assert record.completion_tokens == 3
    assert record.note.endswith("the engine did not report")
    await again.close()


async def test_another_gateway_settles_the_holds_of_one_that_never_returns(gateway, postgres_url, tmp_path):
    first = await gateway("first", lease_s=3.0)
    await first.create_key("rich", limits=Limits(total_nusd=10**12))
    await first.create_key("free")
    async with killed(postgres_url, tmp_path / "second", 3.0):
        assert await held(first, 2 * COST)
    await until(lambda: held(first, 0))
    records = [record for record in await first.records() if record.outcome == "recovered"]
    assert sorted(record.completion_tokens for record in records) == [1, 1, 4, 4]
    assert all("was silent for" in record.note for record in records)
    assert await first.check() == []
    # And if it returns after all, nothing is settled twice: what came after its last report is noted, not charged.
    again = PostgresLedger(postgres_url, config(), folder=tmp_path / "second")
    assert await again.open() == []
    assert (await again.report(0)).totals.requests == 6
    assert [entry.act for entry in await again.audit_log() if entry.actor == "ledger"] == ["settlement.late"] * 4
    assert await again.check() == []
    await again.close()


async def test_a_gateway_that_was_taken_for_dead_charges_nothing_twice(gateway):
    a = await gateway("a")
    key, _ = await a.create_key("acme", limits=Limits(total_nusd=10**12))
    hold = await a.hold(order(key))
    reaped = await a._write(lambda run: postgres_recovery.reap(run, a.gateway, 0.0))
    assert reaped == 1
    serve(a, hold, 9)
    await a.flush()
    (record,) = await a.records()
    assert (record.outcome, record.completion_tokens) == ("recovered", 0)
    entry, _ = await a.audit_log()
    assert entry.act == "settlement.late"
    assert "counted 10 and 9" in entry.detail
    assert await a.check() == []


async def test_gateways_that_start_at_once_make_the_tables_once(gateway):
    ledgers = await asyncio.gather(*(gateway(name) for name in "abcd"))
    assert len({ledger.gateway for ledger in ledgers}) == 4
    assert await ledgers[0].check() == []


async def test_records_cannot_be_changed(gateway, postgres_url):
    ledger = await gateway()
    key, _ = await ledger.create_key("acme")
    serve(ledger, await ledger.hold(order(key)))
    await ledger.flush()
    async with await psycopg.AsyncConnection.connect(postgres_url, autocommit=True) as connection:
        for act in ("UPDATE {} SET seq = DEFAULT", "DELETE FROM {}", "TRUNCATE {}"):
            for table in ("usage", "meter", "audit", "keys", "tenants", "prices"):
                with pytest.raises(psycopg.IntegrityError, match="append-only"):
                    await connection.execute(act.format(table))
        await connection.execute("UPDATE accounts SET spent_nusd = spent_nusd - 1 WHERE name = 'tenant acme'")
    (found,) = await ledger.check()
    assert "tenant acme" in found


async def test_newer_tables_are_refused_with_advice(gateway, postgres_url):
    await gateway()
    async with await psycopg.AsyncConnection.connect(postgres_url, autocommit=True) as connection:
        await connection.execute("INSERT INTO schema_version VALUES (99)")
    with pytest.raises(ConfigError, match="newer aigrid"):
        await gateway("b", owner=False)
    with pytest.raises(ConfigError, match="newer aigrid"):
        await gateway("c")


def test_a_url_that_is_none_is_refused_with_its_setting(tmp_path):
    with pytest.raises(ConfigError, match=r"ledger\.url"):
        PostgresLedger("postgresql://host:port:port/x?nonsense=1", config(), folder=tmp_path)


async def test_a_gateway_that_hangs_in_a_transaction_is_waited_for_and_nothing_is_lost(gateway, postgres_url):
    ledger = await gateway()
    key, _ = await ledger.create_key("acme", limits=Limits(total_nusd=10**9))
    async with await psycopg.AsyncConnection.connect(postgres_url) as other:
        await other.execute("SELECT 1 FROM accounts FOR UPDATE")
        asked = asyncio.create_task(ledger.hold(order(key)))
        await asyncio.sleep(0.2)
        assert not asked.done()
    serve(ledger, await asked)
    await ledger.flush()
    assert await ledger.check() == []


async def test_a_row_that_the_database_refuses_does_not_hold_up_the_others(gateway, postgres_url):
    ledger = await gateway()
    key, _ = await ledger.create_key("acme")
    async with await psycopg.AsyncConnection.connect(postgres_url, autocommit=True) as connection:
        await connection.execute("ALTER TABLE usage ADD CONSTRAINT odd CHECK (completion_tokens <> 13)")
        for completion in (1, 13, 2):
            serve(ledger, await ledger.hold(order(key)), completion)
        await until(lambda: ledger.health()["set_aside"] == 1)
        await until(lambda: ledger.health()["waiting"] == 1)
        await connection.execute("ALTER TABLE usage DROP CONSTRAINT odd")
    assert sorted(record.completion_tokens for record in await ledger.records()) == [1, 2]
    assert ledger.health()["ok"] is False
    await ledger.close()
    again = await gateway()
    assert sorted(record.completion_tokens for record in await again.records()) == [1, 2, 13]
    assert await again.check() == []
