"""Which rows can be among the nearest at all: a third of the work, and not one row missed.

The vectors are turned so that their first coordinates say most (principal components). The product with a query is
that of the first coordinates plus a rest, which is at most the product of the lengths of what is left out: rows whose
best case is worse than what is found already need no look.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]

FROM_ROWS = 8192
"""With fewer rows it is quicker to compare all."""
SAMPLE = 8192
SLACK = 1e-5
"""More than rounding can make of a product of unit vectors."""


@dataclass(frozen=True)
class Sketch:
    """`head` holds the first coordinates of each row, `reach` the length of what they leave out."""

    basis: Floats
    head: Floats
    reach: Floats

    @classmethod
    def fit(cls, vectors: Floats, room: int) -> "Sketch":
        """Make a sketch of rows, with room for more."""
        sample = vectors[:: max(1, len(vectors) // SAMPLE)].astype(np.float64)
        _, directions = np.linalg.eigh(sample.T @ sample)
        kept = max(1, vectors.shape[1] // 3)
        basis = np.ascontiguousarray(directions[:, ::-1][:, :kept], np.float32)
        empty = cls(basis, np.zeros((0, kept), np.float32), np.zeros(0, np.float32))
        return empty.grown(room).put(0, vectors)

    def put(self, first: int, vectors: Floats) -> "Sketch":
        """Write the rows from `first` on; there must be room."""
        head = vectors @ self.basis
        left = np.einsum("ij,ij->i", vectors, vectors) - np.einsum("ij,ij->i", head, head)
        self.head[first : first + len(vectors)] = head
        self.reach[first : first + len(vectors)] = np.sqrt(np.maximum(left, 0.0))
        return self

    def grown(self, room: int) -> "Sketch":
        """Return the same sketch with room for so many rows."""
        head = np.zeros((room, self.head.shape[1]), np.float32)
        reach = np.zeros(room, np.float32)
        head[: len(self.head)], reach[: len(self.reach)] = self.head, self.reach
        return Sketch(self.basis, head, reach)

    def best_case(self, query: Floats, rows: int) -> Floats:
        """Return the highest product with `query` that each of the first rows can have."""
        head = query @ self.basis
        left = float(np.sqrt(max(0.0, float(query @ query - head @ head))))
        bound: Floats = self.head[:rows] @ head
        bound += self.reach[:rows] * np.float32(left)
        bound += np.float32(SLACK)
        return bound
