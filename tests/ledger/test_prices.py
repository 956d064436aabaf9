"""Prices are exact, the most specific one wins, and no request costs more than was held for it."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aigrid.core.clock import DAY, SECOND
from aigrid.core.config import Config, PriceConfig, SiteConfig, UpstreamConfig
from aigrid.core.errors import ConfigError
from aigrid.ledger.prices import MTOK, PriceList, Tariff, nusd, usd
from aigrid.ledger.till import charge

prices = st.integers(0, 10**12)
tokens = st.integers(0, 10**8)
tariffs = st.builds(Tariff, prices, prices, prices)


@given(tariffs, tokens, tokens, tokens, tokens, tokens)
def test_a_settlement_never_exceeds_its_hold(tariff, prompt_bound, completion_bound, prompt, cached, completion):
    held = tariff.bound(prompt_bound, completion_bound)
    charged, note = charge(tariff, prompt, min(cached, prompt), completion, prompt_bound, completion_bound, held)
    assert 0 <= charged <= held
    assert bool(note) == (prompt > prompt_bound or completion > completion_bound)


@given(tariffs, tokens, tokens, tokens)
def test_revenue_is_rounded_once_and_up(tariff, prompt, cached, completion):
    cached = min(cached, prompt)
    exact = Decimal((prompt - cached) * tariff.prompt + cached * tariff.cached + completion * tariff.completion) / MTOK
    assert 0 <= tariff.revenue(prompt, cached, completion) - exact < 1


@given(tariffs, tokens, st.integers(0, 10**15))
def test_the_affordable_completion_fits_and_one_token_more_does_not(tariff, prompt, money):
    most = tariff.affordable(prompt, money)
    if most < 0:
        assert tariff.bound(prompt, 0) > money
    else:
        assert tariff.bound(prompt, most) <= money
        assert not tariff.completion or tariff.bound(prompt, most + 1) > money


@given(st.integers(0, 10**15))
def test_dollars_are_read_and_written_without_loss(amount):
    assert nusd(usd(amount).removeprefix("$").replace(",", "")) == amount


def test_a_float_is_taken_as_it_is_written():
    assert nusd(0.1) == 100_000_000
    assert nusd(3e-7) == 300
    with pytest.raises(ConfigError, match="finer than a nano-dollar"):
        nusd(1e-10)


def at(day: str) -> int:
    return int(datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp()) * SECOND


def listed(**prices: float | str) -> PriceConfig:
    return PriceConfig(prompt_usd_per_mtok=0, **prices)


SEVERAL = Config(
    prices=[
        listed(model="big", completion_usd_per_mtok=4),
        listed(tier="think", completion_usd_per_mtok=3),
        listed(model="big", tier="think", completion_usd_per_mtok=5, valid_from="2026-06-01"),
        listed(model="big", tier="think", completion_usd_per_mtok=6, valid_from="2026-07-01"),
        listed(completion_usd_per_mtok=1, valid_from="2026-01-01"),
    ]
)


@pytest.mark.parametrize(
    ("model", "tier", "day", "dollars"),
    [
        ("small", "fast", "2025-12-31", 0.2),  # the built-in default: none of the list's own holds yet
        ("small", "fast", "2026-01-01", 1),
        ("small", "think", "2026-01-01", 3),
        ("big", "fast", "2026-01-01", 4),
        ("big", "think", "2026-05-31", 4),  # model before tier
        ("big", "think", "2026-06-01", 5),
        ("big", "think", "2026-07-01", 6),
    ],
)
def test_the_most_specific_price_in_force_wins(model, tier, day, dollars):
    prices = PriceList(SEVERAL)
    for warm in ("2026-01-01", "2027-01-01", day):  # whatever was asked before
        tariff = prices.tariff(model, tier, "local", at(warm))
    assert tariff.completion == nusd(dollars)


def test_a_price_changes_at_midnight_and_back_if_the_clock_steps_back():
    prices = PriceList(SEVERAL)
    midnight = at("2026-07-01")
    seen = [prices.tariff("big", "think", "x", midnight + step).completion for step in (-1, 0, DAY, -1)]
    assert seen == [nusd(5), nusd(6), nusd(6), nusd(5)]


def test_without_a_price_list_the_default_is_charged():
    assert PriceList(Config()).tariff("any", "fast", "local", 0) == Tariff(50_000_000, 50_000_000, 200_000_000)


def test_an_upstream_costs_us_what_it_charges_and_our_own_site_nothing():
    upstream = UpstreamConfig("cloud", "http://x", prompt_usd_per_mtok=0.5, completion_usd_per_mtok=1.5)
    prices = PriceList(Config(upstreams=[upstream]))
    assert prices.tariff("m", "fast", "cloud", 0).upstream(1_000_001, 0) == 500_000_500
    assert prices.tariff("m", "fast", "cloud", 0).upstream(0, 1_000_000) == 1_500_000_000
    assert prices.tariff("m", "fast", "local", 0).upstream(10**6, 10**6) == 0


def test_many_models_do_not_grow_memory():
    prices = PriceList(Config())
    for number in range(10_000):
        prices.tariff(f"m{number}", "fast", "local", 0)
    assert len(prices._cache) <= 4096


@pytest.mark.parametrize(
    ("config", "names"),
    [
        (Config(prices=[PriceConfig(valid_from="soon")]), "valid_from is 'soon'"),
        (Config(prices=[PriceConfig(model="m", prompt_usd_per_mtok=1e-12)]), "price for model m"),
        (Config(site=SiteConfig(energy_usd_per_kwh=1e-12)), "site.energy_usd_per_kwh"),
    ],
)
def test_a_bad_price_names_itself(config, names):
    with pytest.raises(ConfigError, match=names):
        PriceList(config)
