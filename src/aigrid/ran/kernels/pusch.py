"""The uplink receiver (PUSCH): a slot's samples to a transport block, in one call that holds no GIL."""

from typing import NamedTuple

from aigrid.ran.kernels import channel, crc, ldpc, ofdm, qam
from aigrid.ran.kernels.compile import kernel
from aigrid.ran.kernels.simd import load, saturating_add, store
from aigrid.ran.kernels.tables import (
    BITS,
    BLOCKS,
    BUFFER,
    COLUMNS,
    EDGE_AT,
    FEW,
    FIRST,
    HOME_AT,
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

ROUNDS = 8
"""Most rounds of the decoder for one code block."""
_decode, _receive, _estimate, _equalise = ldpc.decode, ofdm.receive, channel.estimate, channel.equalise
_demodulate, _checksum = qam.demodulate, crc.checksum


class Received(NamedTuple):
    """What came of a slot: whether the transport block's checksum is right, code blocks in error, decoder rounds."""

    good: bool
    bad_blocks: int
    rounds: int


@kernel
def fill_buffer(planes, element, share, form, values):  # type: ignore[no-untyped-def]
    """Put one code block's log-likelihood ratios where the decoder wants them (TS 38.212, clause 5.4.2, backwards).

    Filler bits are known to be 0; what was sent twice is added up.
    """
    z, stride, bits = form[Z], form[STRIDE], form[BITS]
    columns, rows = form[COLUMNS], form[ROWS]
    for at in range((columns + rows) * stride):
        values[at] = 0
    filler, behind = form[PAYLOAD] - 2 * z, form[INFO] - 2 * z
    for at in range(form[PAYLOAD], form[INFO]):
        values[at // z * stride + at % z] = 127
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
            target = values[column * stride + inside :]
            source = row[element + done :]
            whole = count & ~63
            for at in range(0, whole, 64):
                store(target, at, saturating_add(load(target, at), load(source, at)))
            for at in range(whole, count):
                target[at] = min(127, max(-128, int(target[at]) + int(source[at])))
            place += count
            done += count
    for column in range(columns + rows):
        first, second = values[column * stride :], values[column * stride + z :]
        for at in range(z):
            second[at] = first[at]


@kernel
def decode_blocks(form, tables, scratch, rounds):  # type: ignore[no-untyped-def]
    """Decode all code blocks of a slot whose planes are filled; returns (transport block good, bad blocks, rounds)."""
    z, lanes, stride, rows = form[Z], form[LANES], form[STRIDE], form[ROWS]
    start = tables.start[form[ROW_AT] :]
    base = tables.base[form[EDGE_AT] :]
    turns = tables.turns[:, form[EDGE_AT] :]
    home = tables.home[form[HOME_AT] :]
    element = out = bad = used = 0
    blocks, payload = form[BLOCKS], form[PAYLOAD]
    for block in range(blocks):
        share = form[SMALL] + (form[BITS] if block >= form[FEW] else 0)
        fill_buffer(scratch.planes, element, share, form, scratch.values)
        took = _decode(
            scratch.values, scratch.messages, scratch.kept, scratch.row, start, base, turns, rows, z, lanes, rounds
        )
        used += abs(took)
        for column in range(-(-payload // z)):
            source = scratch.values[column * stride + home[column] :]
            target = scratch.bits[out + column * z :]
            for at in range(min(z, payload - column * z)):
                target[at] = (source[at] >> 7) & 1
        if blocks > 1:
            bad += _checksum(scratch.bits, out, payload, tables.crc[1], 24) != 0
            out += payload - 24
        else:
            out += payload
        element += share // form[BITS]
    kind = 0 if form[PARITY] == 24 else 2
    good = _checksum(scratch.bits, 0, form[SIZE] + form[PARITY], tables.crc[kind], tables.widths[kind]) == 0
    anything = 0
    for at in range(form[SIZE]):
        anything |= scratch.bits[at]
    good = good and anything != 0  # nothing at all fits every checksum: it is what a decoder makes of silence
    if not good:
        bad = max(bad, 1)
    return good and bad == 0, bad, used


@kernel
def receive_slot(samples, scale, slot, form, tables, scratch, rounds):  # type: ignore[no-untyped-def]
    """Receive one slot: samples (int16) to bits in `scratch.bits`; returns (good, bad code blocks, decoder rounds)."""
    subcarriers = form[PRB] * 12
    _receive(samples, scale, scratch.work, tables.roots, scratch.grid, subcarriers)
    noise = _estimate(scratch.grid, tables.reference[slot], subcarriers, scratch.raw, scratch.channel)
    re, im, quality = scratch.symbols[0], scratch.symbols[1], scratch.symbols[2]
    _equalise(scratch.grid, scratch.channel, noise, subcarriers, re, im, quality)
    bits = form[BITS]
    _demodulate(re, im, quality, tables.scrambling[bits // 2 - 1], bits, subcarriers * 12, scratch.planes)
    return decode_blocks(form, tables, scratch, rounds)
