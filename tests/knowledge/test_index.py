"""The index in memory: exact whatever the size, unmoved by what is not visible."""

import numpy as np
import pytest

from aigrid.knowledge.base import Vectors
from aigrid.knowledge.index import Index
from aigrid.knowledge.postings import Postings
from aigrid.knowledge.sketch import FROM_ROWS

ROWS, DIMENSIONS = FROM_ROWS + 3000, 24


def cloud(seed: int, rows: int = ROWS) -> Vectors:
    """Unit vectors that lie mostly in a few directions, as those of texts do."""
    chance = np.random.default_rng(seed)
    vectors = chance.standard_normal((rows, DIMENSIONS)) * np.geomspace(1, 0.05, DIMENSIONS)
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def filled(vectors: Vectors, groups: list[int], step: int) -> Index:
    index = Index(DIMENSIONS)
    assert [index.group(("*",)), index.group(("acme",))] == [0, 1]
    for first in range(0, len(vectors), step):
        part = vectors[first : first + step]
        index.add(groups[first : first + step], part, Postings.of(f"word w{first + at}" for at in range(len(part))))
    index.switch(np.arange(len(vectors)), np.zeros(0, np.int64))
    return index


@pytest.mark.parametrize("step", [ROWS, 1000])
@pytest.mark.parametrize("hidden", [0.0, 0.1, 0.9, 1.0])
def test_the_nearest_are_the_nearest_of_all_visible(hidden: float, step: int) -> None:
    vectors = cloud(1)
    groups = (np.random.default_rng(2).random(ROWS) < hidden).astype(int).tolist()
    view = filled(vectors, groups, step).view(frozenset("*"))
    visible = np.flatnonzero(np.array(groups) == 0)
    for query in cloud(3, 12):
        expected = np.sort(vectors[visible] @ query)[::-1][:10]
        found = view.nearest(query, 10)
        assert [score for _, score in found] == pytest.approx(expected.tolist(), abs=1e-5)
        assert {row for row, _ in found} <= set(visible.tolist())


def test_rows_outside_the_sketch_are_never_in_the_way() -> None:
    vectors = cloud(1)
    odd = np.zeros((3, DIMENSIONS), np.float32)
    odd[:, -1] = 1.0
    index = filled(np.concatenate([vectors, odd]), [0] * (ROWS + 3), ROWS + 3)
    assert [row for row, _ in index.view(frozenset("*")).nearest(odd[0], 3)] == [ROWS, ROWS + 1, ROWS + 2]


def test_a_view_does_not_change_while_rows_come_and_go() -> None:
    vectors = cloud(1)
    index = filled(vectors, [0] * ROWS, 1000)
    before = index.view(frozenset("*"))
    nearest, words = before.nearest(vectors[5], 5), before.words({"w5": 1.0}, 5)
    first = index.add([0] * 2000, cloud(9, 2000), Postings.of(["w5"] * 2000))
    index.switch(np.arange(first, first + 2000), np.arange(100))
    assert before.nearest(vectors[5], 5) == nearest
    assert before.words({"w5": 1.0}, 5) == words
    assert index.view(frozenset("*")).count == ROWS + 1900


def test_rows_that_do_not_fit_are_refused() -> None:
    index = Index(DIMENSIONS)
    with pytest.raises(ValueError, match="2 rows"):
        index.add([0, 0], cloud(1, 1), Postings.of(["one", "two"]))
