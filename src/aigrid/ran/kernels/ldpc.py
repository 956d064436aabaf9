"""LDPC decoding (TS 38.212): layered normalised min-sum in int8, vectorised over the lifting size, with early stop.

Log-likelihood ratios are positive where a bit is more likely 0. A row's check needs of each neighbour only the
smallest and the second smallest size and the product of signs; a neighbour whose size is the smallest gets the second.
Hocevar, "A reduced complexity decoder architecture via layered decoding of LDPC codes", 2004.
"""

from aigrid.ran.kernels.compile import kernel
from aigrid.ran.kernels.simd import (
    any_negative,
    choose_equal,
    exclusive_or,
    fill,
    larger,
    load,
    saturating_add,
    saturating_subtract,
    smaller,
    store,
    three_quarters,
    with_sign,
)

LARGEST = 127


@kernel
def decode(values, messages, kept, row, start, base, turns, rows, z, lanes, rounds):  # type: ignore[no-untyped-def]
    """Decode one code block in place; returns the rounds it took, or minus the rounds after which it gave up.

    `values` holds every column twice (see graphs.Code); `messages` (edges x lanes), `kept` (largest row x lanes) and
    `row` (3 x lanes) are scratch.
    """
    end = start[rows]
    nothing = fill(load(messages, 0), 0)
    for at in range(0, end * lanes, 64):
        store(messages, at, nothing)
    for turn in range(rounds):
        turned = turns[0] if turn == 0 else turns[1]
        for layer in range(rows):
            first, behind = start[layer], start[layer + 1]
            for lane in range(0, lanes, 64):
                least = fill(nothing, LARGEST)
                second = least
                sign = nothing
                for edge in range(first, behind):
                    value = load(values, base[edge] + turned[edge] + lane)
                    value = saturating_subtract(value, load(messages, edge * lanes + lane))
                    store(kept, (edge - first) * lanes + lane, value)
                    size = larger(value, saturating_subtract(nothing, value))
                    second = smaller(second, larger(least, size))
                    least = smaller(least, size)
                    sign = exclusive_or(sign, value)
                store(row, lane, least)
                store(row, lanes + lane, second)
                store(row, 2 * lanes + lane, sign)
            for lane in range(0, lanes, 64):
                least = load(row, lane)
                sign = load(row, 2 * lanes + lane)
                given = three_quarters(least)
                other = three_quarters(load(row, lanes + lane))
                for edge in range(first, behind):
                    value = load(kept, (edge - first) * lanes + lane)
                    size = larger(value, saturating_subtract(nothing, value))
                    message = choose_equal(size, least, other, given)
                    message = with_sign(message, exclusive_or(sign, value))
                    store(messages, edge * lanes + lane, message)
                    store(kept, (edge - first) * lanes + lane, saturating_add(value, message))
            for edge in range(first, behind):
                for lane in range(0, lanes, 64):
                    store(values, base[edge] + lane, load(kept, (edge - first) * lanes + lane))
                for lane in range(0, lanes, 64):
                    store(values, base[edge] + z + lane, load(kept, (edge - first) * lanes + lane))
        if satisfied(values, start, base, turns[2], rows, z, lanes):
            return turn + 1
    return -rounds


@kernel
def satisfied(values, start, base, turned, rows, z, lanes):  # type: ignore[no-untyped-def]
    """Say whether the signs of `values` are a code word; ends at the first row that says no."""
    nothing = fill(load(values, 0), 0)
    for layer in range(rows):
        for lane in range(0, lanes, 64):
            sign = nothing
            for edge in range(start[layer], start[layer + 1]):
                sign = exclusive_or(sign, load(values, base[edge] + turned[edge] + lane))
            if any_negative(sign, min(64, z - lane)):
                return False
    return True
