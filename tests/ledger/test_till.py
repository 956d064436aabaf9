"""Whatever happens, in whatever order: no budget is exceeded, every sum is exact, every hold is settled once."""

import sqlite3
import tempfile
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from aigrid.core.clock import DAY, SECOND, day_start, month_start
from aigrid.core.config import Config, PriceConfig
from aigrid.core.errors import BudgetExceeded, Conflict, LedgerUnavailable, RateLimited
from aigrid.ledger import checks, journal, recovery, reports
from aigrid.ledger.account import Account
from aigrid.ledger.base import Key, Limits, Order, Record
from aigrid.ledger.book import Book
from aigrid.ledger.energy import Sample
from aigrid.ledger.journal import Journal
from aigrid.ledger.prices import PriceList
from aigrid.ledger.schema import insert, migrate
from aigrid.ledger.till import Batch, Till
from aigrid.ledger.writer import insert_meter, insert_usage, merged

NOON = 1_795_392_000 * SECOND
CONFIG = Config(prices=[PriceConfig(prompt_usd_per_mtok=3e-7, cached_usd_per_mtok=1e-7, completion_usd_per_mtok=7e-7)])
PRICES = PriceList(CONFIG)
KEYS = [
    Key("key_a", "acme", limits=Limits(total_nusd=20_000)),
    Key("key_b", "acme", limits=Limits(day_nusd=6_000, concurrency=4)),
]
TENANT = Limits(total_nusd=30_000, month_nusd=20_000, day_nusd=9_000)


class Time:
    def __init__(self) -> None:
        self.ns = NOON

    def __call__(self) -> int:
        return self.ns


