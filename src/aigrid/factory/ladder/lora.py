"""A small model that is trained on the rows with low-rank adapters, and answers without being shown any.

The adapter is merged into the model's GGUF file, which the embedded engine, Ollama and LM Studio load; the adapter
itself is kept beside it for servers that take adapters. The fit goes on where it was killed.
"""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import msgspec
import numpy as np
from msgspec import Meta

from aigrid.core.config import load as load_config
from aigrid.core.models import pull, resolve
from aigrid.factory.ladder import files
from aigrid.factory.ladder.base import Fit, Task
from aigrid.factory.ladder.needs import missing
from aigrid.factory.ladder.prompt import Made, Prompt
from aigrid.factory.lora.settings import Settings as Training
from aigrid.factory.rows import Row

COSTLY = True
_HELD_OUT = 100


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`model` is a GGUF model. `rows` training rows at most are learnt (0: all), `epochs` times.

    `rank`, `batch` and `learning_rate` are the trainer's; the merged matrices are stored as `store_as`:
    `auto` is four bits per weight, rounded so that the model does on these rows what it learnt.
    """

    model: str = "smollm2-135m-instruct"
    rows: Annotated[int, Meta(ge=0)] = 0
    epochs: Annotated[int, Meta(ge=1)] = 4
    rank: Annotated[int, Meta(ge=1)] = 16
    batch: Annotated[int, Meta(ge=1)] = 16
    learning_rate: Annotated[float, Meta(gt=0)] = 1e-3
    store_as: str = "auto"
    tokens: Annotated[int, Meta(ge=1)] = 96


def unfit(task: Task, settings: Settings) -> str:
    """Return why this rung cannot work here."""
    if why := missing("torch", "gguf", extra="train"):
        return why
    present = resolve(settings.model, load_config()).present
    return "" if present else f"the model is not here: aigrid models pull {settings.model}"


def fit(fit: Fit, folder: Path) -> None:
    """Train the adapter in the line's work folder and merge it."""
    from aigrid.factory.lora import merge, sft

    chosen: Settings = fit.settings
    base = pull(resolve(chosen.model, load_config()))
    rows = _some(fit.rows, chosen.rows, fit.seed)
    training = Training(
        base=base, rank=chosen.rank, epochs=chosen.epochs, batch=chosen.batch, learning_rate=chosen.learning_rate,
        seed=fit.seed,
    )  # fmt: skip

    def progress(line: Mapping[str, Any]) -> None:
        fit.tell(int(line["step"]), int(line["steps"]), f"lora: loss {line['loss']:.3f}")

    held_out = _some(fit.dev, _HELD_OUT, fit.seed)
    said = [_said(row) for row in rows]
    trained = sft.train(said, [_said(row) for row in held_out], training, fit.work / "lora", progress)
    fit.cost.tokens += trained.tokens
    merge.merge(base, trained.adapter, folder / "model.gguf", chosen.store_as, said)
    shutil.copytree(trained.adapter, folder / "adapter")
    files.write(folder / "prompt.json", Made(fit.task, chosen.model, "", "", [], chosen.tokens))


def _some(rows: Any, most: int, seed: int) -> list[Row]:
    if not most or len(rows) <= most:
        return list(rows)
    return [rows[at] for at in sorted(np.random.default_rng(seed).permutation(len(rows))[:most])]


def _said(row: Row) -> dict[str, str]:
    return {"prompt": row.input, "completion": row.text}


def load(folder: Path) -> Prompt:
    """Return the tuned model of a folder."""
    made = files.read(folder / "prompt.json", Made)
    return Prompt(msgspec.structs.replace(made, model=str(folder.resolve() / "model.gguf")))
