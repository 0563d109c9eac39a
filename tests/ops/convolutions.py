"""Problems of conv2d and how a kernel of its table is run on one: by name, on guarded buffers, against fp64."""

import dataclasses
import functools
from collections.abc import Callable

import pinned
import tolerance
import torch
import torch.nn.functional as F
from torch import Tensor

from pycnn import ops

KERNELS = pinned.kernels("conv2d")
LANES = {"avx512": 16, "avx2": 8, "baseline": 4, "reference": 4}
ROWS = {"avx512": 14, "avx2": 6, "baseline": 6, "reference": 6}
SLOPE = 0.3


@dataclasses.dataclass(frozen=True)
class Conv:
    """A problem; padding is (top, left, bottom, right)."""

    c: int
    k: int
    h: int = 1
    w: int = 1
    kernel: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1
    n: int = 1

    @property
    def reduction(self) -> int:
        return self.c // self.groups * self.kernel[0] * self.kernel[1]

    def suits(self, kernel: str, nchw: bool = False) -> bool:
        if "winograd" in kernel:
            channels = min(self.c // self.groups, self.k // self.groups)
            window = (5, 5) if "5x5" in kernel else (3, 3)
            fits = (self.kernel, self.stride) == (window, (1, 1))
            return fits and channels >= 16 and not nchw
        if "depthwise_window" in kernel or "depthwise3x3" in kernel:
            windows = ((3, 3),) if "3x3" in kernel else ((5, 5), (7, 7))
            square = self.kernel in windows and self.stride in ((1, 1), (2, 2))
            channels = self.groups == self.c == self.k
            steps = self.dilation == (1, 1) or self.stride == (1, 1)
            return square and channels and steps and not nchw
        if "grouped" in kernel:
            lanes, channels = LANES[kernel.rsplit("_", 1)[1]], self.c // self.groups
            window = self.kernel == (3, 3) and self.stride in ((1, 1), (2, 2))
            fits = self.c == self.k and channels > 1 and lanes % channels == 0
            steps = self.dilation == (1, 1) or self.stride == (1, 1)
            return window and fits and steps and not nchw
        if "stem" in kernel:
            (_, kw), (_, sw), (_, dw) = self.kernel, self.stride, self.dilation
            ow = (self.w + self.padding[1] + self.padding[3] - (kw - 1) * dw - 1) // sw + 1
            rows = ROWS[kernel.rsplit("_", 1)[1]]
            wide = ow > rows // 2 if nchw else ow >= rows
            return self.groups == 1 and (nchw or self.c < 8) and (kw - 1) * dw + 1 > sw and wide
        if "depthwise" in kernel:
            return self.groups == self.c == self.k and not nchw
        if "igemm" in kernel:
            return self.c // self.groups >= 8 and not nchw
        return True

    def __call__(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """torch's convolution."""
        top, left, bottom, right = self.padding
        x = F.pad(x, (left, right, top, bottom))
        return F.conv2d(x, weight, bias, self.stride, 0, self.dilation, self.groups)


@dataclasses.dataclass(frozen=True)
class Problem:
    x: Tensor
    weight: Tensor
    bias: Tensor
    residual: Tensor


@functools.cache
def problem(conv: Conv) -> Problem:
    g = torch.Generator().manual_seed(0)
    x = torch.randn(conv.n, conv.c, conv.h, conv.w, generator=g)
    weight = torch.randn(conv.k, conv.c // conv.groups, *conv.kernel, generator=g)
    bias = torch.randn(conv.k, generator=g)
    return Problem(x, weight, bias, torch.randn(conv(x, weight, bias).shape, generator=g))


@functools.cache
def expected(conv: Conv, with_bias: bool, with_residual: bool) -> tuple[Tensor, Tensor]:
    """fp64's result before the activation, and its bound."""
    p = problem(conv)
    x, weight, bias = p.x.double(), p.weight.double(), p.bias.double() * with_bias
    residual = p.residual.double() * with_residual
    magnitude = conv(x.abs(), weight.abs(), bias.abs()) + residual.abs()
    return conv(x, weight, bias) + residual, tolerance.sums(conv.reduction, magnitude)


def run(
    kernel: str,
    conv: Conv,
    p: Problem,
    *,
    act: str = "none",
    gap: int = 5,
    nchw: bool = False,
    with_bias: bool = True,
    with_residual: bool = True,
    workers: int = 1,
    over: str = "",
    means: Tensor | None = None,
) -> Tensor:
    """y [n, k, oh, ow]; the pixels of x, residual and y lie in wider rows, with NaN between, before and after. `over`:
    the operand in y's memory, as pinned.call has it. `means`: written by conv2d_means, whose kernel it is then."""
    n, k, oh, ow = p.residual.shape
    (kh, kw), (sh, sw), (dh, dw) = conv.kernel, conv.stride, conv.dilation
    params = {
        "n": n, "h": conv.h, "w": conv.w, "c": conv.c, "k": k, "kh": kh, "kw": kw, "oh": oh, "ow": ow,
        "sh": sh, "sw": sw, "ph": conv.padding[0], "pw": conv.padding[1], "dh": dh, "dw": dw, "groups": conv.groups,
        "ldx": conv.c + gap, "ldr": k + 2 * gap, "ldy": k + 3 * gap, "x_nchw": int(nchw),
        "act": ops.ACTS[act], "act_param": SLOPE,
    }  # fmt: skip
    if over:
        params["ldr" if over == "residual" else "ldx"] = params["ldy"]
    rows = p.x.reshape(1, -1) if nchw else pinned.spread(pinned.nhwc(p.x), params["ldx"])
    guarded = F.pad(rows, (0, 0, 1, 1), value=torch.nan)
    y = pinned.call(
        "conv2d" if means is None else "conv2d_means",
        kernel,
        params,
        guarded[1:-1],
        (n * oh * ow, k),
        pinned.spread(pinned.nhwc(p.residual), params["ldr"]) if with_residual else None,
        workers,
        p.weight,
        p.bias if with_bias else None,
        gate=means,
        over=over,
    )
    return pinned.nchw(y, n, oh, ow)


def check(kernel: str, conv: Conv, nchw: bool = False, gap: int = 5, extras: bool = True) -> None:
    y = run(kernel, conv, problem(conv), nchw=nchw, gap=gap, with_bias=extras, with_residual=extras)
    tolerance.check(y, *expected(conv, extras, extras))


def check_activation(
    kernel: str, conv: Conv, act: str, widen: Callable[[Tensor], Tensor] = lambda bound: bound
) -> None:
    """y after `act` within the bound, with and without bias and residual; `widen` makes a bound of direct's."""
    for with_bias, with_residual, gap in ((True, True, 0), (True, False, 5), (False, True, 5)):
        before, bound = expected(conv, with_bias, with_residual)
        extras = {"with_bias": with_bias, "with_residual": with_residual}
        y = run(kernel, conv, problem(conv), act=act, gap=gap, **extras)
        after = ops.apply_act(before, act, SLOPE)
        tolerance.check(y, after, tolerance.activated(before, widen(bound)))


Index = tuple[int, int, int, int]


def check_values_as_torch(
    kernel: str, conv: Conv, nan: Index, inf: Index, act: str = "relu"
) -> None:
    """Where x holds NaN at `nan`, inf at `inf` and -inf in its second image, NaN and infinities stand as in torch."""
    p = problem(conv)
    x = p.x.clone()
    x[nan], x[inf], x[1, 0, 2, 2] = torch.nan, torch.inf, -torch.inf
    p = dataclasses.replace(p, x=x)
    before = conv(x.double(), p.weight.double(), p.bias.double()) + p.residual.double()
    tolerance.check_values(run(kernel, conv, p, act=act), ops.apply_act(before, act, SLOPE))


def check_bits(kernel: str, conv: Conv, act: str, nchw: bool = False) -> Tensor:
    """The same bits for any number of workers, for an image by itself, for dense pixels; y."""
    p = problem(conv)
    call = functools.partial(run, kernel, act=act, nchw=nchw)
    one = call(conv, p)
    for workers in (2, 3, 7):
        assert torch.equal(call(conv, p, workers=workers), one)
    alone = Problem(p.x[1:2].clone(), p.weight, p.bias, p.residual[1:2])
    assert torch.equal(call(dataclasses.replace(conv, n=1), alone), one[1:2])
    if not nchw:
        assert torch.equal(call(conv, p, gap=0), one)
    return one
