"""Pseudo-random sequences (TS 38.211, clause 5.2.1) and what starts them."""

import functools

import numpy as np
from numpy.typing import NDArray


@functools.lru_cache(maxsize=64)
def gold(start: int, count: int) -> NDArray[np.uint8]:
    """Return `count` bits of the length-31 Gold sequence that `start` begins."""
    length = count + 1600 + 31
    one, two = np.zeros(length, np.uint8), np.zeros(length, np.uint8)
    one[0] = 1
    two[:31] = [(start >> bit) & 1 for bit in range(31)]
    for at in range(31, length, 28):  # 28 new bits depend only on bits that are there
        more = min(28, length - at)
        x, y = one[at - 31 :], two[at - 31 :]
        one[at : at + more] = x[3 : 3 + more] ^ x[:more]
        two[at : at + more] = y[3 : 3 + more] ^ y[2 : 2 + more] ^ y[1 : 1 + more] ^ y[:more]
    return one[1600 : 1600 + count] ^ two[1600 : 1600 + count]


def data_start(rnti: int, identity: int) -> int:
    """Return what starts the scrambling of a shared channel (clauses 6.3.1.1 and 7.3.1.1, one code word)."""
    return (rnti << 15) + identity


def reference_start(slot: int, symbol: int, identity: int, scrambling: int = 0) -> int:
    """Return what starts the demodulation reference signal of a symbol (clauses 6.4.1.1.1 and 7.4.1.1.1)."""
    return ((1 << 17) * (14 * slot + symbol + 1) * (2 * identity + 1) + 2 * identity + scrambling) % (1 << 31)


@functools.lru_cache(maxsize=16)
def planes(start: int, bits: int, elements: int) -> NDArray[np.int8]:
    """Return the scrambling of `elements` symbols by bit of the symbol: row b holds 0 or -1 for bit b of each symbol."""
    sequence = gold(start, bits * elements).reshape(elements, bits).T
    return np.ascontiguousarray(-sequence.astype(np.int8))
