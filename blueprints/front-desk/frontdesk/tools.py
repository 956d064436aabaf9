"""The desk's forms as tools, for an agent whose model leads the conversation itself. They check what they are given."""

import datetime
from pathlib import Path
from typing import Any, Literal

from frontdesk.books import Books, Refused

DATA = Path(__file__).resolve().parent.parent / "data"
STATE = DATA / "state"


def look_up_order(order: str) -> dict[str, Any]:
    """Return the items of an order, and what is refunded for each by the reason of its return."""
    try:
        books = _books()
        return {"order": order, "items": {item: _refunds(books, order, item) for item in books.order(order)}}
    except Refused as refused:
        return {"refused": str(refused)}


def start_return(
    order: str, item: str, reason: Literal["faulty", "wrong size", "wrong goods", "not wanted"], refund_eur: float
) -> dict[str, Any]:
    """Start the return of one item; the refund must be the one that look_up_order names."""
    try:
        return _books().start_return(order, item, reason, refund_eur)
    except Refused as refused:
        return {"refused": str(refused)}


def book_appointment(
    service: Literal["small service", "full service", "puncture"], day: str, idempotency_key: str = ""
) -> dict[str, Any]:
    """Book the workshop for a day, written YYYY-MM-DD."""
    try:
        return _books().book(service, datetime.date.fromisoformat(day), idempotency_key)
    except ValueError:
        return {"refused": f"{day} is no day; write it like 2026-05-08"}
    except Refused as refused:
        return {"refused": str(refused)}


def pass_on(what: str, why: str, idempotency_key: str = "") -> dict[str, Any]:
    """Pass a customer on to a person: what they want, and why the desk does not do it."""
    return _books().pass_on([what], why, idempotency_key)


def _books() -> Books:
    return Books(STATE / "books.sqlite", DATA / "orders.json")


def _refunds(books: Books, order: str, item: str) -> dict[str, Any]:
    try:
        reasons = ("faulty", "wrong size", "wrong goods", "not wanted")
        return {reason: books.refund(order, item, reason) for reason in reasons}
    except Refused as refused:
        return {"refused": str(refused)}
