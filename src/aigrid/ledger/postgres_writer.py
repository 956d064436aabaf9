"""The one task that writes to PostgreSQL: what was settled, and what is asked for, shared transactions for all.

While one transaction is under way the next one gathers. When the database goes away, asks are refused at once, work
waits here (and in the journal) and is committed after the reconnection, however often it was tried before.
"""

import asyncio
import contextlib
import logging
from asyncio import Future
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from aigrid.core.clock import SECOND, mono_ns, now_ns
from aigrid.core.errors import AigridError, ConfigError, LedgerUnavailable
from aigrid.ledger.base import Order
from aigrid.ledger.postgres_desk import Ask, Connection, Family, Grant, Work, transact
from aigrid.ledger.prices import Tariff

log = logging.getLogger(__name__)

TRANSACTION_S = 10.0
_BACKOFF_S = (0.05, 0.1, 0.25, 0.5, 1.0, 2.0)
_ASKS = 256
_ROWS = 1024
_FAULTS = (psycopg.Error, OSError, TimeoutError, AigridError)
_PATIENCE = "SET lock_timeout = '8s'; SET idle_in_transaction_session_timeout = '10s'"
"""A gateway that hangs in the middle of a transaction must not keep the accounts locked for the others."""

_REFUSALS = (psycopg.DataError, psycopg.IntegrityError, psycopg.ProgrammingError)
"""What the database says to the work itself; trying the same again would get the same answer."""


