from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aigrid.cli.units import energy, parse_usd, seconds, since, usd_short
from aigrid.core.clock import DAY, SECOND, day_start
from aigrid.core.errors import BadRequest
from aigrid.ledger.prices import usd

NOW = 1_790_000_000 * SECOND


@given(st.integers(0, 2**53 - 1))
def test_money_is_written_and_read_exactly(nusd):
    assert parse_usd(usd(nusd).replace(",", "")) == nusd


@given(st.integers(0, 10**6), st.integers(0, 9))
def test_dollars_are_decimal_not_binary(units, places):
    text = str(Decimal(units).scaleb(-places))
    assert parse_usd(text) == units * 10 ** (9 - places)


def test_the_smallest_amount_is_a_nano_dollar():
    assert parse_usd("0.000000001") == 1
    assert parse_usd("$5") == 5_000_000_000
    assert parse_usd("0.1") == 100_000_000


@pytest.mark.parametrize("text", ["", "five", "-1", "nan", "inf", "0.0000000001", "1e30", "1,5", "0x10"])
def test_what_is_no_exact_amount_is_refused(text):
    with pytest.raises(BadRequest):
        parse_usd(text)


@given(st.integers(-(10**15), 10**15))
def test_short_money_is_right_to_a_percent(nusd):
    shown = float(usd_short(nusd).replace("$", "").replace(",", ""))
    assert abs(shown - nusd / 1e9) <= 0.01 * abs(nusd) / 1e9 + 1e-12


@pytest.mark.parametrize(
    ("mj", "text"),
    [
        (0, "0 mJ"),
        (999, "999 mJ"),
        (1000, "1.0 J"),
        (12_345, "12.3 J"),
        (4_560_000, "4.56 kJ"),
        (3_600_000_000, "1.00 kWh"),
    ],
)
def test_energy_has_a_unit_that_suits(mj, text):
    assert energy(mj) == text


def test_durations_have_a_unit_that_suits():
    assert seconds(340_000_000) == "340 ms"
    assert seconds(2_100_000_000) == "2.1 s"


@pytest.mark.parametrize(
    ("text", "ns"),
    [
        ("today", day_start(NOW)),
        ("all", 0),
        ("90m", NOW - 90 * 60 * SECOND),
        ("24h", NOW - DAY),
        ("7d", NOW - 7 * DAY),
        ("2w", NOW - 14 * DAY),
        ("1970-01-02", DAY),
        ("1970-01-01T01:00:00+01:00", 0),
        ("999999d", 0),
    ],
)
def test_periods_start_where_they_say(text, ns):
    assert since(text, NOW) == ns


@pytest.mark.parametrize("text", ["", "yesterday", "24", "-1h", "2026-13-01"])
def test_a_period_that_cannot_be_read_is_refused(text):
    with pytest.raises(BadRequest, match="--since"):
        since(text, NOW)
