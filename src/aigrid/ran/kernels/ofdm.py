"""OFDM at 30 kHz subcarrier spacing: a radix-4 Stockham FFT of 1,024 points over all symbols of a slot at once.

The lanes of a vector are the slot's symbols (14 of 16 used), so every butterfly is a few whole-vector operations.
Normal cyclic prefix of TS 38.211, clause 5.3.1, at 30.72 million samples a second.
"""

import numpy as np
from numpy.typing import NDArray

from aigrid.ran.kernels.compile import kernel
from aigrid.ran.kernels.simd import add, fill, load, multiply, store, subtract

POINTS = 1024
SYMBOLS = 14
LANES = 16
PREFIX, FIRST_PREFIX = 72, 88
SAMPLES = SYMBOLS * (POINTS + PREFIX) + FIRST_PREFIX - PREFIX
"""Samples of one slot of 500 microseconds."""


def twiddles() -> NDArray[np.float32]:
    """Return the roots of unity of every stage: rows of (re1, im1, re2, im2, re3, im3), stage after stage."""
    rows = []
    length = POINTS
    while length >= 4:
        for at in range(length // 4):
            roots = [np.exp(-2j * np.pi * at * times / length) for times in (1, 2, 3)]
            rows.append([part for root in roots for part in (root.real, root.imag)])
        length //= 4
    return np.array(rows, np.float32)


@kernel
def transform(re, im, re2, im2, roots):  # type: ignore[no-untyped-def]
    """Fourier-transform POINTS values in each of LANES lanes; the result stands in `re2`, `im2`.

    Swap re and im of both pairs for the inverse (not scaled).
    """
    length, stride, row = POINTS, 1, 0
    there = False
    while length >= 4:
        quarter = length // 4
        if there:
            sr, si, tr, ti = re2, im2, re, im
        else:
            sr, si, tr, ti = re, im, re2, im2
        step = quarter * stride * LANES
        for at in range(quarter):
            like = load(sr, 0)
            w1r, w1i = fill(like, roots[row, 0]), fill(like, roots[row, 1])
            w2r, w2i = fill(like, roots[row, 2]), fill(like, roots[row, 3])
            w3r, w3i = fill(like, roots[row, 4]), fill(like, roots[row, 5])
            row += 1
            for other in range(stride):
                source = (other + stride * at) * LANES
                ar, ai = load(sr, source), load(si, source)
                br, bi = load(sr, source + step), load(si, source + step)
                cr, ci = load(sr, source + 2 * step), load(si, source + 2 * step)
                dr, di = load(sr, source + 3 * step), load(si, source + 3 * step)
                pr, pi = add(ar, cr), add(ai, ci)
                mr, mi = subtract(ar, cr), subtract(ai, ci)
                qr, qi = add(br, dr), add(bi, di)
                nr, ni = subtract(di, bi), subtract(br, dr)
                target = (other + 4 * stride * at) * LANES
                hop = stride * LANES
                store(tr, target, add(pr, qr))
                store(ti, target, add(pi, qi))
                xr, xi = subtract(mr, nr), subtract(mi, ni)
                store(tr, target + hop, subtract(multiply(xr, w1r), multiply(xi, w1i)))
                store(ti, target + hop, add(multiply(xr, w1i), multiply(xi, w1r)))
                xr, xi = subtract(pr, qr), subtract(pi, qi)
                store(tr, target + 2 * hop, subtract(multiply(xr, w2r), multiply(xi, w2i)))
                store(ti, target + 2 * hop, add(multiply(xr, w2i), multiply(xi, w2r)))
                xr, xi = add(mr, nr), add(mi, ni)
                store(tr, target + 3 * hop, subtract(multiply(xr, w3r), multiply(xi, w3i)))
                store(ti, target + 3 * hop, add(multiply(xr, w3i), multiply(xi, w3r)))
        there = not there
        length = quarter
        stride *= 4


@kernel
def receive(samples, scale, work, roots, grid, subcarriers):  # type: ignore[no-untyped-def]
    """Bring a slot's int16 samples (count x 2) to `grid` [re or im, symbol, subcarrier]; the lowest comes first."""
    re, im, re2, im2 = work[0], work[1], work[2], work[3]
    start = FIRST_PREFIX
    for symbol in range(SYMBOLS):
        for at in range(POINTS):
            re[at * LANES + symbol] = samples[start + at, 0] * scale
            im[at * LANES + symbol] = samples[start + at, 1] * scale
        start += POINTS + PREFIX
    transform(re, im, re2, im2, roots)
    half = subcarriers // 2
    for at in range(subcarriers):
        place = (at - half) % POINTS * LANES
        for symbol in range(SYMBOLS):
            grid[0, symbol, at] = re2[place + symbol]
            grid[1, symbol, at] = im2[place + symbol]


@kernel
def transmit(grid, subcarriers, work, roots, samples, scale):  # type: ignore[no-untyped-def]
    """Bring `grid` to a slot's int16 samples with cyclic prefixes; louder than 16 bits hold is clipped."""
    re, im, re2, im2 = work[0], work[1], work[2], work[3]
    half = subcarriers // 2
    for at in range(half * LANES, (POINTS - half) * LANES):
        re[at] = np.float32(0)
        im[at] = np.float32(0)
    for at in range(subcarriers):
        place = (at - half) % POINTS * LANES
        for symbol in range(SYMBOLS):
            re[place + symbol] = grid[0, symbol, at]
            im[place + symbol] = grid[1, symbol, at]
    transform(im, re, im2, re2, roots)
    start = 0
    for symbol in range(SYMBOLS):
        prefix = FIRST_PREFIX if symbol == 0 else PREFIX
        for at in range(-prefix, POINTS):
            place = (at & (POINTS - 1)) * LANES + symbol
            samples[start + prefix + at, 0] = np.int16(min(max(re2[place] * scale, -32767), 32767))
            samples[start + prefix + at, 1] = np.int16(min(max(im2[place] * scale, -32767), 32767))
        start += prefix + POINTS
