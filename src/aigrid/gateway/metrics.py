"""Prometheus metrics, with OpenTelemetry's names for generative AI where it has them.

See https://opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-metrics/ (dots become underscores, units are suffixes).
The data path only adds integers; text is made when somebody asks.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator
from itertools import accumulate
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from aigrid.core.clock import SECOND
from aigrid.core.errors import AigridError
from aigrid.ledger.base import Outcome, Settlement, Tier

if TYPE_CHECKING:
    from aigrid.gateway.app import Gateway

_DURATIONS = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
_FIRST = (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
_PER_TOKEN = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5)
_OVERHEAD = (0.0001, 0.0002, 0.0003, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.05, 0.1)
_LABELS = ("gen_ai_request_model", "aigrid_site", "aigrid_tier")


class _Histogram:
    """Counts of durations by bucket; bounds in seconds, observations in nanoseconds."""

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._names = [*(str(bound) for bound in bounds), "+Inf"]
        self._bounds = [int(bound * SECOND) for bound in bounds]
        self._counts = [0] * len(self._names)
        self._sum_ns = 0

    def observe(self, ns: int) -> None:
        self._counts[bisect_left(self._bounds, ns)] += 1
        self._sum_ns += ns

    def add_to(self, family: HistogramMetricFamily, labels: tuple[str, ...]) -> None:
        buckets = list(zip(self._names, accumulate(self._counts), strict=True))
        family.add_metric(labels, buckets, self._sum_ns / SECOND)


class _Series:
    """Everything that is counted for one model, site and tier."""

    def __init__(self) -> None:
        self.duration = _Histogram(_DURATIONS)
        self.first = _Histogram(_FIRST)
        self.per_token = _Histogram(_PER_TOKEN)
        self.prompt_tokens = 0
        self.completion_tokens = 0
        self.revenue_nusd = 0
        self.energy_mj = 0


class Metrics(Collector):
    """Everything that `/metrics` shows."""

    def __init__(self) -> None:
        self._series: dict[tuple[str, str, Tier], _Series] = {}
        self._outcomes: Counter[Outcome] = Counter()
        self._refusals: Counter[tuple[str, str]] = Counter()
        self._guarded: Counter[tuple[str, str, str]] = Counter()
        self._overhead = _Histogram(_OVERHEAD)
        self._registry = CollectorRegistry()
        self._registry.register(self)

    def settled(
        self,
        model: str,
        site: str,
        tier: Tier,
        outcome: Outcome,
        settlement: Settlement,
        *,
        duration_ns: int,
        first_ns: int,
        overhead_ns: int,
    ) -> None:
        """Record one settled request; durations in nanoseconds, `first_ns` 0 when there was no token."""
        series = self._series.get((model, site, tier))
        if series is None:
            series = self._series[model, site, tier] = _Series()
        series.duration.observe(duration_ns)
        if first_ns:
            series.first.observe(first_ns)
            if settlement.completion_tokens > 1:
                series.per_token.observe((duration_ns - first_ns) // (settlement.completion_tokens - 1))
        series.prompt_tokens += settlement.prompt_tokens
        series.completion_tokens += settlement.completion_tokens
        series.revenue_nusd += settlement.revenue_nusd
        series.energy_mj += settlement.energy_mj
        self._overhead.observe(overhead_ns)
        self._outcomes[outcome] += 1

    def refused(self, error: AigridError) -> None:
        """Record a request that was refused before any work."""
        self._refusals[str(error.status), error.code or ""] += 1

    def guarded(self, where: str, what: str, action: str) -> None:
        """Record what the guard found in a request (`input`) or an answer (`output`)."""
        self._guarded[where, what, action] += 1

    def collect(self) -> Iterator[Metric]:
        """Yield what was counted, as Prometheus's library wants it."""
        duration = HistogramMetricFamily("gen_ai_server_request_duration_seconds", "Request duration", labels=_LABELS)
        first = HistogramMetricFamily(
            "gen_ai_server_time_to_first_token_seconds", "Time to the first token", labels=_LABELS
        )
        per_token = HistogramMetricFamily(
            "gen_ai_server_time_per_output_token_seconds", "Time per token after the first", labels=_LABELS
        )
        tokens = CounterMetricFamily(
            "gen_ai_client_token_usage", "Tokens settled on the ledger", labels=(*_LABELS, "gen_ai_token_type")
        )
        money = CounterMetricFamily("aigrid_revenue_usd", "Revenue settled, in US dollars", labels=_LABELS)
        energy = CounterMetricFamily("aigrid_energy_joules", "Energy attributed when requests ended", labels=_LABELS)
        for labels, series in self._series.items():
            series.duration.add_to(duration, labels)
            series.first.add_to(first, labels)
            series.per_token.add_to(per_token, labels)
            tokens.add_metric((*labels, "input"), series.prompt_tokens)
            tokens.add_metric((*labels, "output"), series.completion_tokens)
            money.add_metric(labels, series.revenue_nusd / 1e9)
            energy.add_metric(labels, series.energy_mj / 1e3)
        yield from (duration, first, per_token, tokens, money, energy)
        outcomes = CounterMetricFamily("aigrid_requests", "Requests by how they ended", labels=("outcome",))
        for outcome, count in self._outcomes.items():
            outcomes.add_metric((outcome,), count)
        refusals = CounterMetricFamily("aigrid_refusals", "Requests refused before work", labels=("status", "code"))
        for reason, count in self._refusals.items():
            refusals.add_metric(reason, count)
        guarded = CounterMetricFamily(
            "aigrid_guard_findings", "What the guard found, and did about it", labels=("where", "what", "action")
        )
        for finding, count in self._guarded.items():
            guarded.add_metric(finding, count)
        overhead = HistogramMetricFamily(
            "aigrid_gateway_overhead_seconds", "Time in the gateway before and after the engine", labels=()
        )
        self._overhead.add_to(overhead, ())
        yield from (outcomes, refusals, guarded, overhead)

    def expose(self, gateway: "Gateway") -> bytes:
        """Return the text exposition, with the gauges of this moment."""
        now = CollectorRegistry()
        now.register(_Gauges(gateway))
        return generate_latest(self._registry) + generate_latest(now)


class _Gauges(Collector):
    """How busy the gateway and its engines are at this moment."""

    def __init__(self, gateway: "Gateway") -> None:
        self._gateway = gateway

    def collect(self) -> Iterator[Metric]:
        gateway = self._gateway
        yield GaugeMetricFamily("aigrid_requests_running", "Requests being worked on", gateway.running)
        yield GaugeMetricFamily("aigrid_requests_waiting", "Requests waiting for a place", gateway.waiting)
        yield GaugeMetricFamily("aigrid_event_loop_lag_seconds", "How late the event loop runs", gateway.lag_s)
        running = GaugeMetricFamily("aigrid_engine_running", "Requests in an engine", labels=("engine", "state"))
        rate = GaugeMetricFamily(
            "aigrid_engine_tokens_per_second", "Tokens made in the last second", labels=("engine",)
        )
        promised = GaugeMetricFamily(
            "aigrid_engine_promised_tokens_per_second",
            "Tokens a second that an engine beside a radio can be relied on for",
            labels=("engine",),
        )
        for engine in gateway.engines:
            load = engine.load()
            running.add_metric((engine.name, load.state), load.running)
            rate.add_metric((engine.name,), load.tokens_per_second)
            if load.promised_tokens_per_second is not None:
                promised.add_metric((engine.name,), load.promised_tokens_per_second)
        yield from (running, rate, promised)
