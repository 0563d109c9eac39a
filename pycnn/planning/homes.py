"""Where each value of a segment lives: a buffer, a pixel stride, an offset. Concat and flatten cost nothing here.

A value is a set of rows of c floats: [n, c, h, w] is n * h * w rows in NHWC order, [m, c] is m rows. Rows are `ld`
floats apart, so that a value may be a channel slice of a wider buffer, and a join is where its operands already lie.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from pycnn.ir import (
    MOVES,
    Concat,
    Identity,
    Node,
    Op,
    Shape,
    Shapes,
    Slice,
    TensorTable,
    resolve,
)
from pycnn.planning.movement import rows_within
from pycnn.planning.segments import Segment

FLOAT = 4


@dataclass(slots=True)  # frozen, it takes three times as long to make: a plan makes thousands
class Rows:
    """Sizes of a value as rows."""

    count: int
    c: int

    @staticmethod
    def of(shape: Shape) -> Rows:
        if len(shape) == 4:
            return Rows(shape[0] * shape[2] * shape[3], shape[1])
        return Rows(math.prod(shape[:-1]), shape[-1]) if shape else Rows(1, 1)

    @staticmethod
    def image(shape: Shape) -> int:
        """Rows of one entry of the first axis."""
        if len(shape) == 4:
            return shape[2] * shape[3]
        return math.prod(shape[1:-1]) if len(shape) > 1 else 1


@dataclass(frozen=True)
class Home:
    """`kind` is "arena" (index: a buffer's key), "input" or "output" (index: position) or "const" (index: address);
    `offset` in floats; `image`: floats between the first rows of two images."""

    kind: str
    index: int
    ld: int
    offset: int = 0
    nchw: bool = False
    image: int = 0


def same_memory(shape: Shape) -> bool:
    """Whether NCHW and NHWC are the same bytes."""
    return len(shape) != 4 or shape[1] == 1 or shape[2] * shape[3] == 1


def of_channels(op: Concat | Slice, shape: Shape) -> bool:
    """Whether it joins or cuts within rows."""
    return op.dim == (1 if len(shape) == 4 else len(shape) - 1)


@dataclass
class Homes:
    """Assigned homes of a segment's values. `pixel_stride`: elements between pixels of so many channels in the arena;
    `itemsize`: bytes of an element. `late`: what is made long before the rest of a join is copied into it, so that the
    join need not be alive until then. `in_place`: a result may take the memory of an operand that dies with it.
    `plane_writers`: ops that can write an NCHW output themselves."""

    shapes: Shapes
    pixel_stride: Callable[[int], int]
    itemsize: int = FLOAT
    late: bool = False
    in_place: bool = True
    plane_writers: tuple[type[Op], ...] = ()
    long: bool = False  # whether there is such a value
    of: dict[int, Home] = field(default_factory=dict)
    alias: dict[int, int] = field(default_factory=dict)  # value -> the value whose bytes it is
    start: dict[int, tuple[int, int]] = field(
        default_factory=dict
    )  # slice -> its first row of those of `alias`, its first float in each
    buffers: dict[int, int] = field(default_factory=dict)  # arena key -> floats
    known: dict[int, Home] = field(default_factory=dict)  # a join reads those of all before it

    def root(self, value: int) -> int:
        while value in self.alias:
            value = self.alias[value]
        return value

    def __getitem__(self, value: int) -> Home:
        """Of values that all have their homes."""
        found = self.known.get(value)
        if found is None:
            found = self.known[value] = self._find(value)
        return found

    def _find(self, value: int) -> Home:
        row, column, shape = 0, 0, self.shapes[value]
        while value in self.alias:
            first = self.start.get(value, (0, 0))
            row, column, value = row + first[0], column + first[1], self.alias[value]
        home = self.of[value]
        offset, image = home.offset + row * home.ld + column, Rows.image(shape) * home.ld
        return Home(
            home.kind, home.index, home.ld, offset, home.nchw, image
        )  # 7 times faster than replace()


def alias_start(node: Node, shapes: Shapes) -> tuple[int, int] | None:
    """(first row, first float of each) of the input where the node's output is that part of it; None: it is none."""
    if isinstance(node.op, Identity):
        return 0, 0
    if not isinstance(node.op, MOVES):
        return None
    source, target, op = shapes[node.inputs[0]], shapes[node.outputs[0]], resolve(node.op, shapes)
    if isinstance(op, Slice) and op.step == 1 and of_channels(op, source):
        return 0, op.start
    return rows_within(op, source, target, TensorTable())


def assign(
    segment: Segment, homes: Homes, formats: dict[int, bool], nchw: dict[int, bool]
) -> Homes:
    """Give homes to all values. `formats`: channels_last wanted of outputs; `nchw`: inputs that are NCHW."""
    shapes = homes.shapes
    for i, v in enumerate(segment.inputs):
        homes.of[v] = Home("input", i, Rows.of(shapes[v]).c, nchw=nchw.get(v, False))
    made: dict[int, Node] = {}
    for node in segment.nodes:
        made.update((v, node) for v in node.outputs)
        start = alias_start(node, shapes)
        if start is not None and not homes.of.get(homes.root(node.inputs[0]), _NONE).nchw:
            homes.alias[node.outputs[0]] = node.inputs[0]
            homes.start[node.outputs[0]] = start
    slices = _join_in_place(segment, homes)
    for i, v in enumerate(segment.outputs):
        root = homes.root(v)
        direct = formats.get(v, False) or same_memory(shapes[v])
        whole = math.prod(shapes[root]) == math.prod(shapes[v])  # not a slice of its root
        if direct and whole and root in made and root not in slices and root not in homes.of:
            homes.of[root] = Home("output", i, Rows.of(shapes[root]).c)
        elif not direct and v not in slices and _alone(v, segment, made, homes):
            homes.of[v] = Home("output", i, Rows.of(shapes[v]).c, nchw=True)
    for v in reversed(made):
        if v not in homes.alias:
            _settle(v, slices, homes)
    return homes


def _alone(value: int, segment: Segment, made: Mapping[int, Node], homes: Homes) -> bool:
    """Whether an op that writes NCHW makes it, and nothing in the segment reads it."""
    if value not in made or not isinstance(made[value].op, homes.plane_writers):
        return False
    read = (v for node in segment.nodes for v in node.inputs)
    return value not in read and segment.outputs.count(value) == 1 and value not in homes.of


_NONE = Home("none", 0, 0)
# Nodes: the branches of an Inception block have at most 5, the levels below a U-Net's skip more.
_LONG = 6


def _join_in_place(segment: Segment, homes: Homes) -> dict[int, tuple[int, int]]:
    """value -> (join it is a slice of, channel offset), for operands that nothing else has placed.

    A join whose operands already lie side by side in a wider one is a slice of that one: a dense block's joins, each
    the last with one more operand, are all the block's last.
    """
    slices: dict[int, tuple[int, int]] = {}
    made = {v: i for i, node in enumerate(segment.nodes) for v in node.outputs}
    for node in reversed(segment.nodes):
        if not isinstance(node.op, Concat) or not of_channels(
            node.op, homes.shapes[node.outputs[0]]
        ):
            continue
        join = node.outputs[0]
        if join not in slices and join not in homes.alias and join not in homes.of:
            wider = _side_by_side(node.inputs, slices, homes)
            if wider is not None:
                slices[join] = wider
                continue
        offset = 0
        early = _early(node.inputs, made)
        homes.long = homes.long or bool(early)
        for v in node.inputs:
            free = v not in slices and v not in homes.alias and v not in homes.of
            if free and node.inputs.count(v) == 1 and not (homes.late and v in early):
                slices[v] = (node.outputs[0], offset)
            offset += Rows.of(homes.shapes[v]).c
    return slices


def _early(values: tuple[int, ...], made: dict[int, int]) -> set[int]:
    """Those after which many nodes make none of the others."""
    times = sorted(made.get(v, -1) for v in values)
    gaps = [a for a, b in zip(times, times[1:], strict=False) if b - a > _LONG]
    return {v for v in values if gaps and made.get(v, -1) <= gaps[-1]}


def _side_by_side(
    values: tuple[int, ...], slices: dict[int, tuple[int, int]], homes: Homes
) -> tuple[int, int] | None:
    """(join, offset) of the first value if the values are adjacent slices of one join, in order."""
    if values[0] not in slices:
        return None
    join, offset = first = slices[values[0]]
    for v in values:
        if slices.get(v) != (join, offset):
            return None
        offset += Rows.of(homes.shapes[v]).c
    return first


def _settle(value: int, slices: dict[int, tuple[int, int]], homes: Homes) -> Home:
    if value in homes.of:
        return homes.of[value]
    if value in slices:
        join, offset = slices[value]
        whole = _settle(homes.root(join), slices, homes)
        homes.of[value] = Home(whole.kind, whole.index, whole.ld, whole.offset + offset)
    else:
        rows = Rows.of(homes.shapes[value])
        ld = homes.pixel_stride(rows.c) if len(homes.shapes[value]) == 4 else rows.c
        homes.of[value] = Home("arena", value, ld)
        homes.buffers[value] = rows.count * ld
    return homes.of[value]
