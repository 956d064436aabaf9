"""The quality/cost curve of a router as SVG."""

from collections.abc import Sequence
from html import escape

from aigrid.thinking.router.base import RouterFile
from aigrid.thinking.router.curve import Figures

WIDTH, HEIGHT = 720, 400
LEFT, RIGHT, TOP, BOTTOM = 60, 20, 44, 52
INK, MUTED, LINE, ACCENT, ORACLE = "#14201a", "#56635b", "#dce2dc", "#0a6b4b", "#a04a00"


def draw(file: RouterFile, figures: Figures) -> str:
    """Return the curve: quality over the share for the strong model, beside guessing and an oracle."""
    seen = [value for point in figures.curve for value in (point.quality.low, point.quality.high, point.oracle)]
    low, high = max(0.0, min(seen) - 0.02), min(1.0, max(seen) + 0.02)

    def across(share: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * share

    def up(quality: float) -> float:
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * (quality - low) / (high - low)

    def text(x: float, y: float, said: str, fill: str = MUTED, anchor: str = "middle") -> str:
        return f'<text x="{x:.1f}" y="{y:.1f}" fill="{fill}" text-anchor="{anchor}">{escape(said)}</text>'

    def places(values: Sequence[tuple[float, float]]) -> str:
        return " ".join(f"{across(share):.1f},{up(quality):.1f}" for share, quality in values)

    def line(values: Sequence[tuple[float, float]], fill: str, dash: str = "") -> str:
        return f'<polyline points="{places(values)}" fill="none" stroke="{fill}" stroke-width="2" stroke-dasharray="{dash}"/>'

    upper = [(point.share, point.quality.high) for point in figures.curve]
    lower = [(point.share, point.quality.low) for point in reversed(figures.curve)]
    head = f"{file.weak} or {file.strong}: APGR {figures.apgr.value:.2f} on {figures.rows} questions"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="system-ui, sans-serif" '
        'font-size="12" role="img" aria-label="Quality over the share of questions for the strong model">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
        text(LEFT, 22, head, INK, "start"),
    ]
    for at in range(5):
        quality, share = low + (high - low) * at / 4, at / 4
        y = up(quality)
        parts.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="{LINE}"/>')
        parts += [
            text(LEFT - 8, y + 4, f"{quality:.0%}", MUTED, "end"),
            text(across(share), HEIGHT - 30, f"{share:.0%}"),
        ]
    chosen = figures.chosen
    place = f'cx="{across(chosen.share.value):.1f}" cy="{up(chosen.quality.value):.1f}"'
    parts += [
        f'<polygon points="{places(upper + lower)}" fill="{ACCENT}" opacity="0.13"/>',
        line([(0, figures.weak), (1, figures.strong)], MUTED, "2 3"),
        line([(point.share, point.oracle) for point in figures.curve], ORACLE, "5 4"),
        line([(point.share, point.quality.value) for point in figures.curve], ACCENT),
        f'<circle {place} r="5" fill="{ACCENT}"/>',
        text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 10, "share of questions for the strong model"),
        text(WIDTH - RIGHT, HEIGHT - BOTTOM - 46, "an oracle", ORACLE, "end"),
        text(WIDTH - RIGHT, HEIGHT - BOTTOM - 28, "this router; the dot is its threshold", ACCENT, "end"),
        text(WIDTH - RIGHT, HEIGHT - BOTTOM - 10, "guessing", MUTED, "end"),
    ]
    return "\n".join([*parts, "</svg>"]) + "\n"
