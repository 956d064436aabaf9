"""What an allocation carries: modulation, transport block size, code blocks and their share of the coded bits.

MCS tables 5.1.3.1-1 and 5.1.3.1-2 and clause 5.1.3.2 of TS 38.214; segmentation, clause 5.2.2, and rate matching,
clause 5.4.2.1, of TS 38.212. One layer, 12 data symbols of 14 (two carry reference signals).
"""

import functools
import math
from dataclasses import dataclass
from typing import Literal

from aigrid.core.errors import BadRequest
from aigrid.ran.kernels.graphs import COLUMNS, INFORMATION, Code, lifting

Table = Literal["64qam", "256qam"]
MCS: dict[Table, tuple[tuple[int, float], ...]] = {
    "64qam": (
        *((2, rate) for rate in (120, 157, 193, 251, 308, 379, 449, 526, 602, 679)),
        *((4, rate) for rate in (340, 378, 434, 490, 553, 616, 658)),
        *((6, rate) for rate in (438, 466, 517, 567, 616, 666, 719, 772, 822, 873, 910, 948)),
    ),
    "256qam": (
        *((2, rate) for rate in (120, 193, 308, 449, 602)),
        *((4, rate) for rate in (378, 434, 490, 553, 616, 658)),
        *((6, rate) for rate in (466, 517, 567, 616, 666, 719, 772, 822, 873)),
        *((8, rate) for rate in (682.5, 711, 754, 797, 841, 885, 916.5, 948)),
    ),
}
"""Bits a symbol and code rate x 1024, by MCS index."""
SMALL_SIZES: tuple[int, ...] = (
    *range(24, 193, 8),
    *range(208, 385, 16),
    *range(408, 577, 24),
    *range(608, 737, 32),
    *range(768, 929, 40),
    *(984, 1032, 1064, 1128, 1160, 1192, 1224, 1256, 1288, 1320, 1352, 1416, 1480, 1544, 1608, 1672, 1736, 1800),
    *(1864, 1928, 2024, 2088, 2152, 2216, 2280, 2408, 2472, 2536, 2600, 2664, 2728, 2792, 2856, 2976, 3104, 3240),
    *(3368, 3496, 3624, 3752, 3824),
)
"""Transport block sizes up to 3,824 bits (table 5.1.3.2-1)."""
DATA_SYMBOLS = 12
SUBCARRIERS = 12
LARGEST_PRB = 51


def transport_block_size(prb: int, bits: int, rate: float) -> int:
    """Return the size in bits of the transport block that `prb` blocks carry at `bits` a symbol and code rate `rate`.

    The standard counts at most 156 resource elements a block.
    """
    elements = min(156, SUBCARRIERS * DATA_SYMBOLS) * prb
    info = elements * rate * bits
    step: int
    wanted: int
    if info <= 3824:
        step = max(3, math.floor(math.log2(info)) - 6)
        wanted = max(24, (1 << step) * math.floor(info / (1 << step)))
        return next(size for size in SMALL_SIZES if size >= wanted)
    step = math.floor(math.log2(info - 24)) - 5
    wanted = max(3840, (1 << step) * math.floor((info - 24) / (1 << step) + 0.5))
    if rate <= 0.25:
        blocks = math.ceil((wanted + 24) / 3816)
    else:
        blocks = math.ceil((wanted + 24) / 8424) if wanted > 8424 else 1
    return int(8 * blocks * math.ceil((wanted + 24) / (8 * blocks))) - 24


@dataclass(frozen=True)
class Format:
    """An allocation of `prb` resource blocks at an MCS, first transmission (redundancy version 0) or another."""

    prb: int
    mcs: int
    table: Table = "256qam"
    version: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.prb <= LARGEST_PRB:
            raise BadRequest(f"{self.prb} resource blocks cannot be allocated; the carrier has 1 to {LARGEST_PRB}")
        if not 0 <= self.mcs < len(MCS[self.table]):
            raise BadRequest(
                f"MCS {self.mcs} is not in the {self.table} table, which has 0 to {len(MCS[self.table]) - 1}"
            )
        if self.version not in (0, 1, 2, 3):
            raise BadRequest(f"redundancy version {self.version} does not exist; there are 0 to 3")

    @property
    def bits(self) -> int:
        """Return the bits a symbol carries."""
        return MCS[self.table][self.mcs][0]

    @property
    def rate(self) -> float:
        """Return the target code rate."""
        return MCS[self.table][self.mcs][1] / 1024

    @property
    def elements(self) -> int:
        """Return the resource elements that carry data."""
        return self.prb * SUBCARRIERS * DATA_SYMBOLS

    @property
    def coded(self) -> int:
        """Return the coded bits that are sent."""
        return self.elements * self.bits

    @functools.cached_property
    def size(self) -> int:
        """Return the transport block size in bits."""
        return transport_block_size(self.prb, self.bits, self.rate)

    @property
    def parity(self) -> int:
        """Return the transport block's checksum: 24 bits, or 16 for small blocks."""
        return 24 if self.size > 3824 else 16

    @functools.cached_property
    def graph(self) -> int:
        """Return the base graph (TS 38.212, clause 7.2.2)."""
        return 2 if self.size <= 292 or (self.size <= 3824 and self.rate <= 0.67) or self.rate <= 0.25 else 1

    @functools.cached_property
    def blocks(self) -> int:
        """Return the number of code blocks."""
        total, most = self.size + self.parity, 8448 if self.graph == 1 else 3840
        return 1 if total <= most else math.ceil(total / (most - 24))

    @property
    def payload(self) -> int:
        """Return the bits of one code block with its checksum and without filler (K')."""
        total = self.size + self.parity
        return total if self.blocks == 1 else (total + 24 * self.blocks) // self.blocks

    @functools.cached_property
    def code(self) -> Code:
        """Return the LDPC code of each block."""
        if self.graph == 1:
            return Code(1, lifting(self.payload, 22))
        total = self.size + self.parity
        columns = 10 if total > 640 else 9 if total > 560 else 8 if total > 192 else 6
        return Code(2, lifting(self.payload, columns))

    @property
    def information(self) -> int:
        """Return the bits of one code block with filler (K)."""
        return INFORMATION[self.graph] * self.code.z

    @property
    def buffer(self) -> int:
        """Return the length of the circular buffer: the code word without its first two columns (no limit set)."""
        return (COLUMNS[self.graph] - 2) * self.code.z

    @property
    def first(self) -> int:
        """Return where in the circular buffer this redundancy version begins (table 5.4.2.1-2)."""
        steps, whole = ((0, 17, 33, 56), 66) if self.graph == 1 else ((0, 13, 25, 43), 50)
        return steps[self.version] * self.buffer // (whole * self.code.z) * self.code.z

    @property
    def shares(self) -> tuple[int, ...]:
        """Return the coded bits of each code block."""
        few, more = divmod(self.elements, self.blocks)
        return tuple(self.bits * (few + (at >= self.blocks - more)) for at in range(self.blocks))

    @functools.cached_property
    def rows(self) -> int:
        """Return how many rows of the base graph the sent bits reach: no other row says anything to a decoder."""
        filler = self.information - self.payload
        reach = self.first + max(self.shares)
        if self.first <= self.information - 2 * self.code.z:
            reach += filler
        columns = -(-min(reach, self.buffer) // self.code.z) + 2
        return max(4, columns - INFORMATION[self.graph])
