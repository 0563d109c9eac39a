"""`Graph`: a straight line of nodes over numbered values; immutable, passes return new ones."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from .dim import Dim, Expr, Guard, Shape, leaves
from .ops import Act, Op, Torch
from .source import Source, TensorTable
from .tree import Const, InputTree, OutputLeaf, OutputTree


@dataclass(frozen=True)
class Node:
    """One operation: `outputs = op(inputs)`, called by the module at `path` ("" is the model itself)."""

    op: Op
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    path: str = ""

    def __str__(self) -> str:
        left = ", ".join(f"%{v}" for v in self.outputs)
        fields = ", ".join(_field(f.name, getattr(self.op, f.name)) for f in _told(self.op))
        inputs = ", ".join(f"%{v}" for v in self.inputs)
        where = f"  # {self.path}" if self.path else ""
        return f"{left or '_'} = {self.op.name}({inputs}{'; ' + fields if fields else ''}){where}"


@dataclass(frozen=True)
class Note:
    """Why `pass_name` left the node at `path` (making `value`) alone, in one sentence."""

    pass_name: str
    value: int
    path: str
    sentence: str


@dataclass(frozen=True)
class Origin:
    """The call that makes a value: the `call`th of a run (from 0; questions about tensors do not count), and where the
    tensor is: the `index`th that `func` returned, or that it was given and wrote."""

    call: int
    func: Callable[..., Any]
    returned: bool
    index: int


@dataclass(frozen=True)
class Graph:
    """What a model computes for inputs of a given rank, dtype and structure.

    `inputs` are the tensor inputs in flattened order; `outputs` the leaves of the result: a value id, a Const, or a
    Source (the model returned its own parameter).  `sizes_read`: model code saw a size as a Python int, so the graph is
    sure to hold only for shapes at which a second capture agreed (`same_structure`); else it holds for every n, h, w.
    `layout_read`: code asked for strides or contiguity.  `aliased`: outputs that share memory with an input, a tensor
    of the model or an earlier output; the nodes between are Torch ops with `view` set and must see the real tensors.
    `origins`: the torch call that makes a value, where there is one.
    `maps`: a map [n, c, h, w] that a pass made -> the value [n, h, w, c] that it is with its channels first.
    `same_shape`: value that a pass removed -> value of the same shape, for Dims that still name the former.
    """

    inputs: tuple[int, ...]
    nodes: tuple[Node, ...]
    outputs: tuple[OutputLeaf, ...]
    output_tree: OutputTree
    input_tree: InputTree
    tensors: TensorTable
    dtypes: Mapping[int, torch.dtype]
    input_shapes: tuple[Shape, ...]
    guards: tuple[Guard, ...] = ()
    sizes_read: bool = False
    layout_read: bool = False
    aliased: frozenset[int] = frozenset()
    same_shape: Mapping[int, int] = field(default_factory=dict)
    notes: tuple[Note, ...] = ()
    origins: Mapping[int, Origin] = field(default_factory=dict)
    maps: Mapping[int, int] = field(default_factory=dict)

    def output_values(self) -> tuple[int, ...]:
        """Value ids among the outputs, in order, repeats kept."""
        return tuple(leaf for leaf in self.outputs if isinstance(leaf, int))

    def count(self) -> Counter[str]:
        """How many nodes of each kind: `graph.count()["conv2d"]`."""
        return Counter(node.op.name for node in self.nodes)

    def has(self, **numbers: int) -> bool:
        """Whether the graph holds exactly these numbers of nodes: `graph.has(conv2d=53, add=0)`."""
        found = self.count()
        return all(found[name] == number for name, number in numbers.items())

    def replace(self, **changes: Any) -> Graph:
        """A copy with some fields changed."""
        return dataclasses.replace(self, **changes)

    def with_notes(self, notes: Iterable[Note]) -> Graph:
        """A copy with notes added, each sentence once."""
        return self.replace(notes=tuple(dict.fromkeys((*self.notes, *notes))))

    def __str__(self) -> str:
        shapes = zip(self.inputs, self.input_shapes, strict=True)
        head = ", ".join(f"%{v}: {self.dtypes[v]}{list(map(int.__index__, s))}" for v, s in shapes)
        tail = ", ".join(_leaf(leaf) for leaf in self.outputs)
        body = "".join(f"  {node}\n" for node in self.nodes)
        guards = "".join(f"  guard {guard}\n" for guard in self.guards)
        return f"graph({head}) {{\n{guards}{body}  return {tail}\n}}"


def consumers(graph: Graph) -> dict[int, list[Node]]:
    """value id -> nodes that read it, in order, once each; graph outputs are not counted here."""
    found: dict[int, list[Node]] = {}
    for node in graph.nodes:
        for value in dict.fromkeys(node.inputs):
            found.setdefault(value, []).append(node)
    return found


def producers(graph: Graph) -> dict[int, Node]:
    """value id -> the node that makes it; graph inputs have none."""
    return {value: node for node in graph.nodes for value in node.outputs}


def nodes_for(graph: Graph, values: Iterable[int]) -> tuple[Node, ...]:
    """The nodes that these values are made by, directly or through others, and those with an effect."""
    needed, kept = set(values), list[Node]()
    for node in reversed(graph.nodes):
        if is_effect(node) or needed.intersection(node.outputs):
            kept.append(node)
            needed.update(node.inputs)
    return tuple(reversed(kept))


def walk(attribute: Any) -> Iterator[Any]:
    """Every leaf inside an op's attribute: through tuples, lists, dicts, slices and dataclasses other than Source."""
    if isinstance(attribute, (tuple, list)):
        for item in attribute:
            yield from walk(item)
    elif isinstance(attribute, dict):
        yield from walk(tuple(attribute.values()))
    elif isinstance(attribute, slice):
        yield from walk((attribute.start, attribute.stop, attribute.step))
    elif dataclasses.is_dataclass(attribute) and not isinstance(attribute, (type, Source)):
        for f in dataclasses.fields(attribute):
            yield from walk(getattr(attribute, f.name))
    else:
        yield attribute


