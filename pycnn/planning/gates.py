"""The gate of squeeze-and-excitation as one step, and the sums it begins with as part of the convolution before."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from pycnn.ir import (
    AdaptivePool2d,
    Arith,
    Conv2d,
    Excitation,
    Node,
    Op,
    Shapes,
    SummedConv2d,
    TensorTable,
    is_mean,
    resolve,
)
from pycnn.planning import params as fields
from pycnn.planning.segments import Segment
from pycnn.planning.target import Target


def with_gates(segment: Segment, shapes: Shapes, tensors: TensorTable, target: Target) -> Segment:
    """Where the target has kernels for them:

    %2 = adaptive_pool2d(%1; avg 1x1); %3 = conv2d(%2; 1x1); %4 = conv2d(%3; 1x1)
        =>   %2 = adaptive_pool2d(%1); %4 = excitation(%2)
    %1 = conv2d(%0; depthwise); %2 = adaptive_pool2d(%1); %4 = excitation(%2)
        =>   %1 = conv2d_sums(%0); %4 = excitation(%1; summed)
    """
    work = _Gates(segment, shapes, tensors, target)
    for node in segment.nodes:
        work.join(node)
    return work.done()


@dataclass
class _Gates:
    segment: Segment
    shapes: Shapes
    tensors: TensorTable
    target: Target
    now: dict[int, Node] = field(default_factory=dict)  # by the value each makes
    readers: dict[int, list[Op]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.now = {node.outputs[0]: node for node in self.segment.nodes}
        for node in self.segment.nodes:
            for value in node.inputs:
                self.readers.setdefault(value, []).append(node.op)

    def done(self) -> Segment:
        nodes = (self.now.get(node.outputs[0]) for node in self.segment.nodes)
        return replace(self.segment, nodes=tuple(node for node in nodes if node is not None))

    def join(self, expand: Node) -> None:
        """Replace the two layers that end with this one, if they are a gate's."""
        reduce = self._before(expand)
        pool = None if reduce is None else self._before(reduce)
        if reduce is None or pool is None or not is_mean(resolve(pool.op, self.shapes)):
            return
        layers = resolve(reduce.op, self.shapes), resolve(expand.op, self.shapes)
        if not all(self._is_layer(op) for op in layers):
            return
        first, second = layers
        assert isinstance(first, Conv2d) and isinstance(second, Conv2d)
        if tuple(self.shapes[expand.outputs[0]]) != tuple(self.shapes[pool.outputs[0]]):
            return
        shape, summed = self.shapes[pool.inputs[0]], self._summed(pool)
        op = Excitation(first, second, summed is not None)
        if not self._takes(op, fields.excitation(op, shape, self.tensors)):
            return
        source = pool.outputs
        if summed is not None:
            self.now[summed.outputs[0]] = summed
            del self.now[pool.outputs[0]]
            source = pool.inputs
        del self.now[reduce.outputs[0]]
        self.now[expand.outputs[0]] = Node(op, source, expand.outputs, expand.path)

    def _before(self, node: Node) -> Node | None:
        """What makes the node's input for it alone."""
        if not node.inputs:
            return None
        value = node.inputs[0]
        alone = len(self.readers[value]) == 1 and value not in self.segment.outputs
        return self.now.get(value) if alone else None

    def _is_layer(self, op: Op) -> bool:
        """Whether it multiplies a pixel by a matrix and does nothing else but a bias and an activation."""
        if not isinstance(op, Conv2d) or op.has_residual or op.has_gate or op.prologue is not None:
            return False
        return op.takes_prologue(self.tensors)

    def _summed(self, pool: Node) -> Node | None:
        """The convolution whose map is pooled, with the sums; None: they have no kernel, or no place of their own
        behind the map, because it is part of a join, a view or a result."""
        value = pool.inputs[0]
        made = self.now.get(value)
        if made is None or not isinstance(made.op, Conv2d) or value in self.segment.outputs:
            return None
        if not all(isinstance(op, (AdaptivePool2d, Arith, Conv2d)) for op in self.readers[value]):
            return None
        conv = resolve(made.op, self.shapes)
        assert isinstance(conv, Conv2d)
        op = SummedConv2d(conv)
        ends = self.shapes[made.inputs[0]], self.shapes[value]
        if not self._takes(op, fields.conv2d_sums(op, *ends, self.tensors)):
            return None
        return Node(op, made.inputs, made.outputs, made.path)

    def _takes(self, op: Op, params: fields.Params) -> bool:
        return self.target.reads(op.name, params, 0)
