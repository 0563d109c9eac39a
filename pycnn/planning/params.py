"""Kernel parameters of each op, as the Params structs of csrc/ops/<op>/<op>.h name them."""

from __future__ import annotations

import math

from pycnn.ir import (
    AdaptivePool2d,
    Arith,
    Attention,
    BatchNorm,
    Conv2d,
    ConvTranspose2d,
    Excitation,
    GroupNorm,
    InvertedResidual,
    Linear,
    Mlp,
    NormedConv2d,
    Op,
    Pool2d,
    PooledConv2d,
    Shape,
    SummedConv2d,
    TensorTable,
    Upsample,
)
from pycnn.ops.act import ACTS
from pycnn.ops.arith import KINDS
from pycnn.ops.upsample import MODES
from pycnn.planning.homes import Home, Rows

Params = dict[str, float]
CONVOLUTIONS = (
    "conv2d",
    "conv2d_pool",
    "conv2d_sums",
    "conv2d_means",
    "conv2d_layer_norm",
)  # with conv2d's parameters
_POOL_MODES = {
    ("max", False): 0,
    ("avg", False): 1,
    ("max", True): 2,
    ("avg", True): 3,
}


def act_fields(op: Op) -> Params:
    act = getattr(op, "act", None)
    return {} if act is None else {"act": ACTS[act.kind], "act_param": act.param}


def conv2d(op: Conv2d, x: Shape, y: Shape, tensors: TensorTable) -> Params:
    n, c, h, w = x
    _, k, oh, ow = y
    kernel = (op.weight_shape or tensors.shape(op.weight))[2:]
    (sh, sw), (ph, pw) = op.stride, op.padding[:2]
    kh, ph, dh = _live_taps(kernel[0], h, oh, sh, ph, op.dilation[0])
    kw, pw, dw = _live_taps(kernel[1], w, ow, sw, pw, op.dilation[1])
    sizes = {"n": n, "h": h, "w": w, "c": c, "k": k, "kh": kh, "kw": kw, "oh": oh, "ow": ow}
    steps = {"sh": sh, "sw": sw, "ph": ph, "pw": pw, "dh": dh, "dw": dw}
    return {**sizes, **steps, "groups": op.groups, **act_fields(op), **_prologue(op)}


NORM, GATE = 1, 2  # prologues, as csrc/ops/conv2d/conv2d.h numbers them


def _prologue(op: Conv2d) -> Params:
    if op.prologue is not None:
        return {"prologue": NORM, "prologue_act": ACTS[op.prologue.act.kind]}
    return {"prologue": GATE} if op.has_gate else {}


def _live_taps(
    kernel: int, size: int, out: int, stride: int, pad: int, dilation: int
) -> tuple[int, int, int]:
    """(taps, padding, dilation) of one axis without the taps at its ends that see padding alone, for every output.

    Those dropped in front are (pad - new padding) / dilation.
    """
    last = (out - 1) * stride - pad
    inside = [t for t in range(kernel) if last + t * dilation >= 0 and t * dilation - pad < size]
    if len(inside) in (0, kernel) or inside[0] * dilation > pad:
        return kernel, pad, dilation
    return len(inside), pad - inside[0] * dilation, dilation if len(inside) > 1 else 1


def conv_transpose2d(op: ConvTranspose2d, x: Shape, y: Shape, tensors: TensorTable) -> Params:
    n, c, h, w = x
    _, k, oh, ow = y
    kh, kw = tensors.shape(op.weight)[2:]
    (sh, sw), (ph, pw), (dh, dw) = op.stride, op.padding, op.dilation
    sizes = {"n": n, "h": h, "w": w, "c": c, "k": k, "kh": kh, "kw": kw, "oh": oh, "ow": ow}
    steps = {"sh": sh, "sw": sw, "ph": ph, "pw": pw, "dh": dh, "dw": dw, "groups": op.groups}
    return {**sizes, **steps, **act_fields(op)}


def batch_norm(op: BatchNorm, x: Shape) -> Params:
    """A batch norm alone is a 1x1 depthwise convolution, of maps or of rows."""
    n, c, h, w = x if len(x) == 4 else (*x, 1, 1)
    sizes = {"n": n, "h": h, "w": w, "c": c, "k": c, "oh": h, "ow": w, "groups": c}
    return {**sizes, **act_fields(op)}


def linear(op: Linear, x: Shape, y: Shape) -> Params:
    rows = Rows.of(x)
    return {"m": rows.count, "c": x[-1], "k": y[-1], **act_fields(op)}


