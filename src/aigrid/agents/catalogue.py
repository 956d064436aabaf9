"""Who suits a task best, by evidence: a score of a few plain parts, so that a person can read why one was chosen.

    score = skill - 0.2 refused - 0.1 dear - 0.1 slow

`skill` is the lower end of Wilson's interval (E. B. Wilson, JASA 22, 1927; one-sided, 90 %) of the success on tasks
like this one, with one success and one failure added as nobody is sure of anything at first: few observations count
for little. An observation counts as much as its task resembles this one. `refused` is the share of calls that policy
refused, `dear` and `slow` are cost and time relative to the dearest and the slowest candidate.
"""

import math
from collections import Counter
from collections.abc import Sequence

import msgspec

from aigrid.agents.scores import Seen
from aigrid.knowledge.language import query_terms

Z = 1.2815515655446004
"""The normal quantile of 90 %."""
ALIKE = 0.1
"""Tasks that are less alike than this say nothing about each other."""
REFUSED, DEAR, SLOW = 0.2, 0.1, 0.1
UNKNOWN = 0.5
"""How dear or slow one is of whom no run is known."""
_HARMLESS = 10
"""Calls without refusal that are added, so that one refused call of one is no verdict."""


class Ranked(msgspec.Struct, frozen=True):
    """A candidate and its score's parts. `observations` is their weight in sum, `success` their mean.

    `cost_nusd` and `seconds` are means of a run, None where none is known.
    """

    agent: str
    score: float
    skill: float
    success: float | None
    observations: float
    refused: float
    dear: float
    slow: float
    cost_nusd: int | None = None
    seconds: float | None = None


def rank(task: str, candidates: Sequence[str], known: Sequence[Seen]) -> list[Ranked]:
    """Return the candidates, best first; of equals the one that was named first."""
    known = [each for each in known if each.agent in candidates]
    alike = similarities(task, [each.task for each in known])
    parts = {
        name: [(each, s) for each, s in zip(known, alike, strict=True) if each.agent == name] for name in candidates
    }
    costs = {
        name: _mean([(each.cost_nusd, s) for each, s in parts[name] if each.cost_nusd is not None]) for name in parts
    }
    times = {
        name: _mean([(each.seconds, s) for each, s in parts[name] if each.cost_nusd is not None]) for name in parts
    }
    found = [
        _ranked(name, parts[name], costs[name], _relative(costs, name), times[name], _relative(times, name))
        for name in candidates
    ]
    return sorted(found, key=lambda each: -each.score)


def similarities(task: str, others: Sequence[str]) -> list[float]:
    """Return how alike each text is to a task, 0 to 1: the cosine of their words' stems, rare ones counting more."""
    bags = [Counter(query_terms(text)) for text in (task, *others)]
    spread = Counter(term for bag in bags for term in bag)
    rarity = {term: math.log1p(len(bags) / count) for term, count in spread.items()}
    vectors = [{term: (1 + math.log(count)) * rarity[term] for term, count in bag.items()} for bag in bags]
    lengths = [math.sqrt(sum(value * value for value in vector.values())) for vector in vectors]
    first = vectors[0]
    return [
        min(1.0, sum(value * first.get(term, 0.0) for term, value in vector.items()) / (length * lengths[0] or 1.0))
        for vector, length in zip(vectors[1:], lengths[1:], strict=True)
    ]


def lower_bound(successes: float, observations: float) -> float:
    """Return the success that is exceeded with 90 % confidence, one success and one failure added."""
    n, p = observations + 2, (successes + 1) / (observations + 2)
    centre = p + Z * Z / (2 * n)
    return (centre - Z * math.sqrt(p * (1 - p) / n + Z * Z / (4 * n * n))) / (1 + Z * Z / n)


def _ranked(
    name: str, parts: list[tuple[Seen, float]], cost: float | None, dear: float, seconds: float | None, slow: float
) -> Ranked:
    weights = [(each.value, each.weight * s) for each, s in parts if s >= ALIKE]
    observations = sum(weight for _, weight in weights)
    successes = sum(value * weight for value, weight in weights)
    calls, refusals = sum(each.calls for each, _ in parts), sum(each.refused for each, _ in parts)
    skill, refused = lower_bound(successes, observations), refusals / (calls + _HARMLESS)
    return Ranked(
        name, round(skill - REFUSED * refused - DEAR * dear - SLOW * slow, 6), round(skill, 6),
        round(successes / observations, 6) if observations else None, round(observations, 6),
        round(refused, 6), round(dear, 6), round(slow, 6),
        None if cost is None else round(cost), None if seconds is None else round(seconds, 6),
    )  # fmt: skip


def _mean(pairs: Sequence[tuple[float, float]]) -> float | None:
    """Return the mean, of what was like this task alone where anything was."""
    like = [(value, s) for value, s in pairs if s >= ALIKE] or [(value, 1.0) for value, _ in pairs]
    return sum(value * s for value, s in like) / sum(s for _, s in like) if like else None


def _relative(means: dict[str, float | None], name: str) -> float:
    value, most = means[name], max((each for each in means.values() if each is not None), default=0.0)
    if value is None:
        return UNKNOWN
    return value / most if most else 0.0
