"""The memory format torch would give each 4-d value: True is channels_last.

torch decides it op by op from the inputs' strides (and a convolution's weight); outputs of a plan follow it, so that
they are what the original model returns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from pycnn.ir import (
    MOVES,
    Add,
    Arith,
    BatchNorm,
    Conv2d,
    ConvTranspose2d,
    Excitation,
    Identity,
    InvertedResidual,
    LayerNorm,
    MatMul,
    Mlp,
    Node,
    NormedConv2d,
    PooledConv2d,
    Rearrange,
    Shape,
    Shapes,
    Slice,
    Softmax,
    SummedConv2d,
    TensorTable,
    resolve,
    run_op,
)
from pycnn.planning.homes import same_memory


def is_channels_last(t: Tensor) -> bool:
    """at::Tensor::suggest_memory_format() == channels_last, of a dense tensor. torch._prims_common has it too, but
    imports sympy at its first call: 0.3 s."""
    if t.dim() != 4 or t.stride(1) == 0:
        return False
    least = 0
    for axis in (1, 3, 2, 0):
        size, stride = t.shape[axis], t.stride(axis)
        if size == 0 or stride < least or (axis == 0 and least == t.stride(1)):
            return False  # the last: [n, 1, 1, 1] or a column of NCHW
        least = stride * size
    return True


def propagate(
    nodes: Sequence[Node], inputs: Mapping[int, bool], shapes: Shapes, tensors: TensorTable
) -> dict[int, bool]:
    """Format of every value the nodes make, from the formats of the values they read."""
    formats = dict(inputs)
    for node in nodes:
        read = [formats[v] for v in node.inputs]
        if isinstance(node.op, (Conv2d, PooledConv2d, SummedConv2d)):
            conv = node.op if isinstance(node.op, Conv2d) else node.op.conv
            found = _convolved(conv, read, tensors)
        elif isinstance(node.op, (InvertedResidual, Mlp)):
            found = read[0]
            for layer in node.op.layers:
                found = _convolved(layer, [found, *read[1:]], tensors)
        elif isinstance(node.op, Excitation):
            layers = node.op.reduce, node.op.expand
            found = read[0] or any(is_channels_last(tensors.meta(c.weight)) for c in layers)
        elif isinstance(node.op, ConvTranspose2d):
            found = read[0] or is_channels_last(tensors.meta(node.op.weight))
        elif isinstance(node.op, (LayerNorm, NormedConv2d)):
            found = (node.op if isinstance(node.op, LayerNorm) else node.op.norm).axis == 1
        elif isinstance(node.op, Softmax) or getattr(node.op, "mode", "") == "circular":
            found = False  # torch answers in NCHW
        elif isinstance(node.op, Identity) and node.op.layout:
            found = node.op.layout == "nhwc"
        elif isinstance(node.op, MatMul):
            found = _multiplied(node, shapes, tensors)
        elif isinstance(node.op, Arith):
            out = shapes[node.outputs[0]]  # an operand that is repeated has no say
            full = [formats[v] for v in node.inputs if shapes[v] == out]
            found = full[0] if full else _repeated(node, read, shapes)
        elif isinstance(node.op, Add):
            found = read[0]  # the first operand's strides decide
        elif isinstance(node.op, MOVES) and not isinstance(node.op, Slice):
            found = _moved(node, read[0], shapes, tensors)
        elif isinstance(node.op, BatchNorm) or len(read) == 1:
            found = read[0]
        else:
            found = all(read)
        for v in node.outputs:
            formats[v] = found and len(shapes[v]) == 4
    return formats


def _convolved(op: Conv2d, read: Sequence[bool], tensors: TensorTable) -> bool:
    linear = op.weight_shape is not None  # whose result has the channels last
    found = read[0] or linear or is_channels_last(tensors.meta(op.weight))
    return found or (op.has_residual and read[1])


def _moved(node: Node, last: bool, shapes: Shapes, tensors: TensorTable) -> bool:
    """As torch's functions give it for a tensor of that format."""
    op, shape = resolve(node.op, shapes), shapes[node.inputs[0]]
    if isinstance(op, Rearrange) and op.keeps_format:
        return last
    x = torch.empty(shape, device="meta", memory_format=strided(shape, last))
    return is_channels_last(run_op(op, [x], tensors))


def _repeated(node: Node, read: Sequence[bool], shapes: Shapes) -> bool:
    """As torch has it where no operand has the result's shape."""
    found = torch.zeros((), device="meta")
    for v, last in zip(node.inputs, read, strict=True):
        found = found + torch.empty(
            shapes[v], device="meta", memory_format=strided(shapes[v], last)
        )
    return is_channels_last(found)


def _multiplied(node: Node, shapes: Shapes, tensors: TensorTable) -> bool:
    """torch's product is contiguous; then it is moved."""
    op = resolve(node.op, shapes)
    assert isinstance(op, MatMul)
    first, second = op.product([shapes[v] for v in node.inputs], tensors)
    y = torch.empty((*first[:2], second[2]), device="meta")
    return is_channels_last(run_op(Rearrange(op.y), [y], tensors))


def strided(shape: Shape, channels_last: bool) -> torch.memory_format:
    """The memory_format argument for a fresh tensor of this shape."""
    return torch.channels_last if channels_last and len(shape) == 4 else torch.contiguous_format


def strides_of(shape: Shape, channels_last: bool) -> tuple[int, ...]:
    """Of a fresh tensor of this shape."""
    return torch.empty(shape, device="meta", memory_format=strided(shape, channels_last)).stride()


def fresh(
    shape: Shape, memory_format: torch.memory_format, dtype: torch.dtype, device: torch.device
) -> Tensor:
    """An output tensor, whatever torch's default dtype and device are."""
    return torch.empty(shape, dtype=dtype, device=device, memory_format=memory_format)


def formats_of(x: Tensor) -> tuple[bool, bool]:
    """(contiguous NCHW, channels_last as torch sees it)."""
    return is_nchw(x), is_channels_last(x)


def is_nchw(x: Tensor) -> bool:
    """Contiguous NCHW whose bytes are not NHWC's too."""
    return x.dim() == 4 and x.is_contiguous() and not same_memory(tuple(x.shape))


def readable(x: Tensor) -> Tensor:
    """x itself where a plan reads its memory as it is (contiguous NCHW or NHWC), else a contiguous copy."""
    if x.is_neg():
        x = x.resolve_neg()
    if x.is_contiguous() or (x.dim() == 4 and x.is_contiguous(memory_format=torch.channels_last)):
        return x
    fmt = torch.channels_last if is_channels_last(x) else torch.contiguous_format
    return x.contiguous(memory_format=fmt)
