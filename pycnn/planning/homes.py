"""Where each value of a segment lives: a buffer, a pixel stride, an offset. Concat and flatten cost nothing here.

A value is a set of rows of c floats: [n, c, h, w] is n * h * w rows in NHWC order, [m, c] is m rows. Rows are `ld`
floats apart, so that a value may be a channel slice of a wider buffer, and a join is where its operands already lie.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

from pycnn.ir import (
    Concat,
    Flatten,
    Identity,
    Node,
    Permute,
    Rearrange,
    Reshape,
    Shape,
    Shapes,
    Slice,
    TensorTable,
    resolve,
)
from pycnn.planning.movement import keeps_bytes
from pycnn.planning.segments import Segment

FLOAT = 4
_PAGE = 4096


@dataclass(frozen=True)
class Rows:
    """Sizes of a value as rows."""

    count: int
    c: int

    @staticmethod
    def of(shape: Shape) -> Rows:
        if len(shape) == 4:
            return Rows(shape[0] * shape[2] * shape[3], shape[1])
        return Rows(math.prod(shape[:-1]), shape[-1])

    @staticmethod
    def image(shape: Shape) -> int:
        """Rows of one entry of the first axis."""
        return Rows.of((1, *shape[1:])).count if len(shape) > 1 else 1


@dataclass(frozen=True)
class Home:
    """`kind` is "arena" (index: a buffer's key), "input" or "output" (index: position); `offset` in floats; `image`:
    floats between the first rows of two images."""

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


def pixel_stride(c: int) -> int:
    """Floats between pixels: c, off multiples of 4 KiB, at which a tile's rows fall into one cache set."""
    return c + 16 if c * FLOAT % _PAGE == 0 else c


@dataclass
class Homes:
    """Assigned homes of a segment's values."""

    shapes: Shapes
    of: dict[int, Home] = field(default_factory=dict)
    alias: dict[int, int] = field(default_factory=dict)  # value -> the value whose bytes it is
    start: dict[int, int] = field(
        default_factory=dict
    )  # slice -> its first float in a row of `alias`
    buffers: dict[int, int] = field(default_factory=dict)  # arena key -> floats

    def root(self, value: int) -> int:
        while value in self.alias:
            value = self.alias[value]
        return value

    def __getitem__(self, value: int) -> Home:
        offset, shape = 0, self.shapes[value]
        while value in self.alias:
            offset += self.start.get(value, 0)
            value = self.alias[value]
        home = self.of[value]
        return replace(home, offset=home.offset + offset, image=Rows.image(shape) * home.ld)


def is_alias(node: Node, shapes: Shapes) -> bool:
    """Whether the node's output is its input's bytes, or some of each of its rows."""
    if isinstance(node.op, (Identity, Slice)):
        return True
    if not isinstance(node.op, (Flatten, Permute, Rearrange, Reshape)):
        return False
    source, target = shapes[node.inputs[0]], shapes[node.outputs[0]]
    return keeps_bytes(resolve(node.op, shapes), source, target, TensorTable())


def assign(
    segment: Segment, shapes: Shapes, formats: dict[int, bool], nchw: dict[int, bool]
) -> Homes:
    """Homes of all values. `formats`: channels_last wanted of outputs; `nchw`: inputs that are NCHW."""
    homes = Homes(shapes)
    for i, v in enumerate(segment.inputs):
        homes.of[v] = Home("input", i, Rows.of(shapes[v]).c, nchw=nchw.get(v, False))
    made: dict[int, Node] = {}
    for node in segment.nodes:
        made.update((v, node) for v in node.outputs)
        if is_alias(node, shapes) and not homes.of.get(homes.root(node.inputs[0]), _NONE).nchw:
            homes.alias[node.outputs[0]] = node.inputs[0]
            if isinstance(node.op, Slice):
                homes.start[node.outputs[0]] = node.op.start
    slices = _join_in_place(segment, homes)
    for i, v in enumerate(segment.outputs):
        root = homes.root(v)
        direct = formats.get(v, False) or same_memory(shapes[v])
        whole = math.prod(shapes[root]) == math.prod(shapes[v])  # not a slice of its root
        if direct and whole and root in made and root not in slices and root not in homes.of:
            homes.of[root] = Home("output", i, Rows.of(shapes[root]).c)
    for v in reversed(made):
        if v not in homes.alias:
            _settle(v, slices, homes)
    return homes


_NONE = Home("none", 0, 0)


def _join_in_place(segment: Segment, homes: Homes) -> dict[int, tuple[int, int]]:
    """value -> (join it is a slice of, channel offset), for operands that nothing else has placed.

    A join whose operands already lie side by side in a wider one is a slice of that one: a dense block's joins, each
    the last with one more operand, are all the block's last.
    """
    slices: dict[int, tuple[int, int]] = {}
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
        for v in node.inputs:
            free = v not in slices and v not in homes.alias and v not in homes.of
            if free and node.inputs.count(v) == 1:
                slices[v] = (node.outputs[0], offset)
            offset += Rows.of(homes.shapes[v]).c
    return slices


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
        ld = pixel_stride(rows.c) if len(homes.shapes[value]) == 4 else rows.c
        homes.of[value] = Home("arena", value, ld)
        homes.buffers[value] = rows.count * ld
    return homes.of[value]
