"""Strategies and scorers by the names that policies and requests use."""

import os
from collections.abc import Callable
from pathlib import Path

import msgspec

from aigrid.core.errors import BadRequest, ConfigError
from aigrid.engines.base import GenerateRequest
from aigrid.thinking.adaptive import Adaptive
from aigrid.thinking.base import Strategy
from aigrid.thinking.beam import BeamSearch
from aigrid.thinking.best_of_n import BestOfN
from aigrid.thinking.consistency import SelfConsistency
from aigrid.thinking.debate import Debate
from aigrid.thinking.extract import Rule
from aigrid.thinking.plain import Plain
from aigrid.thinking.policy import Plan
from aigrid.thinking.refine import Refine
from aigrid.thinking.scorers.base import Scorer
from aigrid.thinking.scorers.critic import Critic
from aigrid.thinking.scorers.exact import Program
from aigrid.thinking.scorers.likelihood import Likelihood
from aigrid.thinking.scorers.reward import Reward
from aigrid.thinking.scorers.shape import Regex, Schema
from aigrid.thinking.weighted import WeightedVote

_BRANCH = 4

_MADE: dict[str, Callable[[Plan, Rule, GenerateRequest], Strategy]] = {
    "plain": lambda plan, rule, request: Plain(),
    "adaptive": lambda plan, rule, request: Adaptive(plan.n, rule),
    "self_consistency": lambda plan, rule, request: SelfConsistency(plan.n, rule),
    "best_of_n": lambda plan, rule, request: BestOfN(plan.n, scorer(plan, request), rule),
    "weighted_vote": lambda plan, rule, request: WeightedVote(plan.n, scorer(plan, request), rule),
    "refine": lambda plan, rule, request: Refine(plan.rounds, plan.critic, rule),
    "beam_search": lambda plan, rule, request: BeamSearch(
        scorer(plan, request), width=max(1, plan.n // _BRANCH), branch=min(_BRANCH, plan.n), rule=rule
    ),
    "debate": lambda plan, rule, request: Debate(plan.debaters, plan.rounds, plan.critic, rule=rule),
}


def make(plan: Plan, request: GenerateRequest) -> Strategy:
    """Return the strategy of a plan; raises `BadRequest` or `ConfigError` for what it lacks."""
    return _MADE[plan.strategy](plan, Rule(plan.pattern, plan.answers), request)


def scorer(plan: Plan, request: GenerateRequest) -> Scorer:
    """Return the scorer of a plan: the critic, where it names none."""
    match plan.scorer or "critic":
        case "critic":
            return Critic(plan.critic)
        case "likelihood":
            return Likelihood()
        case "reward":
            if not plan.reward_url:
                _lacks("reward", "`reward_url`, the address of a server with /v1/score")
            return Reward(plan.reward_url, plan.critic, os.environ.get(plan.reward_key_env, ""))
        case "schema":
            if request.grammar is None or request.grammar.kind != "json_schema":
                raise BadRequest("the scorer `schema` needs a `response_format` with one", param="response_format")
            return Schema(msgspec.json.decode(request.grammar.value))
        case "regex":
            if not plan.pattern:
                _lacks("regex", "`pattern`")
            return Regex(plan.pattern)
        case "program":
            if not plan.program:
                _lacks("program", "`program`, a file of Python that defines score(text, answer)")
            return Program(_read(plan.program))
        case unknown:
            raise BadRequest(
                f"there is no scorer `{unknown}`; use critic, likelihood, reward, schema, regex or program",
                param="aigrid.scorer",
            )


def _lacks(name: str, what: str) -> None:
    raise BadRequest(
        f"the scorer `{name}` needs {what}, in the [[tiers]] of this gateway; ask who runs it", param="aigrid.scorer"
    )


def _read(path: str) -> str:
    try:
        return Path(path).expanduser().read_text()
    except OSError as error:
        raise ConfigError(f"tiers.program names {path}, which cannot be read: {error.strerror}") from None
