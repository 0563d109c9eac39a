"""What one set of input shapes decides about a graph, before anything runs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from pycnn.ir import Graph, Shape, Shapes, Torch, resolve
from pycnn.planning.segments import Item, Segment, TorchStep


@dataclass(frozen=True)
class Situation:
    """Every value's shape, and which nodes kernels run.

    Attributes:
        items: in order; torch steps resolved: no Dims left in their arguments.
        spent: of each item, the values that nothing reads after it.
        between: of each item, bytes of the tensors alive while it runs that items made; the call's results come on top.
    """

    key: tuple[Shape, ...]
    shapes: Shapes
    items: tuple[Item, ...]
    spent: tuple[tuple[int, ...], ...]
    between: tuple[int, ...]

    @property
    def all_kernels(self) -> bool:
        return all(isinstance(item, Segment) for item in self.items)

    def outside(self, segment: Segment) -> int:
        """`between` of a segment."""
        return self.between[self.items.index(segment)]


def situation(
    graph: Graph, key: tuple[Shape, ...], shapes: Shapes, items: Sequence[Item]
) -> Situation:
    """With the lifetimes of the values that pass from item to item."""
    items = tuple(_resolved(item, shapes) for item in items)
    made: dict[int, int] = {}
    last: dict[int, int] = {}
    for i, item in enumerate(items):
        made.update((v, i) for v in item.outputs)
        last.update((v, i) for v in (*item.inputs, *item.outputs))
    results = set(graph.output_values())
    spent = [
        [v for v, at in last.items() if at == i and v not in results] for i in range(len(items))
    ]
    own = {v: _bytes(v, graph, shapes, items[i]) for v, i in made.items() if v not in results}
    holds = {v: last[v] for v in own}
    for i, item in reversed([*enumerate(items)]):
        if _is_view(item):  # it is memory of what it is a view of
            own.update((v, 0) for v in item.outputs if v in own)
            until = max((len(items) if v in results else holds[v] for v in item.outputs), default=i)
            holds.update((v, max(holds[v], until)) for v in item.inputs if v in holds)
    between = tuple(
        sum(size for v, size in own.items() if made[v] <= i <= holds[v]) for i in range(len(items))
    )
    return Situation(key, shapes, items, tuple(map(tuple, spent)), between)


def _is_view(item: Item) -> bool:
    return isinstance(item, TorchStep) and isinstance(item.node.op, Torch) and item.node.op.view


def _bytes(value: int, graph: Graph, shapes: Shapes, item: Item) -> int:
    dtype = graph.dtypes[value]
    if isinstance(item, TorchStep) and item.promoted and dtype.is_floating_point:
        dtype = torch.float32
    return math.prod(shapes[value]) * dtype.itemsize if value in shapes else 0


def _resolved(item: Item, shapes: Shapes) -> Item:
    """A torch step with the sizes among its arguments as ints: finding them takes longer than many a small op."""
    if isinstance(item, Segment):
        return item
    node = item.node
    return replace(item, node=replace(node, op=resolve(node.op, shapes)))
