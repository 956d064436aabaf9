"""Every limit holds at every instant, refusals change nothing, and what is not used comes back."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aigrid.core.clock import DAY, SECOND, day_start, month_start
from aigrid.core.errors import BudgetExceeded, RateLimited, Unauthorized
from aigrid.ledger.base import Key, Limits, Order
from aigrid.ledger.book import Book
from aigrid.ledger.prices import Tariff
from aigrid.ledger.windows import MINUTE, Rate, Window

NOON = 1_795_392_000 * SECOND
MTOK = 1_000_000
ONE = Tariff(MTOK, MTOK, MTOK)  # a token costs a nano-dollar


def order(key: Key, prompt: int = 0, completion: int = 10, n: int = 1, flexible: bool = False) -> Order:
    return Order("r", key, "m", "local", "fast", prompt, completion, n, flexible)


class Desk:
    """A book with one key, at a given time."""

    def __init__(self, key: Limits = Limits(), tenant: Limits = Limits()) -> None:
        self.book = Book()
        self.book.tenant("acme", tenant)
        self.key = Key("k1", "acme", limits=key)
        self.account = self.book.key(self.key)
        self.now = NOON
        self.mono = 10**15

    def reserve(self, prompt: int = 0, completion: int = 10, **more: object) -> tuple[int, int]:
        return self.book.reserve(self.account, order(self.key, prompt, completion, **more), ONE, self.now, self.mono)

    def settle(self, held: int, spent: int, tokens: int | None = None) -> None:
        self.book.settle(self.account, held, spent, self.now)
        self.book.leave(self.account, held, spent if tokens is None else tokens)


@pytest.mark.parametrize("whose", ["key", "tenant"])
@pytest.mark.parametrize("window", ["total_nusd", "day_nusd", "month_nusd"])
def test_a_budget_is_used_to_the_last_nano_dollar_and_not_beyond(whose, window):
    desk = Desk(**{whose: Limits(**{window: 100})})
    for _ in range(10):
        desk.reserve()
    with pytest.raises(BudgetExceeded):
        desk.reserve(completion=1)
    desk.settle(10, 7)
    assert desk.reserve(completion=3) == (3, 3)
    with pytest.raises(BudgetExceeded):
        desk.reserve(completion=1)


def test_a_refusal_says_what_was_needed_what_is_left_and_what_to_do():
    desk = Desk(Limits(day_nusd=1_500))
    desk.reserve(completion=1_000)
    with pytest.raises(BudgetExceeded) as refused:
        desk.reserve(prompt=100, completion=600)
    message = refused.value.message
    assert "may cost up to $0.0000007 (100 prompt and 600 completion tokens)" in message
    assert "key k1 has $0.0000005 left of its daily budget of $0.0000015" in message
    assert "$0.000001 held by running requests" in message
    assert "lower max_tokens" in message
    assert refused.value.status == 429


def test_a_day_and_a_month_begin_anew_at_utc_midnight():
    desk = Desk(Limits(day_nusd=10, month_nusd=25))
    for spent in (10, 10, 5):
        desk.reserve(completion=spent)
        desk.settle(spent, spent)
        with pytest.raises(BudgetExceeded):
            desk.reserve(completion=6)
        desk.now += DAY
    desk.now = month_start(NOON + 31 * DAY)
    assert desk.reserve(completion=10) == (10, 10)


def test_a_hold_over_midnight_is_paid_by_the_new_day():
    desk = Desk(Limits(day_nusd=10))
    desk.reserve(completion=10)
    desk.now += DAY
    with pytest.raises(BudgetExceeded):
        desk.reserve(completion=1)
    desk.settle(10, 8)
    assert desk.reserve(completion=2) == (2, 2)


def test_a_clock_that_steps_back_finds_what_was_spent():
    desk = Desk(Limits(day_nusd=10))
    desk.reserve(completion=10)
    desk.settle(10, 10)
    desk.now += DAY
    desk.reserve(completion=4)
    desk.settle(4, 4)
    desk.now -= DAY
    with pytest.raises(BudgetExceeded):
        desk.reserve(completion=1)
    desk.now += DAY
    assert desk.reserve(completion=6) == (6, 6)


@given(st.lists(st.tuples(st.integers(-3, 3), st.integers(0, 100)), max_size=30))
def test_a_window_sums_what_was_spent_in_it_whichever_way_the_clock_steps(steps):
    window, now, spent = Window(day_start), NOON, {}
    for step, amount in steps:
        now += step * DAY // 2
        if abs(now - NOON) > DAY:  # five days seen at most are remembered
            now = NOON
        window.add(amount, now)
        spent[day_start(now)] = spent.get(day_start(now), 0) + amount
        assert window.at(now) == spent[day_start(now)]


def test_a_flexible_order_gets_what_is_affordable():
    desk = Desk(Limits(total_nusd=100), Limits(day_nusd=90))
    assert desk.reserve(prompt=20, completion=1000, flexible=True) == (70, 90)
    desk.settle(90, 0)
    assert desk.reserve(prompt=20, completion=999, n=3, flexible=True) == (69, 89)
    desk.settle(89, 0)
    with pytest.raises(BudgetExceeded):
        desk.reserve(prompt=88, completion=999, n=3, flexible=True)
    assert desk.reserve(prompt=87, completion=999, n=3, flexible=True) == (3, 90)


def test_concurrency_counts_running_requests():
    desk = Desk(Limits(concurrency=2))
    desk.reserve()
    desk.reserve()
    with pytest.raises(RateLimited, match="2 requests running") as refused:
        desk.reserve()
    assert refused.value.retry_after == 1
    desk.settle(10, 1)
    desk.reserve()


def test_requests_per_minute_refill_evenly():
    desk = Desk(tenant=Limits(requests_per_minute=6))
    for _ in range(6):
        desk.reserve()
    with pytest.raises(RateLimited, match=re.escape("limit of 6 requests per minute; try again in 10.0 s")) as refused:
        desk.reserve()
    assert refused.value.retry_after == 10
    desk.mono += 10 * SECOND - 1
    with pytest.raises(RateLimited):
        desk.reserve()
    desk.mono += 1
    desk.reserve()
    with pytest.raises(RateLimited):
        desk.reserve()


def test_tokens_reserved_and_not_used_come_back():
    desk = Desk(Limits(tokens_per_minute=100))
    desk.reserve(completion=100)
    with pytest.raises(RateLimited):
        desk.reserve(completion=1)
    desk.settle(100, 30)
    desk.reserve(completion=70)


def test_an_order_that_can_never_fit_the_token_rate_says_so_and_a_flexible_one_is_cut():
    desk = Desk(Limits(tokens_per_minute=100))
    with pytest.raises(RateLimited, match="may take 110 tokens, and the limit of key k1 is 100 tokens per minute"):
        desk.reserve(prompt=10, completion=100)
    assert desk.reserve(prompt=10, completion=4096, flexible=True) == (90, 100)


def test_a_refusal_takes_nothing():
    desk = Desk(Limits(total_nusd=5, requests_per_minute=1, tokens_per_minute=100, concurrency=1))
    for _ in range(3):
        with pytest.raises(BudgetExceeded):
            desk.reserve(completion=6)
    assert desk.reserve(completion=5) == (5, 5)


def test_a_revoked_key_holds_nothing_more_but_settles():
    desk = Desk()
    desk.reserve()
    desk.book.key(Key("k1", "acme", revoked_ns=1))
    with pytest.raises(Unauthorized, match="revoked"):
        desk.reserve()
    desk.settle(10, 5)


def test_new_limits_hold_for_what_was_spent_before():
    desk = Desk()
    desk.reserve(completion=50)
    desk.settle(50, 50)
    desk.book.tenant("acme", Limits(day_nusd=60))
    assert desk.reserve(completion=10) == (10, 10)
    with pytest.raises(BudgetExceeded):
        desk.reserve(completion=1)


@given(
    st.integers(1, 1000),
    st.lists(st.tuples(st.integers(0, 2 * MINUTE), st.integers(1, 400), st.integers(0, 400)), max_size=40),
)
def test_no_minute_sees_more_than_a_bucket_and_its_refill(limit, steps):
    rate, mono, taken = Rate(), 10**15, []
    for pause, units, back in steps:
        mono += pause
        wait = rate.wait_ns(units, limit, mono)
        if wait == 0:
            rate.add(units)
            used = units - min(units, back)
            rate.add(-min(units, back))
            taken.append((mono, used))
        elif units <= limit:
            assert rate.wait_ns(units, limit, mono + wait) == 0
            mono += wait
    for start, _ in taken:
        assert sum(used for at, used in taken if start <= at <= start + MINUTE) <= 2 * limit


def test_a_refusal_that_running_requests_will_lift_says_when_to_come_back():
    desk = Desk(Limits(total_nusd=30))
    desk.reserve(completion=25)
    with pytest.raises(BudgetExceeded) as refused:
        desk.reserve(completion=25)
    assert refused.value.retry_after == 1.0
    desk.settle(25, 20)
    with pytest.raises(BudgetExceeded) as refused:
        desk.reserve(completion=25)
    assert refused.value.retry_after is None
