"""Checks that a graph is well formed; run after every pass."""

from __future__ import annotations

from collections.abc import Collection

from pycnn.ops.act import ACTS
from pycnn.ops.arith import KINDS

from .dim import Dim
from .graph import Graph, Node
from .ops import (
    AdaptivePool2d,
    Arith,
    Conv2d,
    ConvTranspose2d,
    Flatten,
    Identity,
    Linear,
    Op,
    Pad,
    Pool2d,
    Torch,
    Unfold,
    Upsample,
)


class GraphError(AssertionError):
    """A graph that is not well formed: a bug of a pass, not of the user's model."""


def verify(graph: Graph) -> Graph:
    """`graph` itself, or GraphError naming the first bad node and what is wrong with it."""
    defined = set(graph.inputs)
    for index, node in enumerate(graph.nodes):
        problem = _problem(node, defined, graph)
        if problem:
            raise GraphError(f"node {index}, {node}: {problem}")
        defined.update(node.outputs)
    for value in graph.output_values():
        if value not in defined:
            raise GraphError(f"output %{value} is never defined")
    for value in graph.same_shape.values():
        if value not in defined:
            raise GraphError(f"same_shape names %{value}, which is never defined")
    return graph


def _problem(node: Node, defined: set[int], graph: Graph) -> str | None:
    for value in node.inputs:
        if value not in defined:
            return f"reads %{value} before it is defined"
    for value in node.outputs:
        if value in defined:
            return f"defines %{value} a second time"
        if value not in graph.dtypes:
            return f"%{value} has no dtype"
    if len(set(node.outputs)) != len(node.outputs):
        return "defines a value twice"
    least, most = node.op.arity
    if not least <= len(node.inputs) <= most:
        return f"has {len(node.inputs)} inputs, takes {least} to {most}"
    if len(node.outputs) != 1 and not isinstance(node.op, Torch):
        return f"has {len(node.outputs)} outputs, makes 1"
    return _attributes(node)


_WORDS: dict[type[Op], tuple[str, Collection[str]]] = {
    Pool2d: ("mode", ("max", "avg")),
    AdaptivePool2d: ("mode", ("max", "avg")),
    Upsample: ("mode", ("nearest", "bilinear")),
    Pad: ("mode", ("constant", "reflect", "replicate", "circular")),
    Identity: ("layout", ("", "nchw", "nhwc")),
    Arith: ("kind", KINDS),
}


def _attributes(node: Node) -> str | None:
    op = node.op
    act = getattr(op, "act", None)
    if act is not None and act.kind not in ACTS:
        return f"there is no activation {act.kind!r}"
    name, words = _WORDS.get(type(op), ("", ()))
    if name and getattr(op, name) not in words:
        return f"{name}={getattr(op, name)!r} is none of {', '.join(map(repr, words))}"
    gated = isinstance(op, Conv2d) and op.has_gate
    if isinstance(op, Conv2d) and op.has_gate and op.prologue is not None:
        return "a gate and a prologue"
    if isinstance(op, (Conv2d, Linear)) and len(node.inputs) != 1 + op.has_residual + gated:
        return f"has_residual={op.has_residual} and has_gate={gated} with {len(node.inputs)} inputs"
    if isinstance(op, (Conv2d, ConvTranspose2d)):
        if min(op.stride) < 1 or min(op.dilation) < 1 or op.groups < 1:
            return "stride, dilation and groups must be at least 1"
        if _least(op.padding) < 0:
            return f"negative padding {op.padding}"
    if isinstance(op, Pad) and _least(op.pads) < 0:
        return f"negative pads {op.pads}"
    if isinstance(op, Pad) and not op.axes[0] < op.axes[1] < 0:
        return f"pads axes {op.axes}"
    if isinstance(op, Unfold) and (op.dim < 0 or min(op.size, op.step, op.dilation) < 1):
        return f"windows of {op.size} by {op.step}, {op.dilation} apart, along axis {op.dim}"
    if isinstance(op, Pool2d) and (min(op.kernel) < 1 or min(op.stride) < 1):
        return "kernel and stride must be at least 1"
    if isinstance(op, Flatten) and not 0 <= op.start <= op.end:
        return f"flattens {op.start}..{op.end}"
    return None


def _least(sizes: tuple[int, ...]) -> int:
    """The smallest plain entry; Dims are checked where they are evaluated."""
    return min((s for s in sizes if not isinstance(s, Dim)), default=0)
