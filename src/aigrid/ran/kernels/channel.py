"""Channel estimation from reference signals, and MMSE equalisation with its bias taken out."""

import numpy as np

from aigrid.ran.kernels.compile import kernel
from aigrid.ran.kernels.reference_signal import BOOST

EARLY, LATE = 2, 11
"""The symbols that carry reference signals."""
KEPT_NOISE = 0.375
"""Share of the noise that is left after a value smoothed with weights 1/4, 1/2, 1/4 has been taken off."""


@kernel
def estimate(grid, sent, subcarriers, raw, channel):  # type: ignore[no-untyped-def]
    """Estimate the channel at both reference symbols; returns the noise variance of one resource element.

    `sent` is [which symbol, part, subcarrier / 2]; `raw` scratch of [part, subcarrier / 2]; `channel` becomes
    [which symbol, part, subcarrier].
    """
    pilots = subcarriers // 2
    noise = np.float32(0)
    scale = np.float32(1 / BOOST)
    for which in range(2):
        symbol = EARLY if which == 0 else LATE
        yr, yi = grid[0, symbol], grid[1, symbol]
        pr, pi = sent[which, 0], sent[which, 1]
        hr, hi = raw[0], raw[1]
        for at in range(pilots):  # the signals have size 1, so dividing is multiplying with the conjugate
            r, i = yr[2 * at], yi[2 * at]
            hr[at] = (r * pr[at] + i * pi[at]) * scale
            hi[at] = (i * pr[at] - r * pi[at]) * scale
        for part in range(2):
            h, out = raw[part], channel[which, part]
            out[0] = h[0] * np.float32(0.75) + h[1] * np.float32(0.25)
            out[2 * pilots - 2] = h[pilots - 1] * np.float32(0.75) + h[pilots - 2] * np.float32(0.25)
            rest = np.float32(0)
            for at in range(1, pilots - 1):
                smooth = np.float32(0.25) * (h[at - 1] + h[at + 1]) + np.float32(0.5) * h[at]
                out[2 * at] = smooth
                rest += (h[at] - smooth) * (h[at] - smooth)
            noise += rest
            for at in range(pilots - 1):
                out[2 * at + 1] = np.float32(0.5) * (out[2 * at] + out[2 * at + 2])
            out[2 * pilots - 1] = out[2 * pilots - 2]
    return max(noise * np.float32(BOOST * BOOST) / np.float32(KEPT_NOISE * 2 * (pilots - 2)), np.float32(1e-9))


@kernel
def equalise(grid, channel, noise, subcarriers, re, im, quality):  # type: ignore[no-untyped-def]
    """Write the data symbols of a slot in the order in which they were sent, with the inverse of their noise variance.

    The linear MMSE estimate conj(h) y / (|h|^2 + noise), divided by its bias |h|^2 / (|h|^2 + noise).
    """
    out = 0
    slope = np.float32(1 / (LATE - EARLY))
    sharp = np.float32(1) / noise
    early_r, early_i, late_r, late_i = channel[0, 0], channel[0, 1], channel[1, 0], channel[1, 1]
    for symbol in range(14):
        if symbol in (EARLY, LATE):
            continue
        late = np.float32(symbol - EARLY) * slope
        early = np.float32(1) - late
        yr, yi = grid[0, symbol], grid[1, symbol]
        xr, xi, xq = re[out:], im[out:], quality[out:]
        for at in range(subcarriers):
            hr = early_r[at] * early + late_r[at] * late
            hi = early_i[at] * early + late_i[at] * late
            power = hr * hr + hi * hi + np.float32(1e-12)
            bias = np.float32(1) / power
            xr[at] = (yr[at] * hr + yi[at] * hi) * bias
            xi[at] = (yi[at] * hr - yr[at] * hi) * bias
            xq[at] = power * sharp
        out += subcarriers
