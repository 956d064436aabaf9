import pytest
from hypothesis import given
from hypothesis import strategies as st

from aigrid.console import figures


def plain(text):
    return text.replace(figures.NBSP, " ")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0 J"),
        (5.43, "5.43 J"),
        (999.6, "1.00 kJ"),
        (0.83, "830 mJ"),
        (12_345, "12.3 kJ"),
        (4e-6, "4.00 µJ"),
        (1e-15, "0.00 nJ"),
        (3.2e6, "3.20 MJ"),
        (-1500, "-1.50 kJ"),
        (8e15, "8,000 TJ"),
    ],
)
def test_si_shows_three_significant_digits(value, text):
    assert plain(figures.si(value, "J")) == text


@pytest.mark.parametrize(
    ("nusd", "text"),
    [
        (0, "$0"),
        (1, "$0.000000001"),
        (3_250, "$0.0000033"),
        (37_000, "$0.000037"),
        (9_960_000, "$0.010"),
        (12_460_000, "$0.012"),
        (999_999_999, "$1.00"),
        (1_234_567_890_000, "$1,234.57"),
        (-2_500_000_000, "−$2.50"),
        (1_500_000 * 10**9, "$1.50 M"),
        (None, "–"),
    ],
)
def test_money_shows_cents_or_two_significant_digits(nusd, text):
    assert plain(figures.dollars(nusd)) == text


@given(st.lists(st.integers(-(10**15), 10**15), max_size=8))
def test_a_column_of_money_lines_up(amounts):
    shown = figures.dollars_column(amounts)
    decimals = {len(text.partition(".")[2]) for text, amount in zip(shown, amounts, strict=True) if amount}
    assert len(decimals) <= 1
    for text, amount in zip(shown, amounts, strict=True):
        value = float(text.replace("−", "-").replace("$", "").replace(",", ""))
        assert abs(value - amount / 1e9) <= 0.5 * 10 ** -max(decimals, default=2) + 1e-9
        assert text.startswith("−") == (amount < 0)


@pytest.mark.parametrize(
    ("ns", "text"),
    [
        (17_160_000, "17.2 ms"),
        (834_000_000, "834 ms"),
        (999_900_000, "1.0 s"),
        (38_200_000_000, "38.2 s"),
        (59_990_000_000, "1 min 0 s"),
        (145 * 10**9, "2 min 25 s"),
        (18_720 * 10**9, "5 h 12 min"),
        (90_000 * 10**9, "1 d 1 h"),
        (None, "–"),
    ],
)
def test_durations_have_a_unit_that_fits(ns, text):
    assert plain(figures.duration(ns)) == text


def test_rates_and_energy_name_their_units():
    assert plain(figures.tokens_per_hour(999)) == "999 tok/h"
    assert plain(figures.tokens_per_hour(3_190_000)) == "3.19 M tok/h"
    assert plain(figures.joules_per_token(5.43)) == "5.43 mJ/token"
    assert plain(figures.joules_per_token(41_200.0)) == "41.2 J/token"
    assert figures.joules_per_token(None) == "–"
    assert figures.per_mtok(18_000, 90) == "$0.20/Mtok"


@pytest.mark.parametrize(
    ("source", "word"), [("estimate", "estimated"), ("nvml", "measured"), ("nvml+estimate", "estimated"), ("", "")]
)
def test_estimated_energy_is_never_called_measured(source, word):
    assert figures.energy_word(source) == word


def test_counts_are_exact_below_a_hundred_thousand():
    assert figures.count(99_999) == "99,999"
    assert plain(figures.count(107_400)) == "107 k"


def test_a_moment_is_short_today_and_dated_before():
    now = 1_795_403_882_000_000_000
    assert figures.moment(now, now) == "03:18:02"
    assert figures.moment(now - 86_400 * 10**9, now) == "2026-11-22 03:18"
