"""Intervals and paired comparisons, against their definitions and known values."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aigrid.factory import stats


def test_wilson_s_interval_is_the_published_one() -> None:
    found = stats.share([1.0] * 81 + [0.0] * 182)
    assert (found.value, found.low, found.high) == pytest.approx((0.30798, 0.25529, 0.36620), abs=1e-4)
    assert stats.share([]).high == 1.0


@given(st.integers(0, 12), st.integers(0, 12))
def test_the_sign_test_counts_all_cases(won: int, lost: int) -> None:
    n = won + lost
    if n > 10:
        return
    far = abs(won - lost)
    cases = [abs(2 * sum(case) - n) >= far for case in itertools.product((0, 1), repeat=n)]
    assert stats.sign_test(won, lost) == pytest.approx(min(1.0, sum(cases) / len(cases)))


def test_better_means_better_on_the_same_questions() -> None:
    ours, theirs = [1.0] * 90 + [0.0] * 10, [1.0] * 70 + [0.0] * 30
    gap = stats.paired(ours, theirs)
    assert gap.better
    assert (gap.won, gap.lost) == (20, 0)
    assert gap.difference == pytest.approx(0.2)
    assert 0.1 < gap.low < gap.difference < gap.high < 0.3
    assert not stats.paired(theirs, ours).better
    assert not stats.paired(ours, ours).better
    assert not stats.paired([], []).better
    with pytest.raises(ValueError, match="same questions"):
        stats.paired(ours, [1.0])
