"""The operations of the IR: frozen dataclasses whose fields are the operation's arguments.

Maps are NCHW as in torch; layout is the planner's business.  `infer` gives output shapes from input shapes and raises
ShapeError where torch would raise.  Fields may hold Dims; `resolve` (shapes.py) turns them into ints first.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from .dim import Shape
from .shape_rules import ShapeError, check_rank, check_same, window_count
from .source import Source, TensorTable

Int2 = tuple[int, int]
Pads = tuple[int, int, int, int]  # top, left, bottom, right
Mode = Literal["max", "avg"]


@dataclass(frozen=True)
class Act:
    """An activation: a kind of `pycnn.ops.act.ACTS` and its parameter (the slope of leaky_relu)."""

    kind: str = "none"
    param: float = 0.01

    def __bool__(self) -> bool:
        return self.kind != "none"

    def __str__(self) -> str:
        return f"leaky_relu({self.param:g})" if self.kind == "leaky_relu" else self.kind


@dataclass(frozen=True)
class Norm:
    """Batch norm with running statistics: y = (x - mean) / sqrt(var + eps) * weight + bias, per channel."""

    mean: Source
    var: Source
    weight: Source | None = None
    bias: Source | None = None
    eps: float = 1e-5


class Op:
    """Base of all operations.  `name` is what `Graph.count` and `Graph.has` call it."""

    name: ClassVar[str]
    arity: ClassVar[tuple[int, int]] = (1, 1)  # fewest and most inputs

    def infer(self, shapes: Sequence[Shape], tensors: TensorTable) -> tuple[Shape, ...]:
        """Output shapes for input shapes."""
        return (shapes[0],)


@dataclass(frozen=True)
class Conv2d(Op):
    """y = act(norms(conv2d(pad(x), weight) + bias) + residual).

    Inputs: x [n, c, h, w], and with `has_residual` r [n, k, oh, ow].  `norms` are folded into weight and bias by
    `folded_weight`.  `weight_shape` is set where the tensor is a Linear's [k, c*kh*kw], to be viewed as
    [k, c, kh, kw].
    """

    name: ClassVar[str] = "conv2d"
    arity: ClassVar[tuple[int, int]] = (1, 2)
    weight: Source
    bias: Source | None = None
    stride: Int2 = (1, 1)
    padding: Pads = (0, 0, 0, 0)
    dilation: Int2 = (1, 1)
    groups: int = 1
    norms: tuple[Norm, ...] = ()
    act: Act = Act()
    has_residual: bool = False
    weight_shape: tuple[int, int, int, int] | None = None

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
        return ((n, k, oh, ow),)


@dataclass(frozen=True)
class BatchNorm(Op):
    """Batch norm with running statistics that no convolution took: x [n, c, ...]."""

    name: ClassVar[str] = "batch_norm"
    norm: Norm

    def infer(self, shapes: Sequence[Shape], tensors: TensorTable) -> tuple[Shape, ...]:
        c = tensors.shape(self.norm.mean)[0]
        if len(shapes[0]) < 2 or shapes[0][1] != c:
            raise ShapeError(f"batch_norm: x has shape {list(shapes[0])}, running_mean has c={c}")
        return (shapes[0],)


@dataclass(frozen=True)
class Linear(Op):
    """y = act(norms(x weightᵀ + bias) + residual); x [..., c], weight [k, c]."""

    name: ClassVar[str] = "linear"
    arity: ClassVar[tuple[int, int]] = (1, 2)
    weight: Source
    bias: Source | None = None
    norms: tuple[Norm, ...] = ()
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


@dataclass(frozen=True)
class Pool2d(Op):
    """Max or average over windows, with every option of torch: x [n, c, h, w]."""

    name: ClassVar[str] = "pool2d"
    mode: Mode
    kernel: Int2
    stride: Int2
    padding: Int2 = (0, 0)
    dilation: Int2 = (1, 1)
    ceil_mode: bool = False
    count_include_pad: bool = True
    divisor_override: int | None = None

    def infer(self, shapes: Sequence[Shape], tensors: TensorTable) -> tuple[Shape, ...]:
        n, c, h, w = check_rank(shapes[0], 4, self.name)
        return ((n, c, self._out(h, 0), self._out(w, 1)),)

    def _out(self, size: int, axis: int) -> int:
        k, s, p, d = self.kernel[axis], self.stride[axis], self.padding[axis], self.dilation[axis]
        padded = size + 2 * p + (s - 1 if self.ceil_mode else 0)
        out = (padded - d * (k - 1) - 1) // s + 1
        if self.ceil_mode and (out - 1) * s >= size + p:
            out -= 1  # torch: the last window starts inside the image or its left padding
        if out < 1:
            raise ShapeError(
                f"pool2d: kernel {k} with dilation {d} is larger than the padded size {size + 2 * p}"
            )
        return out


@dataclass(frozen=True)
class AdaptivePool2d(Op):
    """Max or average over `output_size` equal parts: x [n, c, h, w]; output (1, 1) is global pooling."""

    name: ClassVar[str] = "adaptive_pool2d"
    mode: Mode
    output_size: Int2

    def infer(self, shapes: Sequence[Shape], tensors: TensorTable) -> tuple[Shape, ...]:
        n, c, _, _ = check_rank(shapes[0], 4, self.name)
        return ((n, c, *self.output_size),)


@dataclass(frozen=True)
class Upsample(Op):
    """x [n, c, h, w] at the given size, or at `factors` of its own, as F.interpolate."""

    name: ClassVar[str] = "upsample"
    mode: Literal["nearest", "bilinear"]
    align_corners: bool = False
    size: Int2 | None = None
    factors: tuple[float, float] | None = None

    def infer(self, shapes: Sequence[Shape], tensors: TensorTable) -> tuple[Shape, ...]:
        n, c, h, w = check_rank(shapes[0], 4, self.name)
        fh, fw = self.factors or (0.0, 0.0)
        oh, ow = self.size or (int(h * fh), int(w * fw))
        if min(oh, ow) < 1:
            raise ShapeError(f"upsample: the result of {h}x{w} would be {oh}x{ow}")
        return ((n, c, oh, ow),)


@dataclass(frozen=True)
class Elementwise(Op):
    """An activation that nothing took along."""

    name: ClassVar[str] = "elementwise"
    act: Act


@dataclass(frozen=True)
class Add(Op):
    """y = act(a + b) of two values of one shape."""

    name: ClassVar[str] = "add"
    arity: ClassVar[tuple[int, int]] = (2, 2)
    act: Act = Act()

    def infer(self, shapes: Sequence[Shape], tensors: TensorTable) -> tuple[Shape, ...]:
        check_same(shapes[1], shapes[0], "add: the second operand")
        return (shapes[0],)


@dataclass(frozen=True)
class Concat(Op):
    """Join along `dim` (not negative)."""

    name: ClassVar[str] = "concat"
    arity: ClassVar[tuple[int, int]] = (1, 1 << 30)
    dim: int = 1

    def infer(self, shapes: Sequence[Shape], tensors: TensorTable) -> tuple[Shape, ...]:
        first, d = shapes[0], self.dim
        for shape in shapes[1:]:
            check_same(
                (*shape[:d], first[d], *shape[d + 1 :]), first, f"concat(dim={d}): an operand"
            )
        return ((*first[:d], sum(shape[d] for shape in shapes), *first[d + 1 :]),)


@dataclass(frozen=True)
class Flatten(Op):
    """Merge the axes start..end (both inclusive, not negative) into one."""

    name: ClassVar[str] = "flatten"
    start: int
    end: int

    def infer(self, shapes: Sequence[Shape], tensors: TensorTable) -> tuple[Shape, ...]:
        x = shapes[0]
        return ((*x[: self.start], math.prod(x[self.start : self.end + 1]), *x[self.end + 1 :]),)


@dataclass(frozen=True)
class Reshape(Op):
    """The same elements in NCHW order under another shape; one entry may be -1."""

    name: ClassVar[str] = "reshape"
    shape: tuple[int, ...]

    def infer(self, shapes: Sequence[Shape], tensors: TensorTable) -> tuple[Shape, ...]:
        known, numel = math.prod(s for s in self.shape if s != -1), math.prod(shapes[0])
        out = tuple(numel // known if s == -1 and known else s for s in self.shape)
        if math.prod(out) != numel or -1 in out:
            raise ShapeError(f"reshape: {list(shapes[0])} does not fit {list(self.shape)}")
        return (out,)


@dataclass(frozen=True)
class Pad(Op):
    """Constant padding of the two last axes; no entry is negative."""

    name: ClassVar[str] = "pad"
    pads: Pads
    value: float = 0.0

    def infer(self, shapes: Sequence[Shape], tensors: TensorTable) -> tuple[Shape, ...]:
        (*outer, h, w), (top, left, bottom, right) = shapes[0], self.pads
        return ((*outer, h + top + bottom, w + left + right),)


@dataclass(frozen=True)
class Identity(Op):
    """y = x: dropout in eval, contiguous, clone, nn.Identity."""

    name: ClassVar[str] = "identity"


@dataclass(frozen=True)
class Ref:
    """Placeholder in a Torch op's arguments: input `index` of the node."""

    index: int


@dataclass(frozen=True)
class Torch(Op):
    """Anything else: `func(*args, **kwargs)` run by torch; Refs, Sources and Dims in the arguments are replaced.

    outputs: the tensors in the result, flattened, less those that are an argument written in place; then one value for
    each input in `mutates` (those are cloned before the call, so that the node is a function).  `effect`: the node does
    something besides its outputs (draws random numbers, writes a buffer) and must be kept, in order.  `view`: an
    output shares memory with an input as in eager, because the caller can see it.
    """

    name: ClassVar[str] = "torch"
    arity: ClassVar[tuple[int, int]] = (0, 1 << 30)
    func: Callable[..., Any]
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = field(default_factory=dict)
    reason: str = field(default="", compare=False)
    mutates: tuple[int, ...] = ()
    effect: bool = False
    view: bool = False
