"""Two kinds of plots, written as SVG: bars, and lines over connection counts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

WIDTH = 760
LEFT, RIGHT = 190, 120
ROW = 26
TOP = 44
OURS, THEIRS, FLOOR = "#c2410c", "#64748b", "#cbd5e1"
LINES = ("#c2410c", "#2563eb", "#059669", "#7c3aed", "#db2777", "#ca8a04", "#0891b2", "#475569")
PLOT_HEIGHT = 320


@dataclass(frozen=True)
class Bar:
    """One bar, with what is written at its end."""

    label: str
    value: float
    told: str
    colour: str = THEIRS


def document(height: int, title: str, parts: Sequence[str]) -> str:
    """The SVG around the parts; readable on dark pages too, as it brings its background."""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" '
        f'height="{height}" font-family="system-ui, sans-serif" font-size="13" role="img">\n'
        f"<title>{escape(title)}</title>\n"
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>\n'
        + text(16, 26, title, size=15, weight="bold")
        + "".join(parts)
        + "</svg>\n"
    )


def text(
    x: float, y: float, said: str, anchor: str = "start", size: int = 13, weight: str = "normal"
) -> str:
    """A line of text."""
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" '
        f'font-weight="{weight}" fill="#0f172a">{escape(said)}</text>\n'
    )


def bars(title: str, rows: Sequence[Bar]) -> str:
    """Horizontal bars, in the order given."""
    longest = max((row.value for row in rows), default=0) or 1
    parts = []
    for number, row in enumerate(rows):
        y = TOP + number * ROW
        width = max(1.0, row.value / longest * (WIDTH - LEFT - RIGHT))
        parts.append(text(LEFT - 8, y + 16, row.label, "end"))
        parts.append(
            f'<rect x="{LEFT}" y="{y + 3}" width="{width:.1f}" height="{ROW - 8}" rx="2" '
            f'fill="{row.colour}"/>\n'
        )
        parts.append(text(LEFT + width + 6, y + 16, row.told))
    return document(TOP + len(rows) * ROW + 12, title, parts)


def lines(
    title: str, names: Sequence[str], series: Mapping[str, Sequence[float | None]], unit: str
) -> str:
    """A line for each series over the same places. Upwards each step is ten times the last one:
    otherwise slow servers would press the fast ones together.
    """
    values = [value for row in series.values() for value in row if value]
    lowest = math.floor(math.log10(min(values, default=1)))
    decades = max(1, math.ceil(math.log10(max(values, default=10))) - lowest)

    def height(value: float) -> float:
        return bottom - (math.log10(value) - lowest) / decades * (PLOT_HEIGHT - 20)

    left, right, bottom = 70, 210, TOP + PLOT_HEIGHT
    step = (WIDTH - left - right) / max(1, len(names) - 1)
    parts = [text(left, TOP - 2, unit, size=12)]
    for tick in (10.0 ** (lowest + number) * by for number in range(decades) for by in (1, 2, 5)):
        y = height(tick)
        parts.append(
            f'<line x1="{left}" y1="{y:.1f}" x2="{WIDTH - right}" y2="{y:.1f}" stroke="#e2e8f0"/>\n'
        )
        parts.append(text(left - 8, y + 4, f"{tick:,g}", "end", size=12))
    parts += [
        text(left + number * step, bottom + 20, name, "middle", size=12)
        for number, name in enumerate(names)
    ]
    for number, (name, row) in enumerate(series.items()):
        colour = LINES[number % len(LINES)]
        dashes = "" if number < len(LINES) else ' stroke-dasharray="5 3"'
        points = [(left + at * step, height(value)) for at, value in enumerate(row) if value]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        parts.append(
            f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"{dashes}/>\n'
        )
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>\n' for x, y in points]
        y = TOP + 14 + number * 20
        parts.append(
            f'<line x1="{WIDTH - right + 16}" y1="{y - 4}" x2="{WIDTH - right + 40}" y2="{y - 4}" '
            f'stroke="{colour}" stroke-width="2"{dashes}/>\n'
        )
        parts.append(text(WIDTH - right + 46, y, name, size=12))
    return document(bottom + 36, title, parts)
