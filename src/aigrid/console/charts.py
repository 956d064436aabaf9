"""Tokens per hour over time, drawn by ECharts in the page's own colours."""

from typing import Any

from nicegui import ui

from aigrid.console import figures
from aigrid.console.gateway import Gateway
from aigrid.core.clock import DAY, SECOND, now_ns

MINUTE = 60 * SECOND
SPANS = {"1 h": (60 * MINUTE, MINUTE), "24 h": (DAY, 15 * MINUTE), "7 d": (7 * DAY, 60 * MINUTE)}
"""Name of a span to its length and the width of its buckets, in nanoseconds."""


class TokenChart:
    """The chart. Colours are CSS variables, so it follows light and dark by itself."""

    def __init__(self) -> None:
        self._chart = ui.echart(_options(), renderer="svg").classes("chart")
        self._chart.props('role="img"')

    async def draw(self, gateway: Gateway, span: str) -> None:
        """Fetch the span's buckets and show them."""
        length_ns, bucket_ns = SPANS[span]
        now = now_ns()
        since = (now - length_ns) // bucket_ns * bucket_ns
        until = (now // bucket_ns + 1) * bucket_ns  # whole buckets, which the ledger has summed already
        answer = await gateway.get("/admin/series", {"since": since, "until": until, "bucket_ns": bucket_ns})
        points = curve(answer["buckets"], bucket_ns, now)
        options = self._chart.options
        options["xAxis"]["min"] = since // 1_000_000
        options["xAxis"]["max"] = now // 1_000_000
        options["series"][0]["data"] = points
        self._chart.update()
        peak = max((rate for _, rate in points), default=0)
        self._chart.props(f'aria-label="Tokens per hour over {span}; at most {figures.tokens_per_hour(peak)}"')


def curve(buckets: list[dict[str, Any]], bucket_ns: int, now: int) -> list[tuple[int, int]]:
    """Return (milliseconds since the epoch, tokens per hour) at the start of each bucket, and once more at the end.

    The bucket that is not over counts by the time that has passed, once that is a fifth of it.
    """
    points = []
    for bucket in buckets:
        elapsed = min(bucket_ns, now - bucket["start_ns"])
        if elapsed >= bucket_ns // 5:
            tokens = bucket["prompt_tokens"] + bucket["completion_tokens"]
            points.append((bucket["start_ns"] // 1_000_000, tokens * 3600 * SECOND // elapsed))
    return [*points, (now // 1_000_000, points[-1][1])] if points else []


_TIMES = {"year": "{yyyy}", "month": "{MMM}", "day": "{d} {MMM}", "hour": "{HH}:{mm}", "minute": "{HH}:{mm}"}


def _options() -> dict[str, Any]:
    axis = {"color": "var(--muted)", "fontSize": 12, "fontFamily": "Roboto, system-ui, sans-serif"}
    si = "v => v >= 1e6 ? +(v / 1e6).toPrecision(3) + ' M' : v >= 1e3 ? +(v / 1e3).toPrecision(3) + ' k' : v"
    return {
        "animation": False,
        "useUTC": True,
        "grid": {"left": 8, "right": 12, "top": 30, "bottom": 4, "containLabel": True},
        "tooltip": {
            "trigger": "axis",
            "confine": True,
            "backgroundColor": "var(--surface)",
            "borderColor": "var(--line-strong)",
            "padding": [6, 10],
            "textStyle": {"color": "var(--ink)", "fontSize": 13},
            "axisPointer": {"type": "line", "lineStyle": {"color": "var(--line-strong)", "type": "solid"}},
            ":valueFormatter": f"value => {{ const si = {si}; return si(value) + ' tok/h' }}",
        },
        "xAxis": {
            "type": "time",
            "axisLabel": {**axis, "hideOverlap": True, "formatter": _TIMES},
            "axisLine": {"lineStyle": {"color": "var(--line)"}},
            "axisTick": {"show": False},
            "splitLine": {"show": False},
        },
        "yAxis": {
            "type": "value",
            "name": "tok/h",
            "min": 0,
            "minInterval": 1,
            "splitNumber": 4,
            "nameTextStyle": {**axis, "align": "right"},
            "axisLabel": {**axis, ":formatter": si},
            "splitLine": {"lineStyle": {"color": "var(--grid)"}},
        },
        "series": [
            {
                "name": "Output",
                "type": "line",
                "step": "end",
                "showSymbol": False,
                "lineStyle": {"color": "var(--accent)", "width": 1.75},
                "itemStyle": {"color": "var(--accent)"},
                "areaStyle": {"color": "var(--accent)", "opacity": 0.12},
                "emphasis": {"disabled": True},
                "data": [],
            }
        ],
    }
