"""conv2d_pool: the bits that conv2d's kernel and pool2d behind it have, and what it refuses."""

from __future__ import annotations

import dataclasses

import pinned
import pytest
import tolerance
import torch
import torch.nn.functional as F
from convolutions import SLOPE, Conv, Problem, problem
from torch import Tensor

from pycnn import _C, ops

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
ALL = [(name, dtype) for dtype in DTYPES for name in pinned.kernels("conv2d_pool", dtype)]
FAST = [(name, dtype) for name, dtype in ALL if "winograd" in name]
GAP = 3


@dataclasses.dataclass(frozen=True)
class Pooled:
    """Windows of `window` pixels, as far apart as `stride`."""

    conv: Conv
    window: int = 2
    stride: int = 2
    pad: int = 0
    ceil: bool = False

    def __call__(self, y: Tensor) -> Tensor:
        return F.max_pool2d(y, self.window, self.stride, self.pad, ceil_mode=self.ceil)

    def params(self, act: str, gap: int) -> dict[str, float]:
        c, (kh, kw) = self.conv, self.conv.kernel
        oh, ow = problem(c).residual.shape[2:]
        pooled_h, pooled_w = self(problem(c).residual).shape[2:]
        return {
            "n": c.n, "h": c.h, "w": c.w, "c": c.c, "k": c.k, "kh": kh, "kw": kw, "oh": oh, "ow": ow,
            "sh": c.stride[0], "sw": c.stride[1], "ph": c.padding[0], "pw": c.padding[1],
            "dh": c.dilation[0], "dw": c.dilation[1], "groups": c.groups, "ldx": c.c + gap, "ldy": c.k + 2 * gap,
            "act": ops.ACTS[act], "act_param": SLOPE, "window": self.window, "stride": self.stride,
            "pad": self.pad, "pooled_h": pooled_h, "pooled_w": pooled_w,
        }  # fmt: skip


def call(kernel: str, op: str, params: dict[str, float], p: Problem, out: torch.Size) -> Tensor:
    """[n, k, h, w] of a convolution, pooled or not."""
    n, k, h, w = out
    x = pinned.spread(pinned.nhwc(p.x), int(params["ldx"]))
    workers = int(params.get("workers", 1))
    params = {name: v for name, v in params.items() if name in _C.fields(op)}
    y = pinned.call(op, kernel, params, x, (n * h * w, k), None, workers, p.weight, p.bias)
    return pinned.nchw(y, n, h, w)


def pooled(
    kernel: str, of: Pooled, p: Problem, act: str = "relu", gap: int = GAP, workers: int = 1
) -> Tensor:
    params = of.params(act, gap)
    n, k = p.x.shape[0], of.conv.k
    out = torch.Size((n, k, int(params["pooled_h"]), int(params["pooled_w"])))
    return call(kernel, "conv2d_pool", {**params, "n": n, "workers": workers}, p, out)


def apart(kernel: str, of: Pooled, p: Problem, act: str = "relu") -> Tensor:
    """By conv2d's kernel of the same name, pooled by torch."""
    out = problem(of.conv).residual.shape
    alone = kernel.replace("conv2d_pool", "conv2d")
    return of(call(alone, "conv2d", of.params(act, GAP), p, out))


def given(conv: Conv, dtype: str) -> Problem:
    """As the kernel reads it: x in its dtype."""
    p = problem(conv)
    return dataclasses.replace(p, x=p.x.to(DTYPES[dtype]))


def layer(c: int, k: int, h: int, w: int, n: int = 1, padding: int = 1, **more: int) -> Conv:
    return Conv(c, k, h, w, (3, 3), (1, 1), (padding,) * 4, n=n, **more)


@pytest.mark.parametrize(("kernel", "dtype"), FAST)
def test_every_height_and_width_of_the_last_tile(kernel: str, dtype: str) -> None:
    for h in (*range(2, 10), 13):
        for w in (2, 3, 4, 5, 7, 8, 11):
            for ceil in (False, True):
                of = Pooled(layer(17, 16, h, w), ceil=ceil)
                p = given(of.conv, dtype)
                assert torch.equal(pooled(kernel, of, p), apart(kernel, of, p)), (h, w, ceil)


