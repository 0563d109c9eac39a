"""How each op of the IR becomes steps of a plan."""

from __future__ import annotations

from dataclasses import replace
from functools import singledispatch

from pycnn.ir import (
    AdaptivePool2d,
    Add,
    Attention,
    BatchNorm,
    Conv2d,
    ConvTranspose2d,
    Elementwise,
    Excitation,
    GroupNorm,
    InvertedResidual,
    LayerNorm,
    Linear,
    LocalResponseNorm,
    Mlp,
    Node,
    NormedConv2d,
    Op,
    Pool2d,
    PooledConv2d,
    Softmax,
    SummedConv2d,
    TimestepEmbedding,
    Upsample,
    is_mean,
    resolve,
)
from pycnn.ops.timestep_embedding import STEP_TYPES
from pycnn.planning import params as fields
from pycnn.planning.homes import FLOAT, Home, Rows
from pycnn.planning.lowering import Lowering
from pycnn.planning.params import Params


def lower_node(work: Lowering, node: Node) -> None:
    """Add the steps of one node; none where its output is its input's bytes."""
    if node.outputs[0] in work.homes.alias:
        return
    lower_op(resolve(node.op, work.shapes), work, node)


@singledispatch
def lower_op(op: Op, work: Lowering, node: Node) -> None:
    """Add the steps of `node`, whose op without Dims is `op`."""
    raise NotImplementedError(f"no lowering of {op.name}")


@lower_op.register
def _conv2d(op: Conv2d, work: Lowering, node: Node) -> None:
    shape, y_shape = work.shapes[node.inputs[0]], work.shapes[node.outputs[0]]
    params = fields.conv2d(op, shape, y_shape, work.tensors)
    gate = work.nhwc(node.inputs[-1], node) if op.has_gate else None
    if gate is not None:
        params["ldg"] = gate.ld
    _convolve(work, node, params, op.has_residual, gate)


@lower_op.register
def _conv2d_pool(op: PooledConv2d, work: Lowering, node: Node) -> None:
    shape, y_shape = work.shapes[node.inputs[0]], work.shapes[node.outputs[0]]
    params = fields.conv2d_pool(op, shape, y_shape, work.tensors)
    _dense(
        "conv2d_pool", work, node, params, _whole_pixels("conv2d_pool", work, node, params), False
    )


@lower_op.register
def _conv2d_layer_norm(op: NormedConv2d, work: Lowering, node: Node) -> None:
    shape, y_shape = work.shapes[node.inputs[0]], work.shapes[node.outputs[0]]
    params = fields.conv2d_layer_norm(op, shape, y_shape, work.tensors)
    x = work.nhwc(node.inputs[0], node)
    _dense("conv2d_layer_norm", work, node, params, x, op.conv.has_residual)


@lower_op.register
def _conv2d_sums(op: SummedConv2d, work: Lowering, node: Node) -> None:
    shape, y_shape = work.shapes[node.inputs[0]], work.shapes[node.outputs[0]]
    params = fields.conv2d_sums(op, shape, y_shape, work.tensors)
    y = work.homes[node.outputs[0]]
    assert y.kind == "arena" and y.offset == 0  # by planning/gates.py
    params["sums"] = work.homes.buffers[y.index]
    floats = int(params["n"] * params["parts"] * params["c"])
    work.homes.buffers[y.index] += floats * FLOAT // work.target.itemsize
    x = work.nhwc(node.inputs[0], node)
    _dense("conv2d_sums", work, node, params, x, op.conv.has_residual)


@lower_op.register
def _excitation(op: Excitation, work: Lowering, node: Node) -> None:
    shape = work.shapes[node.inputs[0]]
    params = fields.excitation(op, shape, work.tensors)
    x, y = work.nhwc(node.inputs[0], node), work.homes[node.outputs[0]]
    if op.summed:
        params["sums"] = Rows.of(shape).count * x.ld  # right behind the map
    work.emit("excitation", node, {**params, **lds(x, y)}, x, y, weighted=True)


@lower_op.register
def _mlp(op: Mlp, work: Lowering, node: Node) -> None:
    params = fields.mlp(op, work.shapes[node.inputs[0]], work.shapes[node.outputs[0]], work.tensors)
    x = _whole_pixels("mlp", work, node, params)
    _dense("mlp", work, node, params, x, op.has_residual)


