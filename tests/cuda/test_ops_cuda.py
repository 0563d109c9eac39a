"""The CUDA kernels of pooling, norms, arithmetic and movement, run on host threads: against fp64 at the edges of
16-byte pieces, of blocks, of slices; any order of threads; barriers."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from launch import DTYPES, Guarded, kernels, run
from torch import Tensor

from pycnn import ops
from pycnn.ops.arith import KINDS

TYPES = list(DTYPES)
UNIT = {"bfloat16": 2**-8, "float16": 2**-11, "float32": 2**-22}  # of a result's rounding
CHANNELS = (1, 3, 8, 13, 40)


def kernel_of(op: str, dtype: str) -> str:
    found = [name for name, of, _ in kernels().kernels(op, {}) if of == dtype]
    assert len(found) == 1
    return str(found[0])


def random(*shape: int, dtype: str) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(7)).to(DTYPES[dtype])


def rows(maps: Tensor) -> Tensor:
    """[n, c, h, w] as one row a pixel."""
    return maps.permute(0, 2, 3, 1).reshape(-1, maps.shape[1])


def check(
    op: str,
    dtype: str,
    params: dict[str, float],
    x: Tensor,
    expected: Tensor,
    gap: int = 0,
    slack: float = 4e-6,
    **more: Any,
) -> Guarded:
    """Rows x and the result of `expected`'s rows, `gap` elements between pixels. slack: of fp32 sums and functions."""
    kernel = kernel_of(op, dtype)
    given = Guarded(x, x.shape[1] + gap)
    y = Guarded(
        torch.full(expected.shape, torch.nan, dtype=x.dtype), expected.shape[1] + gap, writable=True
    )
    params = {"ldx": given.ld, "ldy": y.ld, **params}
    fields = kernels().fields(op)
    run(op, kernel, {k: v for k, v in params.items() if k in fields}, given, y, **more)
    error = (y.view.double() - expected).abs()
    bound = UNIT[dtype] * expected.abs() + slack
    bound = bound + 2**-24 * (dtype == "float16")
    wrong = ~(
        (error <= bound) | (y.view.double() == expected) | (y.view.isnan() & expected.isnan())
    )
    assert not wrong.any(), (op, params, y.view[wrong], expected[wrong])
    assert y.untouched(), "memory around y was written"
    return y


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("act", ops.ACTS)
def test_elementwise_and_add_act(act: str, dtype: str) -> None:
    for c, gap in ((1, 0), (13, 3), (40, 8)):
        x, r = random(37, c, dtype=dtype), random(37, c, dtype=dtype).flip(0)
        params = {"pixels": 37, "c": c, "act": ops.ACTS[act], "act_param": 0.3}
        check("elementwise", dtype, params, x, ops.apply_act(x.double(), act, 0.3), gap)
        added = Guarded(r, c + 5)
        expected = ops.apply_act(x.double() + r.double(), act, 0.3)
        check("add_act", dtype, {**params, "ldr": c + 5}, x, expected, gap, residual=added)


@pytest.mark.parametrize("dtype", TYPES)
def test_concat_copies_rows_between_strides(dtype: str) -> None:
    for c in CHANNELS:
        x = random(300, c, dtype=dtype)
        for gap in (0, 3, 8):
            y = check("concat", dtype, {"pixels": 300, "c": c}, x, x.double(), gap)
            assert torch.equal(y.view, x)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("kind", KINDS)
def test_arith(kind: str, dtype: str) -> None:
    """b whole, one a channel, one a pixel, one an image, a scalar."""
    n, pixels = 2, 9
    for c in (5, 16):
        x = random(n * pixels, c, dtype=dtype)
        x = x.abs() if "sqrt" in kind else x
        for shape, strides in (
            ((n, pixels, c), (pixels * c, c, 1)),
            ((1, 1, c), (0, 0, 1)),
            ((n, 1, c), (c, 0, 1)),
            ((n, pixels, 1), (pixels, 1, 0)),
            ((n, 1, 1), (1, 0, 0)),
        ):
            b = (random(*shape, dtype=dtype).flip(0).abs() + 0.5).to(x.dtype)
            a, other = x.double(), b.double().expand(n, pixels, c).reshape(-1, c)
            made = {
                "add": a + other, "sub": a - other, "mul": a * other, "div": a / other, "rsub": other - a,
                "rdiv": other / a, "prelu": torch.where(a > 0, a, other * a), "max": torch.maximum(a, other),
                "sqrt": (a + other).sqrt(), "rsqrt": (a + other).rsqrt(),
            }[kind]  # fmt: skip
            params = {
                "n": n,
                "pixels": pixels,
                "c": c,
                "kind": KINDS[kind],
                "act": ops.ACTS["relu"],
            }
            params |= dict(zip(("bn", "bp", "bc"), strides, strict=True))
            slack = 4e-6 * float(made.abs().max())
            given = Guarded(b.reshape(1, -1))
            check("arith", dtype, params, x, made.relu(), slack=slack, residual=given)
        params = {"n": n, "pixels": pixels, "c": c, "kind": KINDS["mul"], "scalar": 1.5}
        check("arith", dtype, params, x, x.double() * 1.5)


