"""What a model is taught: templates of people and of recombination, each with the neighbour that it would be shown."""

import random
from collections.abc import Sequence
from typing import Any

import numpy as np

from aigrid.factory.sql.library import Library
from aigrid.factory.sql.prompt import Names, completion, prompt, slot_names
from aigrid.factory.sql.template import Template

NEIGHBOURS = 1


def neighbours(library: Library, words: Sequence[str], most: int = NEIGHBOURS, but: int = -1) -> list[Template]:
    """Return people's nearest questions, the nearest last; `but` is a row that must not show itself."""
    cosines = library.similar.to(words)[: library.own]
    order = [int(at) for at in np.argsort(-cosines) if at != but and library.templates[at].words != tuple(words)]
    return [library.templates[at] for at in reversed(order[:most])]


def lessons(library: Library, most: int = 2000, seed: int = 0, shown: int = NEIGHBOURS) -> list[dict[str, Any]]:
    """Return `prompt`, `completion` and `parents` of at most `most` rows: all of people's, the rest recombined ones."""
    names = slot_names(library.templates)
    own = list(range(library.own))
    made = list(range(library.own, len(library.templates)))
    chosen = own[:most] + random.Random(seed).sample(made, max(0, min(len(made), most - len(own))))
    return [_lesson(library, at, names, shown) for at in chosen]


def _lesson(library: Library, at: int, names: Names, shown: int) -> dict[str, Any]:
    each = library.templates[at]
    near = neighbours(library, each.words, shown, at)
    return {"prompt": prompt(each.words, near, names), "completion": completion(each, names),
            "parents": list(each.parents or (each.id,))}  # fmt: skip
