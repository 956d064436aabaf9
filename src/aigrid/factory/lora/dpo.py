"""Direct preference optimisation (Rafailov et al. 2023): of two answers to a prompt, make the preferred one likelier.

The base model is the reference; what it thinks of each answer is computed once, not in each epoch.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from aigrid.core.errors import BadRequest
from aigrid.factory.lora.data import examples
from aigrid.factory.lora.learner import Choice, Learner
from aigrid.factory.lora.load import Base
from aigrid.factory.lora.loop import Metric, carry_out
from aigrid.factory.lora.settings import Progress, Result, Row, Settings

BETA = 0.1


def train(
    rows: Sequence[Row],
    dev: Sequence[Row],
    settings: Settings,
    work_dir: Path,
    progress: Progress | None = None,
    metric: Metric | None = None,
    beta: float = BETA,
) -> Result:
    """Train an adapter on rows of `prompt`, `chosen` and `rejected`; else like `sft.train`.

    `beta` says how far the model may leave the base: the smaller, the farther. To go on from a trained adapter,
    merge it and give the merged file as `settings.base`.
    """

    def make(base: Base, choice: Choice) -> Preferences:
        flat = [_row(number, row, key) for number, row in enumerate([*rows, *dev]) for key in ("chosen", "rejected")]
        return Preferences(Learner(base, examples(flat, base.tokens, settings.longest), settings, choice), beta)

    return carry_out(f"dpo {beta}", rows, dev, settings, work_dir, make, progress, metric)


def _row(number: int, row: Row, key: str) -> Row:
    if not isinstance(row.get(key), str):
        raise BadRequest(
            f"row {number} has no `{key}`: give `prompt`, `chosen` and `rejected`", param=f"rows[{number}]"
        )
    return {"prompt": row.get("prompt"), "completion": row[key]}


class Preferences:
    """Pairs over a learner's rows: pair `i` is rows `2 i` (chosen) and `2 i + 1` (rejected)."""

    def __init__(self, learner: Learner, beta: float) -> None:
        self.learner, self.beta, self.lora = learner, beta, learner.lora
        with torch.no_grad():
            self.reference = self._likelihoods(range(len(learner.rows)), False)

    def accumulate(self, chosen: Sequence[int]) -> tuple[float, int]:
        """Add the gradient of the mean loss of some pairs; return that loss and all their tokens.

        The loss of a pair is a function of two sums, so each part is computed twice: once for the sums of all, then
        again for the gradient. That bounds the memory by one part, however long the answers are.
        """
        members = [row for pair in chosen for row in (2 * pair, 2 * pair + 1)]
        with torch.no_grad():
            policy = self._likelihoods(members, True)
        margin = self._margins(chosen, policy)
        pull = -self.beta * torch.sigmoid(-margin) / len(chosen)
        weights = {2 * pair: float(value) for pair, value in zip(chosen, pull, strict=True)}
        weights |= {2 * pair + 1: -weights[2 * pair] for pair in chosen}
        for part in self.learner.cut(members):
            scale = torch.tensor([weights[row] for row in part.members], device=part.owners.device)
            loss = (-self.learner.losses(part, self.lora) * scale[part.owners]).sum()
            loss.backward()
        loss = float(torch.nn.functional.softplus(-margin).mean())
        return loss, sum(len(self.learner.rows[row].tokens) for row in members)

    def measure(self, chosen: Sequence[int], adapted: bool = True) -> float:
        """Return the mean loss of some pairs."""
        members = [row for pair in chosen for row in (2 * pair, 2 * pair + 1)]
        with torch.no_grad():
            return float(
                torch.nn.functional.softplus(-self._margins(chosen, self._likelihoods(members, adapted))).mean()
            )

    def _margins(self, chosen: Sequence[int], policy: dict[int, float]) -> Tensor:
        def gain(row: int) -> float:
            return policy[row] - self.reference[row]

        return torch.tensor([self.beta * (gain(2 * pair) - gain(2 * pair + 1)) for pair in chosen], dtype=torch.float64)

    def _likelihoods(self, members: Sequence[int], adapted: bool) -> dict[int, float]:
        """Return the log-likelihood of each row's completion."""
        found: dict[int, float] = {}
        for part in self.learner.cut(members):
            losses = self.learner.losses(part, self.lora if adapted else None).double()
            sums = torch.zeros(len(part.members), dtype=torch.float64, device=losses.device)
            sums.index_add_(0, part.owners, losses)
            found |= dict(zip(part.members, (-sums).tolist(), strict=True))
        return found
