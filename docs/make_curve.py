"""Draw `docs/images/thinking-curve.svg` from the stored result of `python -m benchmarks thinking_curve`.

`python docs/make_curve.py [RESULT.json] [PICTURE.svg]`: so that the same command draws the curve of a served model.
"""

import json
import math
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
WIDTH, HEIGHT = 720, 420
LEFT, RIGHT, TOP, BOTTOM = 60, 20, 40, 92
INK, MUTED, LINE, ACCENT, VERIFIER = "#14201a", "#56635b", "#dce2dc", "#0a6b4b", "#a04a00"


def draw(result: dict[str, Any]) -> str:
    """Return the curve as SVG: accuracy over candidates, with tokens, money and joules of each below."""
    points = result["curve"]
    most = math.log2(points[-1]["n"])

    def across(n: int) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * math.log2(n) / most

    def up(share: float) -> float:
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * share

    def text(x: float, y: float, said: str, fill: str = MUTED, anchor: str = "middle") -> str:
        return f'<text x="{x:.1f}" y="{y:.1f}" fill="{fill}" text-anchor="{anchor}">{said}</text>'

    def path(name: str, fill: str, dash: str = "") -> str:
        places = " ".join(f"{across(each['n']):.1f},{up(each[name]):.1f}" for each in points)
        return f'<polyline points="{places}" fill="none" stroke="{fill}" stroke-width="2" stroke-dasharray="{dash}"/>'

    upper = [f"{across(each['n']):.1f},{up(each['interval'][1]):.1f}" for each in points]
    lower = [f"{across(each['n']):.1f},{up(each['interval'][0]):.1f}" for each in reversed(points)]
    stop = result["stops_helping_at"]
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="system-ui, sans-serif" '
        'font-size="12" role="img" aria-label="Right answers over the number of candidates">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
        text(LEFT, 22, f"{result['model']}: right answers of {result['questions']}", INK, "start"),
    ]
    for share in (0, 0.25, 0.5, 0.75, 1):
        y = up(share)
        parts.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="{LINE}"/>')
        parts.append(text(LEFT - 8, y + 4, f"{share:.0%}", MUTED, "end"))
    parts += [
        f'<polygon points="{" ".join(upper + lower)}" fill="{ACCENT}" opacity="0.13"/>',
        path("with_a_verifier", VERIFIER, "5 4"),
        path("accuracy", ACCENT),
        f'<line x1="{across(stop):.1f}" x2="{across(stop):.1f}" y1="{up(0):.1f}" y2="{up(1):.1f}" stroke="{MUTED}" '
        'stroke-dasharray="2 3"/>',
        text(across(stop) - 6, up(0.06), "more votes stop helping", MUTED, "end"),
    ]
    for each in points:
        x = across(each["n"])
        parts.append(f'<circle cx="{x:.1f}" cy="{up(each["accuracy"]):.1f}" r="3.5" fill="{ACCENT}"/>')
        parts.append(text(x, HEIGHT - BOTTOM + 18, str(each["n"]), INK))
        parts.append(text(x, HEIGHT - BOTTOM + 36, f"{each['tokens']:,.0f}"))
        parts.append(text(x, HEIGHT - BOTTOM + 54, f"{each['nusd'] / 1000:,.3g}"))
        parts.append(text(x, HEIGHT - BOTTOM + 72, f"{each['millijoules'] / 1000:,.3g}"))
    for at, name in enumerate(("N", "tokens", "µ$", "J")):
        parts.append(text(8, HEIGHT - BOTTOM + 18 * (at + 1), name, INK if not at else MUTED, "start"))
    parts.append(text(WIDTH - RIGHT, up(points[-1]["accuracy"]) + 18, "majority of N", ACCENT, "end"))
    parts.append(text(WIDTH - RIGHT, up(points[-1]["with_a_verifier"]) - 8, "any of N, by a verifier", VERIFIER, "end"))
    return "\n".join([*parts, "</svg>"]) + "\n"


if __name__ == "__main__":
    given = [Path(each) for each in sys.argv[1:]]
    source = given[0] if given else ROOT / "benchmarks" / "results" / "thinking_curve.json"
    target = given[1] if len(given) > 1 else ROOT / "docs" / "images" / "thinking-curve.svg"
    target.write_text(draw(json.loads(source.read_text())))
    print(f"wrote {target}")
