"""How the choice is learned: questions answered without themselves, in folds, and what was right among the candidates."""

import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from aigrid.factory.sql.database import Database, Refused, Result, same
from aigrid.factory.sql.library import BUDGET, Candidate, Library
from aigrid.factory.sql.rank import Ranker
from aigrid.factory.sql.read import Pair
from aigrid.factory.sql.similar import Floats
from aigrid.factory.sql.write import text, tokens

FOLDS = 3
MAX_ASKED = 250
"""Questions asked per fold: enough for the ranker's few weights, whatever the size of the data."""


@dataclass(frozen=True)
class Asked:
    """A question of a fold: the features of its candidates, which of them are right, and which have the same rows."""

    id: str
    features: Floats
    right: Floats
    groups: tuple[int, ...]


def fold(
    pairs: Sequence[Pair], number: int, database: Database, seed: int = 0, budget: int = BUDGET, of: int = FOLDS
) -> list[Asked]:
    """Return the questions of fold `number` of `of`, answered by a library of all other pairs."""
    shuffled = list(pairs)
    random.Random(seed).shuffle(shuffled)
    library = Library.build([pair for at, pair in enumerate(shuffled) if at % of != number], database, seed, budget)
    return [asked(pair, library.candidates(pair.question), database) for pair in shuffled[number::of][:MAX_ASKED]]


def asked(pair: Pair, candidates: Sequence[Candidate], database: Database) -> Asked:
    """Return how a question's candidates compare with its own SQL."""
    right = gold(pair, database)
    keys: dict[object, int] = {}
    return Asked(
        pair.id,
        np.array([each.features for each in candidates], np.float32),
        np.array([right is not None and same(each.result, right) for each in candidates], np.float32),
        tuple(keys.setdefault(each.result.key, len(keys)) for each in candidates),
    )


def gold(pair: Pair, database: Database) -> Result | None:
    """Return the rows that a pair's SQL gives; None where the database refuses it."""
    try:
        return database.run(text(tokens(pair.sql)))
    except Refused:
        return None


def fit(questions: Sequence[Asked]) -> Ranker:
    """Return the ranker that questions of all folds teach."""
    return Ranker.fit([(each.features, each.right) for each in questions if len(each.right)])


def choose(ranker: Ranker, features: Floats, groups: Sequence[int]) -> tuple[int, float]:
    """Return the place of the chosen candidate and the chance that its rows are right.

    Candidates with the same rows vote together ("execution vote"); of the best group the likeliest is taken.
    """
    chances = ranker.chances(features)
    votes: dict[int, float] = defaultdict(float)
    for chance, group in zip(chances, groups, strict=True):
        votes[group] += float(chance)
    best = max(votes, key=lambda group: votes[group])
    return max((at for at, group in enumerate(groups) if group == best), key=lambda at: chances[at]), votes[best]
