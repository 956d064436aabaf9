"""A decoder of the Llama family over packed rows: no padding in any product, a common beginning computed once.

A pack is a flat list of tokens: first the prefix that all its rows share, then the rest of each row. Every row
sees the prefix and itself, at the positions it would have alone, so the gradients are those of the rows one by one.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import linear

from aigrid.factory.lora.load import Shape
from aigrid.factory.lora.ops import LoraLinear, RmsNorm, SwiGlu, attend, rotate
from aigrid.factory.lora.settings import TARGETS


@dataclass(frozen=True)
class Pack:
    """Rows side by side. `gather` puts each row's own tokens into a rectangle for attention, `scatter` undoes it."""

    tokens: Tensor
    positions: Tensor
    prefix: int
    gather: Tensor
    scatter: Tensor


def pack(rows: Sequence[Sequence[int]], prefix: int, device: torch.device) -> Pack:
    """Lay rows that share their first `prefix` tokens side by side."""
    lengths = [len(row) - prefix for row in rows]
    longest = max(lengths)
    tokens, positions = list(rows[0][:prefix]), list(range(prefix))
    gather: list[int] = []
    scatter: list[int] = []
    at = prefix
    for number, (row, length) in enumerate(zip(rows, lengths, strict=True)):
        tokens += row[prefix:]
        positions += range(prefix, len(row))
        gather += [*range(at, at + length), *([at + length - 1] * (longest - length))]
        scatter += range(number * longest, number * longest + length)
        at += length
    box = torch.tensor(gather, device=device).view(len(rows), longest)
    return Pack(
        torch.tensor(tokens, device=device),
        torch.tensor(positions, device=device),
        prefix,
        box,
        torch.tensor(scatter, device=device),
    )


def matrix(layer: int, target: str) -> str:
    """Return Hugging Face's name of one of a layer's matrices."""
    part = "mlp" if target in ("gate_proj", "up_proj", "down_proj") else "self_attn"
    return f"model.layers.{layer}.{part}.{target}"


class Lora(torch.nn.Module):
    """The adapter: for each adapted matrix `A` (rank, in), drawn at random, and `B` (out, rank), zero at first."""

    def __init__(
        self, shape: Shape, rank: int, alpha: float, layers: int, seed: int, targets: Sequence[str] = TARGETS
    ) -> None:
        super().__init__()
        self.targets = tuple(target for target in TARGETS if target in targets)
        self.rank, self.alpha, self.scale = rank, alpha, alpha / rank
        self.first = shape.layers - layers
        draw = torch.Generator().manual_seed(seed)
        self.pairs = torch.nn.ParameterDict()
        for layer in range(self.first, shape.layers):
            for target in self.targets:
                into, out = shape.sizes(target)
                a = (torch.rand(rank, into, generator=draw) * 2 - 1) / math.sqrt(into)
                self.pairs[f"{layer}_{target}_a"] = torch.nn.Parameter(a)
                self.pairs[f"{layer}_{target}_b"] = torch.nn.Parameter(torch.zeros(out, rank))

    def pair(self, layer: int, target: str) -> tuple[Tensor, Tensor]:
        """Return A and B of one matrix."""
        return self.pairs[f"{layer}_{target}_a"], self.pairs[f"{layer}_{target}_b"]


