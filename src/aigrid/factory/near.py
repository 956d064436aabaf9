"""Rows that are nearly the same text, and rows that share text with an evaluation.

Near duplicates: MinHash of character 5-grams (A. Broder, SEQUENCES 1997), banded so that only likely pairs are
compared, and each pair then compared exactly (Jaccard). Contamination: word n-grams as in T. Brown et al., GPT-3,
arXiv:2005.14165, appendix C; a text shorter than n words counts as a whole.
"""

import re
import zlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import numpy.typing as npt

HASHES, BANDS = 96, 24
"""24 bands of 4: a pair with a Jaccard of 0.8 is found with probability 0.999996, one of 0.7 with 0.998."""
GRAM = 5
_PRIME = (1 << 31) - 1
_WORD = re.compile(r"\w+")


def shingles(text: str) -> frozenset[str]:
    """Return the 5-grams of a text's letters and digits; of a shorter text, itself."""
    plain = " ".join(_WORD.findall(text.casefold()))
    return frozenset(plain[at : at + GRAM] for at in range(max(1, len(plain) - GRAM + 1)))


def jaccard(one: frozenset[str], other: frozenset[str]) -> float:
    """Return how alike two sets are, 0 to 1."""
    both = len(one & other)
    return both / (len(one) + len(other) - both)


def near(texts: Sequence[str], least: float) -> Iterator[tuple[int, int, float]]:
    """Yield (later, earlier, Jaccard) for texts that are at least so alike as an earlier one that was kept."""
    sets = [shingles(text) for text in texts]
    buckets: dict[tuple[int, bytes], list[int]] = defaultdict(list)
    for at, found in enumerate(sets):
        bands = keys(found)
        seen = {other for key in bands for other in buckets[key]}
        best = max(((jaccard(found, sets[other]), -other) for other in seen), default=(0.0, 0))
        if best[0] >= least:
            yield at, -best[1], best[0]
        else:
            for key in bands:
                buckets[key].append(at)


def near_naive(texts: Sequence[str], least: float) -> Iterator[tuple[int, int, float]]:
    """Compare every text with all before it: the reference of `near`."""
    sets, kept = [shingles(text) for text in texts], list[int]()
    for at, found in enumerate(sets):
        best = max(((jaccard(found, sets[other]), -other) for other in kept), default=(0.0, 0))
        if best[0] >= least:
            yield at, -best[1], best[0]
        else:
            kept.append(at)


def shared(text: str, grams: frozenset[str], words: int) -> str:
    """Return the first n-gram of a text that is among those of an evaluation, or an empty text."""
    return next((gram for gram in ngrams(text, words) if gram in grams), "")


def ngrams(text: str, words: int) -> Iterator[str]:
    """Yield the word n-grams of a text; of a shorter text, itself."""
    found = _WORD.findall(text.casefold())
    for at in range(max(1, len(found) - words + 1)):
        if gram := " ".join(found[at : at + words]):
            yield gram


def all_ngrams(texts: Iterable[str], words: int) -> frozenset[str]:
    """Return the n-grams of an evaluation's texts."""
    return frozenset(gram for text in texts for gram in ngrams(text, words))


def keys(found: frozenset[str]) -> list[tuple[int, bytes]]:
    """Return a key for each band: two texts that share one may be near duplicates."""
    values = np.fromiter((zlib.crc32(each.encode()) & _PRIME for each in found), np.uint64, len(found))
    least = ((values[:, None] * _A + _B) % np.uint64(_PRIME)).min(axis=0)
    rows = np.ascontiguousarray(least.reshape(BANDS, -1))
    return [(band, row.tobytes()) for band, row in enumerate(rows)]


def _coefficients(seed: int) -> npt.NDArray[np.uint64]:
    return np.random.default_rng(seed).integers(1, _PRIME, HASHES, np.uint64)


_A, _B = _coefficients(1), _coefficients(2)
