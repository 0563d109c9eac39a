"""conv2d_means: conv2d's bits, and the means of its rows, from which global_pool has the bits that it has from y."""

import pinned
import pytest
import torch
from convolutions import LANES, Conv, problem, run
from torch import Tensor

from pycnn import _C

KERNELS = pinned.kernels("conv2d_means")


def with_means(
    kernel: str, conv: Conv, act: str, gap: int = 5, workers: int = 1
) -> tuple[Tensor, Tensor]:
    """y [n, k, oh, ow], and the means [n * oh, k]; nothing around them was written."""
    n, k, oh, _ = problem(conv).residual.shape
    buffer = torch.full((n * oh + 2, k), torch.nan)
    means = buffer[1:-1]
    y = run(kernel, conv, problem(conv), act=act, gap=gap, workers=workers, means=means)
    assert buffer[0].isnan().all() and buffer[-1].isnan().all()
    return y, means


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
        y, means = with_means(kernel, conv, act)
        assert torch.equal(y, run(alone, conv, problem(conv), act=act))
        rows = y.double().transpose(1, 2).flatten(0, 1)  # [n * oh, k, ow]
        bound = 2**-23 * rows.abs().mean(2) * (2 + rows.shape[2] / 4)
        assert torch.all((means.double() - rows.mean(2)).abs() <= bound), conv


@pytest.mark.parametrize("kernel", KERNELS)
def test_bits_do_not_depend_on_workers_or_pixel_strides(kernel: str) -> None:
    for conv in layers(kernel)[4:]:
        y, means = with_means(kernel, conv, "silu")
        for workers, gap in ((2, 5), (3, 0), (7, 1)):
            again, again_means = with_means(kernel, conv, "silu", gap, workers)
            assert torch.equal(again, y) and torch.equal(again_means, means)


@pytest.mark.parametrize("kernel", [name for name in KERNELS if "reference" not in name])
def test_global_pool_has_the_same_bits_from_the_means_as_from_the_map(kernel: str) -> None:
    pool = f"global_pool_mean_f32_{kernel.rsplit('_', 1)[1]}"
    for conv in layers(kernel):
        y, means = with_means(kernel, conv, "silu")
        n, k, oh, ow = y.shape
        params = {"n": n, "h": oh, "c": k, "ldx": k, "ldy": k}
        of_map = pinned.call("global_pool", pool, {**params, "w": ow}, pinned.nhwc(y), (n, k))
        of_means = pinned.call("global_pool", pool, {**params, "w": 1}, means, (n, k))
        assert torch.equal(of_map, of_means)


def test_other_convolutions_leave_no_means_but_by_the_reference() -> None:
    params = {"n": 1, "h": 5, "w": 5, "c": 16, "k": 16, "oh": 5, "ow": 5, "ldx": 16, "ldy": 16}
    able = [name for name, reason in _C.kernels("conv2d_means", params) if reason is None]
    assert able == ["conv2d_means_reference"]
    gated = {**params, "prologue": 2}
    reasons = dict(_C.kernels("conv2d_means", gated))
    assert reasons["conv2d_means_reference"] == "has no prologue"
