import pytest

from aigrid.core.config import Config
from aigrid.core.errors import BudgetExceeded
from aigrid.ledger.base import Key, Limits, Order
from aigrid.ledger.book import Book
from aigrid.ledger.prices import PriceList


def test_a_refusal_that_running_requests_will_lift_says_when_to_come_back():
    book = Book()
    key = Key("key_1", "acme", limits=Limits(total_nusd=30_000))
    account = book.key(key)
    order = Order("req_1", key, "echo", "local", "fast", prompt_bound=100, completion_bound=100)
    tariff = PriceList(Config()).tariff("echo", "fast", "local", 0)
    book.reserve(account, order, tariff, 0, 0)
    with pytest.raises(BudgetExceeded) as refused:
        book.reserve(account, order, tariff, 0, 0)
    assert refused.value.retry_after == 1.0
    book.settle(account, 25_000, 25_000, 0)
    with pytest.raises(BudgetExceeded) as refused:
        book.reserve(account, order, tariff, 0, 0)
    assert refused.value.retry_after is None