def pool2d(op: Pool2d | AdaptivePool2d, x: Shape, y: Shape) -> Params:
    n, c, h, w = x
    mode = _POOL_MODES[op.mode, isinstance(op, AdaptivePool2d)]
    params: Params = {"mode": mode, "n": n, "h": h, "w": w, "c": c, "oh": y[2], "ow": y[3]}
    if isinstance(op, AdaptivePool2d):
        return params
    (kh, kw), (sh, sw), (ph, pw), (dh, dw) = op.kernel, op.stride, op.padding, op.dilation
    window = {"kh": kh, "kw": kw, "sh": sh, "sw": sw, "ph": ph, "pw": pw, "dh": dh, "dw": dw}
    counts = {
        "count_include_pad": int(op.count_include_pad),
        "divisor_override": op.divisor_override or 0,
    }
    return {**params, **window, **counts}


def has_square_windows(op: Pool2d) -> bool:
    """Which `conv2d_pool` has one size of."""
    both = op.kernel, op.stride, op.padding
    return op.dilation == (1, 1) and all(down == across for down, across in both)


def conv2d_pool(op: PooledConv2d, x: Shape, y: Shape, tensors: TensorTable) -> Params:
    """The convolution's, the activation with them, and the pooling's."""
    pool: Params = {
        "window": op.pool.kernel[0],
        "stride": op.pool.stride[0],
        "pad": op.pool.padding[0],
    }
    (between,) = op.conv.infer([x], tensors)
    return {**conv2d(op.conv, x, between, tensors), **pool, "pooled_h": y[2], "pooled_w": y[3]}


def conv2d_layer_norm(op: NormedConv2d, x: Shape, y: Shape, tensors: TensorTable) -> Params:
    return {**conv2d(op.conv, x, y, tensors), "eps": op.norm.eps}


def conv2d_sums(op: SummedConv2d, x: Shape, y: Shape, tensors: TensorTable) -> Params:
    """The convolution's, and how many blocks share an image's pixels."""
    return {**conv2d(op.conv, x, y, tensors), "parts": _sum_parts(y)}


