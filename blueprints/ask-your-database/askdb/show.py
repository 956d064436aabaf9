"""A result for people: a table in text, bars in text, and the same bars as SVG."""

from html import escape
from typing import Any

from askdb.database import Result

_WIDTH, _BAR, _LABEL, _ROW = 640, 360, 180, 24
_BARS = 20


def table(result: Result) -> str:
    """Return the rows as aligned columns; numbers to the right."""
    lines = [result.columns, *[[_text(value) for value in row] for row in result.rows]]
    widths = [max(len(line[at]) for line in lines) for at in range(len(result.columns))]
    right = [all(_is_number(row[at]) for row in result.rows) for at in range(len(result.columns))]

    def line(cells: list[str]) -> str:
        pads = zip(cells, widths, right, strict=True)
        return "  ".join(
            cell.rjust(width) if to_right else cell.ljust(width) for cell, width, to_right in pads
        ).rstrip()

    shown = [line(lines[0]), "  ".join("-" * width for width in widths), *map(line, lines[1:])]
    return "\n".join([*shown, "… and more rows"] if result.cut else shown)


def points(result: Result) -> list[tuple[str, float]]:
    """Return what a chart can show: the first text column as labels, the last number column as values; else nothing."""
    if not 2 <= len(result.rows) <= _BARS:
        return []
    columns = range(len(result.columns))
    numbers = [at for at in columns if all(_is_number(row[at]) for row in result.rows)]
    labels = [at for at in columns if at not in numbers[-1:]]
    if not numbers or not labels:
        return []
    return [(_text(row[labels[0]]), float(row[numbers[-1]])) for row in result.rows]


def bars(result: Result, width: int = 40) -> str:
    """Return the chart in text, or "" where there is none to draw."""
    found = points(result)
    most = max((abs(value) for _, value in found), default=0) or 1
    label = max((len(name) for name, _ in found), default=0)
    return "\n".join(
        f"{name.ljust(label)}  {'█' * round(width * abs(value) / most)} {_text(value)}" for name, value in found
    )


def svg(result: Result, title: str) -> str:
    """Return the chart as an SVG document, or "" where there is none to draw; colours suit light and dark pages."""
    found = points(result)
    if not found:
        return ""
    most = max(abs(value) for _, value in found) or 1
    rows = []
    for at, (name, value) in enumerate(found):
        y = 40 + at * _ROW
        long = _BAR * abs(value) / most
        rows.append(
            f'<text x="{_LABEL - 8}" y="{y + 15}" text-anchor="end">{escape(name[:26])}</text>'
            f'<rect x="{_LABEL}" y="{y + 3}" width="{long:.1f}" height="{_ROW - 8}" rx="2" fill="#3b82c4"/>'
            f'<text x="{_LABEL + long + 6:.1f}" y="{y + 15}">{escape(_text(value))}</text>'
        )
    height = 52 + len(found) * _ROW
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" role="img" '
        f'font-family="sans-serif" font-size="13" fill="#808890">\n<title>{escape(title)}</title>\n'
        f'<text x="8" y="22" font-weight="bold">{escape(title[:80])}</text>\n' + "\n".join(rows) + "\n</svg>\n"
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float)


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:,.2f}".rstrip("0").rstrip(".")
    return f"{value:,}" if isinstance(value, int) and abs(value) >= 10_000 else str(value)
