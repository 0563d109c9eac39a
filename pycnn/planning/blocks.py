"""Layers of a block as one step, where the target predicts that it takes less time than theirs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from pycnn.ir import Conv2d, InvertedResidual, Mlp, Node, Shape, Shapes, TensorTable, resolve
from pycnn.planning import params as fields
from pycnn.planning.params import Params
from pycnn.planning.segments import Segment
from pycnn.planning.target import Problem, Target


def with_blocks(segment: Segment, shapes: Shapes, tensors: TensorTable, target: Target) -> Segment:
    """Nodes as one, where each is all that reads the one before:

    %2 = conv2d(%1; 1x1, act); %3 = conv2d(%2; depthwise 3x3); %4 = conv2d(%3, %0; 1x1, residual)
        =>   %4 = inverted_residual(%1, %0)
    %2 = conv2d(%1; 1x1, act); %3 = conv2d(%2, %0; 1x1, residual)   =>   %3 = mlp(%1, %0)

    Threes come first: a projection and the next block's expansion would be two.
    """
    for count in (3, 2):
        work = _Blocks(segment, shapes, tensors, target)
        for node in segment.nodes:
            work.join(node, count)
        segment = replace(segment, nodes=tuple(work.made.values()))
    return segment


class _Blocks:
    """`made`: the nodes up to here, by the value each makes."""

    def __init__(
        self, segment: Segment, shapes: Shapes, tensors: TensorTable, target: Target
    ) -> None:
        self._shapes, self._tensors, self._target = shapes, tensors, target
        self._readers = Counter(v for node in segment.nodes for v in node.inputs)
        self._readers.update(segment.outputs)
        self.made: dict[int, Node] = {}

    def join(self, last: Node, count: int) -> None:
        """Add the node, or the block of so many that ends with it."""
        nodes = self._chain(last, count)
        found = self._block(nodes) if len(nodes) == count else None
        if found is not None:
            for node in nodes[:-1]:
                del self.made[node.outputs[0]]
        self.made[last.outputs[0]] = found or last

    def _chain(self, last: Node, count: int) -> list[Node]:
        """Up to so many nodes that end with this one, each the only one that reads the one before."""
        nodes = [last]
        while len(nodes) < count and nodes[0].inputs and self._readers[nodes[0].inputs[0]] == 1:
            before = self.made.get(nodes[0].inputs[0])
            if before is None:
                break
            nodes.insert(0, before)
        return nodes

    def _block(self, nodes: Sequence[Node]) -> Node | None:
        """The nodes as one; None: they are no block, or its kernel is not predicted to take less time than theirs."""
        layers = [resolve(node.op, self._shapes) for node in nodes]
        convs = [op for op in layers if isinstance(op, Conv2d) and not _has_more(op)]
        if len(convs) < len(layers) or any(op.has_residual for op in convs[:-1]):
            return None
        first, *middle, last = convs
        if not (self._is_pointwise(first) and self._is_pointwise(last)):
            return None
        x, y = self._shapes[nodes[0].inputs[0]], self._shapes[nodes[-1].outputs[0]]
        op: Mlp | InvertedResidual
        if not middle:
            op = Mlp(first, last)
            params = fields.mlp(op, x, y, self._tensors)
        elif self._is_window(middle[0]):
            op = InvertedResidual(first, middle[0], last)
            params = fields.inverted_residual(op, x, y, self._tensors)
        else:
            return None
        params = self._strided(params, x, y, op.has_residual)
        if not self._target.reads(op.name, params, 0):
            return None
        apart = [self._alone(*each) for each in zip(nodes, convs, strict=True)]
        if not self._target.is_shorter((op.name, params), apart):
            return None
        return Node(op, (*nodes[0].inputs, *nodes[-1].inputs[1:]), nodes[-1].outputs, nodes[0].path)

    def _alone(self, node: Node, op: Conv2d) -> Problem:
        x, y = self._shapes[node.inputs[0]], self._shapes[node.outputs[0]]
        params = fields.conv2d(op, x, y, self._tensors)
        return "conv2d", self._strided(params, x, y, op.has_residual)

    def _strided(self, params: Params, x: Shape, y: Shape, has_residual: bool) -> Params:
        """With the pixel strides of values in the arena."""
        ldx, ldy = self._target.pixel_stride(x[1]), self._target.pixel_stride(y[1])
        return {**params, "ldx": ldx, "ldy": ldy, "ldr": ldy * has_residual}

    def _is_pointwise(self, op: Conv2d) -> bool:
        return op.takes_prologue(self._tensors) and op.stride == (1, 1)

    def _is_window(self, op: Conv2d) -> bool:
        """A depthwise one of 3x3 pixels."""
        k, c, *window = op.weight_shape or self._tensors.shape(op.weight)
        down, across = op.stride
        square = down == across and op.dilation == (1, 1)
        return window == [3, 3] and c == 1 and k == op.groups and square


def _has_more(op: Conv2d) -> bool:
    """Than its sums, a residual and an activation."""
    return op.has_gate or op.prologue is not None
