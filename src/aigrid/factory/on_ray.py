"""Work on many rows spread over the machines of a Ray cluster, by Ray Data (https://docs.ray.io/en/latest/data).

Cleaning and the search for shared text go row by row. Near duplicates are shuffled by band key, so that texts which may
be alike meet on one machine; the pairs are compared, and the choice of which to keep is made here, in the rows' order.
The rows themselves pass through this process, whose memory must hold them.
"""

import importlib.util
import logging
import os
import pickle
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, TypeVar

from aigrid.core.errors import ConfigError
from aigrid.factory import near
from aigrid.factory.spread import PART

T = TypeVar("T")
U = TypeVar("U")


class OnRay:
    """On the cluster that RAY_ADDRESS names, else on one that is started on this machine."""

    def __init__(self) -> None:
        if importlib.util.find_spec("ray") is None:
            raise ConfigError("Ray is not installed: pip install 'aigrid[ray]'")
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is told to anybody
        import ray.data
        from ray.data.context import ShuffleStrategy

        if not ray.is_initialized():
            ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        context.shuffle_strategy = ShuffleStrategy.SORT_SHUFFLE_PULL_BASED  # many small groups: 8 times as fast as hash
        self._data: Any = ray.data

    def map(self, work: Callable[[Sequence[T]], list[U]], items: Sequence[T]) -> Iterator[U]:
        """Yield what `work` makes of each item, in order."""
        if items:
            done = self._parts(items).map(partial(_worked, work=work)).take_all()
            for row in sorted(done, key=lambda row: int(row["at"])):
                yield from pickle.loads(row["part"])

    def near(self, texts: Sequence[str], least: float) -> Iterator[tuple[int, int, float]]:
        """Yield (later, earlier, Jaccard) for texts that are nearly an earlier one that was kept."""
        if not texts:
            return
        banded = self._parts(list(enumerate(texts))).flat_map(_banded)
        meetings = banded.groupby("key").map_groups(_met, batch_format="numpy").take_all()
        pairs = sorted({(int(row["later"]), int(row["earlier"])) for row in meetings})
        alike: dict[int, list[tuple[float, int]]] = defaultdict(list)
        compared = self.map(_compared, [(texts[later], texts[earlier]) for later, earlier in pairs])
        for (later, earlier), found in zip(pairs, compared, strict=True):
            if found >= least:
                alike[later].append((found, -earlier))
        gone: set[int] = set()
        for at in sorted(alike):
            best = max((each for each in alike[at] if -each[1] not in gone), default=None)
            if best is not None:
                gone.add(at)
                yield at, -best[1], best[0]

    def _parts(self, items: Sequence[Any]) -> Any:
        return self._data.from_items(
            [{"at": at, "part": pickle.dumps(items[at : at + PART])} for at in range(0, len(items), PART)]
        )


def _worked(row: dict[str, Any], work: Callable[[Any], list[Any]]) -> dict[str, Any]:
    return {"at": row["at"], "part": pickle.dumps(work(pickle.loads(row["part"])))}


def _banded(row: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {"key": f"{band}:{key.hex()}", "at": at}
        for at, text in pickle.loads(row["part"])
        for band, key in near.keys(near.shingles(text))
    ]


def _met(group: dict[str, Any]) -> dict[str, list[int]]:
    """Return the pairs of texts that share a key."""
    there = sorted(int(at) for at in group["at"])
    pairs = [(later, earlier) for place, later in enumerate(there) for earlier in there[:place]]
    return {"later": [later for later, _ in pairs], "earlier": [earlier for _, earlier in pairs]}


def _compared(pairs: Sequence[tuple[str, str]]) -> list[float]:
    return [near.jaccard(near.shingles(one), near.shingles(other)) for one, other in pairs]
