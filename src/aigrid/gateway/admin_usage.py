"""What the factory made and what it came to: summary, report, series, engines, prices."""

import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, get_args

import msgspec

from aigrid import __version__
from aigrid.core.clock import DAY, SECOND, iso, now_ns
from aigrid.core.errors import BadRequest
from aigrid.engines.base import Engine
from aigrid.gateway.admin_access import AdminGateway
from aigrid.gateway.admin_query import Query
from aigrid.gateway.http import Request, Response
from aigrid.ledger.base import GroupBy, Report, Sum
from aigrid.ledger.prices import PriceList

HOUR = 3600 * SECOND
WINDOWS = {"minute": 60 * SECOND, "hour": HOUR, "day": DAY}
GROUPS: tuple[GroupBy, ...] = get_args(GroupBy)
MAX_BUCKETS = 1500


class Cache:
    """Remembers answers of slow questions: for at least `floor_s`, and for 20 times as long as they took.

    So a page that asks every second spends at most a twentieth of one core on the ledger, however long it grows.
    """

    def __init__(self, floor_s: float = 0.5) -> None:
        self._floor_s = floor_s
        self._kept: dict[str, tuple[float, Any]] = {}

    async def get(self, name: str, ask: Callable[[], Awaitable[Any]]) -> Any:
        """Return the remembered answer for `name`, or ask."""
        until, value = self._kept.get(name, (0.0, None))
        began = time.monotonic()
        if began < until:
            return value
        value = await ask()
        ended = time.monotonic()
        self._kept[name] = (ended + max(self._floor_s, 20 * (ended - began)), value)
        return value


def sum_view(total: Sum) -> dict[str, Any]:
    """Return a sum with its derived figures; `mj_per_token` is null without tokens."""
    return {
        **msgspec.structs.asdict(total),
        "tokens": total.tokens,
        "cost_nusd": total.cost_nusd,
        "margin_nusd": total.margin_nusd,
        "mj_per_token": total.energy_mj / total.tokens if total.tokens else None,
    }


def report_view(report: Report, by: Sequence[GroupBy], limit: int) -> dict[str, Any]:
    """Return a report with derived figures; each group lists its `limit` largest by tokens."""
    groups = {name: sorted(report.groups.get(name, []), key=lambda s: (-s.tokens, s.name)) for name in by}
    return {
        "since_ns": report.since_ns,
        "until_ns": report.until_ns,
        "totals": sum_view(report.totals),
        "groups": {name: [sum_view(each) for each in sums[:limit]] for name, sums in groups.items()},
        "left_off": {name: max(0, len(sums) - limit) for name, sums in groups.items()},
        "idle": report.idle,
        "energy_source": report.energy_source,
        "open_holds": report.open_holds,
        "held_nusd": report.held_nusd,
    }


def window_view(report: Report, window_ns: int) -> dict[str, Any]:
    """Return the totals of a window with its rate, its idle cost, and the margin that is left after idling."""
    totals, idle = report.totals, report.idle
    return {
        "window_ns": window_ns,
        "tokens_per_hour": totals.tokens * HOUR // window_ns,
        **sum_view(totals),
        "idle": idle,
        "idle_nusd": idle.energy_nusd + idle.hardware_nusd,
        "net_nusd": totals.margin_nusd - idle.energy_nusd - idle.hardware_nusd,
    }


def engine_view(engine: Engine) -> dict[str, Any]:
    """Return an engine's name, models and load."""
    return {"name": engine.name, "models": engine.models(), "load": engine.load()}


class Usage:
    """Handlers that only read sums."""

    def __init__(self, gateway: AdminGateway) -> None:
        self._gateway = gateway
        self._cache = Cache()
        self._prices = PriceList(gateway.config)

    async def window(self, name: str, span_ns: int) -> Report:
        """Return the report over the last `span_ns`, at most a little old."""
        ledger = self._gateway.ledger
        report: Report = await self._cache.get(name, lambda: ledger.report(max(0, now_ns() - span_ns)))
        return report

    async def summary(self, request: Request) -> Response:
        """GET /admin/summary: now, the last minute, hour and day, and the engines."""
        Query(request, ())
        gateway = self._gateway
        reports = {name: await self.window(name, span_ns) for name, span_ns in WINDOWS.items()}
        newest = reports["minute"]
        return Response.of(
            {
                "version": __version__,
                "site": gateway.config.site.id,
                "now_ns": now_ns(),
                "started_ns": gateway.started_ns,
                "running": gateway.running,
                "waiting": gateway.waiting,
                "open_holds": newest.open_holds,
                "held_nusd": newest.held_nusd,
                "energy_source": newest.energy_source,
                "windows": {name: window_view(report, WINDOWS[name]) for name, report in reports.items()},
                "engines": [engine_view(engine) for engine in gateway.engines],
            }
        )

    async def ledger(self, request: Request) -> Response:
        """GET /admin/ledger?since=&until=&by=&limit=: totals, groups and idle cost between two times."""
        query = Query(request, ("since", "until", "by", "limit"))
        since_ns, until_ns = query.window()
        wanted = (query.text("by") or ",".join(GROUPS)).split(",")
        for name in wanted:
            if name not in GROUPS:
                raise BadRequest(f"by must name some of {', '.join(GROUPS)}, not `{name[:40]}`", param="by")
        limit = query.number("limit", 100, 1, 1000)
        report = await self._gateway.ledger.report(since_ns, until_ns)
        return Response.of(report_view(report, [name for name in GROUPS if name in wanted], limit))

    async def series(self, request: Request) -> Response:
        """GET /admin/series?since=&until=&bucket_ns=: sums by time bucket, five minutes unless it says otherwise."""
        query = Query(request, ("since", "until", "bucket_ns"))
        since_ns, until_ns = query.window()
        bucket_ns = query.number("bucket_ns", 300 * SECOND, SECOND, 366 * DAY)
        if (until_ns - since_ns) / bucket_ns > MAX_BUCKETS:
            raise BadRequest(f"that is more than {MAX_BUCKETS} buckets; make bucket_ns larger", param="bucket_ns")
        buckets = await self._gateway.ledger.series(since_ns, until_ns, bucket_ns)
        return Response.of({"bucket_ns": bucket_ns, "buckets": buckets})

    async def engines(self, request: Request) -> Response:
        """GET /admin/engines: each engine with its models and load."""
        Query(request, ())
        return Response.of({"engines": [engine_view(engine) for engine in self._gateway.engines]})

    async def prices(self, request: Request) -> Response:
        """GET /admin/prices: what tenants pay per million tokens, and what energy, hardware and upstreams cost us."""
        Query(request, ())
        prices = self._prices
        revenue = [
            {
                "model": line.model,
                "tier": line.tier,
                "valid_from": iso(line.valid_from_ns)[:10],
                "prompt_nusd_per_mtok": line.prompt,
                "cached_nusd_per_mtok": line.cached,
                "completion_nusd_per_mtok": line.completion,
            }
            for line in prices.prices
        ]
        upstreams = [
            {"name": name, "prompt_nusd_per_mtok": prompt, "completion_nusd_per_mtok": completion}
            for name, (prompt, completion) in prices.upstreams.items()
        ]
        cost = {
            "energy_nusd_per_kwh": prices.energy_nusd_per_kwh,
            "hardware_nusd_per_hour": prices.hardware_nusd_per_hour,
            "upstreams": upstreams,
        }
        return Response.of({"revenue": revenue, "cost": cost})