class Writer:
    """The task, its connection and its queues. Used from one event loop."""

    def __init__(
        self,
        url: str,
        gateway: str,
        *,
        connected: Callable[[], Awaitable[None]],
        tend: Callable[[Connection], Awaitable[None]],
        tend_s: float,
        granted: Callable[[str, Grant], None],
        committed: Callable[[list[int]], None],
    ) -> None:
        """Start the task.

        `connected` is called when the database can be reached (again), before anything else is done; `tend` then
        and every `tend_s` seconds; `granted` and `committed` when that is so.
        """
        self._url, self._gateway = url, gateway
        self._on_connected, self._tend, self._tend_ns = connected, tend, int(tend_s * SECOND)
        self._on_granted, self._on_committed = granted, committed
        self._tend_at = 0
        self._asks: deque[Ask] = deque()
        self._pending: deque[Work] = deque()
        self._wake = asyncio.Event()
        self._connection: Connection | None = None
        self._failures = 0
        self._retry_at = 0
        self._stopping_at: int | None = None
        self.up = False
        self.up_since = 0
        self.error: str | None = "not connected yet"
        self.failing_since_ns = now_ns()
        self.committed_ns = 0
        self.set_aside = 0
        self._misfit: ConfigError | None = None
        self.tried = asyncio.Event()
        self._task = asyncio.create_task(self._run(), name="ledger-writer")

    def submit(self, work: Work) -> None:
        """Commit this after all that was submitted before, as soon as may be."""
        self._pending.append(work)
        self._wake.set()

    async def ask(self, order: Order, tariff: Tariff) -> Grant:
        """Ask for a hold; raises what the `Book` raises, or `LedgerUnavailable`."""
        self.require()
        answer: Future[Grant] = asyncio.get_running_loop().create_future()
        self._asks.append(Ask(order, tariff, now_ns(), answer))
        self._wake.set()
        return await answer

    def require(self) -> None:
        """Raise `LedgerUnavailable` while the database cannot be reached, `ConfigError` if it is not one for us."""
        if not self.up:
            raise self._misfit or unreachable(self.error)

    def health(self) -> dict[str, Any]:
        """Return whether all is well, what is wrong since when, and the time of the last commit."""
        return {
            "ok": self.up and self.error is None and not self.set_aside,
            "error": self.error,
            "failing_since_ns": self.failing_since_ns,
            "committed_ns": self.committed_ns,
            "set_aside": self.set_aside,
        }

    def waiting_for(self, root: str) -> bool:
        """Return whether something about this request is still to be committed."""
        return any(root in work.families for work in self._pending)

    async def stop(self, within_s: float = 2.0) -> bool:
        """Commit what waits, for so long; return whether all of it is committed."""
        self._stopping_at = mono_ns() + int(within_s * SECOND)
        self._wake.set()
        await asyncio.wait([self._task])
        return not self._pending

    async def _run(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._pause_s()):
                    await self._wake.wait()
            if self._failures and mono_ns() < self._retry_at and self._stopping_at is None:
                self._wake.clear()
                continue
            self._wake.clear()
            try:
                await self._serve()
            except _FAULTS as error:
                await self._failed(error)
            except Exception as error:
                log.exception("the ledger's writer met an error of its own; it goes on")
                await self._failed(error)
            self.tried.set()
            if self._stopping_at is not None and (not self._pending or mono_ns() > self._stopping_at):
                break
        self._refuse(LedgerUnavailable("the ledger is closed", retry_after=1.0))
        await self._drop()

    def _pause_s(self) -> float:
        if self._stopping_at is not None:
            return 0.05 if self._failures else 0.0
        if self._failures:
            return max(0.0, (self._retry_at - mono_ns()) / SECOND)
        if self._connection is None or self._asks or self._pending:
            return 0.0
        return max(0.0, (self._tend_at - mono_ns()) / SECOND)

    async def _serve(self) -> None:
        if self._connection is None:
            async with asyncio.timeout(TRANSACTION_S):
                self._connection = await psycopg.AsyncConnection.connect(
                    address(self._url, self._gateway), autocommit=True
                )
                await self._connection.execute(_PATIENCE)
            await self._on_connected()
            self._tend_at = 0
            if self._failures:
                log.warning("the ledger's database works again after %d failures", self._failures)
            self._failures, self.error, self.failing_since_ns = 0, None, 0
            self.up, self.up_since = True, mono_ns()
        while self._asks or self._pending:
            await self._turn(self._connection)
            if mono_ns() >= self._tend_at:
                break
        if mono_ns() >= self._tend_at and self._stopping_at is None:
            async with asyncio.timeout(TRANSACTION_S):
                await self._tend(self._connection)
            self._tend_at = mono_ns() + self._tend_ns

    async def _turn(self, connection: Connection) -> None:
        asks = [self._asks.popleft() for _ in range(min(len(self._asks), _ASKS))]
        asks = [ask for ask in asks if not ask.answer.cancelled()]
        work, taken = self._gather()
        try:
            async with asyncio.timeout(TRANSACTION_S):
                answers = await transact(connection, self._gateway, asks, work)
        except BaseException as error:
            for ask in asks:  # granted or not, nobody will know: the sweep after the reconnection lets go of it
                if not ask.answer.done():
                    ask.answer.set_exception(unreachable(str(error) or type(error).__name__))
            if isinstance(error, _REFUSALS) and not asks:
                self._divide(work, taken, error)
            raise
        for _ in range(taken):
            self._pending.popleft()
        self.committed_ns = now_ns()
        self._on_committed(work.slots)
        for ask, answer in zip(asks, answers, strict=True):
            self._answer(ask, answer)

    def _gather(self) -> tuple[Work, int]:
        """Return what waits longest as one, and how many pieces it was."""
        work, taken = Work(), 0
        for one in self._pending:
            if taken and (one.alone or work.alone or len(work.rows) + len(one.rows) > _ROWS):
                break
            work.add(one)
            work.alone = one.alone
            taken += 1
        return work, taken

    def _answer(self, ask: Ask, answer: Grant | AigridError) -> None:
        if isinstance(answer, AigridError):
            if not ask.answer.cancelled():
                ask.answer.set_exception(answer)
        elif ask.answer.cancelled():
            self.release(ask.order)
        else:
            self._on_granted(ask.order.request_id, answer)
            ask.answer.set_result(answer)

    def release(self, order: Order) -> None:
        """Let go of a hold that was granted and that nobody took."""
        self.submit(Work(families={order.request_id: Family(order.key.tenant, order.key.id, None)}))

    def _divide(self, work: Work, taken: int, error: Exception) -> None:
        """Find the row that the database refuses by trying each alone; it is set aside and stays in the journal."""
        for _ in range(taken):
            self._pending.popleft()
        if len(work.rows) > 1 or (work.rows and (work.families or work.meters)):
            rows = zip(work.rows, work.slots, strict=True)
            alone = [Work([row], slots=[slot], alone=True) for row, slot in rows]
            self._pending.extendleft(reversed([*alone, Work([], work.families, work.meters)]))
        else:
            self.set_aside += 1
            log.error("the ledger's database refuses %r: %s; it is set aside and stays in the journal", work, error)

    async def _failed(self, error: Exception) -> None:
        text = str(error).strip() or type(error).__name__
        if not self._failures:
            self.failing_since_ns = now_ns()
            log.error("the ledger's database fails: %s; unlimited keys go on, records wait", text)
        self.up = False
        self.error = text
        self._misfit = error if isinstance(error, ConfigError) else None
        wait = 0.0 if isinstance(error, _REFUSALS) else _BACKOFF_S[min(self._failures, len(_BACKOFF_S) - 1)]
        self._retry_at = mono_ns() + int(wait * SECOND)
        self._failures += 1
        self._refuse(unreachable(text))
        await self._drop()

    def _refuse(self, error: LedgerUnavailable) -> None:
        while self._asks:
            ask = self._asks.popleft()
            if not ask.answer.done():
                ask.answer.set_exception(error)

    async def _drop(self) -> None:
        self.up = False
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(*_FAULTS):
                await connection.close()


def address(url: str, name: str) -> str:
    """Return connection settings by which a database that vanished without a word is noticed within seconds.

    What the URL itself says comes first. Raises `ConfigError` for a URL that is none.
    """
    patient: dict[str, Any] = {
        "application_name": name,
        "connect_timeout": 3,
        "keepalives_idle": 5,
        "keepalives_interval": 2,
        "tcp_user_timeout": 10_000,
    }
    try:
        return make_conninfo("", **{**patient, **conninfo_to_dict(url)})
    except psycopg.ProgrammingError as error:
        raise ConfigError(f"ledger.url is not a PostgreSQL URL: {str(error).strip()}", param="ledger.url") from error


def unreachable(error: str | None) -> LedgerUnavailable:
    """Return the error that a user sees while the database is away."""
    return LedgerUnavailable(
        f"the ledger's database cannot be reached ({error}), and only it knows what is left of a budget; "
        "try again soon, and see /health/ready",
        retry_after=2.0,
    )
