"""The loop of every kind of training: steps, held-out measurements, an early stop, checkpoints, the curve."""

import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

import msgspec
import torch

from aigrid.core.download import digest as file_digest
from aigrid.core.errors import BadRequest
from aigrid.factory.lora import adapter, calibrate, checkpoint
from aigrid.factory.lora.data import order
from aigrid.factory.lora.learner import Choice
from aigrid.factory.lora.load import Base, load
from aigrid.factory.lora.model import Lora
from aigrid.factory.lora.settings import Progress, Result, Row, Settings

Metric = Callable[[Path], float]
"""Judges the adapter in a folder; the higher, the better. It decides which adapter is kept instead of the loss."""


class Teacher(Protocol):
    """What a kind of training computes."""

    lora: Lora

    def accumulate(self, chosen: Sequence[int]) -> tuple[float, int]:
        """Add the gradient of the mean loss of some units; return that loss and how many tokens they have."""

    def measure(self, chosen: Sequence[int], adapted: bool = True) -> float:
        """Return the mean loss of some units, with the adapter or without."""


Make = Callable[[Base, Choice], Teacher]


def carry_out(
    kind: str,
    rows: Sequence[Row],
    dev: Sequence[Row],
    settings: Settings,
    folder: Path,
    make: Make,
    progress: Progress | None,
    metric: Metric | None,
) -> Result:
    """Do a run of some kind in a folder, or what is left of it; see `sft.train`."""
    if not rows:
        raise BadRequest("there are no rows to train on", param="rows")
    digest = checkpoint.digest(rows, dev, settings, _base_digest(settings.base), kind)
    known = checkpoint.begin(folder, digest)
    finished = folder / checkpoint.RESULT
    if known and finished.exists():
        return msgspec.json.decode(finished.read_bytes(), type=Result, dec_hook=_path)
    base = load(settings.base)
    if known is None:
        choice, speeds = calibrate.choose(base, settings)
        known = {"digest": digest, "choice": asdict(choice), "tokens_per_s": speeds}
        checkpoint.write(folder / checkpoint.RUN, json.dumps(known).encode())
    choice, before = Choice(**known["choice"]), torch.get_num_threads()
    torch.set_num_threads(choice.threads)
    try:
        return Run(make(base, choice), len(rows), len(dev), settings, choice, folder, progress, metric).go()
    finally:
        torch.set_num_threads(before)


def _base_digest(path: Path) -> str:
    """Return what identifies a base model: the content of its file, or of a folder's files."""
    if path.is_dir():
        return ",".join(f"{file.name}:{file_digest(file)}" for file in sorted(path.glob("*.safetensors")))
    return file_digest(path) if path.exists() else ""


def _path(kind: type, value: Any) -> Any:
    return kind(value)


def rate(step: int, steps: int, warmup: float) -> float:
    """Return the share of the learning rate for a step, counted from 0: up a line, down a cosine."""
    warm = max(1, round(steps * warmup))
    if step < warm:
        return (step + 1) / warm
    return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))


