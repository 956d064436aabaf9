"""The downlink transmitter (PDSCH): a transport block to a slot's samples, in one call that holds no GIL."""

import numpy as np

from aigrid.ran.kernels import crc, encode, ofdm, qam
from aigrid.ran.kernels.compile import kernel
from aigrid.ran.kernels.reference_signal import BOOST
from aigrid.ran.kernels.tables import (
    BITS,
    BLOCKS,
    BUFFER,
    COLUMNS,
    EDGE_AT,
    FEW,
    FIRST,
    INFO,
    LANES,
    PARITY,
    PAYLOAD,
    PRB,
    ROW_AT,
    ROWS,
    SIZE,
    SMALL,
    STRIDE,
    Z,
)

_encode, _checksum, _append = encode.encode, crc.checksum, crc.append
_modulate, _transmit = qam.modulate, ofdm.transmit


@kernel
def take_from_buffer(values, form, planes, element, share):  # type: ignore[no-untyped-def]
    """Select one code block's coded bits and interleave them: row b of `planes` gets bit b of each symbol."""
    z, stride, bits = form[Z], form[STRIDE], form[BITS]
    filler, behind = form[PAYLOAD] - 2 * z, form[INFO] - 2 * z
    place = form[FIRST]
    each = share // bits
    for bit in range(bits):
        row = planes[bit]
        done = 0
        while done < each:
            if filler <= place < behind:
                place = behind
            if place >= form[BUFFER]:
                place = 0
                continue
            column, inside = place // z + 2, place % z
            count = min(each - done, z - inside)
            if place < filler:
                count = min(count, filler - place)
            source = values[column * stride + inside :]
            target = row[element + done :]
            for at in range(count):
                target[at] = source[at]
            place += count
            done += count


@kernel
def encode_blocks(form, tables, scratch):  # type: ignore[no-untyped-def]
    """Encode the transport block in the first SIZE places of `scratch.bits` into `scratch.planes`."""
    z, lanes, stride, rows = form[Z], form[LANES], form[STRIDE], form[ROWS]
    start = tables.start[form[ROW_AT] :]
    base = tables.base[form[EDGE_AT] :]
    shift = tables.turns[3, form[EDGE_AT] :]
    bits, values = scratch.bits, scratch.values
    kind = 0 if form[PARITY] == 24 else 2
    width = tables.widths[kind]
    _append(bits, form[SIZE], _checksum(bits, 0, form[SIZE], tables.crc[kind], width), width)
    blocks, payload = form[BLOCKS], form[PAYLOAD]
    element = taken = 0
    tail = scratch.kept
    for block in range(blocks):
        share = form[SMALL] + (form[BITS] if block >= form[FEW] else 0)
        own = payload - 24 if blocks > 1 else payload
        if blocks > 1:
            _append(tail, 0, _checksum(bits, taken, own, tables.crc[1], 24), 24)
        for column in range(form[COLUMNS]):
            target = values[column * stride :]
            source = bits[taken + column * z :]
            here = max(0, min(z, own - column * z))
            for at in range(here):
                target[at] = source[at]
            for at in range(here, z):
                rest = column * z + at - own
                target[at] = tail[rest] if own + rest < payload else 0
            second = values[column * stride + z :]
            for at in range(z):
                second[at] = target[at]
        _encode(values, scratch.row, start, base, shift, rows, z, lanes, stride, form[COLUMNS])
        take_from_buffer(values, form, scratch.planes, element, share)
        taken += own
        element += share // form[BITS]


@kernel
def transmit_slot(slot, form, tables, scratch, samples, scale):  # type: ignore[no-untyped-def]
    """Send the transport block in the first SIZE places of `scratch.bits` as one slot of int16 samples."""
    encode_blocks(form, tables, scratch)
    subcarriers = form[PRB] * 12
    bits = form[BITS]
    re, im = scratch.symbols[0], scratch.symbols[1]
    _modulate(scratch.planes, tables.scrambling[bits // 2 - 1], bits, subcarriers * 12, re, im)
    grid = scratch.grid
    out = 0
    for symbol in range(14):
        if symbol in (2, 11):
            sent = tables.reference[slot, 0 if symbol == 2 else 1]
            for at in range(subcarriers // 2):
                for part in range(2):
                    grid[part, symbol, 2 * at] = sent[part, at] * np.float32(BOOST)
                    grid[part, symbol, 2 * at + 1] = np.float32(0)
        else:
            for at in range(subcarriers):
                grid[0, symbol, at] = re[out + at]
                grid[1, symbol, at] = im[out + at]
            out += subcarriers
    _transmit(grid, subcarriers, scratch.work, tables.roots, samples, scale)
