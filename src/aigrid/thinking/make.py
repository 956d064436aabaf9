"""Strategies by the names that policies and requests use."""

from collections.abc import Callable

from aigrid.core.errors import BadRequest
from aigrid.thinking.adaptive import Adaptive
from aigrid.thinking.base import Strategy
from aigrid.thinking.consistency import SelfConsistency
from aigrid.thinking.extract import Rule
from aigrid.thinking.plain import Plain
from aigrid.thinking.policy import Plan

_MADE: dict[str, Callable[[Plan, Rule], Strategy]] = {
    "plain": lambda plan, rule: Plain(),
    "adaptive": lambda plan, rule: Adaptive(plan.n, rule),
    "self_consistency": lambda plan, rule: SelfConsistency(plan.n, rule),
}
NAMES = (*_MADE,)


def make(plan: Plan) -> Strategy:
    """Return the strategy of a plan; raises `BadRequest` that names those there are."""
    found = _MADE.get(plan.strategy)
    if found is None:
        raise BadRequest(f"there is no strategy `{plan.strategy}`; use {', '.join(NAMES)}", param="aigrid.strategy")
    return found(plan, Rule(plan.pattern, plan.kind))
