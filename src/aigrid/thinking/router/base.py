"""The file of a router, and the router that is read from it. What was not tested, or has changed since, is refused."""

import base64
import hashlib
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
from msgspec import Meta

from aigrid.core.errors import BadRequest, ConfigError
from aigrid.thinking.policy import Side
from aigrid.thinking.router.curve import Figures, Floats
from aigrid.thinking.router.features import WIDTH, Question, row

_TRAIN = "train one with `aigrid router train`"
_STRATEGIES = (
    "plain", "adaptive", "self_consistency", "best_of_n", "weighted_vote", "refine", "beam_search", "debate"
)  # fmt: skip


class Target(msgspec.Struct, frozen=True, omit_defaults=True):
    """Who answers: a model and, where it is not the policy's to say, with which strategy and how many candidates."""

    model: str
    strategy: str = ""
    n: Annotated[int, Meta(ge=0, le=64)] = 0

    def __str__(self) -> str:
        count = f":{self.n}" if self.n else ""
        return f"{self.model}@{self.strategy}{count}" if self.strategy else self.model


class Source(msgspec.Struct, frozen=True):
    """What a router was made from: the digest of its examples, where they were, and how many each part has."""

    sha256: str
    name: str
    train: int
    calibration: int
    test: int


class RouterFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A router as it is kept. `wanted` is what the threshold was chosen for; `digest` is of all the rest.

    The score of a question is how likely the strong model answers it better, a tie counting half.
    """

    weak: Target
    strong: Target
    threshold: float
    wanted: dict[str, float]
    weights: str
    data: Source
    test: Figures | None
    made: str
    l2: float
    format: Literal["aigrid-router-1"] = "aigrid-router-1"
    digest: str = ""

    def signed(self) -> "RouterFile":
        """Return it with its digest."""
        return msgspec.structs.replace(self, digest=self._digest())

    @property
    def intact(self) -> bool:
        """Whether nothing has changed since it was made."""
        return self.digest == self._digest()

    def _digest(self) -> str:
        bare = msgspec.structs.replace(self, digest="")
        return hashlib.sha256(msgspec.json.encode(bare, order="sorted")).hexdigest()


class Decision(msgspec.Struct, frozen=True):
    """Which side a question goes to, and its score."""

    side: Side
    score: float


class ModelRouter:
    """Scores questions and decides; made of weights that are whole."""

    def __init__(self, file: RouterFile) -> None:
        self.file = file
        self._weights = unpack(file.weights)

    def decide(self, asked: Question, threshold: float | None = None) -> Decision:
        """Return where a question goes: to the strong model where its score is not below the threshold."""
        score = self.score(asked)
        return Decision(
            "strong" if score >= (self.file.threshold if threshold is None else threshold) else "weak", score
        )

    def score(self, asked: Question) -> float:
        """Return how likely the strong model is better, between 0 and 1."""
        seen = row(asked)
        return squash(float(self._weights[seen.places] @ seen.values + self._weights[-1]))

    def target(self, side: Side) -> Target:
        """Return who answers on a side."""
        return self.file.strong if side == "strong" else self.file.weak


def squash(raw: float) -> float:
    """Return the score of a weighted sum."""
    return float(np.exp(-np.logaddexp(0.0, -raw)))


def pack(weights: Floats) -> str:
    """Return weights as text: little-endian floats of 32 bits, in base64."""
    return base64.b64encode(weights.astype("<f4").tobytes()).decode()


def unpack(text: str) -> Floats:
    """Return the weights of a text; raises `ConfigError` for what is none."""
    try:
        weights = np.frombuffer(base64.b64decode(text, validate=True), "<f4").astype(np.float64)
    except ValueError:
        weights = np.empty(0)
    if len(weights) != WIDTH + 1 or not np.isfinite(weights).all():
        raise ConfigError(f"its weights are not {WIDTH + 1} numbers; {_TRAIN}")
    return weights


def load(path: Path) -> ModelRouter:
    """Read a router for use; raises `ConfigError` that says why it must not be used, and what to do."""
    file = read(path)
    where = f"the router {path} is refused:"
    if not file.intact:
        raise ConfigError(f"{where} it has changed since it was made (its digest does not match); {_TRAIN} again")
    if file.test is None:
        raise ConfigError(f"{where} it has no test figures, and what was not tested is not used; {_TRAIN}")
    if not file.test.better_than_random:
        low = file.test.apgr.low
        raise ConfigError(
            f"{where} on its test questions it may be no better than guessing (APGR {file.test.apgr.value:.3f}, "
            f"at least {low:.3f}; 0.5 is guessing); {_TRAIN} on more questions, or serve one of its models"
        )
    try:
        return ModelRouter(file)
    except ConfigError as error:
        raise ConfigError(f"{where} {error.message}") from None


def read(path: Path) -> RouterFile:
    """Read the file of a router, to look at; raises `ConfigError` where it is none."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=RouterFile)
    except OSError as error:
        raise ConfigError(f"cannot read the router {path}: {error.strerror}; {_TRAIN}") from None
    except (msgspec.DecodeError, UnicodeError) as error:
        raise ConfigError(f"{path} is not a router: {error}; {_TRAIN}") from None


def target(text: str, option: str) -> Target:
    """Return what `MODEL` or `MODEL@STRATEGY:N` names; raises `BadRequest`."""
    model, at, how = text.partition("@")
    strategy, _, count = how.partition(":")
    if not model or (at and strategy not in _STRATEGIES) or (count and not (count.isdigit() and 0 < int(count) <= 64)):
        raise BadRequest(
            f"{option} wants MODEL or MODEL@STRATEGY:N with N from 1 to 64, not `{text}`; "
            f"strategies: {', '.join(_STRATEGIES)}",
            param=option,
        )
    return Target(model, strategy, int(count or 0))


def public(file: RouterFile) -> dict[str, Any]:
    """Return a router as JSON would have it, without its weights."""
    shown: dict[str, Any] = msgspec.to_builtins(file)
    del shown["weights"]
    return shown