WINDOW = ("kh", "kw", "sh", "sw", "ph", "pw", "dh", "dw")
POOLS = [
    ((3, 3), (2, 2), (1, 1), (1, 1), False),
    ((2, 2), (2, 2), (0, 0), (1, 1), True),
    ((3, 2), (1, 3), (1, 0), (1, 1), True),
    ((2, 3), (2, 1), (1, 1), (3, 2), False),
]


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("pool", POOLS)
def test_pool2d(pool: tuple, dtype: str) -> None:
    window, stride, padding, dilation, ceil = pool
    n, h, w = 2, 7, 9
    for c, gap in ((1, 0), (8, 8), (19, 3)):
        x = random(n, c, h, w, dtype=dtype)
        x[0, 0, 0, 0] = torch.nan
        x[1, 0] = -torch.inf
        sizes = {"n": n, "h": h, "w": w, "c": c}
        values = (*window, *stride, *padding, *dilation)
        steps = dict(zip(WINDOW, values, strict=True))
        most = F.max_pool2d(x.double(), window, stride, padding, dilation, ceil)
        out = {"oh": most.shape[2], "ow": most.shape[3]}
        check("pool2d", dtype, {**sizes, **steps, **out, "mode": 0}, rows(x), rows(most), gap)
        if dilation == (1, 1):
            for pad, divisor in ((True, None), (False, None), (True, 5)):
                mean = F.avg_pool2d(x.double(), window, stride, padding, ceil, pad, divisor)
                how = {"mode": 1, "count_include_pad": int(pad), "divisor_override": divisor or 0}
                check("pool2d", dtype, {**sizes, **steps, **out, **how}, rows(x), rows(mean), gap)


@pytest.mark.parametrize("dtype", TYPES)
def test_adaptive_pool2d(dtype: str) -> None:
    for size, out in (((7, 5), (3, 2)), ((2, 3), (5, 7)), ((6, 6), (6, 1))):
        x = random(2, 11, *size, dtype=dtype)
        sizes = {"n": 2, "h": size[0], "w": size[1], "c": 11, "oh": out[0], "ow": out[1]}
        most, mean = F.adaptive_max_pool2d(x.double(), out), F.adaptive_avg_pool2d(x.double(), out)
        check("pool2d", dtype, {**sizes, "mode": 2}, rows(x), rows(most))
        check("pool2d", dtype, {**sizes, "mode": 3}, rows(x), rows(mean))


@pytest.mark.parametrize("dtype", TYPES)
def test_global_pool(dtype: str) -> None:
    for c, h, w, gap in ((1, 1, 1, 0), (3, 5, 7, 0), (24, 7, 7, 8), (300, 3, 2, 1), (8, 40, 40, 0)):
        x = random(2, c, h, w, dtype=dtype)
        mean = x.double().mean((2, 3))
        check("global_pool", dtype, {"n": 2, "h": h, "w": w, "c": c}, rows(x), mean, gap)


def sizes_of(x: Tensor, out: Tensor) -> dict[str, float]:
    n, c, h, w = x.shape
    return {"n": n, "c": c, "h": h, "w": w, "oh": out.shape[2], "ow": out.shape[3]}


@pytest.mark.parametrize("dtype", TYPES)
def test_upsample(dtype: str) -> None:
    for c, gap in ((3, 0), (16, 8)):
        x = random(2, c, 4, 5, dtype=dtype)
        for size in ((8, 10), (7, 3), (1, 11)):
            nearest = F.interpolate(x.double(), size)
            check(
                "upsample", dtype, {**sizes_of(x, nearest), "mode": 0}, rows(x), rows(nearest), gap
            )
            for mode, corners in ((1, False), (2, True)):
                wanted = F.interpolate(x.double(), size, mode="bilinear", align_corners=corners)
                check(
                    "upsample",
                    dtype,
                    {**sizes_of(x, wanted), "mode": mode},
                    rows(x),
                    rows(wanted),
                    gap,
                )
        wanted = F.interpolate(x.double(), scale_factor=1.7, mode="bilinear")
        params = {**sizes_of(x, wanted), "mode": 1, "factor_h": 1.7, "factor_w": 1.7}
        check("upsample", dtype, params, rows(x), rows(wanted), gap)