def _sum_parts(shape: Shape) -> int:
    """Of an image's sums; at most 32, which the gate's kernel reads one after the other."""
    return min(max(-(-shape[2] * shape[3] // 64), 1), 32)


def excitation(op: Excitation, x: Shape, tensors: TensorTable) -> Params:
    """x: the map's shape, or the means'."""
    n, c, h, w = x
    hidden = (op.reduce.weight_shape or tensors.shape(op.reduce.weight))[0]
    act, gate = op.reduce.act, op.expand.act
    acts: Params = {"act": ACTS[act.kind], "gate_act": ACTS[gate.kind]}
    acts |= {"act_param": act.param, "gate_param": gate.param}
    parts = {"parts": _sum_parts(x), "pixels": h * w} if op.summed else {}
    return {"n": n, "c": c, "s": hidden, **acts, **parts}


def mlp(op: Mlp, x: Shape, y: Shape, tensors: TensorTable) -> Params:
    n, c, h, w = x
    hidden = (op.expand.weight_shape or tensors.shape(op.expand.weight))[0]
    act, out = op.expand.act, op.project.act
    acts: Params = {"act": ACTS[act.kind], "out_act": ACTS[out.kind]}
    acts |= {"act_param": act.param, "out_param": out.param}
    return {"n": n, "pixels": h * w, "c": c, "s": hidden, "k": y[1], **acts}


def inverted_residual(op: InvertedResidual, x: Shape, y: Shape, tensors: TensorTable) -> Params:
    (n, c, h, w), (_, k, oh, ow) = x, y
    names = ("act", "act_param"), ("dw_act", "dw_param"), ("out_act", "out_param")
    acts: Params = {}
    for (kind, param), layer in zip(names, op.layers, strict=True):
        acts |= {kind: ACTS[layer.act.kind], param: layer.act.param}
    window = {"stride": op.depthwise.stride[0], "ph": op.depthwise.padding[0]}
    sizes = {"n": n, "h": h, "w": w, "c": c, "s": op.depthwise.groups, "k": k, "oh": oh, "ow": ow}
    return {**sizes, **window, "pw": op.depthwise.padding[1], **acts}


def upsample(op: Upsample, x: Shape, y: Shape) -> Params:
    n, c, h, w = x
    fh, fw = op.factors or (0.0, 0.0)
    sizes = {"n": n, "h": h, "w": w, "c": c, "oh": y[2], "ow": y[3]}
    return {"mode": MODES[op.mode, op.align_corners], **sizes, "factor_h": fh, "factor_w": fw}


def group_norm(op: GroupNorm, shape: Shape, x: Home, y: Home) -> Params:
    """Pixels of channels; [n, c, l] is rows of pixels."""
    planar = len(shape) == 3
    n, c, pixels = shape[0], shape[1], math.prod(shape[2:])
    sizes = {"n": n, "c": c, "pixels": pixels, "groups": op.groups, "planar": int(planar)}
    return {**sizes, "ldx": x.ld, "ldy": y.ld, "eps": op.eps, **act_fields(op)}


def attention(op: Attention, q: Shape, k: Shape, v: Shape) -> Params:
    n, length, c = q
    sizes = {"n": n, "heads": op.heads, "l": length, "s": k[1]}
    return {**sizes, "d": c // op.heads, "dv": v[2] // op.heads, "scale": op.scale}


def global_pool(x: Shape) -> Params:
    n, c, h, w = x
    return {"n": n, "h": h, "w": w, "c": c}


def rows(shape: Shape, x: Home, y: Home) -> Params:
    """add_act, elementwise, concat: rows of c."""
    r = Rows.of(shape)
    return {"pixels": r.count, "c": r.c, "ldx": x.ld, "ldy": y.ld}


_EXCHANGED = {"sub": "rsub", "div": "rdiv", "rsub": "sub", "rdiv": "div"}


def arith(op: Arith, y: Shape, exchanged: bool) -> Params:
    """`exchanged`: the kernel's x is the second operand."""
    r = Rows.of(y)
    n = y[0] if len(y) > 2 else 1
    kind = _EXCHANGED.get(op.kind, op.kind) if exchanged else op.kind
    return {"n": n, "pixels": r.count // n, "c": r.c, "kind": KINDS[kind]}


def repeats(shape: Shape, y: Shape, ld: int) -> Params:
    """Strides of an operand whose rows lie `ld` apart; 0 where it repeats over y."""
    full = (1,) * (len(y) - len(shape)) + tuple(shape)
    r = Rows.of(full)
    n = full[0] if len(y) > 2 else 1
    pixels = r.count // n
    return {
        "bn": ld * pixels if n > 1 else 0,
        "bp": ld if pixels > 1 else 0,
        "bc": int(r.c > 1),
    }


def layout(shape: Shape, to_nchw: bool, ld: int) -> Params:
    n, c, h, w = shape
    return {"n": n, "pixels": h * w, "c": c, "to_nchw": int(to_nchw), "ld": ld}


def weights(op: str, params: Params) -> float:
    """Of a convolution, of several layers or of none."""
    p = params
    if op == "inverted_residual":
        return p["s"] * (p["c"] + 9 + p["k"])
    if op == "mlp":
        return p["s"] * (p["c"] + p["k"])
    if op not in (*CONVOLUTIONS, "conv_transpose2d"):
        return 0.0
    return p["c"] * p["k"] / p.get("groups", 1) * p.get("kh", 1) * p.get("kw", 1)


def elements(op: str, params: Params) -> float:
    """Of x, residual, y and weights of a convolution that reads every pixel, or of several layers."""
    p = params
    read, made = (p["pixels"],) * 2 if op == "mlp" else (p["h"] * p["w"], p["oh"] * p["ow"])
    results = 2 if p.get("ldr") else 1
    return p["n"] * (read * p["c"] + made * p["k"] * results) + weights(op, p)


def multiplies(op: str, params: Params) -> float:
    """Multiply-adds of a step, or the floats it moves for those that have none."""
    p = params
    if op in CONVOLUTIONS:
        return p["n"] * p["oh"] * p["ow"] * weights(op, p)
    if op == "conv_transpose2d":
        return p["n"] * p["h"] * p["w"] * weights(op, p)
    if op == "excitation":
        return 2 * p["n"] * p["c"] * p["s"]
    if op == "mlp":
        return p["n"] * p["pixels"] * weights(op, p)
    if op == "inverted_residual":
        made = p["oh"] * p["ow"] * (9 + p["k"])
        return p["n"] * p["s"] * (p["h"] * p["w"] * p["c"] + made)
    if op == "rearrange":
        return math.prod(p[f"s{i}"] for i in range(8)) / 4
    if op == "attention":
        return p["n"] * p["heads"] * p["l"] * p["s"] * (p["d"] + p["dv"])
    if op == "matmul":
        return math.prod(p.get(f"s{i}", 1) for i in range(4)) * p["m"] * p["c"] * p["k"]
    if op == "timestep_embedding":
        return p["n"] * p["width"] * 4
    if op == "linear":
        return p["m"] * p["c"] * p["k"]
    if op == "pool2d":
        return p["n"] * p["oh"] * p["ow"] * p["c"] * p.get("kh", 1) * p.get("kw", 1) / 4
    if op == "upsample":
        return p["n"] * p["oh"] * p["ow"] * p["c"] / 2
    return p.get("n", 1) * p.get("pixels", p.get("h", 1) * p.get("w", 1)) * p["c"] / 4
