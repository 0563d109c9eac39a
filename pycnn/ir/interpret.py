"""The reference interpreter: executes a graph op by op with plain torch, in NCHW.  For tests, not for speed."""

from __future__ import annotations

from collections.abc import Sequence
from functools import singledispatch
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from pycnn.ops.act import apply_act
from pycnn.ops.arith import apply_kind
from pycnn.ops.attention import reference as attention
from pycnn.ops.matmul import reference as matmul
from pycnn.ops.timestep_embedding import frequencies
from pycnn.ops.timestep_embedding import reference as timestep_embedding

from . import ops
from .fold import folded_weight
from .graph import Graph
from .shapes import infer_shapes, resolve, resolve_value
from .source import Source, TensorTable
from .torch_op import run_torch_op
from .tree import Const


@torch.no_grad()
def run_torch(graph: Graph, inputs: Sequence[Tensor]) -> Any:
    """The model's result for the tensor inputs in graph order.  ShapeError if the graph does not hold for them."""
    return run_graph(graph, inputs)


def run_graph(graph: Graph, inputs: Sequence[Tensor]) -> Any:
    """`run_torch` with gradients where they are on."""
    shapes = infer_shapes(graph, [tuple(x.shape) for x in inputs])
    values = dict(zip(graph.inputs, inputs, strict=True))
    for node in graph.nodes:
        op = resolve(node.op, shapes)
        operands = [values[v] for v in node.inputs]
        if isinstance(op, ops.Torch):
            results = run_torch_op(op, operands, graph.tensors.__getitem__)
        else:
            results = [run_op(op, operands, graph.tensors)]
        values.update(zip(node.outputs, results, strict=True))

    def leaf(output: Any) -> Any:
        if isinstance(output, Const):
            return resolve_value(output.value, shapes)
        return graph.tensors[output] if isinstance(output, Source) else values[output]

    return graph.output_tree.unflatten([leaf(output) for output in graph.outputs])


@singledispatch
def run_op(op: ops.Op, x: Sequence[Tensor], tensors: TensorTable) -> Tensor:
    """One resolved op other than Torch on its operands."""
    raise NotImplementedError(f"the interpreter does not know {op.name}")


@run_op.register
def _conv2d(op: ops.Conv2d, x: Sequence[Tensor], tensors: TensorTable) -> Tensor:
    weight, bias = _weights(op, tensors)
    top, left, bottom, right = op.padding
    first = x[0] if op.prologue is None else _batch_norm(op.prologue, x, tensors)
    first = first * x[-1] if op.has_gate else first
    y = F.conv2d(
        F.pad(first, (left, right, top, bottom)), weight, bias, op.stride, 0, op.dilation, op.groups
    )
    return _act(y + x[1] if op.has_residual else y, op.act)


@run_op.register
def _conv_transpose2d(op: ops.ConvTranspose2d, x: Sequence[Tensor], tensors: TensorTable) -> Tensor:
    weight, bias = _weights(op, tensors)
    y = F.conv_transpose2d(
        x[0], weight, bias, op.stride, op.padding, op.output_padding, op.groups, op.dilation
    )
    return _act(y, op.act)


@run_op.register
def _linear(op: ops.Linear, x: Sequence[Tensor], tensors: TensorTable) -> Tensor:
    y = F.linear(x[0], *_weights(op, tensors))
    return _act(y + x[1] if op.has_residual else y, op.act)


@run_op.register
def _batch_norm(op: ops.BatchNorm, x: Sequence[Tensor], tensors: TensorTable) -> Tensor:
    norm = op.norm
    weight, bias = _affine(norm, tensors)
    y = F.batch_norm(
        x[0], tensors[norm.mean], tensors[norm.var], weight, bias, False, 0.0, norm.eps
    )
    return _act(y, op.act)


@run_op.register
def _layer_norm(op: ops.LayerNorm, x: Sequence[Tensor], tensors: TensorTable) -> Tensor:
    weight, bias = _affine(op, tensors)
    return F.layer_norm(x[0].movedim(op.axis, -1), (op.c,), weight, bias, op.eps).movedim(
        -1, op.axis
    )


@run_op.register
def _group_norm(op: ops.GroupNorm, x: Sequence[Tensor], tensors: TensorTable) -> Tensor:
    weight, bias = _affine(op, tensors)
    return _act(F.group_norm(x[0], op.groups, weight, bias, op.eps), op.act)


@run_op.register
def _local_response_norm(
    op: ops.LocalResponseNorm, x: Sequence[Tensor], tensors: TensorTable
) -> Tensor:
    return F.local_response_norm(x[0], op.size, op.alpha, op.beta, op.k)


@run_op.register
def _softmax(op: ops.Softmax, x: Sequence[Tensor], tensors: TensorTable) -> Tensor:
    return torch.softmax(x[0], op.axis)


@run_op.register
def _attention(op: ops.Attention, x: Sequence[Tensor], tensors: TensorTable) -> Tensor:
    return attention(x[0], x[1], x[2], op.heads, op.scale)


