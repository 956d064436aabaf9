"""What every ledger does, whatever stands behind it: the same tests over SQLite and PostgreSQL."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from aigrid.core.clock import now_ns
from aigrid.core.config import Config, PriceConfig
from aigrid.core.errors import BadRequest, BudgetExceeded, Conflict, NotFound, RateLimited, Unauthorized
from aigrid.core.ids import new_id
from aigrid.ledger.base import Filter, Key, Limits, Order
from aigrid.ledger.energy import Sample
from aigrid.ledger.postgres import PostgresLedger
from aigrid.ledger.sqlite import SqliteLedger

Made = SqliteLedger | PostgresLedger
Open = Callable[..., Awaitable[Made]]

PRICES = [PriceConfig(prompt_usd_per_mtok=1.0, completion_usd_per_mtok=3.0, cached_usd_per_mtok=0.1)]
PROMPT, COMPLETION = 1000, 3000
"""Nano-dollars per token."""


class SteadyMeter:
    """Two millijoules in every sample."""

    source = "steady"

    def sample(self) -> Sample:
        return Sample(2, 1_000_000, self.source)

    def describe(self) -> str:
        return "two millijoules"


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.xdist_group("postgres"))])
async def open_ledger(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Open]:
    """Return what opens the same ledger, again if need be; all are closed in the end."""
    config = Config(prices=PRICES)
    config.ledger.commit_ms = 5
    opened: list[Made] = []
    url = request.getfixturevalue("postgres_url") if request.param == "postgres" else ""

    async def open_(**settings: Any) -> Made:
        made: Made = (
            PostgresLedger(url, config, folder=tmp_path / "ledger", meter=SteadyMeter(), **settings)
            if url
            else SqliteLedger(tmp_path / "ledger", config, meter=SteadyMeter(), **settings)
        )
        opened.append(made)
        await made.open()
        return made

    yield open_
    for made in reversed(opened):
        with contextlib.suppress(Exception):
            await made.close()


@pytest.fixture
async def ledger(open_ledger: Open) -> Made:
    return await open_ledger()


def order(key: Key, prompt: int = 10, completion: int = 20, **more: Any) -> Order:
    return Order(new_id("req_"), key, "model", "local", "fast", prompt, completion, **more)


async def serve(ledger: Made, key: Key, prompt: int = 10, completion: int = 5, **more: Any) -> str:
    hold = await ledger.hold(order(key, prompt, max(completion, 1)))
    hold.count_prompt(prompt)
    hold.count(completion)
    ledger.settle(hold, "finished", **more)
    return hold.id


async def test_a_request_is_charged_for_what_was_counted(ledger):
    key, _ = await ledger.create_key("acme", limits=Limits(total_nusd=10**9))
    hold = await ledger.hold(order(key, 10, 20))
    assert hold.amount_nusd == 10 * PROMPT + 20 * COMPLETION
    hold.count_prompt(8, 3)
    hold.count(4)
    hold.count(3, 2)
    settled = ledger.settle(hold, "finished", site="local")
    assert settled.revenue_nusd == 5 * PROMPT + 3 * 100 + 7 * COMPLETION
    await ledger.flush()
    record = await ledger.record(hold.id)
    assert (record.prompt_tokens, record.cached_tokens, record.completion_tokens, record.reasoning_tokens) == (
        8,
        3,
        7,
        2,
    )
    assert (record.tenant, record.key_id, record.outcome, record.parent) == ("acme", key.id, "finished", None)
    assert (record.held_nusd, record.revenue_nusd) == (hold.held_nusd, settled.revenue_nusd)
    assert record.energy_source == "steady"
    assert await ledger.check() == []


async def test_a_second_settlement_changes_nothing(ledger):
    key, _ = await ledger.create_key("acme", limits=Limits(total_nusd=10**9))
    hold = await ledger.hold(order(key))
    hold.count(3)
    first = ledger.settle(hold, "finished")
    hold.count(5)
    assert ledger.settle(hold, "failed") is first
    await ledger.flush()
    (record,) = await ledger.records()
    assert (record.outcome, record.completion_tokens) == ("finished", 3)
    assert await ledger.check() == []


@pytest.mark.parametrize("who", ["key", "tenant"])
@pytest.mark.parametrize("window", ["total_nusd", "day_nusd", "month_nusd"])
async def test_concurrent_holds_never_exceed_a_budget(ledger, who, window):
    cost = 10 * PROMPT + 20 * COMPLETION
    limits = Limits(**{window: 5 * cost + cost - 1})
    if who == "tenant":
        await ledger.set_tenant("acme", limits)
    key, _ = await ledger.create_key("acme", limits=limits if who == "key" else Limits())
    answers = await asyncio.gather(*(ledger.hold(order(key)) for _ in range(40)), return_exceptions=True)
    held = [answer for answer in answers if not isinstance(answer, BaseException)]
    assert len(held) == 5
    assert all(isinstance(answer, BudgetExceeded) for answer in answers if answer not in held)
    for hold in held:
        hold.count_prompt(10)
        hold.count(20)
        ledger.settle(hold, "finished")
    await ledger.flush()
    with pytest.raises(BudgetExceeded, match="left of its"):
        await ledger.hold(order(key))
    assert await ledger.check() == []


async def test_what_was_not_used_can_be_held_again(ledger):
    cost = 10 * PROMPT + 20 * COMPLETION
    key, _ = await ledger.create_key("acme", limits=Limits(total_nusd=cost))
    for _ in range(3):
        hold = await ledger.hold(order(key))
        with pytest.raises(BudgetExceeded):
            await ledger.hold(order(key))
        ledger.settle(hold, "client_gone")
        await ledger.flush()
    assert (await ledger.report(0)).totals.revenue_nusd == 0


async def test_a_flexible_order_is_cut_to_what_the_budget_allows(ledger):
    key, _ = await ledger.create_key("acme", limits=Limits(total_nusd=10 * PROMPT + 13 * COMPLETION))
    hold = await ledger.hold(order(key, 10, 1000, n=4, flexible=True))
    assert hold.completion_bound == 12
    with pytest.raises(BudgetExceeded):
        await ledger.hold(order(key, 10, 1000, flexible=True))
    ledger.settle(hold, "finished")


async def test_requests_at_once_are_limited(ledger):
    key, _ = await ledger.create_key("acme", limits=Limits(concurrency=2))
    first, _ = [await ledger.hold(order(key)) for _ in range(2)]
    with pytest.raises(RateLimited, match="concurrency"):
        await ledger.hold(order(key))
    ledger.settle(first, "finished")
    await ledger.flush()
    await ledger.hold(order(key))


async def test_requests_per_minute_are_limited(ledger):
    await ledger.set_tenant("acme", Limits(requests_per_minute=3))
    key, _ = await ledger.create_key("acme")
    for _ in range(3):
        await serve(ledger, key)
    with pytest.raises(RateLimited) as refused:
        await ledger.hold(order(key))
    assert 0 < refused.value.retry_after <= 20


async def test_tokens_per_minute_are_limited_and_unused_ones_come_back(ledger):
    key, _ = await ledger.create_key("acme", limits=Limits(tokens_per_minute=100))
    hold = await ledger.hold(order(key, 10, 80))
    with pytest.raises(RateLimited):
        await ledger.hold(order(key, 10, 80))
    ledger.settle(hold, "client_gone")
    await ledger.flush()
    hold = await ledger.hold(order(key, 10, 80))
    hold.count_prompt(10)
    hold.count(80)
    ledger.settle(hold, "finished")
    await ledger.flush()
    with pytest.raises(RateLimited):
        await ledger.hold(order(key, 10, 80))
    with pytest.raises(RateLimited, match="may take 200 tokens"):
        await ledger.hold(order(key, 100, 100))


async def test_children_draw_on_their_parent_and_never_on_the_account(ledger):
    cost = 10 * PROMPT + 100 * COMPLETION
    key, _ = await ledger.create_key("acme", limits=Limits(total_nusd=cost))
    parent = await ledger.hold(order(key, 10, 100))
    child = await ledger.hold(order(key, 0, 30), parent)
    with pytest.raises(BudgetExceeded):
        await ledger.hold(order(key, 0, 90), parent)
    child.count(10)
    ledger.settle(child, "finished")
    await ledger.flush()
    assert await ledger.check() == []
    again = await ledger.hold(order(key, 0, 90), parent)
    ledger.settle(again, "failed")
    ledger.settle(parent, "finished")
    await ledger.flush()
    records = await ledger.records()
    assert [record.parent for record in records if record.id != parent.id] == [parent.id] * 2
    assert sum(record.revenue_nusd for record in records) == 10 * COMPLETION
    assert await ledger.check() == []
    rest = await ledger.hold(order(key, 10, 90))
    ledger.settle(rest, "finished")


async def test_a_purse_is_held_whole_spent_by_parts_and_what_is_left_comes_back(ledger):
    cost = 10 * PROMPT + 20 * COMPLETION
    purse = 2 * cost + cost - 1
    key, _ = await ledger.create_key("acme", limits=Limits(total_nusd=2 * purse - 1))
    run = await ledger.hold(order(key, 0, 0, purse_nusd=purse))
    assert run.held_nusd == purse
    other = await ledger.hold(order(key, 0, 0, purse_nusd=purse))
    assert other.held_nusd == purse - 1  # a purse is filled with what is left
    with pytest.raises(BudgetExceeded):
        await ledger.hold(order(key, 0, 0, purse_nusd=purse))
    ledger.settle(other, "finished")
    answers = await asyncio.gather(*(ledger.hold(order(key), run) for _ in range(10)), return_exceptions=True)
    parts = [answer for answer in answers if not isinstance(answer, BaseException)]
    assert len(parts) == 2  # the third would go beyond the purse, whatever is left on the account
    assert all(isinstance(answer, BudgetExceeded) for answer in answers if answer not in parts)
    for part in parts:
        part.count_prompt(10)
        part.count(1)
        ledger.settle(part, "finished")
    inner = await ledger.hold(order(key, 0, 0, purse_nusd=10 * purse), run)  # a recruit's purse is a part of this one
    assert inner.held_nusd == purse - 2 * (10 * PROMPT + COMPLETION)
    ledger.settle(inner, "stopped")
    ledger.settle(run, "stopped")
    await ledger.flush()
    assert sum(record.revenue_nusd for record in await ledger.records()) == 2 * (10 * PROMPT + COMPLETION)
    again = await ledger.hold(order(key, 0, 0, purse_nusd=2 * purse - 1 - 2 * (10 * PROMPT + COMPLETION)))
    ledger.settle(again, "finished")
    assert await ledger.check() == []


async def test_a_child_may_outlive_its_parent(ledger):
    key, _ = await ledger.create_key("acme", limits=Limits(total_nusd=100 * COMPLETION))
    parent = await ledger.hold(order(key, 0, 100))
    child = await ledger.hold(order(key, 0, 40), parent)
    ledger.settle(parent, "client_gone")
    await ledger.flush()
    with pytest.raises(BudgetExceeded):
        await ledger.hold(order(key, 0, 61))
    other = await ledger.hold(order(key, 0, 60))
    child.count(40)
    ledger.settle(child, "finished")
    ledger.settle(other, "failed")
    await ledger.flush()
    assert (await ledger.report(0)).totals.revenue_nusd == 40 * COMPLETION
    assert await ledger.check() == []


async def test_one_request_id_has_one_hold(ledger):
    key, _ = await ledger.create_key("acme", limits=Limits(total_nusd=10**9))
    wanted = order(key)
    answers = await asyncio.gather(*(ledger.hold(wanted) for _ in range(5)), return_exceptions=True)
    assert sum(isinstance(answer, Conflict) for answer in answers) == 4
    for answer in answers:
        if not isinstance(answer, BaseException):
            ledger.settle(answer, "finished")
    await ledger.flush()
    assert (await ledger.report(0)).totals.requests == 1
    assert await ledger.check() == []


async def test_keys_are_known_at_once_and_gone_at_once(ledger):
    key, secret = await ledger.create_key("acme", name="first", scope="admin")
    assert ledger.authenticate(secret) == key
    assert key.hint == secret[-4:]
    assert ledger.authenticate(secret + "x") is None
    assert await ledger.lookup("sk-aigrid-" + "x" * 40) is None
    assert (await ledger.revoke_key(key.id)).revoked_ns is not None
    assert ledger.authenticate(secret) is None
    assert await ledger.keys() == []
    assert [one.id for one in await ledger.keys(include_revoked=True)] == [key.id]
    with pytest.raises(Unauthorized):
        await ledger.hold(order(key))
    with pytest.raises(NotFound):
        await ledger.revoke_key("key_unknown")
    with pytest.raises(BadRequest):
        await ledger.create_key("")


async def test_a_revoked_key_with_a_budget_is_refused(ledger):
    key, _ = await ledger.create_key("acme", limits=Limits(total_nusd=10**9))
    hold = await ledger.hold(order(key))
    await ledger.revoke_key(key.id)
    with pytest.raises(Unauthorized):
        await ledger.hold(order(key))
    hold.count(2)
    assert ledger.settle(hold, "finished").revenue_nusd == 2 * COMPLETION


async def test_keys_made_elsewhere_are_seen(ledger, open_ledger):
    other = await open_ledger(owner=False)
    key, secret = await other.create_key("elsewhere")
    assert await ledger.lookup(secret) == key
    await other.revoke_key(key.id)
    async with asyncio.timeout(60):
        while ledger.authenticate(secret) is not None:
            await asyncio.sleep(0.02)
    with pytest.raises(Conflict):
        await other.hold(order(key))


async def test_a_raised_limit_is_in_force_at_once(ledger):
    key, _ = await ledger.create_key("acme")
    await ledger.set_tenant("acme", Limits(total_nusd=0))
    with pytest.raises(BudgetExceeded):
        await ledger.hold(order(key))
    await ledger.set_tenant("acme", Limits(total_nusd=10**9))
    ledger.settle(await ledger.hold(order(key)), "finished")
    assert (await ledger.tenants())[0].limits == Limits(total_nusd=10**9)


async def test_budgets_remember_what_was_spent_before_a_restart(ledger, open_ledger):
    key, _ = await ledger.create_key("acme", limits=Limits(total_nusd=10 * PROMPT + 20 * COMPLETION))
    await serve(ledger, key, 10, 20)
    await ledger.close()
    again = await open_ledger()
    with pytest.raises(BudgetExceeded):
        await again.hold(order(key, 1, 1))
    assert (await again.report(0)).totals.requests == 1


async def test_holds_left_open_are_settled_from_their_counts(ledger, open_ledger):
    key, _ = await ledger.create_key("acme", limits=Limits(total_nusd=10**9))
    free, _ = await ledger.create_key("free")
    holds = [await ledger.hold(order(one)) for one in (key, free)]
    for hold in holds:
        hold.count_prompt(10)
        hold.count(7)
    await ledger.close()
    again = await open_ledger(recover=lambda ids: asyncio.sleep(0, dict.fromkeys(ids, 9)))
    records = {record.id: record for record in await again.records()}
    for hold in holds:
        record = records[hold.id]
        assert (record.outcome, record.prompt_tokens, record.completion_tokens) == ("recovered", 10, 7)
        assert record.revenue_nusd == 10 * PROMPT + 7 * COMPLETION
        assert "engine said 9" in record.note
    assert await again.check() == []
    assert (await again.report(0)).held_nusd == 0
    await again.close()
    third = await open_ledger()
    assert (await third.report(0)).totals.requests == 2


async def test_reports_add_up_and_pages_miss_nothing(ledger):
    since = now_ns()
    keys = [(await ledger.create_key(name))[0] for name in ("a", "b")]
    ids = [await serve(ledger, keys[i % 2], 10, i + 1) for i in range(25)]
    await ledger.flush()
    report = await ledger.report(since)
    assert report.totals.requests == 25
    assert report.totals.completion_tokens == sum(range(1, 26))
    assert {one.name: one.requests for one in report.groups["tenant"]} == {"a": 13, "b": 12}
    buckets = await ledger.series(since, now_ns() + 1, 10_000_000)
    assert sum(bucket.requests for bucket in buckets) == 25
    newest = await ledger.records(Filter(limit=10))
    rest = await ledger.records(Filter(limit=100, before=newest[-1].id))
    assert [*newest, *rest] == await ledger.records(Filter(limit=100))
    assert sorted(record.id for record in [*newest, *rest]) == sorted(ids)
    assert [r.id async for page in ledger.export(Filter(tenant="a")) for r in page] == [
        r.id for r in [*newest, *rest] if r.tenant == "a"
    ]
    assert await ledger.check() == []


async def test_metered_energy_is_on_a_record_idle_or_on_an_open_hold(ledger):
    key, _ = await ledger.create_key("acme")
    still = await ledger.hold(order(key))
    still.count(1)
    for _ in range(5):
        await serve(ledger, key)
        await asyncio.sleep(0.01)
    await ledger.flush()
    assert (await ledger.report(0)).totals.energy_mj > 0
    assert await ledger.check() == []
    ledger.settle(still, "finished")


async def test_odd_text_is_kept_out_of_the_way(ledger):
    key, _ = await ledger.create_key("acmé")
    id_ = await serve(ledger, key, note="zero \0, half \ud800, whole 🎉")
    await ledger.flush()
    assert "whole 🎉" in (await ledger.record(id_)).note


async def test_administrative_acts_are_kept(ledger):
    await ledger.audit("admin", "key.create", "key_1", "127.0.0.1")
    await ledger.audit("admin", "key.revoke", "key_1")
    assert [entry.act for entry in await ledger.audit_log(1)] == ["key.revoke"]
    assert (await ledger.audit_log())[1].address == "127.0.0.1"


async def test_health_says_what_is(ledger):
    health = ledger.health()
    assert (health["ok"], health["error"], health["waiting"]) == (True, None, 0)
