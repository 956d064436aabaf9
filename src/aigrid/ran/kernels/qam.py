"""QPSK to 256QAM (TS 38.211, clause 5.1): mapping, and exact max-log demapping into int8.

Bits of one symbol alternate between the two axes, and on an axis each bit folds the levels in half: the next bit is
judged on the distance from the fold, so that a bit costs a few operations, whatever the number of levels.
"""

import numpy as np

from aigrid.ran.kernels.compile import kernel

LLR_SCALE = 3.0
"""Steps of the int8 log-likelihood ratios per natural unit."""
LARGEST_LLR = 60.0


@kernel
def unit(bits):  # type: ignore[no-untyped-def]
    """Return half the distance between neighbouring levels at a mean power of 1."""
    levels = 1 << (bits // 2)
    return np.float32(1.0 / np.sqrt(2.0 * (levels * levels - 1) / 3.0))


@kernel
def modulate(planes, scramble, bits, count, re, im):  # type: ignore[no-untyped-def]
    """Map bits (row b holds bit b of every symbol, 0 or 1; `scramble` 0 or -1) to `count` symbols."""
    size = unit(bits)
    for axis in range(2):
        out = re if axis == 0 else im
        for at in range(count):
            out[at] = np.float32(0)
        fold = np.float32(1)
        for bit in range(bits - 2 + axis, -1, -2):
            row, mask = planes[bit], scramble[bit]
            for at in range(count):
                flip = np.float32(1 - 2 * ((row[at] ^ mask[at]) & 1))
                out[at] = flip * (fold - out[at]) if fold > 1 else flip
            fold *= 2
        for at in range(count):
            out[at] *= size


@kernel
def demodulate(re, im, quality, scramble, bits, count, planes):  # type: ignore[no-untyped-def]
    """Write descrambled int8 log-likelihood ratios by bit: row b of `planes` for bit b of each of `count` symbols.

    `re` and `im` are unbiased estimates, and used up; `quality` is the inverse of their noise variance. Positive: more
    likely 0.
    """
    size = unit(bits)
    inverse = np.float32(1.0 / size)
    weight = np.float32(size * size * LLR_SCALE)
    half, one, largest = np.float32(0.5), np.float32(1), np.float32(LARGEST_LLR)
    for axis in range(2):
        value = re if axis == 0 else im
        for at in range(count):
            value[at] *= inverse
        positive = np.float32(1 << (bits // 2 - 1))
        for bit in range(axis, bits, 2):
            most = positive + positive - one
            row, mask = planes[bit], scramble[bit]
            for at in range(count):
                away = abs(value[at])
                nearest = min(np.float32(2) * np.floor(away * half) + one, most)
                far, near = away + one, away - nearest
                ratio = min((far * far - near * near) * weight * quality[at], largest)
                step = np.int8(np.int32(np.copysign(ratio + half, value[at])))
                row[at] = (step ^ mask[at]) - mask[at]
                value[at] = positive - away
            positive *= half