class Factory:
    """A till on a real journal and a real database, that can be killed and started again."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "journal"
        self.database = sqlite3.connect(":memory:", isolation_level=None)
        migrate(self.database)
        self.time = Time()
        self.start()

    def run(self, sql: str, params: object) -> list[tuple]:
        return self.database.execute(sql, params).fetchall()

    def start(self) -> list[Record]:
        left, unreadable = recovery.left_behind(journal.read(self.path))
        assert unreadable == 0
        recovered = recovery.commit(self.run, left, 0, {}, "local", self.time.ns, insert)
        self.book = Book()
        self.book.tenant("acme", TENANT)
        for key in KEYS:
            self.book.key(key)
        now = self.time.ns
        self.book.load(*(reports.spent(self.run, since) for since in (0, day_start(now), month_start(now))), now)
        self.till = Till(self.book, Journal(self.path), PRICES, "local", clock=self.time, mono=self.time)
        self.queue: list[Batch] = []
        return recovered

    def tick(self, energy_mj: int = 0) -> None:
        batch = self.till.tick(Sample(energy_mj, 7_000_000_000, "test"))
        if batch is not None:
            self.queue.append(batch)

    def commit(self) -> None:
        for batch in self.queue:
            insert_usage(self.database, batch.rows)
            assert batch.meter is not None
            insert_meter(self.database, batch.meter)
            self.till.committed(batch.slots)
        self.queue = []

    def kill(self, *, twice: bool = False) -> list[Record]:
        """Die and start again; `twice` dies once more after recovery is committed, before the journal is made anew."""
        self.till.close()
        if not twice:
            return self.start()
        left, _ = recovery.left_behind(journal.read(self.path))
        recovered = recovery.commit(self.run, left, 0, {}, "local", self.time.ns, insert)
        assert self.start() == []
        return recovered

    def accounts(self) -> list[Account]:
        return [*self.book.keys.values(), *self.book.tenants.values()]


class Anything(RuleBasedStateMachine):
    """Holds, children, counts, settlements, ticks, commits, crashes and midnights in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory(prefix="aigrid-till-")
        self.factory = Factory(Path(self.folder.name))
        self.numbers = iter(range(10**6))
        self.counted: dict[str, tuple[int, int]] = {}
        self.late: object = None

    def teardown(self) -> None:
        for hold in list(self.factory.till.open.values()):
            self.factory.till.settle(hold, "stopped")
        self.factory.tick(11)
        self.factory.commit()
        assert all(account.held == 0 and account.running == 0 for account in self.factory.accounts())
        rows = self.factory.run("SELECT id, prompt_tokens, completion_tokens FROM usage ORDER BY id", ())
        assert rows == sorted((id_, *counts) for id_, counts in self.counted.items())
        assert checks.check(self.factory.run) == []
        self.no_request_spends_more_than_it_held()
        self.factory.till.close()
        self.folder.cleanup()

    def no_request_spends_more_than_it_held(self) -> None:
        records = self.factory.run("SELECT id, parent, held_nusd, revenue_nusd FROM usage", ())
        parents = {id_: parent for id_, parent, _, _ in records}
        left = {id_: held for id_, parent, held, _ in records if parent is None}
        for id_, _, _, revenue in records:
            while parents[id_] is not None:
                id_ = parents[id_]
            left[id_] -= revenue
        assert all(amount >= 0 for amount in left.values())

    def place(self, order: Order, parent: object = None) -> None:
        before = [(account.spent, account.held, account.running) for account in self.factory.accounts()]
        try:
            hold = self.factory.till.hold(order, parent)
        except (BudgetExceeded, RateLimited):
            assert before == [(account.spent, account.held, account.running) for account in self.factory.accounts()]
            return
        if order.flexible:
            assert order.n <= hold.completion_bound <= order.completion_bound
            assert hold.completion_bound % order.n == 0
        else:
            assert hold.completion_bound == order.completion_bound
        self.counted[hold.id] = (0, 0)

    def pick(self, number: int) -> object:
        return list(self.factory.till.open.values())[number % len(self.factory.till.open)]

    def any_open(self) -> bool:
        return bool(self.factory.till.open)

    @rule(
        key=st.sampled_from(KEYS), prompt=st.sampled_from([0, 1, 1_999_999, 8_000_000]),
        completion=st.sampled_from([1, 333, 2_000_001, 5_000_000]), n=st.integers(1, 3), flexible=st.booleans(),
        site=st.sampled_from(["local", "far"]), long=st.booleans(),
    )  # fmt: skip
    def hold(self, key: Key, prompt: int, completion: int, n: int, flexible: bool, site: str, long: bool) -> None:
        model = "m" * (2000 if long else 5)
        name = f"req_{next(self.numbers)}"
        self.place(Order(name, key, model, site, "fast", prompt, completion * n, n, flexible))

    @precondition(any_open)
    @rule(which=st.integers(0, 99), completion=st.sampled_from([1, 700_003, 4_000_000]), flexible=st.booleans())
    def child(self, which: int, completion: int, flexible: bool) -> None:
        parent = self.pick(which)
        name = f"req_{next(self.numbers)}"
        self.place(Order(name, parent.order.key, "m", "local", "think", 100_000, completion, 1, flexible), parent)

    @precondition(any_open)
    @rule(which=st.integers(0, 99), prompt=st.integers(0, 9_000_000), completion=st.integers(0, 3_000_000))
    def count(self, which: int, prompt: int, completion: int) -> None:
        hold = self.pick(which)
        hold.count_prompt(prompt, prompt // 3)
        hold.count(completion, completion // 2)
        self.counted[hold.id] = (hold.prompt_tokens, hold.completion_tokens)

    @precondition(any_open)
    @rule(which=st.integers(0, 99), site=st.sampled_from(["", "far"]), note=st.sampled_from(["", "n" * 700]))
    def settle(self, which: int, site: str, note: str) -> None:
        hold = self.late = self.pick(which)
        first = self.factory.till.settle(hold, "finished", site=site, note=note)
        assert self.factory.till.settle(hold, "failed") is first

    @precondition(lambda self: self.late is not None)
    @rule()
    def count_too_late(self) -> None:
        self.late.count(10**6)
        self.late.count_prompt(10**6)

    @rule(energy=st.integers(0, 10**6), passed=st.integers(0, 10**9))
    def tick(self, energy: int, passed: int) -> None:
        self.factory.time.ns += passed
        self.factory.tick(energy)

    @rule()
    def commit(self) -> None:
        self.factory.commit()

    @rule(step=st.sampled_from([3600 * SECOND, DAY, 31 * DAY]))
    def later(self, step: int) -> None:
        self.factory.time.ns += step

    @rule(twice=st.booleans())
    def kill(self, twice: bool) -> None:
        open_before = set(self.factory.till.open)
        recovered = self.factory.kill(twice=twice)
        self.no_request_spends_more_than_it_held()
        assert {record.id for record in recovered} == open_before
        assert all(record.outcome == "recovered" and "found open" in record.note for record in recovered)
        assert checks.check(self.factory.run) == []

    def settled(self) -> list[tuple[str, int, int]]:
        """Key, money and time of every settlement, wherever it is on its way."""
        factory, till = self.factory, self.factory.till
        found = factory.run("SELECT key_id, revenue_nusd, settled_ns FROM usage", ())
        names = [Record.__struct_fields__.index(name) for name in ("key_id", "revenue_nusd", "settled_ns")]
        found += [tuple(row[i] for i in names) for batch in factory.queue for row in batch.rows]
        notes = [(hold.order.key.id, hold.settled_note) for hold in till.settled]
        return found + [(key, note.revenue_nusd, note.settled_ns) for key, note in notes]

    @invariant()
    def no_budget_is_exceeded(self) -> None:
        now = self.factory.time.ns
        settled = self.settled()
        held = [(hold.order.key.id, hold.amount_nusd) for hold in self.factory.till.open.values()]
        for limits, ids in [(TENANT, {key.id for key in KEYS}), *((key.limits, {key.id}) for key in KEYS)]:
            reserved = sum(amount for key, amount in held if key in ids)
            for most, since in (
                (limits.total_nusd, 0), (limits.day_nusd, day_start(now)), (limits.month_nusd, month_start(now))
            ):  # fmt: skip
                spent = sum(amount for key, amount, at in settled if key in ids and at >= since)
                assert most is None or spent + reserved <= most

    @invariant()
    def memory_agrees_with_the_records(self) -> None:
        book, till, now = self.factory.book, self.factory.till, self.factory.time.ns
        settled = self.settled()
        tenant = book.tenants["acme"]
        assert tenant.spent == sum(amount for _, amount, _ in settled) == sum(key.spent for key in book.keys.values())
        assert tenant.day.at(now) == sum(amount for _, amount, at in settled if at >= day_start(now))
        assert tenant.held == till.held_nusd == sum(key.held for key in book.keys.values())
        assert tenant.running == sum(hold.parent is None for hold in till.open.values())

    @invariant()
    def energy_is_conserved(self) -> None:
        till = self.factory.till
        gathered = sum(hold.energy_mj for hold in [*till.open.values(), *till.settled])
        assert till.attribution._open[0] == gathered
        assert checks.meter(self.factory.run) == []


TestAnything = Anything.TestCase
TestAnything.settings = settings(
    max_examples=100,
    stateful_step_count=40,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)


@pytest.fixture
def factory(tmp_path):
    factory = Factory(tmp_path)
    yield factory
    factory.till.close()


def order(name: str, prompt: int = 0, completion: int = 1_000_000, key: Key = KEYS[0], **more: object) -> Order:
    return Order(name, key, "m", "local", "fast", prompt, completion, **more)


def test_a_settled_hold_costs_what_was_counted_and_frees_the_rest(factory):
    hold = factory.till.hold(order("r1", 10_000_000, 5_000_000))
    assert hold.amount_nusd == 6500
    hold.count_prompt(1_000_000, 400_000)
    hold.count(2_000_000)
    settlement = factory.till.settle(hold, "finished")
    assert settlement.revenue_nusd == 180 + 40 + 1400
    assert (factory.book.keys["key_a"].spent, factory.book.keys["key_a"].held) == (settlement.revenue_nusd, 0)


def test_more_than_was_held_for_is_recorded_but_not_charged(factory):
    hold = factory.till.hold(order("r1", 1_000_000, 1_000_000))
    hold.count_prompt(3_000_000)
    hold.count(5_000_000)
    assert factory.till.settle(hold, "finished").revenue_nusd == hold.held_nusd == 1000
    factory.tick()
    factory.commit()
    record = reports.record(factory.run, "r1")
    assert (record.prompt_tokens, record.completion_tokens) == (3_000_000, 5_000_000)
    assert record.note == "2000000 prompt and 4000000 completion tokens beyond the hold, not charged"


def test_children_draw_on_their_parent_and_give_back(factory):
    parent = factory.till.hold(order("p", 0, 10_000_000))
    child = factory.till.hold(order("c", 0, 4_000_000), parent)
    assert (parent.amount_nusd, child.amount_nusd) == (4200, 2800)
    assert factory.book.keys["key_a"].held == 7000
    with pytest.raises(BudgetExceeded, match="left of what the request holds"):
        factory.till.hold(order("d", 0, 7_000_000), parent)
    child.count(1_000_000)
    assert factory.till.settle(child, "finished").revenue_nusd == 700
    assert parent.amount_nusd == 6300
    assert factory.till.settle(parent, "finished").revenue_nusd == 0
    assert (factory.book.keys["key_a"].spent, factory.book.keys["key_a"].held) == (700, 0)


def test_a_crash_charges_a_request_and_its_children_no_more_than_was_held(factory):
    parent = factory.till.hold(order("p", 0, 10_000_000))
    child = factory.till.hold(order("c", 0, 4_000_000), parent)
    parent.count(10_000_000)
    child.count(4_000_000)
    recovered = factory.kill()
    assert {record.id: record.revenue_nusd for record in recovered} == {"p": 4200, "c": 2800}
    assert recovered[0].note.endswith("$0.0000028 beyond the hold, not charged")
    assert factory.book.keys["key_a"].spent == 7000


def test_a_child_that_outlives_its_parent_returns_its_rest_to_the_account(factory):
    parent = factory.till.hold(order("p", 0, 10_000_000))
    child = factory.till.hold(order("c", 0, 4_000_000), parent)
    factory.till.settle(parent, "client_gone")
    child.count(1_000_000)
    factory.till.settle(child, "finished")
    account = factory.book.keys["key_a"]
    assert (account.spent, account.held, account.running) == (700, 0, 0)


def test_a_child_must_be_of_the_same_key_and_an_open_parent(factory):
    parent = factory.till.hold(order("p"))
    with pytest.raises(Conflict, match="belongs to key key_a"):
        factory.till.hold(order("c", key=KEYS[1]), parent)
    factory.till.settle(parent, "finished")
    with pytest.raises(Conflict, match="is settled"):
        factory.till.hold(order("c"), parent)


def test_one_request_id_has_one_open_hold(factory):
    factory.till.hold(order("r1"))
    with pytest.raises(Conflict, match="r1 has a hold already"):
        factory.till.hold(order("r1"))


def test_an_id_used_again_after_settlement_makes_a_second_record(factory):
    for completion in (1, 2):
        factory.time.ns += 1
        hold = factory.till.hold(order("same"))
        hold.count(completion)
        factory.till.settle(hold, "finished")
    factory.tick()
    factory.commit()
    assert factory.run("SELECT completion_tokens FROM usage ORDER BY seq", ()) == [(1,), (2,)]


def test_a_batch_committed_twice_counts_once(factory):
    hold = factory.till.hold(order("r1"))
    hold.count(5)
    factory.till.settle(hold, "finished")
    factory.tick(100)
    batch = factory.queue[0]
    for _ in range(2):
        insert_usage(factory.database, batch.rows)
        insert_meter(factory.database, batch.meter)
    factory.commit()
    assert factory.run(
        "SELECT SUM(requests), SUM(completion_tokens) FROM usage_rollup WHERE span_ns = 3600000000000", ()
    ) == [(1, 5)]
    assert checks.check(factory.run) == []


def test_holds_are_refused_when_too_many_records_wait_for_the_database(factory):
    factory.till._max_waiting = 2
    for name in ("r1", "r2"):
        factory.till.settle(factory.till.hold(order(name)), "finished")
    assert factory.till.refuses
    with pytest.raises(LedgerUnavailable) as refused:
        factory.till.hold(order("r3"))
    assert refused.value.retry_after
    factory.tick()
    factory.commit()
    assert not factory.till.refuses
    factory.till.hold(order("r3"))


def test_counting_a_settled_hold_changes_nothing(factory):
    hold = factory.till.hold(order("r1"))
    hold.count(3)
    factory.till.settle(hold, "finished")
    hold.count(5)
    hold.count_prompt(9)
    factory.tick()
    factory.commit()
    record = reports.record(factory.run, "r1")
    assert (record.prompt_tokens, record.completion_tokens) == (0, 3)


def test_records_wait_for_the_next_tick_where_sharing_out_energy_fails(factory, monkeypatch):
    factory.till.settle(factory.till.hold(order("r1")), "finished")
    with monkeypatch.context() as broken, pytest.raises(ZeroDivisionError):
        broken.setattr(factory.till.attribution, "share", lambda *_: 1 // 0)
        factory.tick()
    factory.tick(1000)
    factory.commit()
    assert reports.record(factory.run, "r1").energy_mj == 1000


def test_counts_never_shrink(factory):
    hold = factory.till.hold(order("r1"))
    with pytest.raises(ValueError, match="only grow"):
        hold.count(-1)
    with pytest.raises(ValueError, match="never negative"):
        hold.count_prompt(-1)


def test_an_upstream_that_lies_wildly_breaks_no_sum(factory):
    hold = factory.till.hold(order("r1"))
    hold.count_prompt(10**30, 10**29)
    hold.count(10**30, 10**30)
    hold.count(10**30)
    assert factory.till.settle(hold, "finished").revenue_nusd == hold.held_nusd
    factory.tick()
    factory.commit()
    assert reports.record(factory.run, "r1").completion_tokens == 2**40
    assert checks.check(factory.run) == []


def test_the_engines_own_figure_stands_in_the_note_of_a_recovered_record(factory):
    hold = factory.till.hold(order("r1"))
    hold.count(7)
    factory.till.close()
    left, _ = recovery.left_behind(journal.read(factory.path))
    (record,) = recovery.commit(factory.run, left, 0, {"r1": 9}, "local", NOON, insert)
    assert record.completion_tokens == 7
    assert "engine said 9 completion tokens" in record.note


def test_meter_rows_of_one_source_merge_and_others_do_not(factory):
    factory.till.settle(factory.till.hold(order("r1")), "finished")
    factory.tick(10)
    factory.till.settle(factory.till.hold(order("r2")), "finished")
    factory.tick(20)
    first, second = (batch.meter for batch in factory.queue)
    both = merged(first, second)
    assert (both.total_mj, both.open_mj, both.id) == (30, second.open_mj, second.id)
    assert merged(first, msgspec.structs.replace(second, source="other")) is None


@pytest.mark.parametrize(("seconds", "comes_back"), [(59, True), (60, False), (90, False)])
def test_tokens_that_have_all_drained_while_a_request_ran_are_not_given_back_again(factory, seconds, comes_back):
    key = Key("key_c", "acme", limits=Limits(tokens_per_minute=60))
    factory.book.key(key)
    long = factory.till.hold(order("r1", completion=60, key=key))
    factory.time.ns += seconds * SECOND
    factory.till.hold(order("r2", completion=min(60, seconds), key=key))
    factory.till.settle(long, "client_gone")
    if comes_back:
        factory.till.hold(order("r3", completion=60, key=key))
    else:
        with pytest.raises(RateLimited):
            factory.till.hold(order("r3", completion=1, key=key))
