"""What the chains read: every format as a row of integers, codes laid end to end, and scratch memory made beforehand."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from aigrid.ran.kernels import crc, ofdm, reference_signal, scramble
from aigrid.ran.kernels.graphs import INFORMATION
from aigrid.ran.kernels.transport import LARGEST_PRB, Format

I64 = NDArray[np.int64]
F32 = NDArray[np.float32]
I8 = NDArray[np.int8]
FIELDS = ("prb", "bits", "size", "parity", "blocks", "payload", "columns", "z", "lanes", "stride", "rows", "buffer",
          "first", "small", "few", "row_at", "edge_at", "home_at", "information")  # fmt: skip
"""What a format's row holds; `few` blocks have `small` coded bits, the others `bits` more."""
(PRB, BITS, SIZE, PARITY, BLOCKS, PAYLOAD, COLUMNS, Z, LANES, STRIDE, ROWS, BUFFER,
 FIRST, SMALL, FEW, ROW_AT, EDGE_AT, HOME_AT, INFO) = range(len(FIELDS))  # fmt: skip
MOST_ELEMENTS = LARGEST_PRB * 144
MOST_BITS = 68 * 384 + 64
IDENTITY, RNTI = 1, 0x4601


class Tables(NamedTuple):
    """What does not change while a radio runs."""

    formats: I64
    start: I64
    base: I64
    turns: I64
    """[first round, later rounds, end of a round, as the standard has it][edge]"""
    home: I64
    reference: F32
    scrambling: I8
    """[bits of a symbol / 2 - 1][bit][symbol]"""
    roots: F32
    crc: I64
    widths: I64


class Scratch(NamedTuple):
    """Memory that the chains work in."""

    work: F32
    grid: F32
    raw: F32
    channel: F32
    symbols: F32
    """[real part, imaginary part, quality][symbol]"""
    planes: I8
    values: I8
    messages: I8
    kept: I8
    row: I8
    bits: I8


def scratch() -> Scratch:
    """Return scratch memory for one thread, all of it touched."""

    def zeros(*shape: int, kind: Any = np.float32) -> Any:
        made = np.zeros(shape, kind)
        made.fill(0)
        return made

    wide = 12 * LARGEST_PRB
    return Scratch(
        zeros(4, ofdm.POINTS * ofdm.LANES),
        zeros(2, ofdm.SYMBOLS, wide),
        zeros(2, wide // 2),
        zeros(2, 2, wide),
        zeros(3, MOST_ELEMENTS),
        zeros(8, MOST_ELEMENTS, kind=np.int8),
        zeros(68 * 832 + 64, kind=np.int8),
        zeros(317 * 384, kind=np.int8),
        zeros(20 * 384, kind=np.int8),
        zeros(3 * 384 + 64, kind=np.int8),
        zeros(MOST_ELEMENTS * 8 + 9 * 64, kind=np.int8),
    )


def tables(formats: Sequence[Format]) -> Tables:
    """Lay out what the chains need for these formats; row f of `formats` is the f-th of them."""
    rows, start, base, turns, home = [], [], [], [], []
    edge_at = row_at = home_at = 0
    known: dict[tuple[int, int, int], tuple[int, int, int]] = {}
    for form in formats:
        code = form.code
        key = (code.graph, code.z, form.rows)
        if key not in known:
            schedule = code.schedule(form.rows)
            known[key] = (row_at, edge_at, home_at)
            plain = [shift for row, _, shift in code.edges if row < form.rows]
            start.append(schedule.start)
            base.append(schedule.base)
            turns.append(np.vstack([schedule.turns, plain]))
            home.append(schedule.home[: INFORMATION[code.graph]])
            edge_at += len(schedule.base)
            row_at += len(schedule.start)
            home_at += INFORMATION[code.graph]
        shares = form.shares
        rows.append((
            form.prb, form.bits, form.size, form.parity, form.blocks, form.payload, INFORMATION[form.graph], code.z,
            code.lanes, code.stride, form.rows, form.buffer, form.first, shares[0], shares.count(shares[0]),
            *known[key], form.information,
        ))  # fmt: skip
    sequence = np.zeros((4, 8, MOST_ELEMENTS), np.int8)
    for half in range(4):
        bits = 2 * half + 2
        sequence[half, :bits] = scramble.planes(scramble.data_start(RNTI, IDENTITY), bits, MOST_ELEMENTS)
    return Tables(
        np.array(rows, np.int64),
        np.concatenate(start),
        np.concatenate(base),
        np.ascontiguousarray(np.concatenate(turns, axis=1)),
        np.concatenate(home),
        reference_signal.sequences(IDENTITY),
        sequence,
        ofdm.twiddles(),
        crc.TABLES,
        crc.WIDTHS,
    )
