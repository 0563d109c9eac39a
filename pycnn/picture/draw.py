"""Units become columns: items placed in each, what runs in between, and the headers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pycnn.picture.layout import Box, Edge, place
from pycnn.picture.style import color_of, text_width
from pycnn.picture.svg import (
    BETWEEN,
    HEAD,
    LABEL,
    LEAD,
    MARGIN,
    PAD,
    TEXT,
    TITLE,
    Figure,
    Pillar,
    crossing,
    document,
    pillar_svg,
)
from pycnn.picture.tree import Item, items
from pycnn.picture.unit import Block, Unit, blocks

_TALLEST = 1500.0  # px of a column; a longer stage goes on in the next one


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

    def _columns(self) -> list[Pillar]:
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

    def _column(self, number: int, chunk: Sequence[int]) -> Pillar:
        entry = Figure(Box(0, 0), Item([]))
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
        return Pillar(self._stage(chunk[0]), shapes, placed)

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

    def _shape(self, number: int, far: set[int]) -> Figure:
        item = self.items[number]
        if not item.is_group:
            return self._block(item.blocks[0], "", far)
        first, last = item.paths[0], item.paths[-1]
        count = len(item.paths)
        label = first if count == 1 else f"{first} to {last} ({count} times)"
        inner = [Figure(Box(0, 0), Item([]))]
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
        width = max(placed.width, text_width(label, TITLE, bold=True)) + 2 * PAD
        for shape in inner:
            shape.box.x += PAD
            shape.box.y += LABEL + 4
        edges = [
            Edge([(x + PAD, y + LABEL + 4) for x, y in e.points], e.skip) for e in placed.edges
        ]
        box = Box(width, placed.height + LABEL + 4 + PAD)
        return Figure(box, item, inner=inner, edges=edges, label=label)

    def _block(self, number: int, group: str, far: set[int]) -> Figure:
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
            max(text_width(text, TITLE if bold else TEXT, bold) for text, bold in lines) + 2 * PAD
        )
        box = Box(max(width, 96.0), len(lines) * LEAD + 2 * PAD - 4)
        color = head.color or color_of(head.kind, len(head.inputs) > 1)
        about = "\n".join(
            f"{self.units[u].path or '(model)'}: {self.units[u].title}" for u in block.units
        )
        return Figure(box, Item([number]), lines, color, about)

    def _reads(self, block: Block, source: int) -> bool:
        return any((at if at < 0 else self.item_of[at]) == source for at in block.inputs)

    def _name(self, source: int) -> str:
        if source < 0:
            return f"input {-source}: {self.inputs[-source - 1]}"
        item = self.items[source]
        head = self.blocks[item.blocks[-1]].head
        name = item.paths[-1] if item.is_group else head.path or head.kind
        return f"{name} ({head.stage})" if head.stage else name

    def _input(self, number: int) -> Figure:
        lines = [("input", True), (self.inputs[number], False)]
        width = max(text_width(text, TITLE, bold) for text, bold in lines) + 2 * PAD
        return Figure(Box(width, 2 * LEAD + 2 * PAD - 4), Item([]), lines, "input", "input")

    # -- SVG

    def svg(self, title: str) -> str:
        parts: list[str] = []
        lines: list[str] = []  # over the columns they cross
        x, deepest, previous = MARGIN, 0.0, None
        for number, column in enumerate(self.columns):
            header = self._header(number)
            width = max(column.placed.width, *(text_width(t, s, b) for t, s, b in header))
            top = HEAD + 54
            entered = any(self._enters(s, number) for s in self._sources_of_column(number))
            if previous is not None and entered:
                lines.append(crossing(previous, (x, top, column.shapes[0].box)))
            parts.append(pillar_svg(column, x, top, header, width))
            last = column.shapes[-1].box
            previous = (x + last.middle, top + last.y + last.height, x + width)
            deepest = max(deepest, top + column.placed.height)
            x += width + BETWEEN
        width = max(x - BETWEEN + MARGIN, text_width(title, 18, bold=True) + 2 * MARGIN)
        return document(width, deepest + MARGIN + 20, title, "\n".join([*parts, *lines]))

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
