"""Checksums of TS 38.212, clause 5.1: CRC24A over a large transport block, CRC24B over code blocks, CRC16 over small."""

import numpy as np
from numpy.typing import NDArray

from aigrid.ran.kernels.compile import kernel
from aigrid.ran.kernels.simd import load, packed

POLYNOMIALS = {"24a": (0x864CFB, 24), "24b": (0x800063, 24), "16": (0x1021, 16)}


def table(name: str) -> NDArray[np.int64]:
    """Return what each first byte of a message adds, eight bytes at a time: row r stands r bytes before the end."""
    polynomial, width = POLYNOMIALS[name]
    top, mask = 1 << (width - 1), (1 << width) - 1
    rows = np.zeros((8, 256), np.int64)
    for byte in range(256):
        value = byte << (width - 8)
        for _ in range(8):
            value = ((value << 1) ^ (polynomial if value & top else 0)) & mask
        rows[0, byte] = value
    for row in range(1, 8):
        for byte in range(256):
            value = int(rows[row - 1, byte])
            rows[row, byte] = ((value << 8) & mask) ^ rows[0, value >> (width - 8)]
    return rows


TABLES = np.stack([table("24a"), table("24b"), table("16")])
"""By checksum 24a, 24b, 16."""
WIDTHS = np.array([24, 24, 16])


def reference(bits: NDArray[np.int8], name: str) -> int:
    """Return the checksum bit by bit, as the standard divides polynomials: slow, for tests."""
    polynomial, width = POLYNOMIALS[name]
    value = 0
    for bit in [*bits.tolist(), *[0] * width]:
        value = (value << 1) | bit
        if value >> width:
            value ^= (1 << width) | polynomial
    return value


@kernel
def checksum(bits, first, count, tables, width):  # type: ignore[no-untyped-def]
    """Return the checksum of `count` bits from `first` on: what is not a multiple of 64 bit by bit, the rest by tables.

    Up to 64 bytes behind the last bit are read, and do not matter.
    """
    value = np.uint64(0)
    mask, top = np.uint64((1 << width) - 1), np.uint64(width - 1)
    polynomial = np.uint64(tables[0, 1])
    at = first
    for _ in range(count & 63):
        over = (value >> top) ^ np.uint64(bits[at] & 1)
        value = ((value << np.uint64(1)) & mask) ^ (polynomial if over & np.uint64(1) else np.uint64(0))
        at += 1
    byte, up = np.uint64(255), np.uint64(64 - width)
    while at < first + count:
        word = packed(load(bits, at)) ^ (value << up)
        total = 0
        for row in range(8):
            total ^= tables[row, (word >> np.uint64(8 * row)) & byte]
        value = np.uint64(total)
        at += 64
    return np.int64(value)


@kernel
def append(bits, at, value, width):  # type: ignore[no-untyped-def]
    """Write a checksum, most significant bit first."""
    for bit in range(width):
        bits[at + bit] = (value >> (width - 1 - bit)) & 1
