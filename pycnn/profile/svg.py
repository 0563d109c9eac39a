"""The roofline as SVG, in the page's colours."""

from __future__ import annotations

import math
from collections.abc import Callable
from html import escape

from pycnn.profile.roofline import Roofline

WIDTH, HEIGHT = 860, 440
LEFT, RIGHT, TOP, BOTTOM = 70, 20, 20, 50  # margins, for the axes' words


def draw(data: Roofline) -> str:
    """Both axes logarithmic; lines for the bandwidths up to the multiply rate."""

    def x(intensity: float) -> float:
        return LEFT + _part(intensity, data.x_range) * (WIDTH - LEFT - RIGHT)

    def y(flops_s: float) -> float:
        return HEIGHT - BOTTOM - _part(flops_s, data.y_range) * (HEIGHT - TOP - BOTTOM)

    parts, words = [_grid(data, x, y)], []
    for i, (name, bytes_s) in enumerate(data.roofs):
        low = max(data.x_range[0], data.y_range[0] / bytes_s)
        ridge = data.peak / bytes_s
        ends = (x(low), y(low * bytes_s), x(ridge), y(data.peak))
        parts.append(_line(*ends, roof=True))
        # L2's and L3's lines lie close: one name left of its line, the others right of theirs, at other heights.
        at = low * (ridge / low) ** (0.85 - 0.2 * i)
        anchor, aside = ("end", -8) if i == 0 else ("start", 8)
        text = f"{name} {bytes_s / 1e9:,.0f} GB/s"
        words.append(_words(x(at) + aside, y(at * bytes_s) + 4, text, anchor))
    start = x(data.peak / max(rate for _, rate in data.roofs))
    parts.append(_line(start, y(data.peak), WIDTH - RIGHT, y(data.peak), roof=True))
    peak = f"{data.peak / 1e9:,.0f} GFLOP/s, {data.threads} threads"
    words.append(_words(start + 6, y(data.peak) - 6, peak))
    for point in data.points:
        fill = "none" if point.torch else "var(--bar)"
        title = f"{point.name}: {point.flops_s / 1e9:,.1f} GFLOP/s, {100 * point.share:.1f} %"
        parts.append(
            f'<circle cx="{x(point.intensity):.1f}" cy="{y(point.flops_s):.1f}" '
            f'r="{3 + 30 * math.sqrt(point.share):.1f}" fill="{fill}" fill-opacity="0.7" '
            f'stroke="var(--accent)"><title>{escape(title)}</title></circle>'
        )
    box = f'viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}"'
    style = 'style="max-width: 100%; height: auto" font-size="12" fill="currentColor"'
    return f'<svg {box} {style} role="img">{"".join(parts + words)}</svg>'


def _grid(data: Roofline, x: Callable[[float], float], y: Callable[[float], float]) -> str:
    """A line and its value at each power of ten, and what the axes are."""
    parts = []
    for value in _decades(data.x_range):
        parts.append(_line(x(value), TOP, x(value), HEIGHT - BOTTOM))
        parts.append(_words(x(value), HEIGHT - BOTTOM + 18, f"{value:g}", "middle"))
    for value in _decades(data.y_range):
        parts.append(_line(LEFT, y(value), WIDTH - RIGHT, y(value)))
        parts.append(_words(LEFT - 8, y(value) + 4, f"{value / 1e9:g}", "end"))
    parts.append(_words((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 8, "FLOP a byte moved", "middle"))
    parts.append(f'<g transform="translate(16 {HEIGHT / 2}) rotate(-90)">')
    parts.append(_words(0, 0, "GFLOP/s", "middle") + "</g>")
    return "".join(parts)


def _decades(ends: tuple[float, float]) -> list[float]:
    low, high = ends
    return [10.0**i for i in range(math.ceil(math.log10(low)), math.floor(math.log10(high)) + 1)]


def _part(value: float, ends: tuple[float, float]) -> float:
    """Where on a logarithmic axis: 0 at its low end, 1 at its high end."""
    low, high = map(math.log, ends)
    return (math.log(value) - low) / (high - low)


def _line(x1: float, y1: float, x2: float, y2: float, roof: bool = False) -> str:
    stroke = 'stroke="var(--accent)" stroke-width="1.5"' if roof else 'stroke="var(--line)"'
    ends = f'x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"'
    return f"<line {ends} {stroke}/>"


def _words(x: float, y: float, text: str, anchor: str = "start") -> str:
    halo = 'paint-order="stroke" stroke="var(--paper)" stroke-width="3"'  # legible on lines and circles
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" {halo}>{escape(text)}</text>'
