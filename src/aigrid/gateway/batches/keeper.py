"""Answers on their way into the database: those that come while a transaction is under way share the next one."""

import asyncio
import logging

from aigrid.core.errors import LedgerUnavailable
from aigrid.ledger import shelf
from aigrid.ledger.base import Ledger
from aigrid.ledger.shelf import Result

log = logging.getLogger("aigrid.batches")
_MOST = 256
_AGAIN_S = 1.0


class Keeper:
    """Writes answers, and tells when each is durable."""

    def __init__(self, ledger: Ledger, runner: str) -> None:
        self._ledger, self._runner = ledger, runner
        self._queue: list[tuple[Result, asyncio.Future[bool]]] = []
        self._task: asyncio.Task[None] | None = None

    async def keep(self, result: Result) -> bool:
        """Return once an answer is durable: whether it counts. With the database away, this waits."""
        done: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._queue.append((result, done))
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._write(), name="batches-keeper")
        # To be cut off here would leave nobody who knows whether the answer counts: the hold is settled after it.
        return await _to_the_end(done)

    async def _write(self) -> None:
        while self._queue:
            group, self._queue = self._queue[:_MOST], self._queue[_MOST:]
            results = [result for result, _ in group]
            while True:
                try:
                    kept = await self._ledger.write(lambda run, r=results: shelf.keep(run, r, self._runner))  # type: ignore[misc]
                    break
                except LedgerUnavailable as error:
                    log.warning("%d answers of batches wait for the database: %s", len(results), error.message)
                    await asyncio.sleep(_AGAIN_S)
                except Exception as error:  # whatever it is, those who wait must hear of it
                    log.exception("answers of batches cannot be written")
                    for _, done in group:
                        done.set_exception(error)
                    group, kept = [], []
                    break
            for (_, done), counts in zip(group, kept, strict=True):
                done.set_result(counts)


async def _to_the_end(done: "asyncio.Future[bool]") -> bool:
    cancelled = False
    while not done.done():
        try:
            await asyncio.wait([done])
        except asyncio.CancelledError:
            cancelled = True
    if cancelled and (task := asyncio.current_task()) is not None:
        asyncio.get_running_loop().call_soon(task.cancel)
    return done.result()
