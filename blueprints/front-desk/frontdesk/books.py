"""The books: orders, returns, appointments and what was passed on to people, in one SQLite file.

Whatever is written has a key, and a key is written once: doing the same again gives what was written the first time.
The rules of the handbook that decide about money are here, not in a model.
"""

import datetime
import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

APPROVE_ABOVE_EUR = 150.0
RETURN_DAYS, RETURN_DAYS_WINTER = 30, 60
LABEL_EUR, COLLECTION_EUR = 3.5, 25.0
PLACES_A_DAY = 12
_CLOSED = {0: "Mondays", 6: "Sundays"}
_SCHEMA = "CREATE TABLE IF NOT EXISTS entries (number INTEGER PRIMARY KEY, key TEXT UNIQUE, kind TEXT, fields TEXT)"


class Refused(Exception):
    """What is asked for is not possible; the message tells the customer why."""


class Books:
    """The books in `path`, and the orders of a JSON file; `today` is the day they are kept on."""

    def __init__(self, path: Path, orders: Path, today: datetime.date | None = None) -> None:
        self.path = path
        self.today = today or datetime.date.today()
        self._orders: dict[str, dict[str, Any]] = json.loads(orders.read_text())
        with self._open() as database:
            database.execute(_SCHEMA)

    def order(self, number: str) -> dict[str, float]:
        """Return the items of an order with their prices in euros; raises `Refused`."""
        if number not in self._orders:
            raise Refused(f"I find no order {number}. The number is in the e-mail that confirmed the order.")
        items: dict[str, float] = self._orders[number]["items"]
        return items

    def refund(self, order: str, item: str, reason: str) -> float:
        """Return what is refunded for an item, in euros; raises `Refused` where it cannot be returned."""
        items = self.order(order)
        if item not in items:
            raise Refused(f"Order {order} holds no {item}; it holds {', '.join(items)}.")
        if "gift card" in item:
            raise Refused("Gift cards cannot be returned.")
        delivered = self.today - datetime.timedelta(self._orders[order]["delivered_days_ago"])
        winter = delivered.month == 11 or (delivered.month == 12 and delivered.day <= 24)
        limit = RETURN_DAYS_WINTER if winter else RETURN_DAYS
        if (self.today - delivered).days > limit:
            raise Refused(f"Goods can be returned within {limit} days; {order} was delivered on {delivered:%-d %B}.")
        if reason in ("faulty", "wrong goods"):
            return items[item]
        return max(0.0, items[item] - (COLLECTION_EUR if "bicycle" in item else LABEL_EUR))

    def start_return(self, order: str, item: str, reason: str, refund_eur: float) -> dict[str, Any]:
        """Write down a return and return the entry; raises `Refused`, also where the refund is not what is due."""
        due = self.refund(order, item, reason)
        if abs(refund_eur - due) > 0.005:
            raise Refused(f"The refund for {item} of {order} is {due:.2f} euros, not {refund_eur:.2f}.")
        fields = {"order": order, "item": item, "reason": reason, "refund_eur": due}
        return self._write(f"return {order} {item}", "return", fields)

    def book(self, service: str, day: datetime.date, key: str) -> dict[str, Any]:
        """Write down an appointment and return the entry; raises `Refused` for a day on which it is not possible."""
        if day < self.today:
            raise Refused(f"{day:%A %-d %B %Y} is over.")
        if day.weekday() in _CLOSED:
            raise Refused(f"We are closed on {_CLOSED[day.weekday()]}; any day from Tuesday to Saturday is possible.")
        fields = {"service": service, "day": day.isoformat()}
        with self._open() as database:
            database.execute("BEGIN IMMEDIATE")
            taken = "SELECT COUNT(*) FROM entries WHERE kind = 'appointment' AND fields ->> 'day' = ? AND key <> ?"
            if database.execute(taken, (fields["day"], key)).fetchone()[0] >= PLACES_A_DAY:
                raise Refused(f"The workshop is full on {day:%A %-d %B}; which other day would do?")
            return _write(database, key, "appointment", fields)

    def pass_on(self, said: list[str], why: str, key: str) -> dict[str, Any]:
        """Write down for a person what a customer said and why the desk passes it on; returns the entry."""
        return self._write(key, "person", {"said": said, "why": why})

    def entries(self, kind: str) -> list[dict[str, Any]]:
        """Return what was written, oldest first."""
        with self._open() as database:
            rows = database.execute("SELECT number, fields FROM entries WHERE kind = ? ORDER BY number", (kind,))
            return [{"number": number, **json.loads(fields)} for number, fields in rows]

    def _write(self, key: str, kind: str, fields: dict[str, Any]) -> dict[str, Any]:
        with self._open() as database:
            database.execute("BEGIN IMMEDIATE")
            return _write(database, key, kind, fields)

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """Yield the database in a transaction that ends with the block, undone where it fails."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        database = sqlite3.connect(self.path, timeout=10.0)
        try:
            with database:
                yield database
        finally:
            database.close()


def _write(database: sqlite3.Connection, key: str, kind: str, fields: dict[str, Any]) -> dict[str, Any]:
    new = "INSERT INTO entries (key, kind, fields) VALUES (?, ?, ?) ON CONFLICT (key) DO NOTHING"
    database.execute(new, (key, kind, json.dumps(fields)))
    number, written = database.execute("SELECT number, fields FROM entries WHERE key = ?", (key,)).fetchone()
    return {"number": number, **json.loads(written)}
