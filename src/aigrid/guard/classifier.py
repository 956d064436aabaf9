"""Whether a text tries to talk a model out of its instructions: jailbreaks and injections, by a small linear model.

Each view of the text (as it is, and with disguises off) is scored window by window; the worst window is what counts, so
that one sentence in a long document is found. It knows wordings, not intentions: see docs/explanation/guard.md.
"""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from zipfile import BadZipFile

import msgspec
import numpy as np
import numpy.typing as npt

from aigrid.core.errors import ConfigError
from aigrid.guard.clean import views
from aigrid.guard.features import BITS, pieces, scores

SHIPPED = Path(__file__).with_name("model.npz")
"""The model that comes with the package; `model.json` beside it is its card."""


class Verdict(msgspec.Struct, frozen=True):
    """`score` is in log-odds above the threshold: an attack where positive. `view` says under which disguise it was."""

    score: float
    view: str = "plain"

    @property
    def attack(self) -> bool:
        """Whether this is taken for an attack."""
        return self.score > 0.0


@dataclass(frozen=True)
class Guard:
    """A linear model over hashed n-grams and the score from which a text counts as an attack."""

    weights: npt.NDArray[np.int8]
    scale: float
    bias: float
    threshold: float

    @classmethod
    def load(cls, path: Path = SHIPPED) -> "Guard":
        """Read a model; raises `ConfigError` where the file is not one."""
        try:
            with np.load(path, allow_pickle=False) as held:
                weights, numbers = held["weights"], held["numbers"]
        except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
            raise ConfigError(
                f"{path} is not a guard's model: {error}; name one made by `train`", param="guard.model"
            ) from error
        if weights.shape != (1 << BITS,) or weights.dtype != np.int8 or numbers.shape != (3,):
            raise ConfigError(
                f"{path} is the model of another version of the guard; train it again", param="guard.model"
            )
        return cls(weights, *(float(number) for number in numbers))

    def save(self, path: Path) -> None:
        """Write the model; the same model makes the same bytes."""
        with path.open("wb") as file:
            np.savez_compressed(file, weights=self.weights, numbers=np.array([self.scale, self.bias, self.threshold]))

    def check(self, text: str) -> Verdict:
        """Return what the worst window of a text, under any disguise, comes to."""
        worst = Verdict(-np.inf)
        for name, view in views(text):
            for piece in pieces(view.encode("utf-8", "replace")):
                if piece:
                    score = float(scores(piece, self.weights, self.scale, self.bias).max()) - self.threshold
                    if score > worst.score:
                        worst = Verdict(score, name)
        return worst


@lru_cache(maxsize=4)
def shipped(path: Path = SHIPPED) -> Guard:
    """Return a model that is read once for the whole process."""
    return Guard.load(path)
