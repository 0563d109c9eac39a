"""The SVG itself: columns side by side, each a layout of blocks and groups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape

from pycnn.picture.layout import Box, Edge, Placed, place
from pycnn.picture.style import COLORS, FONT, INK, LINE, SKIP, SOFT, color_of, text_width
from pycnn.picture.tree import Item, items
from pycnn.picture.unit import Block, Unit, blocks

_TITLE, _TEXT, _LEAD = 12.0, 10.5, 14.0  # font sizes and line distance, px
_PAD, _LABEL = 9.0, 20.0
_TALLEST = 1500.0  # px of a column; a longer stage goes on in the next one
_HEAD, _MARGIN, _BETWEEN = 66.0, 26.0, 46.0


@dataclass
class _Shape:
    """A block or a group with its contents, laid out."""

    box: Box
    item: Item
    lines: list[tuple[str, bool]] = field(default_factory=list)
    color: str = "other"
    about: str = ""
    inner: list[_Shape] = field(default_factory=list)
    edges: list[Edge] = field(default_factory=list)
    label: str = ""


@dataclass
class _Column:
    stage: str
    shapes: list[_Shape]
    placed: Placed
    part: str = ""


def draw(units: Sequence[Unit], title: str, inputs: Sequence[str], roles: Mapping[str, str]) -> str:
    """An SVG document of `units`.

    Args:
        units: in execution order.
        title: the line above.
        inputs: shapes of the network's inputs, as text.
        roles: stage -> what its header says below its name.
    """
    return _Drawing(units, inputs, roles).svg(title)


class _Drawing:
    def __init__(
        self, units: Sequence[Unit], inputs: Sequence[str], roles: Mapping[str, str]
    ) -> None:
        self.units, self.inputs, self.roles = units, inputs, roles
        self.blocks = blocks(units)
        self.items = items(self.blocks)
        self.item_of = {b: i for i, item in enumerate(self.items) for b in item.stands_for}
        self.column_of: dict[int, int] = {}
        self.exits: list[int] = []  # the last item of each column
        self.columns = self._columns()

    # -- from items to columns

    def _columns(self) -> list[_Column]:
        chunks: list[list[int]] = []
        stages = list(dict.fromkeys(self._stage(i) for i in range(len(self.items))))
        for stage in stages:
            height = 0.0
            chunk: list[int] = []
            for i in (i for i in range(len(self.items)) if self._stage(i) == stage):
                tall = self._shape(i, set()).box.height
                if chunk and height + tall > _TALLEST:
                    chunks.append(chunk)
                    chunk, height = [], 0.0
                chunk.append(i)
                height += tall + 26
            chunks.append(chunk)
        for number, chunk in enumerate(chunks):
            self.column_of.update(dict.fromkeys(chunk, number))
            self.exits.append(chunk[-1])
        return [self._column(number, chunk) for number, chunk in enumerate(chunks)]

    def _stage(self, item: int) -> str:
        return self.blocks[self.items[item].blocks[0]].head.stage

    def _column(self, number: int, chunk: Sequence[int]) -> _Column:
        entry = _Shape(Box(0, 0), Item([]))
        if number == 0 and self.inputs:
            entry = self._input(0)
        shapes = [entry, *(self._shape(i, self._far(i)) for i in chunk)]
        at = {item: k + 1 for k, item in enumerate(chunk)}
        links: list[tuple[int, int]] = []
        for item in chunk:
            for source in self._sources(item):
                if source in at:
                    links.append((at[source], at[item]))
                elif self._enters(source, number):
                    links.append((0, at[item]))
        placed = place([s.box for s in shapes], list(dict.fromkeys(links)))
        return _Column(self._stage(chunk[0]), shapes, placed)

    def _sources(self, item: int) -> list[int]:
        """Items (or inputs, negative) that an item reads, its own and its repeats' aside."""
        own = set(self.items[item].stands_for)
        found: dict[int, None] = {}
        for block in self.items[item].stands_for:
            for at in self.blocks[block].inputs:
                if at not in own:
                    found[at if at < 0 else self.item_of[at]] = None
        return [source for source in found if source != item]

    def _enters(self, source: int, column: int) -> bool:
        """Whether it comes in at the top of the column, from the end of the column before."""
        if column == 0:
            return source == -1
        return source >= 0 and source == self.exits[column - 1]

    def _far(self, item: int) -> set[int]:
        """Sources that no line is drawn from: they are named in the block."""
        column = self.column_of[item]
        return {
            s
            for s in self._sources(item)
            if not (self._enters(s, column) or (s >= 0 and self.column_of[s] == column))
        }

    # -- shapes

    def _shape(self, number: int, far: set[int]) -> _Shape:
        item = self.items[number]
        if not item.is_group:
            return self._block(item.blocks[0], "", far)
        first, last = item.paths[0], item.paths[-1]
        count = len(item.paths)
        label = first if count == 1 else f"{first} to {last} ({count} times)"
        inner = [_Shape(Box(0, 0), Item([]))]
        inner += [self._block(b, first, far) for b in item.blocks]
        at = {b: k + 1 for k, b in enumerate(item.blocks)}
        links: dict[tuple[int, int], None] = {}
        for block in item.blocks:
            for source in self.blocks[block].inputs:
                if source in at:
                    links[at[source], at[block]] = None
                elif (source if source < 0 else self.item_of[source]) not in far:
                    links[0, at[block]] = None
        placed = place([s.box for s in inner], list(links))
        width = max(placed.width, text_width(label, _TITLE, bold=True)) + 2 * _PAD
        for shape in inner:
            shape.box.x += _PAD
            shape.box.y += _LABEL + 4
        edges = [
            Edge([(x + _PAD, y + _LABEL + 4) for x, y in e.points], e.skip) for e in placed.edges
        ]
        box = Box(width, placed.height + _LABEL + 4 + _PAD)
        return _Shape(box, item, inner=inner, edges=edges, label=label)

    def _block(self, number: int, group: str, far: set[int]) -> _Shape:
        block = self.blocks[number]
        head = block.head
        path = head.path[len(group) + 1 :] if group else head.path
        lines = [(head.title, True)]
        if block.followers:
            lines += [(line, False) for line in _wrapped(block.followers, 34)]
        lines += [(line, False) for line in head.lines]
        lines.append(("×".join(map(str, block.shape)), False))
        lines += [(text, False) for text in (path, head.figures) if text]
        if block.joined:
            lines.append((f"joins {block.joined} maps", False))
        named = [self._name(s) for s in sorted(far) if self._reads(block, s)]
        lines += [(f"+ from {name}", False) for name in named]
        width = (
            max(text_width(text, _TITLE if bold else _TEXT, bold) for text, bold in lines)
            + 2 * _PAD
        )
        box = Box(max(width, 96.0), len(lines) * _LEAD + 2 * _PAD - 4)
        color = head.color or color_of(head.kind, len(head.inputs) > 1)
        about = "\n".join(
            f"{self.units[u].path or '(model)'}: {self.units[u].title}" for u in block.units
        )
        return _Shape(box, Item([number]), lines, color, about)

    def _reads(self, block: Block, source: int) -> bool:
        return any((at if at < 0 else self.item_of[at]) == source for at in block.inputs)

    def _name(self, source: int) -> str:
        if source < 0:
            return f"input {-source}: {self.inputs[-source - 1]}"
        item = self.items[source]
        head = self.blocks[item.blocks[-1]].head
        name = item.paths[-1] if item.is_group else head.path or head.kind
        return f"{name} ({head.stage})" if head.stage else name

    def _input(self, number: int) -> _Shape:
        lines = [("input", True), (self.inputs[number], False)]
        width = max(text_width(text, _TITLE, bold) for text, bold in lines) + 2 * _PAD
        return _Shape(Box(width, 2 * _LEAD + 2 * _PAD - 4), Item([]), lines, "input", "input")

    # -- SVG

    def svg(self, title: str) -> str:
        parts: list[str] = []
        lines: list[str] = []  # over the columns they cross
        x, deepest, previous = _MARGIN, 0.0, None
        for number, column in enumerate(self.columns):
            header = self._header(number)
            width = max(column.placed.width, *(text_width(t, s, b) for t, s, b in header))
            top = _HEAD + 54
            entered = any(self._enters(s, number) for s in self._sources_of_column(number))
            if previous is not None and entered:
                lines.append(_crossing(previous, (x, top, column.shapes[0].box)))
            parts.append(_column_svg(column, x, top, header, width))
            last = column.shapes[-1].box
            previous = (x + last.middle, top + last.y + last.height, x + width)
            deepest = max(deepest, top + column.placed.height)
            x += width + _BETWEEN
        width = max(x - _BETWEEN + _MARGIN, text_width(title, 18, bold=True) + 2 * _MARGIN)
        return _document(width, deepest + _MARGIN + 20, title, "\n".join([*parts, *lines]))

    def _sources_of_column(self, number: int) -> list[int]:
        mine = (i for i, column in self.column_of.items() if column == number)
        return [source for item in mine for source in self._sources(item)]

    def _header(self, number: int) -> list[tuple[str, float, bool]]:
        stage = self.columns[number].stage
        same = [i for i, c in enumerate(self.columns) if c.stage == stage]
        part = f" ({same.index(number) + 1} of {len(same)})" if len(same) > 1 else ""
        last = self.blocks[self.items[self.exits[number]].stands_for[-1]]
        shape = "×".join(map(str, last.shape))
        return [
            (f"{stage}{part}".capitalize(), 14.0, True),
            (self.roles.get(stage, ""), 11.0, False),
            (shape, 11.0, False),
        ]