class Run:
    """One run and all that changes in it; `step` counts the steps that are done.

    `learner` computes: `accumulate(chosen)` adds the gradient of some units (rows, or pairs) and returns the loss and
    the tokens, `measure(chosen, adapted)` returns the loss alone. Units from `count` on are held out.
    """

    def __init__(
        self,
        learner: Teacher,
        count: int,
        held_out: int,
        settings: Settings,
        choice: Choice,
        folder: Path,
        progress: Progress | None,
        metric: Metric | None,
    ) -> None:
        self.learner, self.settings, self.choice, self.folder, self.metric = learner, settings, choice, folder, metric
        self.tell = progress or (lambda line: None)
        self.count, self.held_out = count, range(count, count + held_out)
        self.lora = self.learner.lora
        self.optimiser = torch.optim.AdamW(self.lora.parameters(), lr=settings.learning_rate, weight_decay=0.0)
        self.per_epoch = math.ceil(self.count / settings.batch)
        self.steps = self.per_epoch * settings.epochs
        self.step, self.tokens, self.seconds = 0, 0, 0.0
        self.first_dev_loss: float | None = None
        self.best: dict[str, Any] = {"score": -math.inf, "step": 0, "dev_loss": None, "metric": None, "state": {}}
        self.bad = 0

    def go(self) -> Result:
        """Do what is left of the run."""
        if state := checkpoint.restore(self.folder, torch.device(self.choice.device)):
            self._load(state)
        checkpoint.keep_curve(self.folder, self.step)
        started, kept = time.monotonic() - self.seconds, time.monotonic()
        if self.first_dev_loss is None and self.held_out:
            self.first_dev_loss = self.learner.measure(self.held_out, adapted=False)
        every = max(1, self.per_epoch // self.settings.evaluations)
        while self.step < self.steps and not self._enough():
            line = self._one_step()
            if self.step % every == 0 or self.step == self.steps:
                line |= self._judge()
            self.seconds = time.monotonic() - started
            line["seconds"] = round(self.seconds, 3)
            checkpoint.append_curve(self.folder, line)
            self.tell(line)
            if time.monotonic() - kept >= self.settings.checkpoint_s:
                checkpoint.save(self.folder, self._state())
                kept = time.monotonic()
        return self._finish()

    def _one_step(self) -> dict[str, Any]:
        epoch, within = divmod(self.step, self.per_epoch)
        chosen = order(self.count, self.settings.seed, epoch)
        chosen = chosen[within * self.settings.batch : (within + 1) * self.settings.batch]
        for group in self.optimiser.param_groups:
            group["lr"] = self.settings.learning_rate * rate(self.step, self.steps, self.settings.warmup)
        self.optimiser.zero_grad()
        loss, tokens = self.learner.accumulate(chosen)
        torch.nn.utils.clip_grad_norm_(self.lora.parameters(), self.settings.clip)
        self.optimiser.step()
        self.step += 1
        self.tokens += tokens
        return {"step": self.step, "steps": self.steps, "loss": round(loss, 5), "tokens": self.tokens}

    def _judge(self) -> dict[str, Any]:
        """Measure the adapter on held-out rows and keep it if it is the best so far."""
        dev_loss = self.learner.measure(self.held_out) if self.held_out else None
        value = self._metric() if self.metric else None
        score = value if value is not None else -dev_loss if dev_loss is not None else float(self.step)
        if score > self.best["score"]:
            state = {name: value.detach().clone() for name, value in self.lora.state_dict().items()}
            self.best = {"score": score, "step": self.step, "dev_loss": dev_loss, "metric": value, "state": state}
            self.bad = 0
        else:
            self.bad += 1
        line = {"dev_loss": dev_loss, "metric": value}
        return {name: round(found, 5) for name, found in line.items() if found is not None}

    def _metric(self) -> float:
        assert self.metric is not None
        folder = self.folder / "judged"
        checkpoint.write_folder(
            folder, lambda path: adapter.save(self.lora, self.lora.state_dict(), self.settings.base.name, path)
        )
        return float(self.metric(folder))

    def _enough(self) -> bool:
        return 0 < self.settings.patience <= self.bad

    def _state(self) -> dict[str, Any]:
        names = ("step", "tokens", "seconds", "first_dev_loss", "best", "bad")
        return {
            **{name: getattr(self, name) for name in names},
            "lora": self.lora.state_dict(),
            "optimiser": self.optimiser.state_dict(),
        }

    def _load(self, state: dict[str, Any]) -> None:
        self.lora.load_state_dict(state.pop("lora"))
        self.optimiser.load_state_dict(state.pop("optimiser"))
        for name, value in state.items():
            setattr(self, name, value)

    def _finish(self) -> Result:
        target = self.folder / checkpoint.ADAPTER
        checkpoint.write_folder(
            target, lambda path: adapter.save(self.lora, self.best["state"], self.settings.base.name, path)
        )
        result = Result(
            adapter=target,
            steps=self.step,
            dev_loss=self.best["dev_loss"],
            first_dev_loss=self.first_dev_loss,
            metric=self.best["metric"],
            tokens=self.tokens,
            seconds=round(self.seconds, 3),
            stopped_early=self.step < self.steps,
            threads=self.choice.threads,
            precision=self.choice.precision,
            device=self.choice.device,
        )
        checkpoint.write(self.folder / checkpoint.RESULT, msgspec.json.encode(result, enc_hook=str))
        (self.folder / checkpoint.CHECKPOINT).unlink(missing_ok=True)
        return result
