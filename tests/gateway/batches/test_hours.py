"""Work waits for cheap hours, and never too long."""

from datetime import UTC, datetime

import pytest

from aigrid.core.clock import SECOND
from aigrid.core.config import Config, EnergyPriceConfig, OvernightConfig, SiteConfig
from aigrid.core.errors import ConfigError
from aigrid.gateway.batches.hours import HOUR_NS, Hours


def at(hour, minute=0, day=10):
    return int(datetime(2026, 1, day, hour, minute, tzinfo=UTC).timestamp()) * SECOND


def hours(*lines, zone="UTC"):
    prices = [EnergyPriceConfig(span, price) for span, price in lines]
    site = SiteConfig(energy_usd_per_kwh=0.30)
    return Hours(Config(site=site, overnight=OvernightConfig(time_zone=zone), energy_prices=prices))


NIGHT = hours(("22:00-06:00", 0.10))


def test_hours_may_go_over_midnight_and_are_those_of_the_time_zone() -> None:
    assert [NIGHT.price(at(hour)) for hour in (21, 22, 0, 5, 6)] == [0.30, 0.10, 0.10, 0.10, 0.30]
    assert hours(("22:00-06:00", 0.10), zone="Europe/Berlin").price(at(21)) == 0.10
    assert hours(("11:00-12:00", 0.05), ("10:00-24:00", 0.20)).price(at(11, 30)) == 0.05


def test_work_waits_for_the_cheapest_time_that_is_enough() -> None:
    assert NIGHT.until(at(12), at(12, day=11), 2 * HOUR_NS) == at(22)
    assert NIGHT.until(at(23), at(12, day=11), 2 * HOUR_NS) == at(23)
    both = hours(("22:00-06:00", 0.10), ("02:00-04:00", 0.05))
    assert both.until(at(12), at(12, day=11), HOUR_NS) == at(22), "the first line that names an hour counts"
    cheap = hours(("02:00-04:00", 0.05), ("22:00-06:00", 0.10))
    assert cheap.until(at(12), at(12, day=11), HOUR_NS) == at(2, day=11)
    assert cheap.until(at(12), at(12, day=11), 3 * HOUR_NS) == at(22)


def test_work_begins_at_once_where_the_deadline_comes_first() -> None:
    assert NIGHT.until(at(12), at(20), HOUR_NS) == at(12)
    assert NIGHT.until(at(12), at(23), 11 * HOUR_NS) == at(12)
    assert NIGHT.until(at(12), at(11), HOUR_NS) == at(12)


def test_with_one_price_nothing_waits() -> None:
    assert hours().until(at(12), at(12, day=11), HOUR_NS) == at(12)
    assert hours(("00:00-24:00", 0.10)).until(at(12), at(12, day=11), HOUR_NS) == at(12)


@pytest.mark.parametrize(("span", "zone"), [("22-6", "UTC"), ("25:00-06:00", "UTC"), ("22:00-06:00", "Nowhere/Town")])
def test_a_table_that_cannot_be_read_is_refused_by_name(span, zone) -> None:
    with pytest.raises(ConfigError, match=r"energy_prices\[0\]|time_zone"):
        hours((span, 0.1), zone=zone)
