"""Shape inference: every value's shape from the input shapes, and Dims turned into ints."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import torch

from .dim import Dim, Shape, Shapes, evaluate, value_of
from .graph import Graph, Node, walk
from .ops import Op, Torch
from .shape_rules import ShapeError
from .source import Source
from .torch_op import run_torch_op
from .tree import same_constant

AnyOp = TypeVar("AnyOp", bound=Op)


def infer_shapes(graph: Graph, input_shapes: Sequence[Shape]) -> dict[int, Shape]:
    """Shape of every value (removed values that Dims still name included) for these input shapes.

    ShapeError names the node that does not accept its inputs, or the guard that fails.
    """
    metas = Metas(graph)
    shapes = metas.shapes
    kept_for: dict[int, list[int]] = {}
    for removed, kept in graph.same_shape.items():
        kept_for.setdefault(kept, []).append(removed)

    def known(values: Sequence[int]) -> None:
        shapes.update((gone, shapes[v]) for v in values for gone in kept_for.get(v, ()))

    for value, shape in zip(graph.inputs, input_shapes, strict=True):
        metas.set(value, tuple(shape))
    known(graph.inputs)
    for node in graph.nodes:
        _infer_node(graph, node, metas)
        known(node.outputs)
    failed = next((guard for guard in graph.guards if not guard.holds(shapes)), None)
    if failed is not None:
        raise ShapeError(
            f"captured where {failed}, which is not so for inputs {[list(s) for s in input_shapes]}"
        )
    return shapes


class Metas:
    """Shapes of values, and meta tensors for those a Torch op touches (made when asked for)."""

    def __init__(self, graph: Graph) -> None:
        self.shapes: dict[int, Shape] = {}
        self._dtypes: Mapping[int, torch.dtype] = graph.dtypes
        self._tensors: dict[int, torch.Tensor] = {}

    def set(self, value: int, made: Shape | torch.Tensor) -> None:
        if isinstance(made, torch.Tensor):
            self._tensors[value] = made
        self.shapes[value] = tuple(made.shape if isinstance(made, torch.Tensor) else made)

    def tensor(self, value: int) -> torch.Tensor:
        if value not in self._tensors:
            shape = self.shapes[value]
            self._tensors[value] = torch.empty(shape, dtype=self._dtypes[value], device="meta")
        return self._tensors[value]


def _infer_node(graph: Graph, node: Node, metas: Metas) -> None:
    made: Sequence[Shape | torch.Tensor]
    try:
        op = resolve(node.op, metas.shapes)
        if isinstance(op, Torch):
            made = run_torch_op(
                op, [metas.tensor(v) for v in node.inputs], graph.tensors.meta, "meta"
            )
        else:
            made = op.infer([metas.shapes[v] for v in node.inputs], graph.tensors)
    except Exception as error:
        where = f" in {node.path}" if node.path else ""
        raise ShapeError(f"%{node.outputs}{where}: {error}") from error
    if len(made) != len(node.outputs):
        raise ShapeError(
            f"{node}: gives {len(made)} values for these shapes, {len(node.outputs)} at capture"
        )
    for index, value in enumerate(node.outputs):
        metas.set(value, made[index])


def resolve(op: AnyOp, shapes: Shapes | None) -> AnyOp:
    """`op` with every Dim in its fields replaced by the int it is for `shapes` (None: by the one it was at capture)."""
    if not _has_dims(op):
        return op
    names = [f.name for f in dataclasses.fields(op)]  # type: ignore[arg-type]
    return type(op)(**{name: resolve_value(getattr(op, name), shapes) for name in names})


def _has_dims(op: Op) -> bool:
    """Whether a field holds a Dim; ops are frozen, so each is searched once: half the time of planning a new size."""
    known = vars(op)
    if "_has_dims" not in known:
        known["_has_dims"] = any(isinstance(leaf, Dim) for leaf in walk(op))
    return bool(known["_has_dims"])


def resolve_value(value: Any, shapes: Shapes | None) -> Any:
    """`value` with the Dims inside tuples, lists, dicts and slices replaced by ints."""
    if isinstance(value, Dim):
        return value_of(value) if shapes is None else evaluate(value.expr, shapes)
    if isinstance(value, Op):
        return resolve(value, shapes)
    if isinstance(value, torch.Size):
        return torch.Size([resolve_value(item, shapes) for item in value])
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(resolve_value(item, shapes) for item in value))
    if isinstance(value, (tuple, list)):
        return type(value)(resolve_value(item, shapes) for item in value)
    if isinstance(value, dict):
        return {key: resolve_value(item, shapes) for key, item in value.items()}
    if isinstance(value, slice):
        return slice(
            *(resolve_value(item, shapes) for item in (value.start, value.stop, value.step))
        )
    return value


def same_structure(first: Graph, second: Graph) -> bool:
    """Whether `first`, its Dims evaluated for `second`'s input shapes, is `second`.

    Two captures that agree make `first` good for shapes between and beyond (its guards are still checked).
    """
    if first.inputs != second.inputs or len(first.nodes) != len(second.nodes):
        return False
    if len(first.outputs) != len(second.outputs) or dict(first.dtypes) != dict(second.dtypes):
        return False
    try:
        shapes = infer_shapes(first, second.input_shapes)
        others = infer_shapes(second, second.input_shapes)
    except ShapeError:
        return False
    return shapes == others and all(
        (a.inputs, a.outputs, a.path) == (b.inputs, b.outputs, b.path)
        and _same_op(resolve(a.op, shapes), resolve(b.op, others))
        for a, b in zip(first.nodes, second.nodes, strict=True)
    )


def _same_op(a: Op, b: Op) -> bool:
    """Equal, with Sources compared by name (the two graphs have tables of their own)."""
    if type(a) is not type(b):
        return False
    left, right = (list(walk([getattr(op, name) for name in _compared(op)])) for op in (a, b))
    return len(left) == len(right) and all(
        _same_leaf(x, y) for x, y in zip(left, right, strict=True)
    )


def _compared(op: Op) -> list[str]:
    return [f.name for f in dataclasses.fields(op) if f.compare]  # type: ignore[arg-type]


def _same_leaf(a: Any, b: Any) -> bool:
    if isinstance(a, Source) and isinstance(b, Source):
        return a.name == b.name
    return same_constant(a, b)
