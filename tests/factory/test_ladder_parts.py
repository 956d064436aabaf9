"""Parts of the ladder against plain definitions: the chain of tags, calibration, thresholds, terms, and values."""

import itertools
import math

import numpy as np
import pytest

from aigrid.factory.ladder import calibrate, chain, tokens
from aigrid.factory.ladder.calibrate import Unsure
from aigrid.factory.ladder.text import Terms
from aigrid.factory.rows import Row

TAGS = ["O", "B-x", "I-x", "B-y", "I-y"]


def score(path, emissions, begin, steps):
    total = begin[path[0]] + sum(emission[tag] for emission, tag in zip(emissions, path, strict=True))
    return total + sum(steps[one, two] for one, two in itertools.pairwise(path))


def test_the_best_tags_and_their_probability_are_those_of_all_sequences() -> None:
    rng = np.random.default_rng(1)
    begin_mask, step_mask = chain.allowed(TAGS)
    for length in (1, 2, 4):
        emissions = rng.normal(size=(length, 5))
        begin, steps = rng.normal(size=5) + begin_mask, rng.normal(size=(5, 5)) + step_mask
        paths = list(itertools.product(range(5), repeat=length))
        scores = np.array([score(path, emissions, begin, steps) for path in paths])
        path, chance = chain.best(emissions, begin, steps)
        assert tuple(path) == paths[int(scores.argmax())]
        assert chance == pytest.approx(math.exp(scores.max()) / np.exp(scores).sum())


def test_the_loss_and_its_slope_are_right() -> None:
    rng = np.random.default_rng(2)
    lengths, tagged = [3, 1, 2], [[1, 2, 0], [3], [0, 1]]
    corpus = chain.Corpus(lengths, tagged)
    emissions, (begin_mask, step_mask) = rng.normal(size=(6, 5)), chain.allowed(TAGS)
    begin, steps = rng.normal(size=5) + begin_mask, rng.normal(size=(5, 5)) + step_mask
    plain, at = 0.0, 0
    for length, gold in zip(lengths, tagged, strict=True):
        part = emissions[at : at + length]
        paths = itertools.product(range(5), repeat=length)
        plain += math.log(sum(math.exp(score(path, part, begin, steps)) for path in paths))
        plain -= score(gold, part, begin, steps)
        at += length
    ordered = emissions[corpus.rows]
    loss, change, begins, moves = corpus.loss(ordered, begin, steps)
    assert loss == pytest.approx(plain)
    for array, slope in ((ordered, change), (begin, begins), (steps, moves)):
        for place in [tuple(index) for index in np.argwhere(array > chain.NEVER / 2)]:
            moved = array.copy()
            moved[place] += 1e-6
            arrays = [moved if each is array else each for each in (ordered, begin, steps)]
            assert (corpus.loss(*arrays)[0] - loss) / 1e-6 == pytest.approx(slope[place], abs=1e-4)


def test_values_come_back_from_their_tags() -> None:
    row = Row(
        "asked for time\nJo and 3 more, in an hour.",
        {"people": "Jo and 3 more", "date": "in an hour", "time": "in an hour"},
    )
    found, before = tokens.split(row.input)
    tagged = tokens.tags(row, found)
    assert before == ["asked", "for", "time"]
    assert [token.text for token in found] == ["Jo", "and", "3", "more", ",", "in", "an", "hour", "."]
    assert tagged == ["B-people", *["I-people"] * 3, "O", "B-date+time", *["I-date+time"] * 2, "O"]
    assert tokens.values(row.input, found, tagged) == row.output


def test_values_are_found_as_whole_words_or_where_the_row_says() -> None:
    found, _ = tokens.split("at 12 for 2")
    assert tokens.tags(Row("at 12 for 2", {"people": "2"}), found) == ["O", "O", "O", "B-people"]
    twice = Row("2 at 2", {"time": "2"}, meta={"spans": {"time": [5, 6]}})
    assert tokens.tags(twice, tokens.split(twice.input)[0]) == ["O", "O", "B-time"]
    moved = Row("2 at 3", {"time": "3"}, meta={"spans": {"time": [0, 1]}})
    assert tokens.tags(moved, tokens.split(moved.input)[0]) == ["O", "O", "B-time"]


def test_a_calibrated_confidence_is_how_often_one_is_right() -> None:
    rng = np.random.default_rng(3)
    claimed = rng.uniform(0.3, 0.999, 4000)
    right = rng.uniform(size=4000) < claimed**2
    curve = calibrate.curve(claimed, right)
    sure = [curve(each) for each in claimed]
    assert calibrate.error(claimed, right) > 0.1
    assert calibrate.error(sure, right) < 0.04
    assert all(one <= two for one, two in itertools.pairwise(map(curve, sorted(claimed))))


def test_a_confidence_that_says_nothing_becomes_the_share_of_right_answers() -> None:
    assert calibrate.curve([0.5] * 100, [1.0] * 80 + [0.0] * 20)(0.5) == pytest.approx(0.8, abs=0.01)
    backwards = calibrate.curve([0.1] * 50 + [0.9] * 50, [1.0] * 50 + [0.0] * 50)
    assert backwards(0.1) == backwards(0.9)


def test_the_threshold_is_the_lowest_that_keeps_the_promise() -> None:
    sure = [0.9, 0.8, 0.7, 0.6, 0.5, 0.4]
    right = [True, True, False, True, True, False]
    limit = calibrate.threshold(Unsure("?", 0.2), ["a"] * 6, sure, right)
    assert (limit.least, limit.coverage, limit.wrong) == (0.5, 5 / 6, 0.2)
    never = calibrate.threshold(Unsure("?", 0.01), ["a"] * 2, [0.9, 0.8], [False, True])
    assert (never.coverage, never.least > 1) == (0.0, True)
    tied = calibrate.threshold(Unsure("?", 0.4), ["a"] * 3, [0.9, 0.5, 0.5], [True, True, False])
    assert (tied.least, tied.coverage) == (0.5, 1.0)


def test_terms_weigh_the_same_fitted_and_loaded(tmp_path) -> None:
    texts = ["play some jazz", "play a song", "wake me up"]
    terms = Terms.of(texts, (2, 4), 1)
    terms.save(tmp_path)
    for text in [*texts, "jazz up", "", "…"]:
        columns, values = terms.vector(text)
        again = Terms.load(tmp_path).vector(text)
        assert (columns == again[0]).all()
        assert (values == again[1]).all()
        assert len(columns) == 0 or float(values @ values) == pytest.approx(2, abs=1e-5)