@pytest.mark.parametrize("act", ["none", "relu", "relu6"])
@pytest.mark.parametrize(("kernel", "dtype"), FAST)
def test_channels_groups_paddings_and_blocks(kernel: str, dtype: str, act: str) -> None:
    layers = [
        *(layer(c, k, 6, 9, n=2) for c, k in ((16, 19), (35, 64), (66, 147))),
        *(layer(51, 48, 7, 6, groups=3, padding=p) for p in (0, 1, 2)),
        layer(24, 20, 33, 34, n=3),
    ]
    for conv in layers:
        of, p = Pooled(conv), given(conv, dtype)
        y = pooled(kernel, of, p, act)
        assert torch.equal(y, apart(kernel, of, p, act))
        for workers, gap in ((2, GAP), (7, 0)):
            assert torch.equal(pooled(kernel, of, p, act, gap, workers), y)
        alone = dataclasses.replace(p, x=p.x[:1].clone())
        assert torch.equal(pooled(kernel, of, alone, act), y[:1])
        without = dataclasses.replace(p, bias=torch.zeros_like(p.bias))
        assert torch.equal(pooled(kernel, of, without, act), apart(kernel, of, without, act))


@pytest.mark.parametrize(("kernel", "dtype"), ALL)
def test_nan_and_infinity_as_where_the_two_are_apart(kernel: str, dtype: str) -> None:
    of = Pooled(layer(16, 18, 9, 10, n=2))
    p = given(of.conv, dtype)
    x = p.x.clone()
    x[0, 2, 3, 4], x[1, 1, 0, 9], x[1, 5, 7, 1] = torch.nan, torch.inf, -torch.inf
    p = dataclasses.replace(p, x=x)
    y, expected = pooled(kernel, of, p), apart(kernel, of, p)
    assert y.isnan().any() and torch.equal(y.isnan(), expected.isnan())
    assert torch.equal(y.nan_to_num(7), expected.nan_to_num(7))


@pytest.mark.parametrize("act", ["none", "relu", "leaky_relu"])
def test_the_reference_knows_any_square_window(act: str) -> None:
    stem = Conv(3, 5, 11, 8, (5, 3), (2, 1), (2, 1, 2, 1), n=2)
    for window, stride, pad, ceil in ((3, 2, 1, False), (2, 1, 0, True), (3, 3, 0, True)):
        of = Pooled(stem, window, stride, pad, ceil)
        p = problem(stem)
        before = of(stem(p.x.double(), p.weight.double(), p.bias.double()))
        magnitude = of(stem(p.x.abs(), p.weight.abs(), p.bias.abs()).double())
        bound = tolerance.sums(stem.reduction, magnitude)
        y = pooled("conv2d_pool_reference", of, p, act)
        tolerance.check(y, ops.apply_act(before, act, SLOPE), bound)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"window": 3}, "needs windows of 2 x 2, side by side"),
        ({"stride": 1}, "needs windows of 2 x 2, side by side"),
        ({"pad": 1}, "needs windows of 2 x 2, side by side"),
        ({"dh": 2}, "needs a kernel without dilation"),
        ({"act": ops.ACTS["silu"]}, "needs an activation that is a clamp"),
        ({"sh": 2}, "needs stride 1"),
        ({"kh": 5}, "needs a 3 x 3 kernel"),
        ({"exact": 1}, "exact: products may not be re-associated"),
        ({"prologue": 2}, "has no prologue"),
        ({"x_nchw": 1}, "needs an NHWC input"),
        ({"c": 15}, "needs at least 16 channels a group"),
    ],
)
def test_what_they_refuse(change: dict[str, float], sentence: str) -> None:
    able = Pooled(layer(16, 16, 8, 8)).params("relu", 0)
    for kernel, dtype in FAST:
        assert dict(_C.kernels("conv2d_pool", able, dtype))[kernel] is None
        assert dict(_C.kernels("conv2d_pool", able | change, dtype))[kernel] == sentence
