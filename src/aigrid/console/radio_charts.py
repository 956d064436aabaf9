"""The pictures of the radio's page: lines over the last minutes, and how late work was."""

from collections.abc import Sequence
from itertools import pairwise
from math import log10
from typing import Any

_AXIS = {"color": "var(--muted)", "fontSize": 12, "fontFamily": "Roboto, system-ui, sans-serif"}
_TOOLTIP = {
    "trigger": "axis",
    "confine": True,
    "backgroundColor": "var(--surface)",
    "borderColor": "var(--line-strong)",
    "padding": [6, 10],
    "textStyle": {"color": "var(--ink)", "fontSize": 13},
    "axisPointer": {"type": "line", "lineStyle": {"color": "var(--line-strong)", "type": "solid"}},
}
_LEGEND = {"top": 0, "left": 0, "icon": "roundRect", "itemWidth": 14, "itemHeight": 4, "textStyle": _AXIS}
_LEAST = -4
"""Exponent of ten of the smallest share in percent that is drawn."""
RADIO, AI, MUTED = "var(--energy)", "var(--accent)", "var(--muted)"
_PERCENT = f"(v => +Math.pow(10, v + {_LEAST}).toPrecision(2) + ' %')"
HISTOGRAM = (("tick", "slot begun", MUTED), ("downlink", "downlink ready", RADIO), ("uplink", "uplink done", AI))


def lines(unit: str, series: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return options of a chart over seconds before now; each series is made by `line`."""
    return {
        "animation": False,
        "grid": {"left": 8, "right": 12, "top": 34, "bottom": 4, "containLabel": True},
        "legend": {**_LEGEND},
        "tooltip": {**_TOOLTIP, ":valueFormatter": f"value => value == null ? '–' : (+value).toPrecision(3) + ' {unit}'"},
        "xAxis": {"type": "value", "min": -60, "max": 0, "axisLabel": {**_AXIS, "formatter": "{value} s"},
                  "axisLine": {"lineStyle": {"color": "var(--line)"}, "onZero": False}, "axisTick": {"show": False},
                  "splitLine": {"show": False}},
        "yAxis": {"type": "value", "min": 0, "splitNumber": 4, "axisLine": {"show": False},
                  "axisTick": {"show": False}, "axisLabel": {**_AXIS, "formatter": f"{{value}} {unit}"},
                  "splitLine": {"lineStyle": {"color": "var(--grid)"}}},
        "series": list(series),
    }  # fmt: skip


def line(name: str, colour: str, *, dashed: bool = False, area: bool = False) -> dict[str, Any]:
    """Return a line, still without data."""
    style = {"color": colour, "width": 1.75, "type": "dashed" if dashed else "solid"}
    made = {"name": name, "type": "line", "showSymbol": False, "lineStyle": style, "itemStyle": {"color": colour},
            "emphasis": {"disabled": True}, "data": []}  # fmt: skip
    return {**made, "areaStyle": {"color": colour, "opacity": 0.12}} if area else made


def histogram() -> dict[str, Any]:
    """Return options of the chart of lateness: share of the work by the time it took, an octave a bar."""
    return {
        "animation": False,
        "grid": {"left": 8, "right": 12, "top": 34, "bottom": 4, "containLabel": True},
        "legend": {**_LEGEND},
        "tooltip": {**_TOOLTIP, ":valueFormatter": f"value => value == null ? '–' : {_PERCENT}(value)"},
        "xAxis": {"type": "category", "data": [], "axisLabel": {**_AXIS, "hideOverlap": True},
                  "axisLine": {"lineStyle": {"color": "var(--line)"}}, "axisTick": {"show": False}},
        "yAxis": {"type": "value", "min": 0, "max": 2 - _LEAST, "interval": 2,
                  "axisLabel": {**_AXIS, ":formatter": f"value => {_PERCENT}(value)"},
                  "splitLine": {"lineStyle": {"color": "var(--grid)"}}},
        "series": [
            {"name": name, "type": "bar", "barGap": "0%", "barCategoryGap": "25%", "itemStyle": {"color": colour},
             "emphasis": {"disabled": True}, "data": []}
            for _, name, colour in HISTOGRAM
        ],
    }  # fmt: skip


def octaves(radio: dict[str, Any]) -> tuple[list[str], list[list[float | None]]]:
    """Return the names of the bars, and for each series their heights; None where there is nothing to draw.

    A height is the logarithm of the share, so that one slot in a million can be seen beside all others.
    """
    edges = radio["edges_us"]
    ends = [*range(0, len(edges), 4), len(edges) - 1]
    counts = [
        [sum(radio[name][start + 1 if at else 0 : end + 1]) for at, (start, end) in enumerate(pairwise([0, *ends]))]
        for name, _, _ in HISTOGRAM
    ]
    used = [at for at in range(len(ends)) if any(series[at] for series in counts)]
    span = range(used[0], used[-1] + 1) if used else range(0)
    heights: list[list[float | None]] = []
    for series in counts:
        total = max(1, sum(series))
        heights.append([round(log10(100 * series[at] / total) - _LEAST, 3) if series[at] else None for at in span])
    return [bar_name(edges[ends[at]]) for at in span], heights


def bar_name(edge_us: float) -> str:
    """Return up to which time a bar counts."""
    return f"{edge_us:.0f} µs" if edge_us < 1000 else f"{edge_us / 1000:.0f} ms"
