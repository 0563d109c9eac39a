"""global_avg_pool2d against x.mean((-2, -1))."""

import logging
from collections.abc import Callable

import pinned
import pytest
import torch
from torch import Tensor

from pycnn import ops

# A sum of up to 13 * 11 values in [-4, 4], each addition rounded once, is off by at most that many half-ulps of it.
TOLERANCE = 13 * 11 * 2**-24 * 4


def check(y: Tensor, x: Tensor, keepdim: bool = True) -> None:
    expected = x.double().mean((-2, -1), keepdim=keepdim)
    assert y.shape == expected.shape
    torch.testing.assert_close(y.double(), expected, rtol=0, atol=TOLERANCE, equal_nan=True)


def pinned_mean(kernel: str, x: Tensor, workers: int = 1, gap: int = 3) -> Tensor:
    n, c, h, w = x.shape
    params = {"n": n, "h": h, "w": w, "c": c, "ldx": c + gap, "ldy": c + gap + 2}
    buffer = pinned.spread(pinned.nhwc(x), c + gap)
    y = pinned.call("global_pool", kernel, params, buffer, (n, c), workers=workers)
    return y[:, :, None, None]


@pytest.mark.parametrize("c", pinned.EDGES)
@pytest.mark.parametrize("kernel", pinned.kernels("global_pool"))
def test_every_kernel_at_vector_edges(kernel: str, c: int) -> None:
    for h, w in ((1, 1), (1, 2), (1, 3), (2, 2), (1, 5), (7, 7), (13, 11)):
        x = torch.randn(2, c, h, w).clamp(-4, 4)
        check(pinned_mean(kernel, x), x)


@pytest.mark.parametrize("kernel", pinned.kernels("global_pool"))
def test_bits_do_not_depend_on_workers_batch_or_channels_beside(kernel: str) -> None:
    x = torch.randn(3, 83, 9, 7)
    one = pinned_mean(kernel, x)
    for workers in (2, 3, 7):
        assert torch.equal(pinned_mean(kernel, x, workers), one)
    assert torch.equal(pinned_mean(kernel, x[1:2]), one[1:2])
    assert torch.equal(pinned_mean(kernel, x[:, 40:59]), one[:, 40:59])


@pytest.mark.parametrize("kernel", pinned.kernels("global_pool"))
def test_nan_and_infinities_as_in_torch(kernel: str) -> None:
    x = torch.randn(1, 19, 3, 5)
    x[0, 0, 1, 1], x[0, 3, 2, 2], x[0, 17, 0, 0] = torch.nan, torch.inf, -torch.inf
    x[0, 18, 0, 0], x[0, 18, 2, 0] = torch.inf, -torch.inf
    check(pinned_mean(kernel, x), x)


@pytest.mark.parametrize("keepdim", [True, False])
def test_views_keep_torchs_values_and_strides(keepdim: bool) -> None:
    x = torch.randn(2, 19, 7, 9).clamp(-4, 4)
    last = x.contiguous(memory_format=torch.channels_last)
    for view in (
        x, last, x[:, 3:8], last[:, 3:8], last[:, :, 1:6, 2:8], x[:1].expand(3, -1, -1, -1), x[:0], last[:0], x[:, :0],
        x[:, :, :0], x[:, :, :1, :1].expand(-1, -1, 4, 3), x.permute(0, 1, 3, 2), last[:, :, :1, :1], last[:, :1], x[0],
    ):  # fmt: skip
        y = ops.global_avg_pool2d(view, keepdim)
        check(y, view, keepdim)
        assert y.stride() == view.mean((-2, -1), keepdim=keepdim).stride()


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: ops.global_avg_pool2d(3),
            TypeError,
            "global_avg_pool2d: x must be a Tensor, got int",
        ),
        (
            lambda: ops.global_avg_pool2d(torch.zeros(4, 4)),
            ValueError,
            r"3 or 4 dimensions, got shape \(4, 4\)",
        ),
    ],
)
def test_a_bad_argument_is_one_clear_sentence(
    call: Callable[[], Tensor], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize(
    ("x", "reason"),
    [
        (torch.randn(1, 2, 5, 6, dtype=torch.float64), "no kernel for torch.float64"),
        (torch.randn(2, 5, 6), "x is unbatched"),
        (torch.randn(1, 2, 5, 6, requires_grad=True), "a gradient is needed"),
    ],
)
def test_what_has_no_kernel_goes_to_torch_and_says_so(
    x: Tensor, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG, "pycnn.ops"):
        y = ops.global_avg_pool2d(x)
    assert torch.equal(y, x.mean((-2, -1), keepdim=True))
    assert reason in caplog.text


def test_opcheck() -> None:
    x = torch.randn(2, 5, 7, 6, requires_grad=True)
    torch.library.opcheck(torch.ops.pycnn.global_pool.default, (x, ""))
    last = x.detach().to(memory_format=torch.channels_last).requires_grad_()
    torch.library.opcheck(torch.ops.pycnn.global_pool.default, (last, ""))


@pinned.fp32_gradcheck
def test_gradcheck() -> None:
    x = torch.randn(2, 3, 4, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(ops.global_avg_pool2d, x)
    small = x.detach().float().requires_grad_()
    raw = torch.ops.pycnn.global_pool
    assert torch.autograd.gradcheck(lambda x: raw(x, ""), small, eps=1 / 8, atol=1e-5, rtol=0)


def test_the_raw_ops_gradient_is_torchs_bit_for_bit() -> None:
    x = torch.randn(2, 3, 4, 5, requires_grad=True)
    y = torch.ops.pycnn.global_pool(x, "")
    g = torch.randn_like(y)
    (ours,) = torch.autograd.grad(y, x, g)
    (torchs,) = torch.autograd.grad(x.mean((-2, -1), keepdim=True), x, g)
    assert torch.equal(ours, torchs)
