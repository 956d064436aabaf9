"""The few operations that training spends its time in, each with its gradient written out.

All run in the type of the frozen weights (float32 or bfloat16); the adapter's own matrices are float32 and are
rounded for the product only. Autograd keeps no copy that a formula does not need.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function


class LoraLinear(Function):
    """y = x Wᵀ + s (x Aᵀ) Bᵀ with W frozen (Hu et al. 2021)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, a: Tensor, b: Tensor, scale: float) -> Tensor:
        """Return y of shape (tokens, out)."""
        low_a, low_b = a.to(x.dtype), (b * scale).to(x.dtype)
        inner = x @ low_a.t()
        y = torch.nn.functional.linear(x, weight, bias)
        y.addmm_(inner, low_b.t())
        ctx.save_for_backward(x, weight, low_a, low_b, inner)
        ctx.scale = scale
        return y

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        """Return the gradients of x, A and B."""
        x, weight, low_a, low_b, inner = ctx.saved_tensors
        g_inner = g @ low_b
        g_b = (g.t() @ inner).float().mul_(ctx.scale)
        g_a = (g_inner.t() @ x).float()
        g_x = (g @ weight).addmm_(g_inner, low_a) if ctx.needs_input_grad[0] else None
        return g_x, None, None, g_a, g_b, None


class RmsNorm(Function):
    """x / rms(x) · w (Zhang and Sennrich 2019), w frozen; in: float32, out: the type of the products."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, epsilon: float, dtype: torch.dtype) -> Tensor:
        """Normalise the last dimension."""
        inverse = torch.rsqrt(torch.linalg.vector_norm(x, dim=-1, keepdim=True).square_().div_(x.shape[-1]) + epsilon)
        ctx.save_for_backward(x, weight, inverse)
        return (x * inverse).mul_(weight).to(dtype)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        """Return the gradient of x."""
        x, weight, inverse = ctx.saved_tensors
        scaled = g.to(torch.float32) * weight
        along = torch.linalg.vecdot(scaled, x).unsqueeze(-1).mul_(inverse.pow(3)).div_(x.shape[-1])
        return scaled.mul_(inverse).addcmul_(x, along, value=-1), None, None, None


class SwiGlu(Function):
    """silu(gate) · up (Shazeer 2020)."""

    @staticmethod
    def forward(ctx: Any, gate: Tensor, up: Tensor) -> Tensor:
        """Return the product."""
        ctx.save_for_backward(gate, up)
        return torch.nn.functional.silu(gate).mul_(up)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        """Return the gradients of gate and up."""
        gate, up = ctx.saved_tensors
        g_up = torch.nn.functional.silu(gate).mul_(g)
        return torch.ops.aten.silu_backward(g * up, gate), g_up


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn pairs (i, i + half) by their position's angle (Su et al. 2021); x is (tokens, heads, head)."""
    half = x.shape[-1] // 2
    left, right = x[..., :half], x[..., half:]
    return torch.cat((left * cos - right * sin, right * cos + left * sin), dim=-1)


LONG = 512
"""From so many positions on, attention is computed in blocks: slower on a processor, but its memory does not square."""


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
    """Attention where `mask` is true; all are (rows, heads, positions, head), and several heads of q share one of k.

    On a processor, plain products over whole rows are several times faster than the blocked kernel's gradient.
    """
    rows, heads, length, head = q.shape
    kv = k.shape[1]
    if length >= LONG or q.is_cuda:
        k, v = (x.repeat_interleave(heads // kv, dim=1) for x in (k, v))
        return torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    grouped = q.reshape(rows * kv, heads // kv * length, head) * head**-0.5
    k, v = (x.reshape(rows * kv, -1, head) for x in (k, v))
    scores = grouped @ k.transpose(1, 2)
    hidden = (~mask).repeat(heads // kv, 1)
    shares = torch.softmax(scores.masked_fill_(hidden, -torch.inf), dim=-1)
    return (shares @ v).view(rows, heads, length, head)


class TokenLoss(Function):
    """-log p(target) per position; the gradient is made in the same pass, so logits live for one part only."""

    PART = 256

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, head: Tensor, targets: Tensor) -> Tensor:
        """Return the loss of each position, in nats; hidden is (positions, width), head (vocabulary, width)."""
        losses = torch.empty(len(targets), dtype=torch.float32, device=hidden.device)
        gradient = torch.empty_like(hidden) if ctx.needs_input_grad[0] else None
        for start in range(0, len(targets), TokenLoss.PART):
            part = slice(start, start + TokenLoss.PART)
            logits = (hidden[part] @ head.t()).float()
            wanted = targets[part].unsqueeze(-1)
            losses[part] = -logits.gather(-1, wanted).squeeze(-1)
            total = torch.logsumexp(logits, dim=-1, keepdim=True)
            losses[part] += total.squeeze(-1)
            if gradient is not None:
                share = logits.sub_(total).exp_()
                share.scatter_add_(-1, wanted, torch.full_like(wanted, -1.0, dtype=torch.float32))
                gradient[part] = share.to(head.dtype) @ head
        ctx.gradient = gradient
        return losses

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        """Return the gradient of the hidden states."""
        return ctx.gradient * g.unsqueeze(-1).to(ctx.gradient.dtype), None, None
