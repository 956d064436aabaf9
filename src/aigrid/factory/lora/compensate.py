"""A model with an adapter, its adapted matrices rounded to four bits so that it does on some rows what it did before.

Layer by layer, on the rows' own activations: what enters a matrix comes through the matrices already rounded, and what
it should put out is what it does in the model before rounding, so later matrices correct the earlier ones too.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from aigrid.core.errors import BadRequest
from aigrid.factory.lora.blocks import SIZE, Blocks, Inputs
from aigrid.factory.lora.data import Example, common_prefix, examples
from aigrid.factory.lora.load import Base
from aigrid.factory.lora.model import Decoder, Lora, matrix, pack
from aigrid.factory.lora.settings import Row

TOKENS = 8192
"""About so many tokens of the rows are used: more cost time and teach the rounding little."""
_LONGEST = 2048


def compensated(base: Base, deltas: Mapping[str, Tensor], rows: Sequence[Row]) -> dict[str, Blocks]:
    """Return the matrices of `deltas`, each added to the base's, rounded. The same rows give the same bytes.

    It computes on one thread: with more, the sums would depend on how many there are.
    Raises `BadRequest` for rows that cannot be used, and where a matrix does not divide into blocks.
    """
    for name, delta in deltas.items():
        if delta.shape[1] % SIZE:
            raise BadRequest(
                f"{name} has {delta.shape[1]} columns, which do not divide into blocks of {SIZE}: use Q8_0"
            )
    table = _some(examples(rows, base.tokens, _LONGEST))
    cpu = torch.device("cpu")
    rows_at_once = pack([row.tokens for row in table], common_prefix(table), cpu)
    weights = {name: value + deltas[name] if name in deltas else value for name, value in base.weights.items()}
    exact = _Exact(base.shape, weights, torch.float32, cpu)
    rounding = _Rounding(exact, deltas, base.shape, weights, torch.float32, cpu)
    with torch.no_grad(), _one_thread():
        before = after = exact.embed(rows_at_once)
        for layer in range(base.shape.layers):
            if not rounding.left:
                break
            before = exact.run(before, rows_at_once, layer, layer + 1, None)
            after = rounding.run(after, rows_at_once, layer, layer + 1, None)
    return rounding.found


@contextmanager
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _some(table: list[Example]) -> list[Example]:
    """Return examples of about `TOKENS` tokens in all, from everywhere in the list."""
    apart = max(1, -(-sum(len(row.tokens) for row in table) // TOKENS))
    return table[::apart]


class _Exact(Decoder):
    """The model before rounding; it remembers what entered each matrix of the last layer."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.entered: dict[str, Tensor] = {}

    def _linear(self, x: Tensor, layer: int, target: str, lora: Lora | None) -> Tensor:
        self.entered[target] = x
        return super()._linear(x, layer, target, lora)


class _Rounding(Decoder):
    """The same model, which rounds each matrix when something first enters it, and goes on with the rounded one."""

    def __init__(self, exact: _Exact, left: Collection[str], *args: Any) -> None:
        super().__init__(*args)
        self.exact, self.left = exact, set(left)
        self.found: dict[str, Blocks] = {}
        self.x = torch.empty(0)

    def _linear(self, x: Tensor, layer: int, target: str, lora: Lora | None) -> Tensor:
        name = f"{matrix(layer, target)}.weight"
        if name in self.left:
            self.left.remove(name)
            if self.x is not x:  # queries, keys and values have the same inputs, and so do gate and up
                self.x, self.inputs = x, Inputs(x.t() @ x)
                self.moved = torch.linalg.solve(self.inputs.damped, x.t() @ (self.exact.entered[target] - x))
            weight = self.weights[name]
            self.found[name] = self.inputs.round(weight + weight @ self.moved.t())
            self.weights[name] = self.found[name].values()
        return super()._linear(x, layer, target, lora)
