"""Markup: figures (blocks and groups) laid out in pillars (columns), lines, the document around them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape

from pycnn.picture.layout import Box, Edge, Placed
from pycnn.picture.style import COLORS, FONT, INK, LINE, SKIP, SOFT
from pycnn.picture.tree import Item

TITLE, TEXT, LEAD = 12.0, 10.5, 14.0  # font sizes and line distance, px
PAD, LABEL = 9.0, 20.0
HEAD, MARGIN, BETWEEN = 66.0, 26.0, 46.0


@dataclass
class Figure:
    """A block or a group with its contents, laid out."""

    box: Box
    item: Item
    lines: list[tuple[str, bool]] = field(default_factory=list)
    color: str = "other"
    about: str = ""
    inner: list[Figure] = field(default_factory=list)
    edges: list[Edge] = field(default_factory=list)
    label: str = ""


@dataclass
class Pillar:
    stage: str
    shapes: list[Figure]
    placed: Placed


def pillar_svg(
    column: Pillar, x: float, y: float, header: Sequence[tuple[str, float, bool]], width: float
) -> str:
    parts = [
        f'<rect x="{x - 14:.1f}" y="{HEAD - 18}" width="{width + 28:.1f}" '
        f'height="{y - HEAD + column.placed.height + 34:.1f}" rx="10" fill="#f8fafc" stroke="#e2e8f0"/>'
    ]
    for i, (text, size, bold) in enumerate(header):
        parts.append(_text(x, HEAD + 2 + 15 * i, text, size, bold, INK if bold else SOFT))
    parts.append(f'<g transform="translate({x:.1f} {y:.1f})">')
    parts += [_edge(edge) for edge in column.placed.edges]
    parts += [_figure_svg(shape) for shape in column.shapes]
    return "\n".join([*parts, "</g>"])


def _figure_svg(shape: Figure) -> str:
    box = shape.box
    if not shape.lines and not shape.inner:
        return ""
    parts = [f'<g transform="translate({box.x:.1f} {box.y:.1f})">']
    size = f'width="{box.width:.1f}" height="{box.height:.1f}"'
    if shape.inner:
        about = f"<title>{escape(', '.join(shape.item.paths))}</title>"
        parts.append(
            f'<rect class="group" {size} rx="8" fill="#fff" stroke="#94a3b8" '
            f'stroke-dasharray="5 3">{about}</rect>'
        )
        parts.append(_text(PAD, 15, shape.label, TITLE, True, SOFT))
        parts += [_edge(edge) for edge in shape.edges]
        parts += [_figure_svg(inner) for inner in shape.inner]
    else:
        fill, border = COLORS[shape.color]
        about = f"<title>{escape(shape.about)}</title>"
        parts.append(
            f'<rect class="block" {size} rx="5" fill="{fill}" stroke="{border}">{about}</rect>'
        )
        for i, (text, bold) in enumerate(shape.lines):
            y = PAD + 8 + LEAD * i
            middle = box.width / 2
            font = TITLE if bold else TEXT
            parts.append(_text(middle, y, text, font, bold, INK if i < 2 else SOFT, "middle"))
    return "\n".join([*parts, "</g>"])


def _edge(edge: Edge) -> str:
    color = SKIP if edge.skip else LINE
    points = " ".join(f"{x:.1f},{y:.1f}" for x, y in edge.points)
    arrow = "skip" if edge.skip else "arrow"
    return (
        f'<polyline class="{"skip" if edge.skip else "edge"}" points="{points}" fill="none" stroke="{color}" '
        f'stroke-width="1.4" stroke-linejoin="round" marker-end="url(#{arrow})"/>'
    )


def crossing(start: tuple[float, float, float], end: tuple[float, float, Box]) -> str:
    """From the bottom of a column, up between the two, into the top of the next."""
    (x, y, right), (left, top, box) = start, end
    lane = right + 14 + (BETWEEN - 28) / 2
    target = left + box.middle
    points = [
        (x, y),
        (x, y + 10),
        (lane, y + 10),
        (lane, top - 8),
        (target, top - 8),
        (target, top),
    ]
    text = " ".join(f"{a:.1f},{b:.1f}" for a, b in points)
    return (
        f'<polyline class="edge" points="{text}" fill="none" stroke="{LINE}" stroke-width="1.4" '
        'stroke-linejoin="round"/>'
    )


def _text(
    x: float, y: float, text: str, size: float, bold: bool, color: str, anchor: str = "start"
) -> str:
    weight = ' font-weight="600"' if bold else ""
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}" fill="{color}"{weight}>'
        f"{escape(text)}</text>"
    )


def document(width: float, height: float, title: str, body: str) -> str:
    arrows = "".join(
        f'<marker id="{name}" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        f'<path d="M0 0L8 4L0 8z" fill="{color}"/></marker>'
        for name, color in (("arrow", LINE), ("skip", SKIP))
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" '
        f'viewBox="0 0 {width:.0f} {height:.0f}" font-family="{FONT}">\n<title>{escape(title)}</title>\n'
        f'<defs>{arrows}</defs>\n<rect width="100%" height="100%" fill="#ffffff"/>\n'
        f"{_text(MARGIN - 12, 30, title, 18, True, INK)}\n{body}\n</svg>\n"
    )
