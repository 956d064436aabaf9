"""Stages that work at once: each is an iterator that a thread of its own runs ahead of who reads it."""

import queue
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")

_POLL_S = 0.05


class _End:
    """The last thing in a queue: the stage has ended, with an error or well."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error


def ahead(items: Iterable[T], most: int) -> Generator[T, None, None]:
    """Yield `items`, which a thread makes up to `most` ahead; its error is raised here; closing this ends it."""
    made: queue.Queue[T | _End] = queue.Queue(most)
    unwanted = threading.Event()

    def put(item: T | _End) -> None:
        while not unwanted.is_set():
            try:
                made.put(item, timeout=_POLL_S)
                return
            except queue.Full:
                pass

    def work() -> None:
        end = _End()
        try:
            for item in items:
                put(item)
                if unwanted.is_set():
                    break
        except BaseException as error:
            end = _End(error)
        finally:
            if isinstance(items, Generator):
                items.close()
        put(end)

    thread = threading.Thread(target=work, name="ahead", daemon=True)
    thread.start()
    try:
        while not isinstance(item := made.get(), _End):
            yield item
        if item.error is not None:
            raise item.error
    finally:
        unwanted.set()
        thread.join()


def side_by_side(work: Callable[[T], R], items: Iterable[T], threads: int) -> Iterator[R]:
    """Yield `work(item)` for each item, in order, done by so many threads; no more are begun than are needed."""
    with ThreadPoolExecutor(threads) as pool:
        begun: deque[Future[R]] = deque()
        for item in items:
            begun.append(pool.submit(work, item))
            if len(begun) > threads:
                yield begun.popleft().result()
        while begun:
            yield begun.popleft().result()
