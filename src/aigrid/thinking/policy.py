"""Which model and strategy serve which tier, and how many candidates an effort is worth.

The rules are `[[tiers]]` of aigrid.toml, or of the file that `thinking.policy` names. What chooses more finely, such
as a trained router, is a `Planner` too and takes this one's place.
"""

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

import msgspec

from aigrid.core.config import Config, TierConfig
from aigrid.core.errors import ConfigError
from aigrid.engines.base import GenerateRequest
from aigrid.ledger.base import Tier

Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]
CANDIDATES: dict[str, int] = {"none": 1, "minimal": 2, "low": 4, "medium": 8, "high": 16, "xhigh": 32, "max": 64}
"""The most candidates that an effort is worth."""
MOST = 64
PLAIN = "plain"
_VOTES = ("adaptive", "self_consistency", "best_of_n", "weighted_vote")
"""Strategies that with one candidate are no more than asking once."""
_DEFAULT = (TierConfig(tier="think", strategy="adaptive"),)


class Plan(msgspec.Struct, frozen=True):
    """How a request is served: by which model, with which strategy, and how many candidates at most."""

    model: str
    strategy: str = PLAIN
    n: int = 1
    scorer: str = ""
    critic: str = ""
    debaters: list[str] = []
    pattern: str = ""
    answers: str = "text"
    rounds: int = 2
    reward_url: str = ""
    reward_key_env: str = ""
    program: str = ""

    @property
    def plain(self) -> bool:
        """Whether it is one request and no more."""
        return self.strategy == PLAIN or (self.n <= 1 and self.strategy in _VOTES)


class Planner(Protocol):
    """Decides how a request is served, before anything is held for it."""

    def plan(self, request: GenerateRequest, tier: Tier, effort: Effort | None) -> Plan:
        """Return the plan; quick, and the same for the same request."""


class Policy:
    """The rules of the configuration; the first that fits a request counts."""

    def __init__(self, config: Config) -> None:
        self.rules: Sequence[TierConfig] = (*read(config), *_DEFAULT)

    def plan(self, request: GenerateRequest, tier: Tier, effort: Effort | None) -> Plan:
        """Return the plan of the first rule for this tier and model; plain where there is none."""
        for rule in self.rules:
            if rule.tier == tier and rule.model in ("*", request.model):
                n = rule.n or CANDIDATES[effort or rule.effort]
                return Plan(
                    rule.serve or request.model, rule.strategy, min(n, MOST), rule.scorer, rule.critic, rule.debaters,
                    rule.pattern, rule.answers, rule.rounds, rule.reward_url, rule.reward_key_env, rule.program,
                )  # fmt: skip
        return Plan(request.model)


def read(config: Config) -> list[TierConfig]:
    """Return the rules of the configuration and of its policy file; raises `ConfigError` for a bad file."""
    if not config.thinking.policy:
        return config.tiers
    path = Path(config.thinking.policy).expanduser()
    try:
        data: dict[str, Any] = tomllib.loads(path.read_text())
        return [*config.tiers, *msgspec.convert(data, _File, strict=False).tiers]
    except OSError as error:
        raise ConfigError(f"thinking.policy names {path}, which cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, msgspec.ValidationError) as error:
        raise ConfigError(f"the policy {path} is not one: {error}", param="thinking.policy") from None


class _File(msgspec.Struct, forbid_unknown_fields=True):
    tiers: list[TierConfig] = []
