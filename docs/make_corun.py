"""Draw `docs/images/ran-corun.svg` from the stored result of `python -m benchmarks ran_corun`.

`python docs/make_corun.py [RESULT.json] [PICTURE.svg]`: so that the same command draws another machine's comparison.
"""

import json
import math
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
WIDTH, HEIGHT = 720, 400
LEFT, RIGHT, TOP, BOTTOM = 74, 24, 40, 58
INK, MUTED, LINE, ACCENT, OTHER = "#14201a", "#56635b", "#dce2dc", "#0a6b4b", "#a04a00"
LEAST, MOST = -1, 4
"""Exponents of ten of the late slots in 10,000 that the picture holds."""
NAMES = {"static": "static partition", "plain": "plain sharing", "nice": "nice", "idle": "SCHED_IDLE",
         "harvester": "harvester"}  # fmt: skip


def across(share: float) -> float:
    """Return the place of a share of AI's throughput."""
    return LEFT + (WIDTH - LEFT - RIGHT) * min(1.3, max(0.0, share)) / 1.3


def up(late: float) -> float:
    """Return the place of late slots in 10,000, on a logarithmic scale."""
    exponent = min(MOST, max(LEAST, math.log10(late))) if late > 0 else LEAST
    return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * (exponent - LEAST) / (MOST - LEAST)


def text(x: float, y: float, said: str, fill: str = MUTED, anchor: str = "middle") -> str:
    """Return a text."""
    return f'<text x="{x:.1f}" y="{y:.1f}" fill="{fill}" text-anchor="{anchor}">{said}</text>'


def line(x1: float, y1: float, x2: float, y2: float, stroke: str, more: str = "") -> str:
    """Return a line."""
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{stroke}" {more}/>'


def late(on_time: dict[str, float]) -> tuple[float, float, float]:
    """Return late slots in 10,000: least, measured, most."""
    return 1e4 * (1 - on_time["high"]), 1e4 * (1 - on_time["value"]), 1e4 * (1 - on_time["low"])


def draw(result: dict[str, Any]) -> str:
    """Return late slots over AI's throughput, one cross for each way to share, as SVG."""
    figures = result["figures"]
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="system-ui, sans-serif" '
        'font-size="12" role="img" aria-label="Late slots over AI throughput for five ways to share a machine">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
        text(LEFT, 22, "Late slots in 10,000 with work (lower is better; 95 % intervals)", INK, "start"),
    ]
    for exponent in range(LEAST, MOST + 1):
        y = up(10.0**exponent)
        parts.append(line(LEFT, y, WIDTH - RIGHT, y, LINE))
        parts.append(text(LEFT - 8, y + 4, f"{10.0**exponent:,g}", MUTED, "end"))
    marks = (0, 0.25, 0.5, 0.75, 1, 1.25)
    parts += [text(across(share), HEIGHT - BOTTOM + 18, f"{share:.0%}") for share in marks]
    parts.append(
        text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 14, "tokens, of what the idle share gives without a radio", INK)
    )
    low, middle, high = late(figures["radio"]["on_time"])
    parts.append(
        f'<rect x="{LEFT}" y="{up(high):.1f}" width="{WIDTH - LEFT - RIGHT}" height="{up(low) - up(high):.1f}" '
        f'fill="{MUTED}" opacity="0.13"/>'
    )
    parts.append(line(LEFT, up(middle), WIDTH - RIGHT, up(middle), MUTED, 'stroke-dasharray="5 4"'))
    parts.append(text(LEFT + 6, up(middle) - 6, "the radio alone", MUTED, "start"))
    for kind, name in NAMES.items():
        if kind not in figures:
            continue
        share, colour = figures[kind]["of_idle_share"], ACCENT if kind == "harvester" else OTHER
        low, middle, high = late(figures[kind]["on_time"])
        x, y = across(share["value"]), up(middle)
        parts.append(line(x, up(low), x, up(high), colour, 'stroke-width="2"'))
        parts.append(line(across(share["low"]), y, across(share["high"]), y, colour, 'stroke-width="2"'))
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{colour}"/>')
        below = kind == "harvester"
        parts.append(text(x + 9, y + 18 if below else y - 8, name, colour, "start"))
    return "\n".join([*parts, "</svg>"]) + "\n"


def main() -> None:
    """Draw."""
    result = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "benchmarks" / "results" / "ran_corun.json"
    picture = Path(sys.argv[2]) if len(sys.argv) > 2 else ROOT / "docs" / "images" / "ran-corun.svg"
    picture.write_text(draw(json.loads(result.read_text())))


if __name__ == "__main__":
    main()
