"""upsample against F.interpolate."""

from collections.abc import Callable
from typing import Any

import pinned
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from pycnn import ops

# The four weights and the three sums of a bilinear pixel round once each, values lie in [-4, 4].
TOLERANCE = 8 * 2**-24 * 4
MODES = [("nearest", None), ("bilinear", False), ("bilinear", True)]
RESIZES: list[dict[str, Any]] = [
    {"size": (11, 13)},  # from 5 x 7: larger, no multiple
    {"size": (3, 2)},  # smaller
    {"size": (5, 7)},  # the same
    {"size": (1, 1)},
    {"scale_factor": 2},
    {"scale_factor": 3.0},
    {"scale_factor": (1.7, 0.6)},  # the positions follow the factor, not the rounded sizes
]


def expected(x: Tensor, mode: str, align_corners: bool | None, **resize: Any) -> Tensor:
    """Of torch: in fp32 where it picks pixels, in fp64 where it mixes them."""
    exact = x if mode == "nearest" else x.double()
    return F.interpolate(exact, **resize, mode=mode, align_corners=align_corners).double()


def check(y: Tensor, reference: Tensor, mode: str) -> None:
    assert y.shape == reference.shape
    tolerance = 0 if mode == "nearest" else TOLERANCE
    torch.testing.assert_close(y.double(), reference, rtol=0, atol=tolerance, equal_nan=True)


def pinned_upsample(
    kernel: str, x: Tensor, mode: int, size: tuple[int, int], workers: int = 1, gap: int = 3
) -> Tensor:
    """To NCHW by the kernels that write it."""
    n, c, h, w = x.shape
    params = {"mode": mode, "n": n, "h": h, "w": w, "c": c, "oh": size[0], "ow": size[1]}
    params |= {"ldx": c + gap, "ldy": c + gap + 2}
    buffer = pinned.spread(pinned.nhwc(x), c + gap)
    if "planes" in kernel:
        params |= {"y_nchw": 1, "ldy": size[1]}
        rows = n * c * size[0]
        y = pinned.call("upsample", kernel, params, buffer, (rows, size[1]), workers=workers)
        return y.reshape(n, c, *size)
    rows = n * size[0] * size[1]
    y = pinned.call("upsample", kernel, params, buffer, (rows, c), workers=workers)
    return pinned.nchw(y, n, *size)


@pytest.mark.parametrize("c", pinned.EDGES)
@pytest.mark.parametrize("kernel", pinned.kernels("upsample"))
def test_every_kernel_at_vector_edges(kernel: str, c: int) -> None:
    for (h, w), size in (
        ((1, 1), (3, 4)),
        ((4, 3), (8, 6)),
        ((5, 6), (13, 7)),
        ((9, 8), (4, 5)),
        ((2, 50), (2, 150)),
        ((3, 17), (6, 33)),
        ((2, 40), (3, 39)),
    ):
        x = torch.randn(2, c, h, w).clamp(-4, 4)
        for code, (mode, align) in enumerate(MODES):
            y = pinned_upsample(kernel, x, code, size)
            check(y, expected(x, mode, align, size=size), mode)


@pytest.mark.parametrize("kernel", pinned.kernels("upsample"))
def test_bits_do_not_depend_on_workers_batch_or_channels_beside(kernel: str) -> None:
    x = torch.randn(3, 35, 5, 4)
    for mode in range(3):
        one = pinned_upsample(kernel, x, mode, (9, 11))
        for workers in (2, 5):
            assert torch.equal(pinned_upsample(kernel, x, mode, (9, 11), workers), one)
        assert torch.equal(pinned_upsample(kernel, x[1:2], mode, (9, 11)), one[1:2])
        assert torch.equal(pinned_upsample(kernel, x[:, 7:19], mode, (9, 11)), one[:, 7:19])


@pytest.mark.parametrize("resize", RESIZES)
@pytest.mark.parametrize(("mode", "align_corners"), MODES)
def test_sizes_and_factors(resize: dict[str, Any], mode: str, align_corners: bool | None) -> None:
    x = torch.randn(2, 19, 5, 7).clamp(-4, 4)
    y = ops.upsample(x, **resize, mode=mode, align_corners=align_corners)
    check(y, expected(x, mode, align_corners, **resize), mode)


def test_nearest_takes_torchs_pixel_at_every_size() -> None:
    x = torch.arange(60.0).expand(1, 1, 2, 60)
    for ow in range(1, 200):
        assert torch.equal(ops.upsample(x, (2, ow)), F.interpolate(x, (2, ow)))


@pytest.mark.parametrize(("mode", "align_corners"), MODES)
def test_views_keep_torchs_values_and_strides(mode: str, align_corners: bool | None) -> None:
    x = torch.randn(2, 19, 5, 7).clamp(-4, 4)
    last = x.contiguous(memory_format=torch.channels_last)
    for view in (
        x, last, x[:, 3:8], last[:, 3:8], last[:, :, 1:4, 2:6], x[:1].expand(3, -1, -1, -1), x[:0],
        x.permute(0, 1, 3, 2), last[:, :, :1, :1], last[:, :1],
    ):  # fmt: skip
        y = ops.upsample(view, (6, 9), mode=mode, align_corners=align_corners)
        check(y, expected(view, mode, align_corners, size=(6, 9)), mode)
        torchs = F.interpolate(view, (6, 9), mode=mode, align_corners=align_corners)
        assert y.stride() == torchs.stride()


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda x: ops.upsample(3, 2), TypeError, "x must be a Tensor, got int"),
        (lambda x: ops.upsample(x[0], 2), ValueError, r"4 dimensions, got shape \(4, 5, 6\)"),
        (lambda x: ops.upsample(x), ValueError, "one of size=None and scale_factor=None must be given"),
        (lambda x: ops.upsample(x, 2, 2.0), ValueError, "one of size=2 and scale_factor=2.0 must be given"),
        (lambda x: ops.upsample(x, (2, 0)), ValueError, r"size=\(2, 0\) must be one or two positive integers"),
        (lambda x: ops.upsample(x, scale_factor=-1.0), ValueError, "scale_factor=-1.0 must be one or two positive"),
        (lambda x: ops.upsample(x, scale_factor=0.1), ValueError, "or the result has none"),
        (lambda x: ops.upsample(x, 2, mode="cubic"), ValueError, "mode='cubic' is neither"),
        (lambda x: ops.upsample(x, 2, align_corners=True), ValueError, "align_corners=True is for mode='bilinear'"),
    ],
)  # fmt: skip
def test_a_bad_argument_is_one_clear_sentence(
    call: Callable[[Tensor], Tensor], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        call(torch.zeros(3, 4, 5, 6))


@pytest.mark.parametrize("mode", [0, 1, 2])
def test_opcheck_and_gradient(mode: int) -> None:
    x = torch.randn(2, 3, 4, 5, requires_grad=True)
    arguments = (mode, 7, 9, 0.0, 0.0, "")
    torch.library.opcheck(torch.ops.pycnn.upsample.default, (x, *arguments))
    y = torch.ops.pycnn.upsample(x, *arguments)
    g = torch.randn_like(y)
    (ours,) = torch.autograd.grad(y, x, g)
    name, align = MODES[mode]
    (torchs,) = torch.autograd.grad(F.interpolate(x, (7, 9), mode=name, align_corners=align), x, g)
    assert torch.equal(ours, torchs)
