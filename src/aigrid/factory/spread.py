"""Where the work on many rows is done: in this process, or spread over machines (on_ray.py). The result is the same."""

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol, TypeVar

from aigrid.factory import near

T = TypeVar("T")
U = TypeVar("U")
PART = 500
"""Rows that are worked on together."""


class Spread(Protocol):
    """Does work on rows; what it is given must be a function of a module, so that other machines find it."""

    def map(self, work: Callable[[Sequence[T]], list[U]], items: Sequence[T]) -> Iterator[U]:
        """Yield what `work` makes of each item, in order. It is given some items at a time and sees no others."""

    def near(self, texts: Sequence[str], least: float) -> Iterator[tuple[int, int, float]]:
        """Yield near duplicates as `near.near` does."""


class Here:
    """In this process."""

    def map(self, work: Callable[[Sequence[T]], list[U]], items: Sequence[T]) -> Iterator[U]:
        """Yield what `work` makes of each item, in order."""
        for at in range(0, len(items), PART):
            yield from work(items[at : at + PART])

    def near(self, texts: Sequence[str], least: float) -> Iterator[tuple[int, int, float]]:
        """Yield (later, earlier, Jaccard) for texts that are nearly an earlier one."""
        return near.near(texts, least)
