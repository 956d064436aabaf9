"""Records are committed in groups, some 50 ms after an answer has ended: tests wait for what they want to see."""

import time


def until(read, holds, seconds=60):
    """Read again until `holds` of what was read; returns that."""
    end = time.monotonic() + seconds
    while not holds(found := read()):
        assert time.monotonic() < end, found
        time.sleep(0.02)
    return found
