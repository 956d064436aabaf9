"""Papers beside each other: a table of what each states, and where two of them speak of the same quantity."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise

from aigrid.knowledge.language import STOP_WORDS, query_terms, terms
from insights.find import Kind, Statement

_QUANTITY = re.compile(
    r"(?<![\w.])(\d[\d,]*(?:\.\d+)?)\s*(°C|%|percent|percentage points|points|euros|m\b|cm\b|days|years)"
)


@dataclass(frozen=True)
class Pair:
    """Two claims of different papers about the same thing, and the pairs of words that say so (as stems)."""

    one: Statement
    other: Statement
    shared: tuple[str, ...]


def best(statements: Sequence[Statement], paper: str, kind: Kind, count: int) -> list[Statement]:
    """Return the statements of a kind that a paper makes most surely, in its order; the same thing only once."""
    ranked = sorted((one for one in statements if (one.paper, one.kind) == (paper, kind)), key=lambda one: -one.score)
    chosen: list[Statement] = []
    for one in ranked:
        if len(chosen) < count and not any(_overlap(one, other) > 0.5 for other in chosen):
            chosen.append(one)
    return [one for one in statements if one in chosen]


def pairs(statements: Sequence[Statement], count: int) -> list[Pair]:
    """Return the claims of different papers that speak of the same quantity, those that share most first."""
    claims = [one for one in statements if one.kind == "claim" and quantities(one.quote)]
    found = []
    for one, other in combinations(claims, 2):
        shared = _phrases(one) & _phrases(other)
        if one.paper != other.paper and _units(one) & _units(other) and shared:
            found.append(Pair(one, other, tuple(sorted(shared))))
    found.sort(key=lambda pair: (-len(pair.shared), -pair.one.score - pair.other.score))
    chosen: list[Pair] = []
    for pair in found:
        if len(chosen) < count and not any(set(pair.shared) & set(old.shared) for old in chosen):
            chosen.append(pair)
    return chosen


def quantities(text: str) -> list[tuple[str, str]]:
    """Return the quantities in a text as (number, unit)."""
    return _QUANTITY.findall(text)


def _units(one: Statement) -> set[str]:
    return {unit for _, unit in quantities(one.quote)}


def _phrases(one: Statement) -> set[str]:
    """Return the words that stand beside each other in a quote, two by two, such as `surface temperature`."""
    words = re.findall(r"[^\W\d_]+|\S", one.quote.lower())
    telling = {word: terms(word)[0] for word in words if len(word) > 2 and word not in STOP_WORDS}
    return {f"{telling[a]} {telling[b]}" for a, b in pairwise(words) if a in telling and b in telling}


def _overlap(one: Statement, other: Statement) -> float:
    mine, theirs = set(query_terms(one.quote)), set(query_terms(other.quote))
    return len(mine & theirs) / max(1, min(len(mine), len(theirs)))
