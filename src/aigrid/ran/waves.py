"""What the radio hears: one received slot for every format of a trace, sent through a channel with echoes and noise."""

import numpy as np
from numpy.typing import NDArray

from aigrid.ran.kernels import ofdm, pdsch
from aigrid.ran.kernels.tables import Scratch, Tables
from aigrid.ran.kernels.transport import Format

MARGIN_DB = 5.0
"""Signal above what the format needs at the least (Shannon): a working link, at which the decoder takes some rounds."""
ECHOES = ((0, 1.0), (3, 0.25j), (7, -0.12))
"""Delay in samples of 32.6 ns, and size."""
LEVEL = 40.0


def needed_db(form: Format) -> float:
    """Return the signal-to-noise ratio at which the format's rate is just possible, in dB."""
    return float(10 * np.log10(2 ** (form.bits * form.rate) - 1))


def wave(
    form: Format, row: NDArray[np.int64], tables: Tables, scratch: Scratch, bits: NDArray[np.int8], seed: int
) -> tuple[NDArray[np.int16], float]:
    """Return a received slot (slot 0 of a frame) that carries `bits`, and the scale at which its channel is near 1."""
    sent = np.zeros((ofdm.SAMPLES, 2), np.int16)
    scratch.bits[: form.size] = bits
    pdsch.transmit_slot(0, row, tables, scratch, sent, np.float32(LEVEL))
    clean = sent[:, 0] + 1j * sent[:, 1]
    heard = sum((np.roll(clean, delay) * size for delay, size in ECHOES), np.zeros(ofdm.SAMPLES, complex))
    share = form.prb * 12 / ofdm.POINTS
    noise = np.mean(np.abs(heard) ** 2) / share / 10 ** ((needed_db(form) + MARGIN_DB) / 10)
    random = np.random.default_rng(seed)
    heard += random.normal(scale=np.sqrt(noise / 2), size=(ofdm.SAMPLES, 2)) @ np.array([1, 1j])
    peak = max(np.abs(heard.real).max(), np.abs(heard.imag).max())
    gain = min(1.0, 32000 / peak)
    both = np.stack([heard.real, heard.imag], axis=1) * gain
    return np.rint(both).astype(np.int16), 1.0 / (LEVEL * gain * ofdm.POINTS)
