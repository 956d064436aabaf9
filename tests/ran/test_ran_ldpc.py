"""The LDPC codes of TS 38.212: every code word satisfies the standard's matrix, and the fast decoder is the slow one."""

import numpy as np
import pytest

from aigrid.core.errors import BadRequest
from aigrid.ran.kernels.encode import encode
from aigrid.ran.kernels.graphs import COLUMNS, INFORMATION, LIFTING, ROWS, Code, edges, lifting, parity_matrix
from aigrid.ran.kernels.ldpc import decode


def coded(code, bits, rows):
    values = np.zeros((INFORMATION[code.graph] + rows) * code.stride + 64, np.int8)
    for column in range(INFORMATION[code.graph]):
        at = column * code.stride
        values[at : at + 2 * code.z] = np.tile(bits[column * code.z : (column + 1) * code.z], 2)
    schedule = code.schedule(rows)
    shift = np.array([shift for row, _, shift in code.edges if row < rows], np.int64)
    total = np.zeros(3 * code.lanes + 64, np.int8)
    encode(values, total, schedule.start, schedule.base, shift, rows, code.z, code.lanes, code.stride,
           INFORMATION[code.graph])  # fmt: skip
    columns = range(INFORMATION[code.graph] + rows)
    return np.concatenate([values[at * code.stride : at * code.stride + code.z] for at in columns])


def laid_out(code, llr):
    columns = llr.reshape(-1, code.z)
    values = np.zeros(len(columns) * code.stride + 64, np.int8)
    for at, column in enumerate(columns):
        values[at * code.stride : at * code.stride + 2 * code.z] = np.tile(column, 2)
    return values


def decoded(code, llr, rows, rounds):
    values, schedule = laid_out(code, llr), code.schedule(rows)
    count = len(schedule.base)
    took = decode(
        values, np.zeros(count * code.lanes + 64, np.int8), np.zeros(20 * code.lanes, np.int8),
        np.zeros(3 * code.lanes, np.int8), schedule.start, schedule.base, schedule.turns, rows, code.z, code.lanes,
        rounds,
    )  # fmt: skip
    out = [values[at * code.stride + turn : at * code.stride + turn + code.z] for at, turn in enumerate(schedule.home)]
    return took, np.concatenate(out)


def naive(code, llr, rows, rounds):
    """Layered normalised min-sum, one check at a time, with the same saturation."""
    total, z = llr.astype(int).copy(), code.z
    by_row = [[edge for edge in code.edges if edge[0] == row] for row in range(rows)]
    checks = [
        [column * z + (at + shift) % z for _, column, shift in by_row[row]] for row in range(rows) for at in range(z)
    ]
    messages = [[0] * len(check) for check in checks]
    for turn in range(rounds):
        for check, old in zip(checks, messages, strict=True):
            inputs = [max(-128, min(127, total[place] - message)) for place, message in zip(check, old, strict=True)]
            sizes = [min(127, abs(value)) for value in inputs]
            ordered = sorted(sizes)
            sign = sum(value < 0 for value in inputs) & 1
            for at, (place, value) in enumerate(zip(check, inputs, strict=True)):
                least = ordered[1] if sizes[at] == ordered[0] else ordered[0]
                message = least - (least >> 2)
                old[at] = -message if sign ^ (value < 0) else message
                total[place] = max(-128, min(127, value + old[at]))
        if all(sum(total[place] < 0 for place in check) % 2 == 0 for check in checks):
            return turn + 1, total
    return -rounds, total


@pytest.mark.parametrize(("graph", "count", "rows"), [(1, 316, 46), (2, 197, 42)])
def test_base_graphs_have_the_shape_of_the_standard(graph, count, rows):
    table = edges(graph)
    assert len(table) == count
    assert {row for row, *_ in table} == set(range(rows))
    assert {column for _, column, *_ in table} == set(range(COLUMNS[graph]))


def test_all_51_lifting_sizes():
    sizes = sorted(size for sizes in LIFTING for size in sizes)
    assert len(sizes) == len(set(sizes)) == 51
    assert (sizes[0], sizes[-1]) == (2, 384)
    assert lifting(8448, 22) == 384
    with pytest.raises(BadRequest, match="384 is the largest"):
        lifting(8449, 22)
    with pytest.raises(BadRequest, match="lifting size 17"):
        Code(1, 17)


@pytest.mark.parametrize("graph", [1, 2])
@pytest.mark.parametrize("z", [2, 3, 5, 7, 9, 11, 13, 15, 56, 104, 120, 208])
def test_code_words_satisfy_the_parity_matrix(graph, z):
    bits = np.random.default_rng(z).integers(0, 2, INFORMATION[graph] * z).astype(np.int8)
    word = coded(Code(graph, z), bits, ROWS[graph])
    assert (word[: bits.size] == bits).all()
    assert not ((parity_matrix(graph, z).astype(np.int32) @ word) % 2).any()


@pytest.mark.parametrize(
    ("graph", "z", "rows", "noise"), [(1, 6, 46, 0.8), (2, 13, 20, 0.6), (1, 20, 8, 0.5), (2, 3, 42, 1.4)]
)
def test_decoder_gives_what_the_naive_one_gives(graph, z, rows, noise):
    random, code = np.random.default_rng(rows), Code(graph, z)
    bits = random.integers(0, 2, INFORMATION[graph] * z).astype(np.int8)
    word = coded(code, bits, rows)
    heard = (1 - 2.0 * word + random.normal(scale=noise, size=word.size)) * 14
    llr = np.clip(np.rint(heard), -60, 60).astype(np.int8)
    llr[: 2 * z] = 0
    took, values = decoded(code, llr, rows, 6)
    expected, slow = naive(code, llr, rows, 6)
    assert took == expected
    assert (values == slow).all()


@pytest.mark.parametrize(("graph", "rows", "noise"), [(1, 5, 0.35), (1, 24, 0.7), (1, 46, 0.9), (2, 42, 1.1)])
def test_noise_is_removed_and_hopeless_noise_is_admitted(graph, rows, noise):
    random, code = np.random.default_rng(7), Code(graph, 384)
    bits = random.integers(0, 2, INFORMATION[graph] * 384).astype(np.int8)
    word = coded(code, bits, rows)

    def heard(scale):
        llr = np.clip(np.rint((1 - 2.0 * word + random.normal(scale=scale, size=word.size)) * 14), -60, 60)
        llr[:768] = 0
        return llr.astype(np.int8)

    took, values = decoded(code, heard(noise), rows, 12)
    assert took > 0
    assert ((values[: bits.size] < 0) == bits).all()
    assert decoded(code, heard(6.0), rows, 4)[0] == -4
