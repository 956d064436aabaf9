"""The LDPC base graphs of 3GPP TS 38.212, tables 5.3.2-1 to 5.3.2-3, and a code made from one of them."""

import csv
import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aigrid.core.errors import BadRequest

LIFTING = tuple(tuple(a << j for j in range(8) if a << j <= 384) for a in (2, 3, 5, 7, 9, 11, 13, 15))
"""Lifting sizes by set index (table 5.3.2-1)."""
INFORMATION = {1: 22, 2: 10}
"""Columns that carry information, by base graph."""
COLUMNS = {1: 68, 2: 52}
ROWS = {1: 46, 2: 42}
LANES = 64


@functools.cache
def edges(graph: int) -> tuple[tuple[int, ...], ...]:
    """Return the non-zero places of a base graph as (row, column, shift of set 0, …, shift of set 7), in rows' order."""
    with (Path(__file__).parent / "base_graphs.csv").open() as file:
        rows = [tuple(map(int, row)) for row in list(csv.reader(file))[1:]]
    return tuple(row[1:] for row in rows if row[0] == graph)


def lifting(minimum: int, columns: int) -> int:
    """Return the smallest lifting size with which `columns` columns hold `minimum` bits (clause 5.2.2)."""
    fitting = [size for sizes in LIFTING for size in sizes if columns * size >= minimum]
    if not fitting:
        raise BadRequest(f"no lifting size holds {minimum} bits in {columns} columns; 384 is the largest")
    return min(fitting)


def round_up(value: int, step: int) -> int:
    """Return the smallest multiple of `step` that is not below `value`."""
    return -(-value // step) * step


@dataclass(frozen=True)
class Code:
    """A base graph lifted by `z`: `edges` with the shift modulo z, and how its vectors lie in memory.

    A column is stored twice in a row, so that z values can be read from any rotation as one piece. A decoder leaves
    each column as rotated as its last visitor wanted it; `turn` is how far the next visitor turns it further, and
    `check` how far it stands from the rotation that this edge wants at the end of a round.
    """

    graph: int
    z: int

    def __post_init__(self) -> None:
        if self.graph not in (1, 2) or not any(self.z in sizes for sizes in LIFTING):
            raise BadRequest(f"there is no LDPC code with base graph {self.graph} and lifting size {self.z}")

    @property
    def lanes(self) -> int:
        """Return z rounded up to whole vectors."""
        return round_up(self.z, LANES)

    @property
    def stride(self) -> int:
        """Return the bytes from one stored column to the next."""
        return round_up(self.z + self.lanes, LANES)

    @functools.cached_property
    def edges(self) -> tuple[tuple[int, int, int], ...]:
        """Return (row, column, shift) of every circulant."""
        index = next(at for at, sizes in enumerate(LIFTING) if self.z in sizes)
        return tuple((row, column, shifts[index] % self.z) for row, column, *shifts in edges(self.graph))

    @functools.cache  # noqa: B019
    def schedule(self, rows: int) -> "Schedule":
        """Return the order in which a decoder of the first `rows` rows visits columns."""
        used = [edge for edge in self.edges if edge[0] < rows]
        last = {column: shift for _, column, shift in used}
        now = dict.fromkeys(last, 0)
        turn: list[int] = []
        settled: list[int] = []
        start: list[int] = []
        for at, (row, column, shift) in enumerate(used):
            if row == len(start):
                start.append(at)
            turn.append((shift - now[column]) % self.z)
            now[column] = shift
        for _, column, shift in used:
            settled.append((shift - last[column]) % self.z)
        again = []
        now = dict(last)
        for _, column, shift in used:
            again.append((shift - now[column]) % self.z)
            now[column] = shift
        columns = INFORMATION[self.graph] + rows
        home = [(-last.get(column, 0)) % self.z for column in range(columns)]
        return Schedule(
            np.array([*start, len(used)], np.int64),
            np.array([column * self.stride for _, column, _ in used], np.int64),
            np.array([turn, again, settled], np.int64),
            np.array(home, np.int64),
        )


@dataclass(frozen=True)
class Schedule:
    """The order of a decoder's visits.

    `start` is the first edge of each row, `base` where the edge's column begins in memory, `turns` the rotation of
    each edge in the first round, in later rounds and at the end of a round, `home` what turns a column back at the end.
    """

    start: NDArray[np.int64]
    base: NDArray[np.int64]
    turns: NDArray[np.int64]
    home: NDArray[np.int64]


def parity_matrix(graph: int, z: int) -> NDArray[np.uint8]:
    """Return the whole parity check matrix of a code, as the standard writes it: slow, for tests."""
    code = Code(graph, z)
    matrix: NDArray[Any] = np.zeros((ROWS[graph] * z, COLUMNS[graph] * z), np.uint8)
    one = np.arange(z)
    for row, column, shift in code.edges:
        matrix[row * z + one, column * z + (one + shift) % z] ^= 1
    return matrix
