"""Prices: what tenants pay and what tokens cost us, as integers, pinned on a hold when it is placed.

Prices are nano-dollars per million tokens, read exactly from the configuration's decimal numbers. Each amount of
money is rounded once per request, up, so that what is settled within a hold's bounds never exceeds the hold.
"""

from collections.abc import Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import msgspec

from aigrid.core.clock import SECOND
from aigrid.core.config import Config, PriceConfig
from aigrid.core.errors import ConfigError

MTOK = 1_000_000
NUSD = 1_000_000_000
"""Nano-dollars in a dollar."""
_FOREVER = 1 << 63
_CACHED_TARIFFS = 4096


def nusd(value: float | str, what: str = "price") -> int:
    """Return an amount of US dollars as nano-dollars; raises `ConfigError` where that is not a whole number."""
    scaled = Decimal(str(value)) * NUSD
    if scaled != scaled.to_integral_value():
        raise ConfigError(f"{what} is {value} US dollars, finer than a nano-dollar (0.000000001); round it")
    return int(scaled)


def usd(amount: int) -> str:
    """Return nano-dollars as text in dollars with every significant digit, e.g. `$0.00012`."""
    whole, rest = divmod(abs(amount), NUSD)
    digits = f"{rest:09d}".rstrip("0").ljust(2, "0")
    return f"{'-' if amount < 0 else ''}${whole:,}.{digits}"


class Tariff(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The prices of one request, in nano-dollars per million tokens: three of revenue, two of upstream cost."""

    prompt: int
    cached: int
    completion: int
    upstream_prompt: int = 0
    upstream_completion: int = 0

    def bound(self, prompt: int, completion: int) -> int:
        """Return the most that so many tokens can cost, in nano-dollars."""
        dearest = self.prompt if self.prompt >= self.cached else self.cached
        return -(-(prompt * dearest + completion * self.completion) // MTOK)

    def revenue(self, prompt: int, cached: int, completion: int) -> int:
        """Return what the tenant pays, in nano-dollars; `cached` is part of `prompt`."""
        return -(-((prompt - cached) * self.prompt + cached * self.cached + completion * self.completion) // MTOK)

    def upstream(self, prompt: int, completion: int) -> int:
        """Return what the upstream charges us, in nano-dollars."""
        return -(-(prompt * self.upstream_prompt + completion * self.upstream_completion) // MTOK)

    def affordable(self, prompt: int, money: int) -> int:
        """Return the most completion tokens that fit into `money` beside `prompt` tokens; -1 if not even those."""
        rest = money * MTOK - prompt * max(self.prompt, self.cached)
        if rest < 0:
            return -1
        return rest // self.completion if self.completion else _FOREVER


class Price(msgspec.Struct, frozen=True):
    """One line of the price list, from `valid_from_ns` (UTC) on."""

    model: str
    tier: str
    prompt: int
    cached: int
    completion: int
    valid_from_ns: int = 0

    @classmethod
    def read(cls, config: PriceConfig) -> "Price":
        """Read one line of the configuration; raises `ConfigError` for a bad date or a price too fine."""
        try:
            day = date.fromisoformat(config.valid_from)
        except ValueError as error:
            raise ConfigError(
                f"price for model {config.model}: valid_from is {config.valid_from!r}; write a date like 2026-11-01",
                param="prices.valid_from",
            ) from error
        start = int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()) * SECOND
        what = f"price for model {config.model}, tier {config.tier}"
        prompt = nusd(config.prompt_usd_per_mtok, what)
        cached = prompt if config.cached_usd_per_mtok is None else nusd(config.cached_usd_per_mtok, what)
        return cls(config.model, config.tier, prompt, cached, nusd(config.completion_usd_per_mtok, what), start)

    def fits(self, model: str, tier: str) -> bool:
        """Return whether this line is about that model and tier."""
        return self.model in ("*", model) and self.tier in ("*", tier)

    @property
    def rank(self) -> tuple[bool, bool, int]:
        """Order of precedence: model before tier before date."""
        return (self.model != "*", self.tier != "*", self.valid_from_ns)


class PriceList:
    """The price list and the cost side of one configuration."""

    def __init__(self, config: Config) -> None:
        # Of lines about the same the last wins, so the built-in default comes first.
        lines = [Price.read(PriceConfig()), *map(Price.read, config.prices)]
        self.prices: Sequence[Price] = [*{(one.model, one.tier, one.valid_from_ns): one for one in lines}.values()]
        self.energy_nusd_per_kwh = nusd(config.site.energy_usd_per_kwh, "site.energy_usd_per_kwh")
        self.hardware_nusd_per_hour = nusd(config.site.hardware_usd_per_hour, "site.hardware_usd_per_hour")
        self.upstreams = {
            upstream.name: (
                nusd(upstream.prompt_usd_per_mtok, f"upstream {upstream.name}"),
                nusd(upstream.completion_usd_per_mtok, f"upstream {upstream.name}"),
            )
            for upstream in config.upstreams
        }
        self._cache: dict[tuple[str, str, str], tuple[int, int, Tariff]] = {}

    def tariff(self, model: str, tier: str, site: str, now_ns: int) -> Tariff:
        """Return the prices in force at `now_ns`."""
        found = self._cache.get((model, tier, site))
        if found is not None and found[0] <= now_ns < found[1]:
            return found[2]
        lines = [price for price in self.prices if price.fits(model, tier)]
        best = lines[0]
        for price in lines:
            if price.valid_from_ns <= now_ns and price.rank >= best.rank:
                best = price
        starts = [price.valid_from_ns for price in lines]
        since = max((start for start in starts if start <= now_ns), default=-_FOREVER)
        until = min((start for start in starts if start > now_ns), default=_FOREVER)
        tariff = Tariff(best.prompt, best.cached, best.completion, *self.upstream(site))
        if len(self._cache) >= _CACHED_TARIFFS:
            self._cache.clear()
        self._cache[(model, tier, site)] = (since, until, tariff)
        return tariff

    def upstream(self, site: str) -> tuple[int, int]:
        """Return what a site charges us per million prompt and completion tokens; our own sites charge nothing."""
        return self.upstreams.get(site, (0, 0))

    def as_dict(self) -> dict[str, Any]:
        """Return all prices as plain data, for the ledger's own record of what was in force."""
        return {
            "prices": self.prices,
            "upstreams": self.upstreams,
            "energy_nusd_per_kwh": self.energy_nusd_per_kwh,
            "hardware_nusd_per_hour": self.hardware_nusd_per_hour,
        }
