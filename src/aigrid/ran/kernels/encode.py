"""LDPC encoding (TS 38.212, clause 5.3.2): the four core parities from their double diagonal, the others by one sum."""

from aigrid.ran.kernels.compile import kernel
from aigrid.ran.kernels.simd import exclusive_or, fill, load, store


@kernel
def row_sum(values, total, base, shift, first, behind, z, lanes, info):  # type: ignore[no-untyped-def]
    """Set `total` to the sum (modulo 2) of a row's columns before memory offset `info`."""
    nothing = fill(load(values, 0), 0)
    for lane in range(0, lanes, 64):
        bits = nothing
        for edge in range(first, behind):
            if base[edge] < info:
                bits = exclusive_or(bits, load(values, base[edge] + shift[edge] + lane))
        store(total, lane, bits)


@kernel
def put(values, at, bits, z, lanes):  # type: ignore[no-untyped-def]
    """Write one column twice, so that any rotation of it lies in one piece."""
    for lane in range(0, lanes, 64):
        store(values, at + lane, load(bits, lane))
    for lane in range(0, lanes, 64):
        store(values, at + z + lane, load(bits, lane))


@kernel
def encode(values, total, start, base, shift, rows, z, lanes, stride, info):  # type: ignore[no-untyped-def]
    """Compute the first `rows` parity columns of a code block in place.

    `values` holds each column twice, one bit a byte, the `info` information columns filled; `total` is scratch of
    three vectors of `lanes` bytes.
    """
    core = info * stride
    row, all_rows = total[:lanes], total[lanes : 3 * lanes]
    for lane in range(0, lanes):
        all_rows[lane] = 0
    left = 0
    for layer in range(4):
        row_sum(values, row, base, shift, start[layer], start[layer + 1], z, lanes, core)
        for lane in range(0, lanes, 64):
            store(all_rows, lane, exclusive_or(load(all_rows, lane), load(row, lane)))
        for edge in range(start[layer], start[layer + 1]):
            if base[edge] == core:  # the first parity stands in three rows, twice with one rotation, which cancels
                left ^= shift[edge] + 1
    left -= 1
    for lane in range(z):
        values[core + (lane + left) % z] = all_rows[lane]
    for lane in range(z):
        values[core + z + lane] = values[core + lane]
    for layer, parity in ((0, 1), (1, 2), (3, 3)):
        known = core + parity * stride
        row_sum(values, row, base, shift, start[layer], start[layer + 1], z, lanes, known)
        put(values, known, row, z, lanes)
    for layer in range(4, rows):
        known = core + layer * stride
        row_sum(values, row, base, shift, start[layer], start[layer + 1], z, lanes, known)
        put(values, known, row, z, lanes)