@run_op.register
def _matmul(op: ops.MatMul, x: Sequence[Tensor], tensors: TensorTable) -> Tensor:
    a, b, *r = (
        run_op(ops.Rearrange(moves), [t], tensors)
        for t, moves in zip(x, (op.a, op.b, op.r), strict=False)
    )
    y = matmul(a, b, r[0] if r else None, op.scale)
    if op.added is not None:
        each = tensors[op.added].reshape(-1, *y.shape[1:])
        y = (torch.unflatten(y, 0, (-1, len(each))) + each).flatten(0, 1)
    return run_op(ops.Rearrange(op.y), [y], tensors)


@run_op.register
def _timestep_embedding(
    op: ops.TimestepEmbedding, x: Sequence[Tensor], tensors: TensorTable
) -> Tensor:
    waves = frequencies(op.width, op.shift, x[0].device)
    return timestep_embedding(x[0], waves, op.cosine_first).to(op.dtype)


@run_op.register
def _pool2d(op: ops.Pool2d, x: Sequence[Tensor], tensors: TensorTable) -> Tensor:
    if op.mode == "max":
        return F.max_pool2d(x[0], op.kernel, op.stride, op.padding, op.dilation, op.ceil_mode)
    options = (op.ceil_mode, op.count_include_pad, op.divisor_override)
    return F.avg_pool2d(x[0], op.kernel, op.stride, op.padding, *options)


@run_op.register(ops.NormedConv2d)
@run_op.register(ops.PooledConv2d)
@run_op.register(ops.SummedConv2d)
def _joined(op: Any, x: Sequence[Tensor], tensors: TensorTable) -> Tensor:
    y = run_op(op.conv, x, tensors)
    last = getattr(op, "pool", None) or getattr(op, "norm", None)
    return y if last is None else run_op(last, [y], tensors)


@run_op.register
def _excitation(op: ops.Excitation, x: Sequence[Tensor], tensors: TensorTable) -> Tensor:
    hidden = run_op(op.reduce, [x[0].mean((2, 3), keepdim=True)], tensors)
    return run_op(op.expand, [hidden], tensors)


@run_op.register(ops.InvertedResidual)
@run_op.register(ops.Mlp)
def _layers(op: Any, x: Sequence[Tensor], tensors: TensorTable) -> Tensor:
    *first, last = op.layers
    y = x[0]
    for layer in first:
        y = run_op(layer, [y], tensors)
    return run_op(last, [y, *x[1:]], tensors)


@run_op.register
def _adaptive_pool2d(op: ops.AdaptivePool2d, x: Sequence[Tensor], tensors: TensorTable) -> Tensor:
    pool = F.adaptive_max_pool2d if op.mode == "max" else F.adaptive_avg_pool2d
    y: Tensor = pool(x[0], op.output_size)
    return y


@run_op.register
def _upsample(op: ops.Upsample, x: Sequence[Tensor], tensors: TensorTable) -> Tensor:
    align = None if op.mode == "nearest" else op.align_corners
    return F.interpolate(x[0], op.size, op.factors, op.mode, align)


@run_op.register
def _elementwise(op: ops.Elementwise, x: Sequence[Tensor], tensors: TensorTable) -> Tensor:
    return _act(x[0], op.act)


@run_op.register
def _add(op: ops.Add, x: Sequence[Tensor], tensors: TensorTable) -> Tensor:
    return _act(x[0] + x[1], op.act)


@run_op.register
def _arith(op: ops.Arith, x: Sequence[Tensor], tensors: TensorTable) -> Tensor:
    other: Tensor | float | None = op.other if not isinstance(op.other, Source) else None
    if isinstance(op.other, Source):
        other = tensors[op.other].reshape(op.other_shape(tensors))
    return _act(apply_kind(x[0], x[1] if other is None else other, op.kind), op.act)


def _weights(
    op: ops.Conv2d | ops.ConvTranspose2d | ops.Linear, tensors: TensorTable
) -> tuple[Tensor, Tensor | None]:
    """Folded; without anything to fold the live tensors, for gradients to reach."""
    weight = tensors[op.weight]
    if op.norms:
        folded, bias = folded_weight(op, tensors)
        return folded.to(weight.dtype), None if bias is None else bias.to(weight.dtype)
    if isinstance(op, ops.Conv2d) and op.weight_shape is not None:
        weight = weight.reshape(op.weight_shape)
    return weight, None if op.bias is None else tensors[op.bias]


def _affine(
    norm: ops.Norm | ops.LayerNorm | ops.GroupNorm, tensors: TensorTable
) -> tuple[Tensor | None, Tensor | None]:
    weight = None if norm.weight is None else tensors[norm.weight]
    return weight, None if norm.bias is None else tensors[norm.bias]


def _act(y: Tensor, act: ops.Act) -> Tensor:
    return apply_act(y, act.kind, act.param)
