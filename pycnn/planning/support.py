"""Which nodes the kernels take, at given shapes: a view may be a flatten at one size and not at another."""

from __future__ import annotations

import torch

from pycnn.ir import (
    MOVES,
    AdaptivePool2d,
    Add,
    Arith,
    Attention,
    BatchNorm,
    Concat,
    Conv2d,
    ConvTranspose2d,
    Elementwise,
    Graph,
    GroupNorm,
    Identity,
    LayerNorm,
    Linear,
    LocalResponseNorm,
    MatMul,
    Node,
    Op,
    Pad,
    Pool2d,
    Rearrange,
    Shape,
    Shapes,
    Softmax,
    TensorTable,
    TimestepEmbedding,
    Torch,
    Upsample,
    resolve,
    sources,
)
from pycnn.ops.timestep_embedding import STEP_TYPES
from pycnn.planning.broadcast import why_not_arith
from pycnn.planning.movement import MAX_AXES, most_axes

_MAPS = (Conv2d, ConvTranspose2d, Pool2d, AdaptivePool2d, Upsample, LocalResponseNorm)


def why_torch(
    graph: Graph,
    node: Node,
    shapes: Shapes,
    dtype: torch.dtype = torch.float32,
    without: tuple[type[Op], ...] = (),
) -> str | None:
    """Why torch runs this node itself, in one sentence, or None if a kernel does. The kernels are of `dtype`, and there
    are none for the ops `without`."""
    op = node.op
    if isinstance(op, Torch):
        return op.reason or "no converter for this function"
    if isinstance(op, without):
        return f"no kernel for {op.name} on this device"
    if isinstance(op, TimestepEmbedding):
        return None if op.steps in STEP_TYPES else f"no kernel for time steps of {op.steps}"
    dtypes = {graph.dtypes[v] for v in (*node.inputs, *node.outputs)}
    dtypes |= {graph.tensors.dtype_of(s) for s in sources(op)}
    if dtypes != {dtype}:
        return f"no kernel for {', '.join(sorted(map(str, dtypes)))}"
    inputs = [shapes[v] for v in node.inputs]
    output = shapes[node.outputs[0]]
    rank = len(inputs[0])
    if isinstance(op, _MAPS):
        return None if rank == 4 else f"no kernel for {rank}-d inputs"
    if isinstance(op, BatchNorm):
        return None if rank in (2, 4) else f"no kernel for {rank}-d inputs"
    if isinstance(op, LayerNorm) and op.axis == 1:
        return None if rank == 4 else f"no kernel for channels first of {rank}-d inputs"
    if isinstance(op, Softmax):
        rows = op.axis == (1 if rank == 4 else rank - 1)
        return None if rows else f"no kernel for axis {op.axis} of {rank}-d inputs"
    if isinstance(op, (Attention, Linear, LayerNorm)):
        return None if rank in (2, 3) else f"no kernel for {rank}-d inputs"
    if isinstance(op, (Add, Elementwise, Identity)):
        return None if rank else "no kernel for scalars"
    if isinstance(op, GroupNorm):
        return None if rank in (2, 3, 4) else f"no kernel for {rank}-d inputs"
    if isinstance(op, Arith):
        return why_not_arith(op, output, graph.tensors)
    if isinstance(op, Pad):
        return None if 2 <= rank <= MAX_AXES else f"no kernel for {rank}-d inputs"
    if isinstance(op, Concat):
        return None if rank <= MAX_AXES else f"no kernel joins {rank}-d inputs"
    if isinstance(op, MatMul):
        return _why_not_matmul(resolve(op, shapes), inputs, graph.tensors)
    if isinstance(op, MOVES):
        if not inputs[0] or not output:
            return "no kernel for scalars"
        axes = most_axes(resolve(op, shapes), inputs[0], graph.tensors)
        return None if axes <= MAX_AXES else f"no kernel moves elements along {axes} axes at once"
    return f"no kernel for {op.name}"


def _why_not_matmul(op: MatMul, inputs: list[Shape], tensors: TensorTable) -> str | None:
    """Operands and result may have to be copied."""
    first, second = op.product(inputs, tensors)
    each = [*zip(inputs, (op.a, op.b, op.r), strict=False), ((*first[:2], second[2]), op.y)]
    axes = max(most_axes(Rearrange(moves), shape, tensors) for shape, moves in each)
    return None if axes <= MAX_AXES else f"no kernel reads operands along {axes} axes at once"


def is_flatten(source: Shape, target: Shape) -> bool:
    """Whether [n, c, h, w] -> [n, c * h * w] (or [n, c] -> [n, c, 1, 1], or nothing at all)."""
    if source == target:
        return len(source) in (2, 3, 4)
    if len(source) == 4 and len(target) == 2:
        return source[0] == target[0]
    return len(source) == 2 and len(target) == 4 and target == (*source, 1, 1)
