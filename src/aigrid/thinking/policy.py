"""Which model and strategy serve which tier, and how many candidates an effort is worth.

The rules are `[[tiers]]` of aigrid.toml, or of the file that `thinking.policy` names. A rule with a `router` gives its
`model`, such as `auto`, to whom a trained router chooses; a request that names any other model keeps it.
"""

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import msgspec
from msgspec.structs import replace

from aigrid.core.config import Config, TierConfig
from aigrid.core.errors import ConfigError, NotFound
from aigrid.engines.base import GenerateRequest
from aigrid.ledger.base import Tier

if TYPE_CHECKING:
    from aigrid.thinking.router.base import ModelRouter, Target

Side = Literal["weak", "strong"]
"""Of the two who may answer, the cheap or the dear one."""

Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]
CANDIDATES: dict[str, int] = {"none": 1, "minimal": 2, "low": 4, "medium": 8, "high": 16, "xhigh": 32, "max": 64}
"""The most candidates that an effort is worth."""
MOST = 64
PLAIN = "plain"
_VOTES = ("adaptive", "self_consistency", "best_of_n", "weighted_vote")
"""Strategies that with one candidate are no more than asking once."""
_DEFAULT = (TierConfig(tier="think", strategy="adaptive"),)


class Routed(msgspec.Struct, frozen=True):
    """How a router chose: the name that was asked for, the side, who answers, its score, and the threshold.

    `note` says why it is not who the score would have chosen.
    """

    name: str
    side: Side
    model: str
    score: float
    threshold: float
    note: str = ""

    def __str__(self) -> str:
        sign = ">=" if self.score >= self.threshold else "<"
        said = f"{self.name}: {self.model}, {self.side} ({self.score:.3f} {sign} {self.threshold:.3f})"
        return f"{said}; {self.note}" if self.note else said


class Plan(msgspec.Struct, frozen=True):
    """How a request is served: by which model, with which strategy, and how many candidates at most.

    Where a router chose, `routed` says how, and `instead` is the plan for when its choice is not served.
    """

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
    routed: Routed | None = None
    instead: "Plan | None" = None

    @property
    def plain(self) -> bool:
        """Whether it is one request and no more."""
        return self.strategy == PLAIN or (self.n <= 1 and self.strategy in _VOTES)


class Planner(Protocol):
    """Decides how a request is served, before anything is held for it."""

    def plan(self, request: GenerateRequest, tier: Tier, effort: Effort | None) -> Plan:
        """Return the plan; quick, and the same for the same request."""

    def names(self) -> dict[str, dict[Tier, list[str]]]:
        """Return the names for which it chooses the model: in which tiers, and among which models."""


class Policy:
    """The rules of the configuration; the first that fits a request counts.

    Raises `ConfigError` for a bad file of rules, and for a router that must not be used.
    """

    def __init__(self, config: Config) -> None:
        self.rules: Sequence[TierConfig] = (*read(config), *_DEFAULT)
        self._routers: dict[tuple[str, Tier], ModelRouter] = {}
        for rule in self.rules:
            if rule.router:
                self._routers.setdefault((rule.model, rule.tier), _router(rule))
        self._names = {name for name, _ in self._routers}

    def names(self) -> dict[str, dict[Tier, list[str]]]:
        """Return the names of routers, with their tiers and the models of each."""
        found: dict[str, dict[Tier, list[str]]] = {}
        for (name, tier), router in self._routers.items():
            found.setdefault(name, {})[tier] = [router.file.weak.model, router.file.strong.model]
        return found

    def plan(self, request: GenerateRequest, tier: Tier, effort: Effort | None) -> Plan:
        """Return the plan of the first rule for this tier and model; plain where there is none.

        Raises `NotFound` for a router's name in a tier that it does not serve.
        """
        if request.model in self._names:
            return self._routed(request, tier, effort)
        for rule in self.rules:
            if rule.tier == tier and rule.model in ("*", request.model):
                return _plan(rule, rule.serve or request.model, effort)
        return Plan(request.model)

    def _routed(self, request: GenerateRequest, tier: Tier, effort: Effort | None) -> Plan:
        from aigrid.thinking.router.features import question

        name = request.model
        router = self._routers.get((name, tier))
        if router is None:
            tiers = ", ".join(self.names()[name])
            raise NotFound(f"`{name}` is not routed in the tier {tier}; ask for the tier {tiers}", param="service_tier")
        rule = next(rule for rule in self.rules if rule.router and rule.tier == tier and rule.model == name)
        decided = router.decide(question(request.messages, request.prompt))

        def made(side: Side, note: str = "") -> Plan:
            target = router.target(side)
            routed = Routed(name, side, target.model, round(decided.score, 6), router.file.threshold, note)
            plan = _aimed(_plan(rule, target.model, effort), target)
            return replace(plan, strategy=PLAIN, routed=routed) if request.n > 1 else replace(plan, routed=routed)

        other: Side = "weak" if decided.side == "strong" else "strong"
        note = f"{router.target(decided.side).model} is not served now"
        return replace(made(decided.side), instead=made(other, note))


def _plan(rule: TierConfig, model: str, effort: Effort | None) -> Plan:
    n = rule.n or CANDIDATES[effort or rule.effort]
    return Plan(
        model, rule.strategy, min(n, MOST), rule.scorer, rule.critic, rule.debaters, rule.pattern, rule.answers,
        rule.rounds, rule.reward_url, rule.reward_key_env, rule.program,
    )  # fmt: skip


def _aimed(plan: Plan, target: "Target") -> Plan:
    """Return a plan with the strategy of a router's target, where it has one."""
    return replace(plan, strategy=target.strategy, n=target.n or plan.n) if target.strategy else plan


def _router(rule: TierConfig) -> "ModelRouter":
    from aigrid.thinking.router.base import load

    if rule.model == "*" or rule.serve:
        raise ConfigError(
            "a tier with a `router` needs a `model` of its own that clients ask for, such as `auto`, and no `serve`",
            param="tiers.router",
        )
    return load(Path(rule.router).expanduser())


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