@pytest.mark.parametrize("dtype", TYPES)
def test_layer_norm_and_softmax(dtype: str) -> None:
    for c, gap in ((1, 0), (7, 1), (64, 8), (300, 0)):
        x = random(19, c, dtype=dtype) * 3 + 1
        x = x.to(DTYPES[dtype])
        weight, bias = torch.rand(c) + 0.5, torch.randn(c)
        params = {"pixels": 19, "c": c, "eps": 1e-5}
        plain = F.layer_norm(x.double(), (c,))
        check("layer_norm", dtype, params, x, plain, gap, 2e-5)
        check(
            "layer_norm", dtype, params, x, plain * weight.double() + bias.double(), gap, 4e-5,
            weight=weight, bias=bias,
        )  # fmt: skip
        check("softmax", dtype, params, x, x.double().softmax(1), gap)


@pytest.mark.parametrize("dtype", TYPES)
def test_softmax_of_infinities(dtype: str) -> None:
    x = torch.zeros(4, 9, dtype=DTYPES[dtype])
    x[0, 2], x[1], x[2, 3], x[3, 4] = torch.inf, -torch.inf, torch.nan, -torch.inf
    check("softmax", dtype, {"pixels": 4, "c": 9}, x, x.double().softmax(1))


@pytest.mark.parametrize("dtype", TYPES)
def test_group_norm(dtype: str) -> None:
    for c, groups, h, w in ((6, 3, 5, 7), (32, 1, 9, 9), (40, 4, 1, 1), (4, 4, 30, 30)):
        x = random(2, c, h, w, dtype=dtype)
        weight, bias = torch.rand(c) + 0.5, torch.randn(c)
        wanted = F.silu(F.group_norm(x.double(), groups, weight.double(), bias.double()))
        params = {
            "n": 2,
            "pixels": h * w,
            "c": c,
            "groups": groups,
            "eps": 1e-5,
            "act": ops.ACTS["silu"],
        }
        given = {"weight": weight, "bias": bias, "slack": 4e-5}
        check("group_norm", dtype, params, rows(x), rows(wanted), gap=3, **given)
        planar = {**params, "planar": 1}
        check(
            "group_norm", dtype, planar, x.reshape(2 * c, -1), wanted.reshape(2 * c, -1), 5, **given
        )


@pytest.mark.parametrize("dtype", TYPES)
def test_local_response_norm(dtype: str) -> None:
    for c in (1, 5, 24):
        for size in (1, 4, 5, 30):
            x = random(1, c, 5, 3, dtype=dtype)
            wanted = F.local_response_norm(x.double(), size, 0.1, 0.75, 2.0)
            params = {"pixels": 15, "c": c, "size": size, "alpha": 0.1, "beta": 0.75, "k": 2.0}
            check("local_response_norm", dtype, params, rows(x), rows(wanted), gap=c % 2)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("c", [1, 3, 8, 9, 32, 70])
def test_layout(c: int, dtype: str) -> None:
    for n, pixels in ((1, 1), (3, 7), (2, 100)):
        x = random(n, c, pixels, dtype=dtype)
        nhwc = x.transpose(1, 2).reshape(n * pixels, c)
        sizes = {"n": n, "pixels": pixels, "c": c}
        for gap in (0, 5):
            y = Guarded(torch.full_like(nhwc, torch.nan), c + gap, writable=True)
            name, params = kernel_of("layout", dtype), {**sizes, "ld": c + gap}
            run("layout", name, params, Guarded(x.reshape(1, -1)), y)
            assert torch.equal(y.view, nhwc) and y.untouched()
            back = Guarded(torch.full((1, x.numel()), torch.nan, dtype=x.dtype), writable=True)
            run("layout", name, {**params, "to_nchw": 1}, Guarded(nhwc, c + gap), back)
            assert torch.equal(back.view.reshape(x.shape), x) and back.untouched()


@pytest.mark.parametrize("dtype", TYPES)
def test_rearrange(dtype: str) -> None:
    x = random(3, 4, 5, 6, dtype=dtype)
    wanted = x[:, 1:3].permute(2, 0, 3, 1).contiguous()
    params: dict[str, float] = {}
    for axis, (size, source, target) in enumerate(
        zip(wanted.shape, x.permute(2, 0, 3, 1).stride(), wanted.stride(), strict=True), 4
    ):
        params |= {f"s{axis}": size, f"x{axis}": source, f"y{axis}": target}
    given = Guarded(x.reshape(1, -1))
    y = Guarded(torch.full((1, wanted.numel()), torch.nan, dtype=x.dtype), writable=True)
    run("rearrange", kernel_of("rearrange", dtype), params, given, y, skip=30)  # x[:, 1:]
    assert torch.equal(y.view.reshape(wanted.shape), wanted) and y.untouched()