def _wrapped(words: Sequence[str], limit: int) -> list[str]:
    lines: list[str] = []
    for word in words:
        if lines and len(lines[-1]) + len(word) + 2 <= limit:
            lines[-1] += f", {word}"
        else:
            lines.append(word)
    return lines


def _column_svg(
    column: _Column, x: float, y: float, header: Sequence[tuple[str, float, bool]], width: float
) -> str:
    parts = [
        f'<rect x="{x - 14:.1f}" y="{_HEAD - 18}" width="{width + 28:.1f}" '
        f'height="{y - _HEAD + column.placed.height + 34:.1f}" rx="10" fill="#f8fafc" stroke="#e2e8f0"/>'
    ]
    for i, (text, size, bold) in enumerate(header):
        parts.append(_text(x, _HEAD + 2 + 15 * i, text, size, bold, INK if bold else SOFT))
    parts.append(f'<g transform="translate({x:.1f} {y:.1f})">')
    parts += [_edge(edge) for edge in column.placed.edges]
    parts += [_shape_svg(shape) for shape in column.shapes]
    return "\n".join([*parts, "</g>"])


def _shape_svg(shape: _Shape) -> str:
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
        parts.append(_text(_PAD, 15, shape.label, _TITLE, True, SOFT))
        parts += [_edge(edge) for edge in shape.edges]
        parts += [_shape_svg(inner) for inner in shape.inner]
    else:
        fill, border = COLORS[shape.color]
        about = f"<title>{escape(shape.about)}</title>"
        parts.append(
            f'<rect class="block" {size} rx="5" fill="{fill}" stroke="{border}">{about}</rect>'
        )
        for i, (text, bold) in enumerate(shape.lines):
            y = _PAD + 8 + _LEAD * i
            middle = box.width / 2
            font = _TITLE if bold else _TEXT
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


def _crossing(start: tuple[float, float, float], end: tuple[float, float, Box]) -> str:
    """From the bottom of a column, up between the two, into the top of the next."""
    (x, y, right), (left, top, box) = start, end
    lane = right + 14 + (_BETWEEN - 28) / 2
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


def _document(width: float, height: float, title: str, body: str) -> str:
    arrows = "".join(
        f'<marker id="{name}" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        f'<path d="M0 0L8 4L0 8z" fill="{color}"/></marker>'
        for name, color in (("arrow", LINE), ("skip", SKIP))
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" '
        f'viewBox="0 0 {width:.0f} {height:.0f}" font-family="{FONT}">\n<title>{escape(title)}</title>\n'
        f'<defs>{arrows}</defs>\n<rect width="100%" height="100%" fill="#ffffff"/>\n'
        f"{_text(_MARGIN - 12, 30, title, 18, True, INK)}\n{body}\n</svg>\n"
    )