def sources(op: Op) -> tuple[Source, ...]:
    """Every Source that `op` reads, in field order. Ops are frozen, so each is searched once: planning a new size asks
    several times."""
    known = vars(op)
    if "_sources" not in known:
        known["_sources"] = tuple(leaf for leaf in walk(op) if isinstance(leaf, Source))
    found: tuple[Source, ...] = known["_sources"]
    return found


def sized_values(graph: Graph) -> set[int]:
    """Values whose sizes some Dim, guard or returned size still names (directly or through `same_shape`)."""
    expressions: list[Expr] = [e for guard in graph.guards for e in (guard.left, guard.right)]
    constants = [leaf.value for leaf in graph.outputs if isinstance(leaf, Const)]
    attributes = (*constants, *(node.op for node in graph.nodes))
    expressions += [leaf.expr for a in attributes for leaf in walk(a) if isinstance(leaf, Dim)]
    named = {leaf.value for expression in expressions for leaf in leaves(expression)}
    for removed, kept in graph.same_shape.items():
        if removed in named:
            named.add(kept)
    return named


def _told(op: Op) -> list[dataclasses.Field[Any]]:
    """The fields of `op` that differ from their defaults."""
    fields = dataclasses.fields(op)  # type: ignore[arg-type]
    return [
        f for f in fields if f.name != "reason" and getattr(op, f.name) not in (f.default, {}, ())
    ]


def _field(name: str, value: Any) -> str:
    if name == "func":
        return getattr(value, "__name__", repr(value))
    if isinstance(value, (Source, Act)):
        return f"{name}={value}"
    return f"{name}={value!r}"


def _leaf(leaf: OutputLeaf) -> str:
    return f"%{leaf}" if isinstance(leaf, int) else str(leaf)


def is_effect(node: Node) -> bool:
    """Whether the node does something besides making its outputs."""
    return isinstance(node.op, Torch) and node.op.effect