@lower_op.register
def _inverted_residual(op: InvertedResidual, work: Lowering, node: Node) -> None:
    ends = work.shapes[node.inputs[0]], work.shapes[node.outputs[0]]
    params = fields.inverted_residual(op, *ends, work.tensors)
    x = _whole_pixels("inverted_residual", work, node, params)
    _dense("inverted_residual", work, node, params, x, op.has_residual)


def _whole_pixels(name: str, work: Lowering, node: Node, params: Params) -> Home:
    """x, or where no kernel of the op reads it as it lies, a copy at the pixel stride of values in the arena."""
    x, shape = work.nhwc(node.inputs[0], node), work.shapes[node.inputs[0]]
    if work.target.reads(name, {**params, "ldx": x.ld}, x.offset):
        return x
    ld = work.target.pixel_stride(shape[1])
    made = replace(work.buffer(Rows.of(shape).count * ld, ld), image=Rows.image(shape) * ld)
    work.emit("concat", node, fields.rows(shape, x, made), x, made)
    return made


@lower_op.register
def _conv_transpose2d(op: ConvTranspose2d, work: Lowering, node: Node) -> None:
    shape, y_shape = work.shapes[node.inputs[0]], work.shapes[node.outputs[0]]
    params = fields.conv_transpose2d(op, shape, y_shape, work.tensors)
    _dense("conv_transpose2d", work, node, params, work.nhwc(node.inputs[0], node), False)


@lower_op.register
def _batch_norm(op: BatchNorm, work: Lowering, node: Node) -> None:
    _convolve(work, node, fields.batch_norm(op, work.shapes[node.inputs[0]]), False)


def _convolve(
    work: Lowering, node: Node, params: Params, has_residual: bool, gate: Home | None = None
) -> None:
    x = work.homes[node.inputs[0]]
    # A stem reads NCHW itself; more channels are worth one copy to NHWC.
    few = params["c"] // params["groups"] < 8 and params["groups"] == 1
    direct = x.nchw and few and work.target.reads_nchw and not work.copies
    if x.nchw and not direct:
        x = work.nhwc(node.inputs[0], node)
    params = {**params, "x_nchw": int(x.nchw)}
    if params.get("prologue"):
        x = _whole_pixels("conv2d", work, node, params)
    means = _row_means(work, node, params)
    if means is None:
        _dense("conv2d", work, node, params, x, has_residual, gate)
    else:
        _dense("conv2d_means", work, node, params, x, has_residual, means)


def _row_means(work: Lowering, node: Node, params: Params) -> Home | None:
    """Where a depthwise layer, not a scale by itself, leaves the means of its rows for the pooling that follows."""
    value = node.outputs[0]
    depthwise = params["groups"] == params["c"] == params["k"]
    window = params.get("kh", 1) * params.get("kw", 1) > 1
    if value not in work.averaged or not depthwise or not window:
        return None
    image = int(params["oh"] * params["k"])
    made = replace(work.buffer(int(params["n"]) * image, int(params["k"])), image=image)
    work.means[value] = made
    return made


@lower_op.register
def _linear(op: Linear, work: Lowering, node: Node) -> None:
    params = fields.linear(op, work.shapes[node.inputs[0]], work.shapes[node.outputs[0]])
    name, params = work.target.linear(params)
    _dense(name, work, node, params, work.homes[node.inputs[0]], op.has_residual)


def _dense(
    name: str,
    work: Lowering,
    node: Node,
    params: Params,
    x: Home,
    has_residual: bool,
    gate: Home | None = None,
) -> None:
    y = work.homes[node.outputs[0]]
    residual = work.nhwc(node.inputs[1], node) if has_residual else None
    if residual is not None:
        params = {**params, "ldr": residual.ld}
    work.emit(name, node, {**params, **lds(x, y)}, x, y, residual, weighted=True, third=gate)


@lower_op.register
def _pool2d(op: Pool2d, work: Lowering, node: Node) -> None:
    _pool(op, work, node)


@lower_op.register
def _adaptive_pool2d(op: AdaptivePool2d, work: Lowering, node: Node) -> None:
    if not is_mean(op):
        _pool(op, work, node)
        return
    (n, c, h, w), y = work.shapes[node.inputs[0]], work.homes[node.outputs[0]]
    means = work.means.get(node.inputs[0])
    x = work.nhwc(node.inputs[0], node) if means is None else means
    params = fields.global_pool((n, c, h, w if means is None else 1))
    work.emit("global_pool", node, {**params, **lds(x, y)}, x, y)


