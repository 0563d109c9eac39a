"""Converters of the activations: every spelling becomes Elementwise(Act)."""

from __future__ import annotations

from ..ir import Act, Arith, Elementwise
from .builder import Builder, Unsupported, Value, float_value
from .table import Converter, converts


def _plain(kind: str) -> Converter:
    def convert(g: Builder, input: Value, inplace: bool = False) -> Value:
        return _emit(g, input, kind, inplace=inplace)

    return convert


for _kind in ("relu", "relu6", "silu", "hardswish", "hardsigmoid", "sigmoid", "tanh", "mish"):
    converts(_kind)(_plain(_kind))


@converts("leaky_relu")
def leaky_relu(
    g: Builder, input: Value, negative_slope: float = 0.01, inplace: bool = False
) -> Value:
    return _emit(g, input, "leaky_relu", negative_slope, inplace)


@converts("elu")
def elu(
    g: Builder,
    input: Value,
    alpha: float = 1.0,
    scale: float = 1.0,
    input_scale: float = 1.0,
    inplace: bool = False,
) -> Value:
    if (scale, input_scale) != (1, 1) or isinstance(scale, bool):
        raise Unsupported("elu: scales are run by torch")
    return _emit(g, input, "elu", alpha, inplace)


@converts("selu")
def selu(g: Builder, input: Value, inplace: bool = False) -> Value:
    y = _emit(g, input, "elu", 1.6732632423543772, inplace)
    return g.emit(Arith("mul", 1.0507009873554805, y.rank), y)


@converts("gelu")
def gelu(g: Builder, input: Value, *, approximate: str = "none") -> Value:
    return _emit(g, input, "gelu_tanh" if approximate == "tanh" else "gelu")


@converts("hardtanh")
def hardtanh(
    g: Builder, input: Value, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False
) -> Value:
    if (min_val, max_val) != (0, 6):
        raise Unsupported(f"hardtanh({min_val}, {max_val}) is run by torch; (0, 6) is relu6")
    return _emit(g, input, "relu6", inplace=inplace)


@converts("clamp", "clip")
def clamp(g: Builder, input: Value, min: object = None, max: object = None) -> Value:
    bounds = [b if isinstance(b, (int, float)) else None for b in (min, max)]
    if bounds == [0, 6]:
        return _emit(g, input, "relu6")
    if bounds == [0, None] and max is None:
        return _emit(g, input, "relu")
    raise Unsupported("clamp: only (0, 6) and (0, None) are activations")


@converts("clamp_min")
def clamp_min(g: Builder, input: Value, min: object) -> Value:
    return clamp(g, input, min)


def _emit(g: Builder, input: Value, kind: str, param: float = 0.01, inplace: bool = False) -> Value:
    g.inplace = inplace
    return g.emit(Elementwise(Act(kind, float(param))), float_value(input, f"{kind}: x"))
