"""A model with its adapter over a set of rows: losses and gradients, the frozen lower part computed once."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from aigrid.factory.lora.data import Example, Part, common_prefix, parts
from aigrid.factory.lora.load import Base
from aigrid.factory.lora.model import Decoder, Lora
from aigrid.factory.lora.ops import TokenLoss
from aigrid.factory.lora.settings import Settings


@dataclass(frozen=True)
class Choice:
    """Where and how a run computes; kept with the run, so that it is resumed the same way."""

    device: str
    threads: int
    precision: str

    @property
    def dtype(self) -> torch.dtype:
        """The type of the frozen weights and of the products."""
        return torch.bfloat16 if self.precision == "bfloat16" else torch.float32


class Learner:
    """Computes on `rows`, which never change."""

    def __init__(self, base: Base, rows: Sequence[Example], settings: Settings, choice: Choice) -> None:
        self.rows, self.settings = rows, settings
        self.device = torch.device(choice.device)
        self.decoder = Decoder(base.shape, base.weights, choice.dtype, self.device)
        layers = min(settings.layers or base.shape.layers, base.shape.layers)
        lora = Lora(base.shape, settings.rank, settings.alpha, layers, settings.seed, settings.targets)
        self.lora = lora.to(self.device)
        self.prefix = common_prefix(rows)
        self.below = _Below(self) if self.lora.first else None

    def cut(self, chosen: Sequence[int]) -> list[Part]:
        """Return the parts in which some rows are computed."""
        return parts(self.rows, chosen, self.prefix, self.settings.micro_tokens, self.device)

    def losses(self, part: Part, lora: Lora | None) -> Tensor:
        """Return the loss of each completion token of a part, in nats."""
        first = self.lora.first
        hidden = self.below.hidden(part) if self.below else self.decoder.embed(part.pack)
        hidden = self.decoder.run(hidden, part.pack, first, self.decoder.shape.layers, lora)
        result: Tensor = TokenLoss.apply(self.decoder.finish(hidden[part.at]), self.decoder.head, part.targets)
        return result

    def accumulate(self, chosen: Sequence[int]) -> tuple[float, int]:
        """Add the gradient of the mean loss over some rows' completion tokens; return that loss and all their tokens."""
        count = sum(len(self.rows[at].tokens) - self.rows[at].start for at in chosen)
        total = 0.0
        for part in self.cut(chosen):
            loss = self.losses(part, self.lora).sum() / count
            loss.backward()
            total += loss.item()
        return total, sum(len(self.rows[at].tokens) for at in chosen)

    def measure(self, chosen: Sequence[int], adapted: bool = True) -> float:
        """Return the mean loss over some rows' completion tokens, in nats."""
        total, count = 0.0, 0
        with torch.no_grad():
            for part in self.cut(chosen):
                total += float(self.losses(part, self.lora if adapted else None).sum(dtype=torch.float64))
                count += len(part.targets)
        return total / count


class _Below:
    """What leaves the layers that do not learn: computed once for all rows, in an order that depends on them alone."""

    def __init__(self, learner: Learner) -> None:
        self.of: dict[int, Tensor] = {}
        self.start = torch.empty(0)
        with torch.no_grad():
            self._compute(learner)

    def _compute(self, learner: Learner) -> None:
        for part in learner.cut(range(len(learner.rows))):
            hidden = learner.decoder.run(learner.decoder.embed(part.pack), part.pack, 0, learner.lora.first, None)
            at = learner.prefix
            if not self.of:
                self.start = hidden[:at].clone()
            for index in part.members:
                own = len(learner.rows[index].tokens) - learner.prefix
                self.of[index] = hidden[at : at + own].clone()
                at += own

    def hidden(self, part: Part) -> Tensor:
        return torch.cat([self.start, *(self.of[index] for index in part.members)])
