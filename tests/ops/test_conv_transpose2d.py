"""conv_transpose2d against F.conv_transpose2d in fp64."""

import math
from collections.abc import Callable
from typing import Any

import pinned
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from pycnn import _C, ops

OP = "conv_transpose2d"
KERNELS = pinned.kernels(OP)
Window = dict[str, Any]
WINDOWS: list[Window] = [
    {"kernel": (2, 2), "stride": (2, 2)},  # U-Net's
    {"kernel": (4, 4), "stride": (2, 2), "padding": (1, 1)},
    {"kernel": (3, 3), "stride": (2, 2), "padding": (1, 1), "output_padding": (1, 1)},
    {"kernel": (3, 5), "stride": (1, 1), "padding": (2, 1)},
    {"kernel": (1, 2), "stride": (3, 2), "output_padding": (2, 0)},  # phases without a tap
    {"kernel": (3, 2), "stride": (2, 3), "dilation": (2, 2), "padding": (0, 1)},
    {"kernel": (2, 3), "stride": (1, 2), "dilation": (4, 3), "output_padding": (3, 2)},
]


def expected(x: Tensor, weight: Tensor, bias: Tensor | None, groups: int, window: Window) -> Tensor:
    options = {name: value for name, value in window.items() if name != "kernel"}
    b = None if bias is None else bias.double()
    return F.conv_transpose2d(x.double(), weight.double(), b, groups=groups, **options)


def check(y: Tensor, reference: Tensor, terms: int) -> None:
    """Against sums of `terms` products of values of deviation 1."""
    tolerance = 16 * 2**-24 * math.sqrt(terms + 1) * 4
    torch.testing.assert_close(y.double(), reference, rtol=1e-6, atol=tolerance, equal_nan=True)


def tensors(
    c: int, k: int, groups: int, window: Window, size: tuple[int, int] = (4, 5), n: int = 2
) -> tuple[Tensor, Tensor, Tensor]:
    weight = torch.randn(c, k // groups, *window["kernel"])
    return torch.randn(n, c, *size), weight, torch.randn(k)


def run(
    kernel: str, x: Tensor, weight: Tensor, bias: Tensor | None, groups: int, window: Window,
    workers: int = 1, act: str = "none",
) -> Tensor:  # fmt: skip
    n, c, h, w = x.shape
    oh, ow = expected(x[:, :, :, :], weight, None, groups, window).shape[2:]
    k, (kh, kw) = weight.shape[1] * groups, window["kernel"]
    sh, sw = window["stride"]
    ph, pw = window.get("padding", (0, 0))
    dh, dw = window.get("dilation", (1, 1))
    params = {"n": n, "h": h, "w": w, "c": c, "k": k, "kh": kh, "kw": kw, "oh": oh, "ow": ow}
    params |= {"sh": sh, "sw": sw, "ph": ph, "pw": pw, "dh": dh, "dw": dw, "groups": groups}
    params |= {"ldx": c + 3, "ldy": k + 5, "act": ops.ACTS[act]}
    rows = pinned.call(
        OP, kernel, params, pinned.spread(pinned.nhwc(x), c + 3), (n * oh * ow, k),
        workers=workers, weight=weight, bias=bias,
    )  # fmt: skip
    return pinned.nchw(rows, n, oh, ow)


@pytest.mark.parametrize("window", WINDOWS, ids=str)
@pytest.mark.parametrize("kernel", KERNELS)
def test_every_kernel_at_every_window(kernel: str, window: Window) -> None:
    taps = math.prod(window["kernel"])
    for c, k, groups, size in (
        (1, 1, 1, (1, 1)),
        (5, 17, 1, (4, 5)),
        (6, 9, 3, (3, 4)),
        (4, 4, 4, (5, 3)),
        (8, 33, 1, (3, 29)),
    ):
        if min(size) == 1 and any(window.get("padding", ())):
            size = (3, 3)
        x, weight, bias = tensors(c, k, groups, window, size)
        y = run(kernel, x, weight, bias, groups, window)
        check(y, expected(x, weight, bias, groups, window), c // groups * taps)


@pytest.mark.parametrize("k", pinned.EDGES)
@pytest.mark.parametrize("kernel", KERNELS)
def test_every_kernel_at_vector_edges(kernel: str, k: int) -> None:
    for c, w in ((1, 13), (7, 14), (17, 15)):
        x, weight, bias = tensors(c, k, 1, WINDOWS[2], (3, w), n=1)
        truth = expected(x, weight, bias, 1, WINDOWS[2])
        for act, f in (("relu", torch.relu), ("silu", F.silu)):
            check(run(kernel, x, weight, bias, 1, WINDOWS[2], act=act), f(truth), 9 * c)


@pytest.mark.parametrize("window", WINDOWS[:3], ids=str)
@pytest.mark.parametrize("kernel", KERNELS)
def test_bits_do_not_depend_on_workers_or_batch(kernel: str, window: Window) -> None:
    for k, size in ((7, (5, 31)), (150, (2, 2))):
        x, weight, bias = tensors(19, k, 1, window, size, n=3)
        one = run(kernel, x, weight, bias, 1, window)
        for workers in (2, 5):
            assert torch.equal(run(kernel, x, weight, bias, 1, window, workers), one)
        assert torch.equal(run(kernel, x[1:2], weight, bias, 1, window), one[1:2])


@pytest.mark.parametrize("kernel", KERNELS)
def test_blocks_of_pixels_larger_than_the_caches(kernel: str) -> None:
    x, weight, _ = tensors(8, 3, 1, WINDOWS[1], (64, 130), n=1)
    y = run(kernel, x, weight, None, 1, WINDOWS[1], workers=2)
    check(y, expected(x, weight, None, 1, WINDOWS[1]), 8 * 4)


@pytest.mark.parametrize("kernel", KERNELS)
def test_a_nan_reaches_the_pixels_torch_gives_it_to(kernel: str) -> None:
    for window in WINDOWS:
        x, weight, bias = tensors(3, 4, 1, window)
        x[1, 2, 1, 3] = math.nan
        for act in ("none", "relu"):
            truth = expected(x, weight, bias, 1, window)
            y = run(kernel, x, weight, bias, 1, window, act=act)
            assert torch.equal(y.isnan(), truth.isnan())


def test_views_keep_torchs_values_and_strides() -> None:
    x, weight, bias = tensors(12, 6, 1, WINDOWS[2], (5, 7))
    last = x.contiguous(memory_format=torch.channels_last)
    for view in (x, last, x[:, :, 1:4, 2:6], x[:1].expand(3, -1, -1, -1), x[:0], last[:1], x[0]):
        for w in (weight, weight.contiguous(memory_format=torch.channels_last)):
            y = ops.conv_transpose2d(view, w, bias, 2, 1, 1)
            torchs = F.conv_transpose2d(view, w, bias, 2, 1, 1)
            check(y, F.conv_transpose2d(view.double(), w.double(), bias.double(), 2, 1, 1), 108)
            assert y.stride() == torchs.stride()


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"x": 3}, TypeError, "x must be a Tensor, got int"),
        ({"x": torch.zeros(4, 5)}, ValueError, r"3 or 4 dimensions, got shape \(4, 5\)"),
        ({"weight": torch.zeros(4, 3, 2, 2).double()}, TypeError, "x is torch.float32, weight is torch.float64"),
        ({"weight": torch.zeros(5, 3, 2, 2)}, ValueError, "weight takes 5 channels, x has 4"),
        ({"groups": 3}, ValueError, "groups=3 does not divide c=4"),
        ({"bias": torch.zeros(4)}, ValueError, r"bias has shape \(4,\), expected \(3,\)"),
        ({"stride": 0}, ValueError, "stride=0 must be 1 or 2 integers >= 1"),
        ({"output_padding": 1}, ValueError, "output_padding=1 is not below the larger of stride=1 and dilation=1"),
        ({"padding": 4}, ValueError, "x is 5 x 6, the result would be -2 x -1"),
        ({"act": "swish"}, ValueError, "swish"),
    ],
)  # fmt: skip
def test_a_bad_argument_is_one_clear_sentence(
    change: dict[str, Any], error: type[Exception], message: str
) -> None:
    arguments = {"x": torch.zeros(1, 4, 5, 6), "weight": torch.zeros(4, 3, 2, 2), **change}
    with pytest.raises(error, match=message):
        ops.conv_transpose2d(**arguments)


