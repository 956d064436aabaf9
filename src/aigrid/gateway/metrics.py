"""Prometheus metrics, with OpenTelemetry's names for generative AI where it has them.

See https://opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-metrics/ (dots become underscores, units are suffixes).
"""

from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from aigrid.core.clock import SECOND
from aigrid.ledger.base import Outcome, Settlement, Tier

if TYPE_CHECKING:
    from aigrid.gateway.app import Gateway

_DURATIONS = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
_FIRST = (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
_PER_TOKEN = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5)
_LABELS = ("gen_ai_request_model", "aigrid_site", "aigrid_tier")


class _Series:
    """The children of every metric for one (model, site, tier), looked up once."""

    def __init__(self, metrics: "Metrics", labels: tuple[str, str, str]) -> None:
        self.duration = metrics.duration.labels(*labels)
        self.first = metrics.first.labels(*labels)
        self.per_token = metrics.per_token.labels(*labels)
        self.prompt = metrics.tokens.labels(*labels, "input")
        self.completion = metrics.tokens.labels(*labels, "output")
        self.money = metrics.money.labels(*labels)
        self.energy = metrics.energy.labels(*labels)


class Metrics:
    """Everything that `/metrics` shows."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        of = {"registry": self.registry}
        self.duration = Histogram(
            "gen_ai_server_request_duration_seconds", "Request duration", _LABELS, buckets=_DURATIONS, **of
        )
        self.first = Histogram(
            "gen_ai_server_time_to_first_token_seconds", "Time to first token", _LABELS, buckets=_FIRST, **of
        )
        self.per_token = Histogram(
            "gen_ai_server_time_per_output_token_seconds",
            "Time per token after the first",
            _LABELS,
            buckets=_PER_TOKEN,
            **of,
        )
        self.tokens = Counter(
            "gen_ai_client_token_usage", "Tokens settled on the ledger", (*_LABELS, "gen_ai_token_type"), **of
        )
        self.money = Counter("aigrid_revenue_usd", "Revenue settled, in US dollars", _LABELS, **of)
        self.energy = Counter("aigrid_energy_joules", "Energy attributed when requests ended", _LABELS, **of)
        self.outcomes = Counter("aigrid_requests", "Requests by how they ended", ("outcome",), **of)
        self.refusals = Counter("aigrid_refusals", "Requests refused before any work", ("status", "code"), **of)
        self.overhead = Histogram(
            "aigrid_gateway_overhead_seconds",
            "Time a request spent in the gateway before and after its engine",
            (),
            buckets=(0.0001, 0.0002, 0.0003, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.05, 0.1),
            **of,
        )
        self._running = Gauge("aigrid_requests_running", "Requests being worked on", **of)
        self._waiting = Gauge("aigrid_requests_waiting", "Requests waiting for a place", **of)
        self._lag = Gauge("aigrid_event_loop_lag_seconds", "How late the event loop runs", **of)
        self._engine = Gauge("aigrid_engine_running", "Requests in an engine", ("engine", "state"), **of)
        self._rate = Gauge(
            "aigrid_engine_tokens_per_second", "Tokens an engine made in the last second", ("engine",), **of
        )
        self._series: dict[tuple[str, str, str], _Series] = {}

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
        labels = (model, site, tier)
        series = self._series.get(labels)
        if series is None:
            series = self._series[labels] = _Series(self, labels)
        series.duration.observe(duration_ns / SECOND)
        if first_ns:
            series.first.observe(first_ns / SECOND)
            if settlement.completion_tokens > 1:
                series.per_token.observe((duration_ns - first_ns) / SECOND / (settlement.completion_tokens - 1))
        series.prompt.inc(settlement.prompt_tokens)
        series.completion.inc(settlement.completion_tokens)
        series.money.inc(settlement.revenue_nusd / 1e9)
        series.energy.inc(settlement.energy_mj / 1e3)
        self.overhead.observe(overhead_ns / SECOND)
        self.outcomes.labels(outcome).inc()

    def expose(self, gateway: "Gateway") -> bytes:
        """Return the text exposition."""
        self._running.set(gateway.running)
        self._waiting.set(gateway.waiting)
        self._lag.set(gateway.lag_s)
        self._engine.clear()
        for engine in gateway.engines:
            load = engine.load()
            self._engine.labels(engine.name, load.state).set(load.running)
            self._rate.labels(engine.name).set(load.tokens_per_second)
        return generate_latest(self.registry)
