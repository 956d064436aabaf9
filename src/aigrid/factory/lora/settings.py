"""What a training run is told, and what it gives back."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from aigrid.core.errors import BadRequest

ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")
TARGETS = (*ATTENTION, "gate_proj", "up_proj", "down_proj")

Row = Mapping[str, Any]
"""`{"prompt": text or messages, "completion": text}`, or `{"messages": […]}` that ends with the assistant's answer."""

Progress = Callable[[Mapping[str, Any]], None]
"""Called with each line of the curve: step, steps, loss, tokens, seconds; also dev_loss where it was measured."""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """How to train. `0` and `auto` mean: measure at the start what is best here."""

    base: Path
    """A GGUF file, or a folder as Hugging Face writes it."""
    rank: int = 16
    alpha: float = 32.0
    layers: int = 0
    """How many of the upper layers learn; 0 is all. What lies below is computed once, not once per epoch."""
    targets: tuple[str, ...] = TARGETS
    """Which matrices of those layers learn. Fewer learn less, and only they are written anew in a merge."""
    epochs: int = 4
    batch: int = 16
    """Rows per step."""
    micro_tokens: int = 1024
    """Most tokens computed at once; a longer batch is done in parts, with the same gradient."""
    longest: int = 2048
    """Rows of more tokens are refused."""
    learning_rate: float = 1e-3
    warmup: float = 0.05
    """Share of the steps in which the learning rate rises; from then it falls to zero along a cosine."""
    clip: float = 1.0
    """Greatest norm of the gradient."""
    seed: int = 0
    evaluations: int = 2
    """How often per epoch the held-out rows are measured."""
    patience: int = 4
    """Stop after so many measurements without a better one; 0 never stops early."""
    checkpoint_s: float = 30.0
    """Seconds between checkpoints: what a crash can cost."""
    device: str = "auto"
    threads: int = 0
    precision: str = "auto"
    """`float32`, `bfloat16` (of the frozen weights; the adapter stays float32), or `auto`."""

    def __post_init__(self) -> None:
        """Refuse what cannot be; raises `BadRequest` that names the setting."""
        for name in ("rank", "epochs", "batch", "micro_tokens", "longest", "evaluations"):
            if getattr(self, name) < 1:
                raise BadRequest(f"{name} is {getattr(self, name)}: it must be at least 1", param=name)
        for name in ("layers", "patience", "threads"):
            if getattr(self, name) < 0:
                raise BadRequest(f"{name} is {getattr(self, name)}: it must not be negative", param=name)
        if self.precision not in ("auto", "float32", "bfloat16"):
            raise BadRequest(f"precision `{self.precision}`: use auto, float32 or bfloat16", param="precision")
        if not self.targets or set(self.targets) - set(TARGETS):
            raise BadRequest(f"targets {list(self.targets)}: name some of {', '.join(TARGETS)}", param="targets")
        if not self.learning_rate > 0:
            raise BadRequest(f"learning_rate is {self.learning_rate}: it must be positive", param="learning_rate")


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """A finished run. Losses are nats per completion token; `tokens` counts those of all rows seen, prompts too."""

    adapter: Path
    """The folder with the best adapter, in PEFT's format."""
    steps: int
    dev_loss: float | None
    first_dev_loss: float | None
    """The held-out loss of the untrained model."""
    metric: float | None
    tokens: int
    seconds: float
    stopped_early: bool
    threads: int
    precision: str
    device: str
