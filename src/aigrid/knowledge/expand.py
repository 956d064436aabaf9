"""Asking more than once: a long query in parts, words that the best passages add, words that stand together."""

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np

from aigrid.knowledge.base import Vectors
from aigrid.knowledge.language import STOP_WORDS, query_terms, sentences

PART_AFTER = 5
"""A query of more sentences than this is searched by its parts: one vector cannot mean all of it."""
BEST_PARTS = 5
MOST_PARTS = 64


def parts(query: str) -> list[str]:
    """Return the pieces of a query to embed: itself, or the sentences of a long one (at most `MOST_PARTS`)."""
    found = sentences(query)
    if len(found) < PART_AFTER:
        return [query]
    return sorted(found, key=len, reverse=True)[:MOST_PARTS] if len(found) > MOST_PARTS else found


def by_parts(similarities: Vectors) -> Vectors:
    """Return one similarity per row (of candidates x parts): the mean of the parts that fit it best."""
    if similarities.shape[1] <= BEST_PARTS:
        return np.asarray(similarities.mean(axis=1), np.float32)
    top = -np.partition(-similarities, BEST_PARTS - 1, axis=1)[:, :BEST_PARTS]
    return np.asarray(top.mean(axis=1), np.float32)


def feedback(
    weights: Mapping[str, float],
    passages: Sequence[Sequence[str]],
    scores: Sequence[float],
    most: int = 20,
    share: float = 0.4,
) -> dict[str, float]:
    """Return the query's terms with those that its best passages use most: a relevance model (RM3).

    The passages (as terms) count by their scores; `share` of the weight goes to the `most` terms that they add or
    confirm.
    """
    total = sum(scores) or 1.0
    model: dict[str, float] = {}
    for passage, score in zip(passages, scores, strict=True):
        counted = Counter(term for term in passage if len(term) > 1 and term not in STOP_WORDS)
        length = sum(counted.values()) or 1
        for term, often in counted.items():
            model[term] = model.get(term, 0.0) + score / total * often / length
    chosen = dict(sorted(model.items(), key=lambda item: (-item[1], item[0]))[:most])
    mass, query_mass = sum(chosen.values()), sum(weights.values())
    if not mass or not query_mass:
        return dict(weights)
    mixed = {term: share * value / mass for term, value in chosen.items()}
    for term, weight in weights.items():
        mixed[term] = mixed.get(term, 0.0) + (1 - share) * weight / query_mass
    return mixed


def togetherness(
    query: str, passages: Sequence[Sequence[str]], rarity: Mapping[str, float], window: int = 8
) -> list[float]:
    """Return how near to each other each passage (as terms) has the words that stand side by side in the query.

    From 0 (none) to 1 (all, side by side); rare words (`rarity` by term) count for more. Long queries are not asked:
    what stands side by side in a page of prose means little.
    """
    wanted = [term for term in dict.fromkeys(query_terms(query)) if rarity.get(term, 0.0) > 0]
    pairs = list(pairwise(wanted))
    if not pairs or len(wanted) > 40:
        return [0.0] * len(passages)
    worth = {pair: (rarity[pair[0]] + rarity[pair[1]]) / 2 for pair in pairs}
    whole = sum(worth.values())
    asked = frozenset(wanted)
    found = []
    for passage in passages:
        places: dict[str, list[int]] = {}
        for at, term in enumerate(passage):
            if term in asked:
                places.setdefault(term, []).append(at)
        total = 0.0
        for first, second in pairs:
            if first in places and second in places:
                gap = min(abs(one - other) for one in places[first] for other in places[second])
                total += worth[first, second] / gap if 0 < gap <= window else 0.0
        found.append(total / whole)
    return found
