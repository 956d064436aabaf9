"""Checksums of TS 38.212, clause 5.1: CRC24A over a large transport block, CRC24B over code blocks, CRC16 over small."""

import numpy as np
from numpy.typing import NDArray

from aigrid.ran.kernels.compile import kernel

POLYNOMIALS = {"24a": (0x864CFB, 24), "24b": (0x800063, 24), "16": (0x1021, 16)}


def table(name: str) -> NDArray[np.int64]:
    """Return what each first byte of a message adds, four bytes at a time: row r stands r bytes before the end."""
    polynomial, width = POLYNOMIALS[name]
    top, mask = 1 << (width - 1), (1 << width) - 1
    rows = np.zeros((4, 256), np.int64)
    for byte in range(256):
        value = byte << (width - 8)
        for _ in range(8):
            value = ((value << 1) ^ (polynomial if value & top else 0)) & mask
        rows[0, byte] = value
    for row in range(1, 4):
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
    """Return the checksum of `count` bits from `first` on; a count that is no multiple of 8 is read bit by bit."""
    value = 0
    mask = (1 << width) - 1
    at = first
    odd = count & 7
    for _ in range(odd):
        top = (value >> (width - 1)) ^ (bits[at] & 1)
        value = (value << 1) & mask
        if top:
            value ^= tables[0, 1]
        at += 1
    while at + 32 <= first + count:
        word = np.uint64(0)
        for byte in range(4):
            part = np.uint64(0)
            for bit in range(8):
                part = (part << np.uint64(1)) | np.uint64(bits[at + 8 * byte + bit] & 1)
            word = (word << np.uint64(8)) | part
        mixed = np.int64(word) ^ (value << (32 - width))
        value = (
            tables[3, (mixed >> 24) & 255] ^ tables[2, (mixed >> 16) & 255] ^ tables[1, (mixed >> 8) & 255]
        ) ^ tables[0, mixed & 255]
        at += 32
    while at < first + count:
        byte = 0
        for bit in range(8):
            byte = (byte << 1) | (bits[at + bit] & 1)
        value = ((value << 8) & mask) ^ tables[0, ((value >> (width - 8)) ^ byte) & 255]
        at += 8
    return value


@kernel
def append(bits, at, value, width):  # type: ignore[no-untyped-def]
    """Write a checksum, most significant bit first."""
    for bit in range(width):
        bits[at + bit] = (value >> (width - 1 - bit)) & 1
