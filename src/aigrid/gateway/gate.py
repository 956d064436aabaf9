"""The bounded queue in front of the engines: so many run, so many wait, the rest are told to come back."""

import asyncio
import contextlib
from collections import deque

from aigrid.core.errors import RateLimited, Unavailable


class Gate:
    """Lets `most` requests in at once; `waiting` more may queue for at most `patience` seconds."""

    def __init__(self, most: int, waiting: int, patience: float) -> None:
        self._most = most
        self._most_waiting = waiting
        self._patience = patience
        self._queue: deque[asyncio.Future[None]] = deque()
        self.running = 0
        self.closed = False
        self.rushing = 0
        self.calm = asyncio.Event()
        self.calm.set()
        self._empty = asyncio.Event()
        self._empty.set()

    @property
    def waiting(self) -> int:
        """Requests in the queue."""
        return len(self._queue)

    async def enter(self) -> None:
        """Take a place; raises `RateLimited` when the queue is full or the wait too long."""
        if self.closed:
            raise Unavailable("the gateway is stopping; try again in a moment", retry_after=2)
        if self.running < self._most and not self._queue:
            self.running += 1
            self._empty.clear()
            return
        if len(self._queue) >= self._most_waiting:
            raise RateLimited(
                f"{self.running} requests are running and {self.waiting} are waiting, which is all this gateway takes",
                code="queue_full",
                retry_after=1,
            )
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.append(place)
        try:
            async with asyncio.timeout(self._patience):
                await place
        except BaseException as error:
            if place.done() and not place.cancelled():
                self.leave()
            else:
                with contextlib.suppress(ValueError):  # `leave` may have passed it over already
                    self._queue.remove(place)
            if isinstance(error, TimeoutError):
                raise RateLimited(
                    f"no place became free in {self._patience:g} s", code="queue_timeout", retry_after=1
                ) from None
            raise

    def leave(self) -> None:
        """Give the place to the next in the queue."""
        while self._queue:
            place = self._queue.popleft()
            if not place.done():
                place.set_result(None)
                return
        self.running -= 1
        if self.running == 0:
            self._empty.set()

    def rush(self) -> None:
        """Note that a request which was let in waits for its first token: what is patient makes way."""
        self.rushing += 1
        self.calm.clear()

    def rest(self) -> None:
        """Note that it has its first token, or ended without."""
        self.rushing -= 1
        if not self.rushing:
            self.calm.set()

    async def drain(self, patience: float) -> bool:
        """Let nobody in any more and wait until all have left; False when `patience` seconds were not enough."""
        self.closed = True
        try:
            async with asyncio.timeout(patience):
                await self._empty.wait()
        except TimeoutError:
            return False
        return True
