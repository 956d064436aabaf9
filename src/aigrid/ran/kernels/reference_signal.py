"""Demodulation reference signals, type 1, mapping A, symbols 2 and 11 of a slot (TS 38.211, clauses 6.4.1.1, 7.4.1.1)."""

import numpy as np
from numpy.typing import NDArray

from aigrid.ran.kernels.scramble import gold, reference_start
from aigrid.ran.kernels.transport import LARGEST_PRB

SYMBOLS = (2, 11)
SLOTS_PER_FRAME = 20
BOOST = np.sqrt(2.0)
"""Two groups of antenna ports carry no data, so the power of the second goes to the first (TS 38.214, table 4.1-1)."""


def sequence(slot: int, symbol: int, identity: int, prb: int = LARGEST_PRB) -> NDArray[np.complex64]:
    """Return the values on every second subcarrier of `prb` blocks, before the boost."""
    bits = gold(reference_start(slot, symbol, identity), 12 * prb).astype(np.float32)
    values: NDArray[np.complex128] = ((1 - 2 * bits[0::2]) + 1j * (1 - 2 * bits[1::2])) / np.sqrt(2.0)
    return values.astype(np.complex64)


def sequences(identity: int) -> NDArray[np.float32]:
    """Return real and imaginary parts for all slots of a frame: [slot, which symbol, part, subcarrier / 2]."""
    values = [[sequence(slot, symbol, identity) for symbol in SYMBOLS] for slot in range(SLOTS_PER_FRAME)]
    stacked = np.array(values)
    return np.ascontiguousarray(np.stack([stacked.real, stacked.imag], axis=2), dtype=np.float32)
