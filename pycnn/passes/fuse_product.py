"""Factors of a product and of its operands, and what is added to it, become part of the product."""

from __future__ import annotations

import math
from dataclasses import replace

from ..ir import MOVES, Add, Arith, Dim, Flatten, Graph, MatMul, Node, Op, Shape, Source, Unflatten
from .rewrite import Rewriter


def fuse_product(graph: Graph) -> Graph:
    """An attention's scores: scaled, with a bias of each head or a computed one, before their softmax.

    %1 = matmul(%a, %b); %2 = unflatten(%1; n, heads); %3 = arith(%2; mul 0.25); %4 = arith(%3; add, bias)
        =>   %1 = matmul(%a, %b; scale 0.25, added bias); %4 = unflatten(%1; n, heads)
    """
    while any(isinstance(node.op, MatMul) for node in graph.nodes):
        round_ = _Round(graph)
        folded = [round_.fold(node) for node in graph.nodes if isinstance(node.op, MatMul)]
        if not any(folded):
            break
        graph = round_.rewriter.done()
    return graph


class _Round:
    """One fold for each product, none of a node that another fold of the round has changed."""

    def __init__(self, graph: Graph) -> None:
        self.rewriter = Rewriter(graph, "fuse_product")
        self._changed: set[int] = set()

    def fold(self, node: Node) -> bool:
        """Whether something was folded into the product."""
        assert isinstance(node.op, MatMul)
        return self._scale(node, node.op) or (not _adds(node) and self._add(node, node.op))

    def _claim(self, *nodes: Node | None) -> bool:
        made = {node.outputs[0] for node in nodes if node is not None}
        if made & self._changed:
            return False
        self._changed |= made
        return True

    def _scale(self, node: Node, op: MatMul) -> bool:
        """A factor of the product, before anything is added to it, or of an operand."""
        reader = None if _adds(node) else self._reader(node.outputs[0])
        for other in (reader, *(self._maker(v) for v in node.inputs[:2])):
            factor = _factor(other)
            if other is None or factor is None or not self._claim(node, other):
                continue
            self.rewriter.put(node, replace(node, op=replace(op, scale=op.scale * factor)))
            self.rewriter.put(other)
            self.rewriter.rename(other.outputs[0], other.inputs[0])
            return True
        return False

    def _reader(self, value: int) -> Node | None:
        """The only reader of the value, behind movements that nothing else reads."""
        while (reader := self.rewriter.only_user(value)) and isinstance(reader.op, MOVES):
            (value,) = reader.outputs
        return reader

    def _maker(self, value: int) -> Node | None:
        """What made the value before movements, where nothing else reads it or them."""
        while self.rewriter.only_user(value) is not None:
            maker = self.rewriter.producers.get(value)
            if maker is None or not isinstance(maker.op, MOVES):
                return maker
            (value,) = maker.inputs
        return None

    def _add(self, node: Node, op: MatMul) -> bool:
        """What is added to the product, or to it with its batch unfolded."""
        (y,) = node.outputs
        view = self.rewriter.only_user(y)
        unfolds = view is not None and isinstance(view.op, Unflatten) and view.op.dim == 0
        whole = view.outputs[0] if view is not None and unfolds else y
        total = self.rewriter.only_user(whole)
        view = view if whole != y else None
        if total is None or getattr(total.op, "act", None):
            return False
        if isinstance(total.op, Arith) and total.op.kind == "add":
            return self._add_source(node, op, view, total)
        return isinstance(total.op, Add) and self._add_value(node, op, view, total, whole)

    def _add_source(self, node: Node, op: MatMul, view: Node | None, total: Node) -> bool:
        assert isinstance(total.op, Arith)
        other, shapes = total.op.other, self.rewriter.shapes()
        if not isinstance(other, Source):
            return False
        shape, out = self.rewriter.graph.tensors.shape(other), shapes[total.outputs[0]]
        batch = view.op.sizes if view is not None and isinstance(view.op, Unflatten) else ()
        if not _of_each_head(shape, out, batch) or not self._claim(node, view, total):
            return False
        self.rewriter.put(node, replace(node, op=replace(op, added=other)))
        self.rewriter.put(total)
        self.rewriter.rename(total.outputs[0], total.inputs[0])
        return True

    def _add_value(
        self, node: Node, op: MatMul, view: Node | None, total: Node, whole: int
    ) -> bool:
        """Both move to where the sum was; of four axes the sum's memory format is its first operand's."""
        rank = 3 if view is None else len(self.rewriter.shapes()[whole])
        first = total.inputs[0] == whole
        sized = {*node.outputs, whole} & self.rewriter.sized
        if sized or not (first or rank != 4) or not self._claim(node, view, total):
            return False
        added = total.inputs[1 if first else 0]
        moves: tuple[Op, ...] = () if view is None else (Flatten(0, rank - 3),)
        made = node.outputs if view is not None else total.outputs
        product = Node(replace(op, r=moves), (*node.inputs, added), made, node.path)
        moved = [] if view is None else [replace(view, outputs=total.outputs)]
        self.rewriter.put(node)
        if view is not None:
            self.rewriter.put(view)
        self.rewriter.put(total, product, *moved)
        return True


def _adds(node: Node) -> bool:
    return len(node.inputs) > 2 or getattr(node.op, "added", None) is not None


def _factor(node: Node | None) -> float | None:
    """The number that the node multiplies by, and does nothing else."""
    op = None if node is None else node.op
    if not isinstance(op, Arith) or op.act or not isinstance(op.other, float):
        return None
    if op.kind == "mul":
        return op.other
    return 1 / op.other if op.kind == "div" and math.isfinite(op.other) and op.other else None


def _of_each_head(shape: Shape, out: Shape, batch: tuple[int, ...]) -> bool:
    """Whether a tensor of the model has all rows and columns, for the innermost axes of the batch or for none."""
    if len(shape) < 2 or len(shape) > len(out) or shape[-2:] != out[-2:]:
        return False
    lead = list(shape[:-2])
    while lead and lead[0] == 1:
        del lead[0]
    inner = batch[len(batch) - len(lead) :] if lead else ()
    return list(inner) == lead and not any(isinstance(size, Dim) for size in inner)
