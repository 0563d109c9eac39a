"""conv2d_means: conv2d's bits, and the means of its rows, from which global_pool has the bits that it has from y."""

import pinned
import pytest
import torch
from convolutions import LANES, SLOPE, Conv, problem
from torch import Tensor

from pycnn import _C, ops

KERNELS = pinned.kernels("conv2d_means")


def call(op: str, kernel: str, conv: Conv, act: str, gap: int, workers: int = 1) -> list[Tensor]:
    """y as rows, and of conv2d_means the means [n * oh, k]; nothing around them was written."""
    p = problem(conv)
    n, k, oh, ow = p.residual.shape
    (kh, kw), (sh, sw), (dh, dw) = conv.kernel, conv.stride, conv.dilation
    params = {
        "n": n, "h": conv.h, "w": conv.w, "c": conv.c, "k": k, "kh": kh, "kw": kw, "oh": oh, "ow": ow,
        "sh": sh, "sw": sw, "ph": conv.padding[0], "pw": conv.padding[1], "dh": dh, "dw": dw, "groups": conv.groups,
        "ldx": conv.c + gap, "ldr": k + gap, "ldy": k + 2 * gap, "act": ops.ACTS[act], "act_param": SLOPE,
    }  # fmt: skip
    x = pinned.spread(pinned.nhwc(p.x), conv.c + gap)
    residual = pinned.spread(pinned.nhwc(p.residual), k + gap)
    buffer = torch.full((n * oh + 2, k), torch.nan)
    means = buffer[1:-1] if op == "conv2d_means" else None
    out = (n * oh * ow, k)
    y = pinned.call(op, kernel, params, x, out, residual, workers, p.weight, p.bias, gate=means)
    assert buffer[0].isnan().all() and buffer[-1].isnan().all()
    return [y] if means is None else [y, means]


def layers(kernel: str) -> list[Conv]:
    c = LANES[kernel.rsplit("_", 1)[1]] + 3
    size, sizes = (3 if "3x3" in kernel else 5), ((1, 1), (2, 3), (5, 8), (9, 14), (12, 31))
    of = {"kernel": (size, size), "groups": c, "padding": (size // 2,) * 4, "n": 2}
    made = [Conv(c, c, h, w, stride=s, **of) for h, w in sizes for s in ((1, 1), (2, 2))]
    wide = {**of, "groups": 5 * c, "n": 1}  # more than a block of channels
    dilated = {**of, "dilation": (2, 3), "padding": (size - 1, 3 * (size // 2)) * 2}
    return [*made, Conv(5 * c, 5 * c, 6, 60, **wide), Conv(c, c, 11, 17, **dilated)]


@pytest.mark.parametrize("act", ["none", "relu6", "silu"])
@pytest.mark.parametrize("kernel", KERNELS)
def test_the_means_of_rows_beside_conv2ds_own_bits(kernel: str, act: str) -> None:
    alone = kernel.replace("conv2d_means_reference", "conv2d_reference")
    for conv in layers(kernel):
        y, means = call("conv2d_means", kernel, conv, act, 5)
        (expected,) = call("conv2d", alone, conv, act, 5)
        assert torch.equal(y, expected)
        n, k, oh, ow = problem(conv).residual.shape
        rows = y.double().view(n * oh, ow, k)
        bound = 2**-23 * rows.abs().mean(1) * (2 + ow / 4)
        assert torch.all((means.double() - rows.mean(1)).abs() <= bound), conv


@pytest.mark.parametrize("kernel", KERNELS)
def test_bits_do_not_depend_on_workers_or_pixel_strides(kernel: str) -> None:
    for conv in layers(kernel)[4:]:
        one = call("conv2d_means", kernel, conv, "silu", 5)
        for workers, gap in ((2, 5), (3, 0), (7, 1)):
            for a, b in zip(
                call("conv2d_means", kernel, conv, "silu", gap, workers), one, strict=True
            ):
                assert torch.equal(a, b)


@pytest.mark.parametrize("kernel", [name for name in KERNELS if "reference" not in name])
def test_global_pool_has_the_same_bits_from_the_means_as_from_the_map(kernel: str) -> None:
    pool = f"global_pool_mean_f32_{kernel.rsplit('_', 1)[1]}"
    for conv in layers(kernel):
        y, means = call("conv2d_means", kernel, conv, "silu", 5)
        n, k, oh, ow = problem(conv).residual.shape
        params = {"n": n, "c": k, "ldx": k, "ldy": k}
        of_map = pinned.call("global_pool", pool, {**params, "h": oh, "w": ow}, y, (n, k))
        of_means = pinned.call(
            "global_pool", pool, {**params, "h": oh, "w": 1}, means.clone(), (n, k)
        )
        assert torch.equal(of_map, of_means)


def test_other_convolutions_leave_no_means_but_by_the_reference() -> None:
    params = {"n": 1, "h": 5, "w": 5, "c": 16, "k": 16, "oh": 5, "ow": 5, "ldx": 16, "ldy": 16}
    able = [name for name, reason in _C.kernels("conv2d_means", params) if reason is None]
    assert able == ["conv2d_means_reference"]
    gated = {**params, "prologue": 2}
    reasons = dict(_C.kernels("conv2d_means", gated))
    assert reasons["conv2d_means_reference"] == "has no prologue"
