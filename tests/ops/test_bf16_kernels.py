"""Kernels of bf16: fp32 sums of bf16 products, rounded once; against fp64 of the same bf16 numbers."""

import dataclasses
import functools
from collections.abc import Callable

import convolutions
import pinned
import pytest
import tolerance
import torch
import torch.nn.functional as F
from convolutions import SLOPE, Conv, Problem
from torch import Tensor

from pycnn import _C, ops

BF16 = torch.bfloat16
HALF_ULP = 2.0**-8  # of the one rounding of a result, relative
WINOGRAD = 30  # times direct's error of sums, in fp32 between the roundings
CONV = pinned.kernels("conv2d", "bfloat16")


def rounded(t: Tensor) -> Tensor:
    return t.to(BF16).float()


@functools.cache
def problem(conv: Conv) -> Problem:
    p = convolutions.problem(conv)
    return Problem(rounded(p.x), rounded(p.weight), p.bias, rounded(p.residual))


def expected(conv: Conv, act: str, sums: float) -> tuple[Tensor, Tensor]:
    """fp64's result and its bound: `sums` times that of fp32 sums, roundings to bf16 around the activation."""
    p = problem(conv)
    y = conv(p.x.double(), p.weight.double(), p.bias.double()) + p.residual.double()
    magnitude = conv(p.x.abs(), p.weight.abs(), p.bias.abs()).double() + p.residual.abs()
    bound = sums * tolerance.sums(conv.reduction, magnitude) + HALF_ULP * y.abs()
    if act in ("none", "relu", "relu6"):
        return ops.apply_act(y, act, SLOPE), bound
    after = ops.apply_act(y, act, SLOPE)
    return after, tolerance.activated(y, bound) + HALF_ULP * after.abs()


def check(
    kernel: str, conv: Conv, act: str = "none", nchw: bool = False, workers: int = 1
) -> Tensor:
    p = problem(conv)
    halves = dataclasses.replace(p, x=p.x.to(BF16), residual=p.residual.to(BF16))
    y = convolutions.run(kernel, conv, halves, act=act, nchw=nchw, workers=workers)
    assert y.dtype == BF16
    tolerance.check(y, *expected(conv, act, WINOGRAD if "winograd" in kernel else 1))
    return y


def suits(kernel: str, conv: Conv, nchw: bool = False) -> bool:
    if "conv2d_scale" in kernel:
        return conv.kernel == (1, 1) and conv.groups == conv.c == conv.k and not nchw
    if "conv2d_stem" in kernel and kernel.endswith("avx512") and (not nchw or conv.kernel[1] > 4):
        return False
    return conv.suits(kernel, nchw)


