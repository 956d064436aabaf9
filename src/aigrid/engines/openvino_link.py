"""The client's end of the connection to the embedded engine's worker, and the requests that wait at it."""

import asyncio
from collections import deque
from collections.abc import Callable

from aigrid.core.errors import AigridError
from aigrid.engines import openvino_wire as wire
from aigrid.engines.base import Chunk

Answer = wire.Counted | wire.Reported | wire.Failed


class Open:
    """A request on its way: what came for it, and who waits for more."""

    __slots__ = ("begun", "inbox", "last", "message", "retried", "waiter")

    def __init__(self, message: wire.ToWorker) -> None:
        self.message = message
        self.inbox: deque[Chunk | wire.Counted | wire.Reported | AigridError] = deque()
        self.waiter: asyncio.Future[None] | None = None
        self.begun = self.retried = self.last = False

    def put(self, item: Chunk | wire.Counted | wire.Reported | AigridError) -> None:
        """Hand on what came, or why nothing more will."""
        self.inbox.append(item)
        self.begun = True
        if self.waiter is not None and not self.waiter.done():
            self.waiter.set_result(None)

    async def get(self) -> Chunk | wire.Counted | wire.Reported:
        """Return what comes next, or raise why nothing more will."""
        while not self.inbox:
            self.waiter = asyncio.get_running_loop().create_future()
            await self.waiter
        item = self.inbox.popleft()
        if isinstance(item, AigridError):
            raise item
        return item


class Link(asyncio.Protocol):
    """The connection to one worker."""

    def __init__(self, made: Callable[[wire.Made], None], answered: Callable[[Answer], None]) -> None:
        loop = asyncio.get_running_loop()
        self._on_made, self._on_answer = made, answered
        self._frames = wire.Frames(wire.ToClient)
        self._transport: asyncio.WriteTransport | None = None
        self.heard = 0
        self.hello: asyncio.Future[wire.Hello | None] = loop.create_future()
        self.lost: asyncio.Future[None] = loop.create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the way out."""
        self._transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        """Hand on what is complete."""
        self.heard += 1
        try:
            messages = self._frames.feed(data)
        except ValueError:  # it speaks another language: as good as dead
            self.close()
            return
        for message in messages:
            if isinstance(message, wire.Made):
                self._on_made(message)
            elif isinstance(message, wire.Hello):
                self.hello.set_result(message)
            else:
                self._on_answer(message)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell who waits."""
        if not self.hello.done():
            self.hello.set_result(None)
        if not self.lost.done():
            self.lost.set_result(None)

    def send(self, message: wire.ToWorker) -> None:
        """Send a message, or nothing when the worker is gone."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(wire.pack(message))

    def close(self) -> None:
        """Close the connection."""
        if self._transport is not None:
            self._transport.close()
