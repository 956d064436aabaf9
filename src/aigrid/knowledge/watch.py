"""Watching: look at names, sizes and times every few seconds, and bring the index up to date where they changed.

Looking costs a `stat` for each file and works the same on every file system, a network's included.
"""

import threading
from collections.abc import Iterator, Sequence

from aigrid.core.errors import Conflict
from aigrid.knowledge.ingest import Report
from aigrid.knowledge.library import Library
from aigrid.knowledge.roots import absolute, is_url
from aigrid.knowledge.walk import Found, Walk

Seen = dict[str, Found]


def watch(library: Library, targets: Sequence[str], every_s: float, stop: threading.Event) -> Iterator[Report]:
    """Yield a report at the start and after every change, until `stop` is set; without targets, of all that was added.

    A change is taken in once a look finds it as the one before did, so that a file that is being written is read when
    it is whole. URLs are not watched. While another process writes, changes wait.
    """
    known: Seen | None = None
    before: Seen = {}
    while not stop.is_set():
        paths = [absolute(target) for target in targets] or [root for root in library.roots() if not is_url(root)]
        seen = look(paths)
        if seen != known and (seen == before or known is None):
            try:
                yield library.add(targets, stop=stop) if targets else library.refresh(stop=stop)
                known = seen
            except Conflict:
                pass
        before = seen
        stop.wait(every_s)


def look(paths: Sequence[str]) -> Seen:
    """Return every file below some paths with its size and time; what is not there now has none."""
    seen: Seen = {}
    for path in paths:
        try:
            seen |= {found.path: found for found in Walk(path)}
        except OSError:
            continue
    return seen
