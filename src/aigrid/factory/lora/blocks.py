"""Weights rounded to four bits with the least error in what their layer puts out, in the blocks of GGUF's `Q4_1`.

Plain rounding moves each weight to the nearest step, which undoes what a short training changed. Here the error of
each column is made up for by the columns that are not rounded yet, weighed by how the inputs vary together (GPTQ,
Frantar et al. 2022, arXiv:2210.17323).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

SIZE = 32
"""Weights that share a scale and a minimum."""
_TOP = 15
_DAMP = 0.01
"""Added to the diagonal, as a share of its mean: the less the inputs say, the less is made up for."""
_SHRINKS = torch.linspace(1.0, 0.5, 16)
"""How much of a block's range is tried for its scale: a narrower one cuts its ends off, but has finer steps."""
_TINIEST = 2.0**-24


@dataclass(frozen=True)
class Blocks:
    """A matrix (out, in) as codes of 0 to 15 with a scale (float16) and a zero point, a whole number, per block.

    The embedded engine takes a block's minimum for a whole multiple of its scale, so that it must be one.
    """

    codes: Tensor
    scale: Tensor
    zero: Tensor

    def values(self) -> Tensor:
        """Return the weights in float32."""
        steps = self.codes.float() - self.zero.repeat_interleave(SIZE, 1)
        return steps * self.scale.float().repeat_interleave(SIZE, 1)

    def packed(self) -> np.ndarray[Any, np.dtype[np.uint8]]:
        """Return the bytes of each row as `Q4_1` has them: per block scale, minimum, and the codes in pairs."""
        out, count = self.scale.shape
        lowest = -self.zero * self.scale.float()
        edges = np.stack([self.scale.numpy(), lowest.numpy().astype(np.float16)], -1).view(np.uint8)
        codes = self.codes.numpy().reshape(out, count, 2, SIZE // 2)
        return np.concatenate([edges, codes[:, :, 0] | codes[:, :, 1] << 4], -1).reshape(out, -1)


class Inputs:
    """What enters a matrix, as far as rounding needs it: how the inputs vary together, and in what order to go.

    Blocks with the strongest inputs come first, and within a block the strongest columns: they are rounded before
    errors pile up. `products` is Xᵀ X of the inputs X (tokens, in).
    """

    def __init__(self, products: Tensor) -> None:
        power = products.diagonal()
        blocks = power.view(-1, SIZE)
        first = blocks.sum(1).argsort(descending=True, stable=True)
        inside = blocks.argsort(dim=1, descending=True, stable=True)
        self.blocks = first
        self.order = (first[:, None] * SIZE + inside[first]).flatten()
        self.damped = products + torch.eye(len(power)) * (_DAMP * power.mean()).clamp(min=1e-12)
        ordered = self.damped[self.order][:, self.order]
        inverse = torch.cholesky_inverse(torch.linalg.cholesky(ordered))
        self.factor = torch.linalg.cholesky(inverse, upper=True)

    def round(self, weight: Tensor) -> Blocks:
        """Return a matrix (out, in) rounded so that what it puts out for these inputs changes least."""
        rest, out = weight[:, self.order], len(weight)
        codes = torch.empty(weight.shape[1], out)
        scale, zero = torch.empty(out, len(self.blocks)), torch.empty(out, len(self.blocks))
        for number, block in enumerate(self.blocks.tolist()):
            here = slice(number * SIZE, (number + 1) * SIZE)
            factor = self.factor[here, here]
            now = rest[:, here]
            scale[:, block], zero[:, block] = _grid(now, factor.diagonal().pow(-2))
            columns, errors = now.t().contiguous(), torch.empty(SIZE, out)
            for at in range(SIZE):
                code = (columns[at] / scale[:, block]).round_().add_(zero[:, block]).clamp_(0, _TOP)
                codes[self.order[here][at]] = code
                errors[at] = (columns[at] - (code - zero[:, block]) * scale[:, block]) / factor[at, at]
                columns[at + 1 :].addr_(factor[at, at + 1 :], errors[at], alpha=-1)
            rest[:, here.stop :] -= errors.t() @ self.factor[here, here.stop :]
        return Blocks(codes.t().to(torch.uint8).contiguous(), scale.half(), zero)


def _grid(block: Tensor, importance: Tensor) -> tuple[Tensor, Tensor]:
    """Return each row's scale and zero point with the least error over a block's columns (rows, 32), weighted."""
    low, high = block.amin(1).clamp(max=0), block.amax(1).clamp(min=0)
    found = torch.full_like(low, torch.inf)
    scale, zero = torch.empty_like(low), torch.empty_like(low)
    for shrink in _SHRINKS.tolist():
        step = ((high - low) * (shrink / _TOP)).half().float().clamp_(min=_TINIEST)
        start = (-low * shrink / step).round_().clamp_(0, _TOP)
        code = (block / step[:, None]).round_().clamp_(-start[:, None], _TOP - start[:, None])
        error = code.mul_(step[:, None]).sub_(block).square_() @ importance
        better = error < found
        found, scale, zero = (
            torch.where(better, new, old) for new, old in ((error, found), (step, scale), (start, zero))
        )
    return scale, zero