class Decoder:
    """The frozen weights, and how hidden states go through them, with an adapter or without."""

    def __init__(self, shape: Shape, weights: Mapping[str, Tensor], dtype: torch.dtype, device: torch.device) -> None:
        self.shape, self.dtype, self.device = shape, dtype, device
        norms = ("norm.weight",)
        self.weights = {
            name: value.to(device, torch.float32 if name.endswith(norms) else dtype) for name, value in weights.items()
        }
        self.head = self.weights.get("lm_head.weight", self.weights["model.embed_tokens.weight"])

    def embed(self, packed: Pack) -> Tensor:
        """Return the hidden states below the first layer, (tokens, width), float32."""
        return self.weights["model.embed_tokens.weight"][packed.tokens].float()

    def run(self, hidden: Tensor, packed: Pack, start: int, end: int, lora: Lora | None) -> Tensor:
        """Take hidden states through the layers from `start` to before `end`."""
        angles = packed.positions[:, None, None].float() * self._frequencies()
        cos, sin = angles.cos().to(self.dtype), angles.sin().to(self.dtype)
        mask = self._mask(packed)
        for layer in range(start, end):
            hidden = hidden + self._attend(hidden, packed, layer, lora, cos, sin, mask)
            hidden = hidden + self._feed(hidden, layer, lora)
        return hidden

    def finish(self, hidden: Tensor) -> Tensor:
        """Return the last norm of some positions: what the vocabulary's head reads."""
        return self._norm(hidden, "model.norm")

    def _feed(self, hidden: Tensor, layer: int, lora: Lora | None) -> Tensor:
        x = self._norm(hidden, f"model.layers.{layer}.post_attention_layernorm")
        gate, up = self._linear(x, layer, "gate_proj", lora), self._linear(x, layer, "up_proj", lora)
        return self._linear(SwiGlu.apply(gate, up), layer, "down_proj", lora)

    def _attend(
        self, hidden: Tensor, packed: Pack, layer: int, lora: Lora | None, cos: Tensor, sin: Tensor, mask: Tensor
    ) -> Tensor:
        shape, x = self.shape, self._norm(hidden, f"model.layers.{layer}.input_layernorm")
        q = self._linear(x, layer, "q_proj", lora).view(-1, shape.heads, shape.head)
        k = self._linear(x, layer, "k_proj", lora).view(-1, shape.kv_heads, shape.head)
        v = self._linear(x, layer, "v_proj", lora).view(-1, shape.kv_heads, shape.head)
        if shape.head_norms:
            q = self._norm(q.float(), f"model.layers.{layer}.self_attn.q_norm")
            k = self._norm(k.float(), f"model.layers.{layer}.self_attn.k_norm")
        q, k = rotate(q, cos, sin), rotate(k, cos, sin)
        return self._linear(self._rows(q, k, v, packed, mask), layer, "o_proj", lora)

    def _rows(self, q: Tensor, k: Tensor, v: Tensor, packed: Pack, mask: Tensor) -> Tensor:
        """Attention of each row over the prefix and itself, and of the prefix over itself; (tokens, heads * head)."""
        first, (rows, longest) = packed.prefix, packed.gather.shape
        index = packed.gather.flatten()

        def box(x: Tensor) -> Tensor:
            return x.index_select(0, index).view(rows, longest, *x.shape[1:]).transpose(1, 2)

        def whole(x: Tensor) -> Tensor:
            return torch.cat((x[:first].transpose(0, 1).expand(rows, -1, -1, -1), box(x)), dim=2) if first else box(x)

        seen = attend(box(q), whole(k), whole(v), mask)
        flat = seen.transpose(1, 2).reshape(rows * longest, -1).index_select(0, packed.scatter)
        if not first:
            return flat
        q, k, v = (x[:first].transpose(0, 1).unsqueeze(0) for x in (q, k, v))
        start = attend(q, k, v, mask.new_ones(first, first).tril())
        return torch.cat((start[0].transpose(0, 1).reshape(first, -1), flat))

    def _mask(self, packed: Pack) -> Tensor:
        """Row positions see the prefix and what came before in their row; what pads a row lies behind all of it."""
        longest = packed.gather.shape[1]
        return torch.ones(longest, packed.prefix + longest, dtype=torch.bool, device=self.device).tril(packed.prefix)

    def _linear(self, x: Tensor, layer: int, target: str, lora: Lora | None) -> Tensor:
        name = matrix(layer, target)
        weight, bias = self.weights[f"{name}.weight"], self.weights.get(f"{name}.bias")
        if lora is None or layer < lora.first or target not in lora.targets:
            return linear(x, weight, bias)
        result: Tensor = LoraLinear.apply(x, weight, bias, *lora.pair(layer, target), lora.scale)
        return result

    def _norm(self, x: Tensor, name: str) -> Tensor:
        result: Tensor = RmsNorm.apply(x, self.weights[f"{name}.weight"], self.shape.epsilon, self.dtype)
        return result

    def _frequencies(self) -> Tensor:
        half = self.shape.head // 2
        return self.shape.rope ** (-torch.arange(half, device=self.device, dtype=torch.float32) / half)
