"""Supervised fine-tuning: learn the completions of rows, and stop when held-out ones get no better."""

from collections.abc import Sequence
from pathlib import Path

from aigrid.factory.lora.data import examples
from aigrid.factory.lora.learner import Choice, Learner
from aigrid.factory.lora.load import Base
from aigrid.factory.lora.loop import Metric, carry_out
from aigrid.factory.lora.settings import Progress, Result, Row, Settings


def train(
    rows: Sequence[Row],
    dev: Sequence[Row],
    settings: Settings,
    work_dir: Path,
    progress: Progress | None = None,
    metric: Metric | None = None,
) -> Result:
    """Train an adapter in `work_dir`, or go on with the run that is there; returns at once where that is finished.

    The same rows and settings give the same adapter, bit for bit, on the same machine, however often the run was
    killed. Raises `BadRequest` for rows that cannot be used and for a folder that holds another run.
    """

    def make(base: Base, choice: Choice) -> Learner:
        return Learner(base, examples([*rows, *dev], base.tokens, settings.longest), settings, choice)

    return carry_out("sft", rows, dev, settings, work_dir, make, progress, metric)