def test_other_dtypes_and_gradients_are_torchs() -> None:
    x, weight, bias = (t.double() for t in tensors(4, 6, 2, WINDOWS[1]))
    y = ops.conv_transpose2d(x, weight, bias, 2, 1, groups=2, act="relu")
    assert torch.equal(y, torch.relu(F.conv_transpose2d(x, weight, bias, 2, 1, groups=2)))
    leaves = [t.requires_grad_() for t in (x, weight, bias)]
    assert torch.autograd.gradcheck(
        lambda *t: ops.conv_transpose2d(*t, 2, 1, groups=2, act="silu"), leaves, fast_mode=True
    )


def test_opcheck_and_gradient_of_the_raw_op() -> None:
    x, weight, bias = (t.requires_grad_() for t in tensors(4, 6, 2, WINDOWS[2], (3, 4)))
    rest = ([2, 2], [1, 1], [1, 1], [1, 1], 2, ops.ACTS["relu"], 0.0, "")
    raw: Callable[..., Tensor] = torch.ops.pycnn.conv_transpose2d.default
    torch.library.opcheck(raw, (x, weight, bias, *rest))
    last = x.detach().contiguous(memory_format=torch.channels_last)
    torch.library.opcheck(raw, (last, weight, None, *rest))
    y = raw(x, weight, bias, *rest)
    g = torch.randn_like(y)
    torchs = torch.relu(F.conv_transpose2d(x, weight, bias, 2, 1, 1, 2))
    ours = torch.autograd.grad(y, (x, weight, bias), g)
    for mine, theirs in zip(ours, torch.autograd.grad(torchs, (x, weight, bias), g), strict=True):
        assert torch.equal(mine, theirs)


def test_the_machines_best_set_is_chosen() -> None:
    assert _C.choose(OP, {"c": 4, "k": 4, "kh": 2, "kw": 2}, 1) == KERNELS[0]
