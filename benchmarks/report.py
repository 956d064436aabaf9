"""Tables from results: what stands between `<!-- bench:NAME -->` and `<!-- /bench:NAME -->` in README and docs.

A benchmark may name the rows that people should read, as `"table": [{"what", "ours", "peer", "ratio"}, …]`; without
it every figure becomes a row. What has other columns says so: `"grid": {"columns": […], "rows": [[name, …], …]}`.
A marker `bench:NAME` without a stored result stays empty: no measurement, no number.
"""

import json
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
_MARK = re.compile(r"(<!-- bench:(?P<name>[a-z0-9_]+) -->\n).*?(<!-- /bench:(?P=name) -->)", re.DOTALL)


def results() -> dict[str, dict[str, Any]]:
    """Return every stored result by name."""
    return {path.stem: json.loads(path.read_text()) for path in sorted(RESULTS.glob("*.json"))}


def store(name: str, result: dict[str, Any]) -> Path:
    """Keep a result beside the benchmarks; returns the file."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps(result, indent=2) + "\n")
    return path


def table(result: dict[str, Any]) -> str:
    """Return a result as Markdown: its rows, what holds, and the machine."""
    rows, grid = result.get("table"), result.get("grid")
    if grid:
        lines = [f"| | {' | '.join(grid['columns'])} |", f"|---|{'---:|' * len(grid['columns'])}"]
        lines += [f"| {' | '.join([name, *map(number, values)])} |" for name, *values in grid["rows"]]
    elif rows:
        lines = ["| | aigrid | peer | ratio |", "|---|---:|---:|---:|"]
        lines += [
            f"| {row['what']} | {number(row['ours'])} | {number(row.get('peer'))} | {ratio(row.get('ratio'))} |"
            for row in rows
        ]
    else:
        lines = ["| | measured |", "|---|---:|"]
        lines += [f"| {name.replace('_', ' ')} | {number(value)} |" for name, value in flat(result.get("figures", {}))]
    lines.append("")
    lines += [f"- {'✓' if holds else '✗ does not hold:'} {claim}" for claim, holds in result.get("holds", {}).items()]
    peer = result.get("peer", {}).get("name")
    on = result["machine"]
    against = f" Peer: {peer}, in the same run." if peer else ""
    lines += ["", f"Measured on {on['processor']}, {on['cores']} cores, Python {on['python']}.{against}"]
    return "\n".join(lines)


def flat(figures: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """Return figures as rows; a spread (median, p5, p95) is one row."""
    found: list[tuple[str, Any]] = []
    for name, value in figures.items():
        if isinstance(value, dict) and "median" not in value:
            found += flat(value, f"{prefix}{name} ")
        elif not isinstance(value, list):
            found.append((prefix + name, value))
    return found


def number(value: Any) -> str:
    """Return a figure with about three significant digits; a spread as `median (p5 to p95)`."""
    if value is None:
        return "–"
    if isinstance(value, dict):
        return f"{number(value['median'])} ({number(value['p5'])} to {number(value['p95'])})"
    if isinstance(value, bool | str):
        return str(value)
    if isinstance(value, int) or abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def ratio(value: float | None) -> str:
    """Return a ratio as `12.3×`."""
    return "–" if value is None else f"{number(value)}×"


def rewrite(text: str, found: dict[str, dict[str, Any]]) -> str:
    """Return a page with the tables of the results that there are."""

    def fill(match: re.Match[str]) -> str:
        result = found.get(match["name"])
        body = f"\n{table(result)}\n\n" if result else ""
        return f"{match[1]}{body}{match[3]}"

    return _MARK.sub(fill, text)


def pages() -> list[Path]:
    """Return the pages that may hold markers."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), *sorted(ROOT.glob("blueprints/*/README.md"))]


def rewrite_pages() -> list[Path]:
    """Rewrite every page whose tables have changed; returns those."""
    found = results()
    changed = []
    for page in pages():
        old = page.read_text()
        if (new := rewrite(old, found)) != old:
            page.write_text(new)
            changed.append(page)
    return changed
