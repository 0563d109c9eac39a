"""The classifier's first linear layer reads the map as it lies, as a convolution over all of it."""

from __future__ import annotations

from ..ir import AdaptivePool2d, Conv2d, Dim, Flatten, Graph, Linear, Node, Shape, Size
from .rewrite import Rewriter


def flatten_linear(graph: Graph) -> Graph:
    """x [n, c, h, w], weight [k, c*h*w] viewed as [k, c, h, w]: no NCHW copy of the map is needed.

    %1 = flatten(%0, 1..3); %2 = linear(%1)   =>   %3 = conv2d(%0; weight_shape); %2 = flatten(%3, 1..3)

    The sizes are Dims where they follow from the input's.  The last flatten moves nothing, its map has one pixel.
    """
    rewriter = Rewriter(graph, "flatten_linear")
    shapes: dict[int, Shape] = {}
    for node in graph.nodes:
        flat = rewriter.producers.get(node.inputs[0]) if node.inputs else None
        if not isinstance(node.op, Linear) or flat is None or flat.op != Flatten(1, 3):
            continue
        shapes = shapes or rewriter.shapes()
        x = flat.inputs[0]
        if len(shapes[x]) != 4:
            rewriter.note(node, f"it reads {list(shapes[x])} flattened, not [n, c, h, w]")
        elif node.op.has_residual:
            rewriter.note(node, "it adds a residual of two axes")
        else:
            _convert(rewriter, node, node.op, x, shapes[x])
    return rewriter.done()


def _convert(rewriter: Rewriter, node: Node, linear: Linear, x: int, shape: Shape) -> None:
    k = rewriter.graph.tensors.shape(linear.weight)[0]
    weight_shape = (k, shape[1], *_kernel(rewriter, x, shape))
    op = Conv2d(
        linear.weight, linear.bias, norms=linear.norms, act=linear.act, weight_shape=weight_shape
    )
    (y,) = node.outputs
    joined = rewriter.new_value(y)
    rewriter.put(
        node, Node(op, (x,), (joined,), node.path), Node(Flatten(1, 3), (joined,), (y,), node.path)
    )


def _kernel(rewriter: Rewriter, x: int, shape: Shape) -> tuple[int, int]:
    """(h, w) of x: plain where the op before fixes them."""
    before = rewriter.producers.get(x)
    if before is not None and isinstance(before.op, AdaptivePool2d):
        return before.op.output_size
    return Dim(shape[2], Size(x, 2)), Dim(shape[3], Size(x, 3))