GRID = [
    *(Conv(c, k, 1, 1) for c in (1, 2, 3, 7, 8, 9, 16, 17, 33) for k in (1, 15, 16, 17, 40)),
    *(Conv(c, 35, 5, 8, (3, 3), (1, 1), (1, 1, 1, 1), n=2) for c in (3, 8, 9, 31)),
    Conv(16, 24, 9, 8, (3, 3), (2, 2), (1, 1, 1, 1)),
    Conv(3, 40, 9, 30, (3, 3), (2, 2), (1, 1, 1, 1)),
    Conv(36, 40, 13, 11, (3, 3), (1, 1), (1, 1, 1, 1)),
    Conv(33, 35, 7, 9, (5, 5), (1, 1), (2, 2, 2, 2), n=2),
    Conv(3, 40, 19, 21, (7, 7), (2, 2), (3, 3, 3, 3)),
    Conv(9, 20, 20, 6, (3, 3), (1, 1), (6, 6, 6, 6), (6, 6)),
    Conv(34, 36, 6, 7, (3, 1), (1, 2), (1, 0, 1, 0), groups=2),
    Conv(12, 12, 6, 7, (5, 3), (1, 1), (2, 1, 2, 1), (1, 1), groups=12),
    *(
        Conv(c, c, 9, 8, (k, k), (s, s), (k // 2,) * 4, groups=c)
        for c in (3, 16, 35)
        for k in (3, 5, 7)
        for s in (1, 2)
    ),
    *(Conv(24, 24, 9, 8, (3, 3), (s, s), (1, 1, 1, 1), groups=6) for s in (1, 2)),
    Conv(35, 35, 4, 5, groups=35),
]


@pytest.mark.parametrize("kernel", CONV)
def test_convolutions_at_the_edges(kernel: str) -> None:
    taken = [(conv, nchw) for conv in GRID for nchw in (False, True) if suits(kernel, conv, nchw)]
    assert taken
    for conv, nchw in taken:
        check(kernel, conv, nchw=nchw)


@pytest.mark.parametrize("act", ops.ACTS)
@pytest.mark.parametrize("kernel", CONV)
def test_activations(kernel: str, act: str) -> None:
    for conv in (
        Conv(9, 35, 5, 18, (3, 3), n=2),
        Conv(19, 20, 5, 8, (3, 3)),
        Conv(19, 19, 7, 8, (3, 3), groups=19),
    ):
        for nchw in (False, True):
            if suits(kernel, conv, nchw):
                check(kernel, conv, act, nchw)


@pytest.mark.parametrize("kernel", CONV)
def test_bits_do_not_depend_on_workers(kernel: str) -> None:
    for conv in (
        Conv(9, 35, 5, 8, (3, 3), n=2),
        Conv(64, 300, 2, 2),
        Conv(3, 40, 9, 30, (3, 3), (2, 2)),
        Conv(36, 40, 13, 11, (3, 3)),
        Conv(19, 19, 7, 8, (3, 3), groups=19),
        Conv(19, 19, 7, 8, (5, 5), groups=19),
        Conv(35, 35, 4, 5, groups=35),
    ):
        for nchw in (False, True):
            if suits(kernel, conv, nchw):
                one = check(kernel, conv, "silu", nchw)
                for workers in (2, 3, 7):
                    assert torch.equal(check(kernel, conv, "silu", nchw, workers), one)


@pytest.mark.parametrize("kernel", pinned.kernels("linear", "bfloat16"))
def test_linear(kernel: str) -> None:
    g = torch.Generator().manual_seed(1)
    for m, c, k in ((1, 1, 1), (3, 17, 16), (15, 64, 33), (29, 7, 100)):
        x, weight = (torch.randn(s, generator=g).to(BF16) for s in ((m, c), (k, c)))
        bias = torch.randn(k, generator=g)
        params = {"m": m, "c": c, "k": k, "ldx": c + 3, "ldy": k + 1, "ldr": k}
        rows = pinned.spread(x, c + 3)
        y = pinned.call("linear", kernel, params, rows, (m, k), None, 2, weight.float(), bias)
        ref = F.linear(x.double(), weight.double(), bias.double())
        magnitude = F.linear(x.double().abs(), weight.double().abs(), bias.double().abs())
        tolerance.check(y, ref, tolerance.sums(c, magnitude) + HALF_ULP * ref.abs())


@pytest.mark.parametrize("kernel", pinned.kernels("conv_transpose2d", "bfloat16"))
def test_conv_transpose2d(kernel: str) -> None:
    g = torch.Generator().manual_seed(2)
    for c, k, size, stride, pad in ((3, 5, 2, 2, 0), (16, 17, 3, 2, 1), (9, 20, 4, 2, 1)):
        x = torch.randn(2, c, 4, 5, generator=g).to(BF16)
        weight = torch.randn(c, k, size, size, generator=g).to(BF16)
        ref = F.conv_transpose2d(x.double(), weight.double(), None, stride, pad)
        n, _, oh, ow = ref.shape
        params = {
            "n": 2, "h": 4, "w": 5, "c": c, "k": k, "kh": size, "kw": size, "oh": oh, "ow": ow,
            "sh": stride, "sw": stride, "ph": pad, "pw": pad, "ldx": c + 1, "ldy": k + 3,
        }  # fmt: skip
        rows = pinned.spread(pinned.nhwc(x), c + 1)
        y = pinned.call(
            "conv_transpose2d", kernel, params, rows, (n * oh * ow, k), None, 2, weight.float()
        )
        magnitude = F.conv_transpose2d(x.double().abs(), weight.double().abs(), None, stride, pad)
        bound = tolerance.sums(c * size * size, magnitude) + HALF_ULP * ref.abs()
        tolerance.check(pinned.nchw(y, n, oh, ow), ref, bound)


Case = tuple[str, dict[str, float], Callable[[Tensor], Tensor]]
ROWS: list[Case] = [  # op, its parameters, torch's function
    ("elementwise", {"act": ops.ACTS["gelu"]}, F.gelu),
    ("concat", {}, lambda x: x),
    ("softmax", {}, lambda x: x.softmax(-1)),
    ("layer_norm", {"eps": 1e-5}, lambda x: F.layer_norm(x, x.shape[-1:])),
    ("arith", {"kind": 2, "scalar": 0.3}, lambda x: x * 0.3),
]


@pytest.mark.parametrize("c", [1, 2, 15, 16, 17, 67, 1030])
@pytest.mark.parametrize("case", ROWS, ids=lambda case: case[0])
def test_rows(case: Case, c: int) -> None:
    op, params, function = case
    x = torch.randn(5, c, generator=torch.Generator().manual_seed(3)).to(BF16)
    for kernel in pinned.kernels(op, "bfloat16"):
        of = {**params, "pixels": 5, "c": c, "ldx": c + 3, "ldy": c + 2}
        y = pinned.call(op, kernel, of, pinned.spread(x, c + 3), (5, c), workers=2)
        ref = function(x.double())
        tolerance.check(y, ref, 2 * HALF_ULP * ref.abs() + HALF_ULP * (c == 1030) + 1e-6)


def test_two_operands() -> None:
    g = torch.Generator().manual_seed(4)
    for c in (1, 15, 16, 67, 1030):
        x, r = (torch.randn(5, c, generator=g).to(BF16) for _ in range(2))
        params = {"pixels": 5, "c": c, "ldx": c + 3, "ldr": c + 1, "ldy": c}
        for kernel in pinned.kernels("add_act", "bfloat16"):
            rows = pinned.spread(x, c + 3), (5, c), pinned.spread(r, c + 1)
            y = pinned.call("add_act", kernel, {**params, "act": ops.ACTS["relu"]}, *rows)
            assert torch.equal(y, F.relu(x + r))


def test_conversions_round_to_nearest_even_and_keep_nan() -> None:
    halves = torch.arange(2**16, dtype=torch.int32).to(torch.int16).view(BF16)
    x = halves.repeat(2).view(2, -1)
    c = x.shape[1]
    params = {"pixels": 2, "c": c, "ldx": c, "ldy": c}
    for kernel in pinned.kernels("concat", "bfloat16"):
        y = pinned.call("concat", kernel, params, x, (2, c))
        normal = x.float().abs() >= torch.finfo(torch.float32).tiny
        kept = torch.isnan(x) | ~normal | (x == y)
        assert torch.equal(torch.isnan(x), torch.isnan(y)) and kept.all()
    x = halves[torch.isfinite(halves) & (halves.float().abs() > 1e-30)][None].contiguous()
    c = x.shape[1]
    params = {"n": 1, "pixels": 1, "c": c, "ldx": c, "ldy": c, "kind": 2, "scalar": 1 / 3}
    for kernel in pinned.kernels("arith", "bfloat16"):
        y = pinned.call("arith", kernel, params, x, (1, c))
        third = torch.tensor(1 / 3, dtype=torch.float32)
        assert torch.equal(y, (x.float() * third).to(BF16))


def test_what_cannot_run_says_why() -> None:
    reasons = dict(_C.kernels("conv2d", {"c": 8, "k": 8, "groups": 2}, "bfloat16"))
    names = [name for name in reasons if "depthwise" in name and name in CONV]
    assert names and {reasons[name] for name in names} == {"needs groups == c == k"}
    with pytest.raises(ValueError, match="no kernels of dtype 'float16'"):
        _C.kernels("conv2d", {}, "float16")
    with pytest.raises(ValueError, match="no kernel of dtype bfloat16 takes this matmul"):
        _C.choose("matmul", {"m": 2, "k": 2, "ym": 9, "yk": 9}, 1, "bfloat16")
