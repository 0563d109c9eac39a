"""Operations with weights: convolution, linear layer, batch norm."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from .dim import Shape
from .op import Act, Int2, Op, Pads
from .shape_rules import ShapeError, check_rank, check_same, window_count
from .source import Source, TensorTable


@dataclass(frozen=True)
class Norm:
    """Batch norm with running statistics: y = (x - mean) / sqrt(var + eps) * weight + bias, per channel."""

    mean: Source
    var: Source
    weight: Source | None = None
    bias: Source | None = None
    eps: float = 1e-5


@dataclass(frozen=True)
class Scale:
    """y = x * factor: of each channel, a tensor of the model with that many entries, or a number."""

    factor: Source | float


@dataclass(frozen=True)
class BatchNorm(Op):
    """y = act(norm(x)): batch norm with running statistics that no convolution took; x [n, c, ...]."""

    name: ClassVar[str] = "batch_norm"
    norm: Norm
    act: Act = Act()

    def infer(self, shapes: Sequence[Shape], tensors: TensorTable) -> tuple[Shape, ...]:
        c = tensors.shape(self.norm.mean)[0]
        if len(shapes[0]) < 2 or shapes[0][1] != c:
            raise ShapeError(f"batch_norm: x has shape {list(shapes[0])}, running_mean has c={c}")
        return (shapes[0],)


@dataclass(frozen=True)
class Conv2d(Op):
    """y = act(norms(conv2d(pad(x), weight) + bias) + residual).

    Inputs: x [n, c, h, w], with `has_residual` r [n, k, oh, ow], and with `has_gate` g [n, c, 1, 1].  `norms` are
    folded into weight and bias by `folded_weight`.  `weight_shape` is set where the tensor is a Linear's [k, c*kh*kw]
    or a line's [k, c, kw], to be viewed as [k, c, kh, kw].

    A 1x1 window without padding and groups may read prologue(x), or x * g, in place of x.
    """

    name: ClassVar[str] = "conv2d"
    arity: ClassVar[tuple[int, int]] = (1, 3)
    weight: Source
    bias: Source | None = None
    stride: Int2 = (1, 1)
    padding: Pads = (0, 0, 0, 0)
    dilation: Int2 = (1, 1)
    groups: int = 1
    norms: tuple[Norm | Scale, ...] = ()
    act: Act = Act()
    has_residual: bool = False
    weight_shape: tuple[int, int, int, int] | None = None
    prologue: BatchNorm | None = None
    has_gate: bool = False

    def takes_prologue(self, tensors: TensorTable) -> bool:
        """Whether what happens to a pixel of x before it happens within the sums."""
        window = (self.weight_shape or tensors.shape(self.weight))[2:]
        return tuple(window) == (1, 1) and self.groups == 1 and self.padding == (0, 0, 0, 0)

    def infer(self, shapes: Sequence[Shape], tensors: TensorTable) -> tuple[Shape, ...]:
        n, c, h, w = check_rank(shapes[0], 4, self.name)
        k, group_c, kh, kw = self.weight_shape or tensors.shape(self.weight)
        if k * group_c * kh * kw != math.prod(tensors.shape(self.weight)):
            raise ShapeError(f"conv2d: {self.weight} cannot be viewed as {[k, group_c, kh, kw]}")
        if group_c * self.groups != c:
            raise ShapeError(
                f"conv2d: x has c={c}, the weight takes {group_c} * groups={self.groups}"
            )
        top, left, bottom, right = self.padding
        oh = window_count(h + top + bottom, kh, self.stride[0], self.dilation[0], self.name)
        ow = window_count(w + left + right, kw, self.stride[1], self.dilation[1], self.name)
        if self.has_residual:
            check_same(shapes[1], (n, k, oh, ow), "conv2d: residual")
        if self.has_gate:
            check_same(shapes[-1], (n, c, 1, 1), "conv2d: gate")
        return ((n, k, oh, ow),)


@dataclass(frozen=True)
class ConvTranspose2d(Op):
    """y = act(norms(conv_transpose2d(x, weight) + bias)); x [n, c, h, w], weight [c, k / groups, kh, kw].

    `norms` are folded into weight and bias by `folded_weight`.
    """

    name: ClassVar[str] = "conv_transpose2d"
    weight: Source
    bias: Source | None = None
    stride: Int2 = (1, 1)
    padding: Int2 = (0, 0)
    output_padding: Int2 = (0, 0)
    dilation: Int2 = (1, 1)
    groups: int = 1
    norms: tuple[Norm | Scale, ...] = ()
    act: Act = Act()

    def infer(self, shapes: Sequence[Shape], tensors: TensorTable) -> tuple[Shape, ...]:
        n, c, *size = check_rank(shapes[0], 4, self.name)
        weight_c, group_k, *kernel = tensors.shape(self.weight)
        if weight_c != c:
            raise ShapeError(f"conv_transpose2d: x has c={c}, the weight takes {weight_c}")
        out: list[int] = []
        for axis, extra in enumerate(self.output_padding):
            stride, dilation = self.stride[axis], self.dilation[axis]
            if not 0 <= extra < max(stride, dilation):
                raise ShapeError(
                    f"conv_transpose2d: output_padding={extra} with stride {stride}, dilation {dilation}"
                )
            reach = dilation * (kernel[axis] - 1) + 1
            out.append((size[axis] - 1) * stride - 2 * self.padding[axis] + reach + extra)
        if min(*size, *out) < 1:
            raise ShapeError(f"conv_transpose2d: the result of {size} would be {out}")
        return ((n, group_k * self.groups, *out),)


@dataclass(frozen=True)
class Linear(Op):
    """y = act(norms(x weightᵀ + bias) + residual); x [..., c], weight [k, c]."""

    name: ClassVar[str] = "linear"
    arity: ClassVar[tuple[int, int]] = (1, 2)
    weight: Source
    bias: Source | None = None
    norms: tuple[Norm | Scale, ...] = ()
    act: Act = Act()
    has_residual: bool = False

    def infer(self, shapes: Sequence[Shape], tensors: TensorTable) -> tuple[Shape, ...]:
        k, c = tensors.shape(self.weight)
        if not shapes[0] or shapes[0][-1] != c:
            raise ShapeError(f"linear: x has shape {list(shapes[0])}, the weight takes c={c}")
        out = (*shapes[0][:-1], k)
        if self.has_residual:
            check_same(shapes[1], out, "linear: residual")
        return (out,)