def _pool(op: Pool2d | AdaptivePool2d, work: Lowering, node: Node) -> None:
    x, y = work.nhwc(node.inputs[0], node), work.homes[node.outputs[0]]
    params = fields.pool2d(op, work.shapes[node.inputs[0]], work.shapes[node.outputs[0]])
    work.emit("pool2d", node, {**params, **lds(x, y)}, x, y)


@lower_op.register
def _upsample(op: Upsample, work: Lowering, node: Node) -> None:
    x, y = work.nhwc(node.inputs[0], node), work.homes[node.outputs[0]]
    params = fields.upsample(op, work.shapes[node.inputs[0]], work.shapes[node.outputs[0]])
    work.emit("upsample", node, {**params, **lds(x, y), "y_nchw": int(y.nchw)}, x, y)


@lower_op.register
def _layer_norm(op: LayerNorm, work: Lowering, node: Node) -> None:
    x, y = work.nhwc(node.inputs[0], node), work.homes[node.outputs[0]]
    params = {**fields.rows(work.shapes[node.inputs[0]], x, y), "eps": op.eps}
    work.emit("layer_norm", node, params, x, y, weighted=op.weight is not None)


@lower_op.register
def _group_norm(op: GroupNorm, work: Lowering, node: Node) -> None:
    x, y = work.nhwc(node.inputs[0], node), work.homes[node.outputs[0]]
    params = fields.group_norm(op, work.shapes[node.inputs[0]], x, y)
    work.emit("group_norm", node, params, x, y, weighted=op.weight is not None)


@lower_op.register
def _local_response_norm(op: LocalResponseNorm, work: Lowering, node: Node) -> None:
    x, y = work.nhwc(node.inputs[0], node), work.homes[node.outputs[0]]
    window: Params = {"size": op.size, "alpha": op.alpha, "beta": op.beta, "k": op.k}
    params = {**fields.rows(work.shapes[node.inputs[0]], x, y), **window}
    work.emit("local_response_norm", node, params, x, y)


@lower_op.register
def _softmax(op: Softmax, work: Lowering, node: Node) -> None:
    x, y = work.nhwc(node.inputs[0], node), work.homes[node.outputs[0]]
    work.emit("softmax", node, fields.rows(work.shapes[node.inputs[0]], x, y), x, y)


@lower_op.register
def _attention(op: Attention, work: Lowering, node: Node) -> None:
    (q, k, v), y = (work.homes[i] for i in node.inputs), work.homes[node.outputs[0]]
    sizes = fields.attention(op, *(work.shapes[i] for i in node.inputs))
    rows: Params = {"ldq": q.ld, "ldk": k.ld, "ldv": v.ld, "ldy": y.ld}
    work.emit("attention", node, sizes | rows, q, y, k, third=v)


@lower_op.register
def _timestep_embedding(op: TimestepEmbedding, work: Lowering, node: Node) -> None:
    x, y = work.homes[node.inputs[0]], work.homes[node.outputs[0]]
    first = {"cosine_first": int(op.cosine_first), "steps": STEP_TYPES[op.steps]}
    params: Params = {"n": work.shapes[node.inputs[0]][0], "width": op.width, "ldy": y.ld, **first}
    work.emit("timestep_embedding", node, params, x, y, weighted=True)


@lower_op.register
def _add(op: Add, work: Lowering, node: Node) -> None:
    x, r = (work.nhwc(v, node) for v in node.inputs)
    y = work.homes[node.outputs[0]]
    params = {**fields.rows(work.shapes[node.inputs[0]], x, y), "ldr": r.ld}
    work.emit("add_act", node, {**params, **fields.act_fields(op)}, x, y, r)


@lower_op.register
def _elementwise(op: Elementwise, work: Lowering, node: Node) -> None:
    x, y = work.nhwc(node.inputs[0], node), work.homes[node.outputs[0]]
    params = {**fields.rows(work.shapes[node.inputs[0]], x, y), **fields.act_fields(op)}
    work.emit("elementwise", node, params, x, y)


def lds(x: Home, y: Home) -> Params:
    """The pixel strides of one operand and the result."""
    return {"ldx": x.ld, "ldy": y.ld}
