"""What every backend does the same way as an owner: hold and settle through a till, tick, poll, flush and close.

A backend says how to let go of its database (`_let_go`), and adds how records get there and what a hold takes.
"""

import asyncio
from abc import abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, Protocol

from aigrid.core.config import Config
from aigrid.core.errors import Conflict, LedgerUnavailable
from aigrid.ledger.answers import Answers
from aigrid.ledger.base import Hold, Outcome, Settlement
from aigrid.ledger.energy import Meter
from aigrid.ledger.holds import OpenHold
from aigrid.ledger.prices import PriceList
from aigrid.ledger.recovery import Recover
from aigrid.ledger.ticker import Ticker
from aigrid.ledger.till import Batch, Till, charge


class Healthy(Protocol):
    """A writer, as far as health is concerned."""

    def health(self) -> dict[str, Any]:
        """Return whether all is well, what is wrong since when, and the time of the last commit."""


class Owning(Answers):
    """Keys, administration and reports, and for the owner a till."""

    backend: ClassVar[str]
    poll_s: ClassVar[float]
    """How often the changes of other processes are looked for, in seconds."""

    def __init__(self, config: Config, owner: bool, meter: Meter | None, recover: Recover | None) -> None:
        super().__init__()
        self.owner = owner
        self.prices = PriceList(config)
        self._config = config
        self._meter = meter
        self._recover = recover
        self._till: Till | None = None
        self._writer: Healthy | None = None
        self._ticker: Ticker | None = None
        self._poller: asyncio.Task[None] | None = None
        self._poll_error: str | None = None
        self._committed = asyncio.Event()

    @abstractmethod
    async def _let_go(self) -> None:
        """Commit what is submitted and let go of everything."""

    def _reachable(self) -> bool:
        """Return whether polling makes sense now."""
        return True

    def _start(self, till: Till, submit: Callable[[Batch], None]) -> None:
        """Begin to tick and to poll."""
        self._ticker = Ticker(till, self._meter, submit, self._config.ledger.commit_ms / 1000)
        self._poller = asyncio.create_task(self._poll(), name="ledger-poll")

    async def close(self) -> None:
        """Settle nothing, lose nothing: commit what is settled and let go. Open holds stay in the journal."""
        if self._poller is not None:
            self._poller.cancel()
            await asyncio.wait([self._poller])
            self._poller = None
        if self._ticker is not None:
            await self._ticker.stop()
            self._ticker = None
        await self._let_go()

    def settle(
        self, hold: Hold, outcome: Outcome, *, site: str = "", usage_source: str = "counted", note: str = ""
    ) -> Settlement:
        """Settle a hold from its counts; a second call changes nothing and returns the first result."""
        assert isinstance(hold, OpenHold)
        settlement = self._owned().settle(hold, outcome, site=site, usage_source=usage_source, note=note)
        self._wake()
        return settlement

    def forecast(self, hold: Hold, prompt: int, cached: int, completion: int, reasoning: int) -> Settlement:
        """Return what settling a hold would come to if these were its counts; changes nothing."""
        assert isinstance(hold, OpenHold)
        revenue, _ = charge(
            hold.tariff, prompt, min(cached, prompt), completion, hold.order.prompt_bound, hold.completion_bound,
            hold.amount_nusd,
        )  # fmt: skip
        return Settlement(
            hold.id, prompt, completion, reasoning, min(cached, prompt), revenue, hold.energy_mj, hold.energy_source
        )

    async def flush(self) -> None:
        """Return when everything settled until now is committed; waits as long as the database fails."""
        till = self._owned()
        if self._ticker is not None:
            await self._ticker.tick()
        until = till.settlements
        while till.commits < until:
            self._committed.clear()
            await self._committed.wait()

    def health(self) -> dict[str, Any]:
        """Return what `/health/ready` shows: database reachable, records waiting for commit, last error."""
        writer, till = self._writer, self._till
        said = writer.health() if writer is not None else {"ok": False, "error": "the ledger is closed"}
        if said["ok"] and self._poll_error is not None:
            said |= {"ok": False, "error": self._poll_error}
        waiting, open_ = (till.waiting, len(till.open)) if till is not None else (0, 0)
        refuses = till is None or till.refuses
        return {"backend": self.backend, **said, "waiting": waiting, "open": open_, "refuses_holds": refuses}

    def _wake(self) -> None:
        if self._ticker is not None:
            self._ticker.wake()

    def _free(self, slots: list[int]) -> None:
        """Free what a committed batch held."""
        if self._till is not None:
            self._till.committed(slots)
            self._committed.set()

    def _owned(self) -> Till:
        if self._till is None:
            raise Conflict(
                "the ledger is not open"
                if self.owner
                else "this process has the ledger open for reading and administration only"
            )
        return self._till

    async def _poll(self) -> None:
        """See what other processes change: new and revoked keys, limits."""
        while True:
            await asyncio.sleep(self.poll_s)
            if self._reachable():
                try:
                    await self.refresh()
                    self._poll_error = None
                except LedgerUnavailable as error:
                    self._poll_error = error.message
