"""A text as hashed n-grams, and what a linear model says of each stretch of it: one pass, numpy only.

Features are words, pairs and triples of words, and runs of four and of five bytes, each hashed to a bucket (feature
hashing, Weinberger et al. 2009). A stretch scores `sum of weights / sqrt(number of features) + bias`; as sums over
stretches are differences of running sums, all windows of a text cost no more than the text itself.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]

BITS = 20
"""The model has 2**BITS buckets."""
SPANS = (320, 1280)
"""Lengths of windows, in bytes; each begins a quarter of its length after the one before."""
RUNS = (4, 5)
"""Lengths of runs of bytes."""
PIECE = 16_384
"""Longer texts are read in pieces of so many bytes, which share a window's length with the next."""

_PRIME = 0x9E3779B97F4A7C15
_INVERSE = pow(_PRIME, -1, 1 << 64)
_MIX = np.uint64(0xBF58476D1CE4E5B9)
_WORDS = np.zeros(256, bool)
_WORDS[[*range(48, 58), *range(97, 123), *range(128, 256)]] = True


def _powers(base: int) -> npt.NDArray[np.uint64]:
    steps = np.full(PIECE + 1, np.uint64(base), np.uint64)
    steps[0] = 1
    return np.cumprod(steps, dtype=np.uint64)


_POWERS, _INVERSES = _powers(_PRIME), _powers(_INVERSE)


@dataclass(frozen=True)
class Features:
    """Buckets of a piece of text, and the byte at which each feature begins, in ascending order of kind, not place."""

    buckets: Ints
    places: Ints
    length: int


def pieces(data: bytes) -> list[bytes]:
    """Cut a long text, so that every window of the longest span lies whole in some piece."""
    step = PIECE - SPANS[-1]
    return [data[at : at + PIECE] for at in range(0, max(1, len(data) - SPANS[-1]), step)]


def features(piece: bytes) -> Features:
    """Return the hashed features of at most `PIECE` bytes of lower-case text."""
    raw = np.frombuffer(piece, np.uint8)
    size = len(raw)
    sums = np.zeros(size + 1, np.uint64)
    np.cumsum((raw.astype(np.uint64) + np.uint64(1)) * _POWERS[:size], out=sums[1:])
    hashes, places = [], []
    for n in RUNS:
        count = max(0, size - n + 1)
        hashes.append((sums[size + 1 - count :] - sums[:count]) * _INVERSES[:count] + np.uint64(n))
        places.append(np.arange(count))
    inside = np.zeros(size + 2, np.int8)
    inside[1:-1] = _WORDS[raw]
    edges = np.flatnonzero(np.diff(inside))
    begins, ends = edges[::2], edges[1::2]
    one = (sums[ends] - sums[begins]) * _INVERSES[begins] * _MIX
    two = one[:-1] * np.uint64(_PRIME) + one[1:]
    three = two[:-1] * np.uint64(_PRIME) + one[2:]
    for n, words in enumerate((one, two, three), 1):
        hashes.append(words + np.uint64(n))
        places.append(begins[: len(words)])
    joined = np.concatenate(hashes)
    joined ^= joined >> np.uint64(29)
    joined *= _MIX
    return Features((joined >> np.uint64(64 - BITS)).astype(np.int64), np.concatenate(places), size)


def windows(size: int) -> list[tuple[int, int]]:
    """Return where the windows of a piece begin and end, in bytes; the whole where it is shorter than the longest."""
    found = [(0, size)] if size <= SPANS[-1] else []
    for span in SPANS:
        if size > span:
            last = size - span
            found += [(at, at + span) for at in range(0, last, span // 4)] + [(last, size)]
    return found


def scores(piece: bytes, weights: npt.NDArray[np.int8], scale: float, bias: float) -> Floats:
    """Return the score of each window of a piece."""
    found = features(piece)
    value = np.zeros(found.length + 1)
    count = np.zeros(found.length + 1)
    np.cumsum(np.bincount(found.places, weights[found.buckets], found.length), out=value[1:])
    np.cumsum(np.bincount(found.places, minlength=found.length), out=count[1:])
    begins, ends = np.array(windows(found.length)).T
    held = np.maximum(count[ends] - count[begins], 1.0)
    return np.asarray((value[ends] - value[begins]) * scale / np.sqrt(held) + bias, np.float32)
