"""pycnn.ops.conv2d against F.conv2d: options, views, what goes to torch, refusals."""

import logging
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tolerance
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pycnn import ops

CHANNELS_LAST = torch.channels_last


def check(y: Tensor, x: Tensor, weight: Tensor, bias: Tensor | None = None, *options: Any) -> None:
    """y within the bound of fp64's F.conv2d(x, weight, bias, *options)."""
    x, weight, bias = x.double(), weight.double(), None if bias is None else bias.double()
    magnitude = F.conv2d(x.abs(), weight.abs(), None if bias is None else bias.abs(), *options)
    bound = tolerance.sums(weight[0].numel(), magnitude)
    tolerance.check(y, F.conv2d(x, weight, bias, *options), bound)


sizes = st.integers(1, 11)
taps = st.integers(1, 5)


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel:UserWarning")
@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    n=st.integers(0, 3),
    c=sizes,
    k=sizes,
    groups=st.integers(1, 4),
    size=st.tuples(sizes, sizes),
    kernel=st.tuples(taps, taps),
    stride=st.one_of(st.integers(1, 3), st.tuples(st.integers(1, 3), st.integers(1, 3))),
    padding=st.one_of(
        st.sampled_from(["same", "valid"]),
        st.integers(0, 3),
        st.tuples(st.integers(0, 3), st.integers(0, 3)),
    ),
    dilation=st.one_of(st.integers(1, 3), st.tuples(st.integers(1, 3), st.integers(1, 3))),
    with_bias=st.booleans(),
    last=st.tuples(st.booleans(), st.booleans()),
)
def test_every_option_as_in_torch(
    n: int,
    c: int,
    k: int,
    groups: int,
    size: tuple[int, int],
    kernel: tuple[int, int],
    stride: Any,
    padding: Any,
    dilation: Any,
    with_bias: bool,
    last: tuple[bool, bool],
) -> None:
    formats = [CHANNELS_LAST if f else torch.contiguous_format for f in last]
    x = torch.randn(n, c * groups, *size).to(memory_format=formats[0])
    weight = torch.randn(k * groups, c, *kernel).to(memory_format=formats[1])
    bias = torch.randn(k * groups) if with_bias else None
    options = (stride, padding, dilation, groups)
    try:
        expected = F.conv2d(x, weight, bias, *options)
    except RuntimeError:
        with pytest.raises(ValueError, match="conv2d: "):
            ops.conv2d(x, weight, bias, *options)
        return
    y = ops.conv2d(x, weight, bias, *options)
    check(y, x, weight, bias, *options)
    if n > 0:  # strides of no elements say nothing
        assert y.stride() == expected.stride()


def views() -> list[Tensor]:
    x = torch.randn(2, 38, 7, 9)
    last = x.contiguous(memory_format=CHANNELS_LAST)
    half = last[:, :19].contiguous(memory_format=CHANNELS_LAST)
    return [
        x[:, :19].contiguous(), half, x[:, 3:22], last[:, 3:22], x[:, ::2], last[:, ::2], x[:, 19:, 1:6, 2:8],
        half[:, :, 1:6, 2:8], half[:, :, :, 2:8], half[:1].expand(3, -1, -1, -1), x[:1, 19:].expand(3, -1, -1, -1),
        x[:, :1].expand(-1, 19, -1, -1), half[:, :, :1, :1].expand(-1, -1, 4, 3), x[:, 19:].permute(0, 1, 3, 2),
        torch._neg_view(x[:, 19:]), torch._neg_view(half), half.flip(3), half[:, :, ::2, ::3], x[:, 19:, ::2, ::3],
        x[:, 19:, :1, :1], half[:, :, :1, :1], half[:1, :, :1, :1], half[:, :, :1], half[:, :, :, :1], half[1:],
        torch.randn(7, 9, 2, 19).permute(2, 3, 0, 1), torch.zeros(()).expand(2, 19, 4, 4),
    ]  # fmt: skip


@pytest.mark.parametrize("i", range(len(views())))
def test_views_keep_torchs_values_and_strides(i: int) -> None:
    x = views()[i]
    dense, depthwise, point = (
        torch.randn(6, 19, 3, 3),
        torch.randn(19, 1, 3, 3),
        torch.randn(6, 19, 1, 1),
    )
    for weight, groups in (
        (dense, 1),
        (dense.to(memory_format=CHANNELS_LAST), 1),
        (torch.randn(19, 6, 3, 3).transpose(0, 1), 1),
        (torch.randn(6, 38, 3, 3)[:, ::2], 1),
        (torch._neg_view(dense), 1),
        (point, 1),
        (point.to(memory_format=CHANNELS_LAST), 1),
        (point[:1], 1),
        (depthwise, 19),
        (depthwise.to(memory_format=CHANNELS_LAST), 19),
    ):
        bias = torch.randn(2 * weight.shape[0])[::2]
        options = (1, 1, 1, groups)
        y = ops.conv2d(x, weight, bias, *options)
        assert y.stride() == F.conv2d(x, weight, bias, *options).stride()
        check(y, x, weight, bias, *options)


@pytest.mark.parametrize("i", range(len(views())))
def test_residuals_of_any_strides(i: int) -> None:
    residual = views()[i]
    n, k, h, w = residual.shape
    x, weight = torch.randn(n, 9, h, w), torch.randn(k, 9, 1, 1)
    for image in (x, x.contiguous(memory_format=CHANNELS_LAST)):
        y = ops.conv2d(image, weight, residual=residual)
        x64, w64, r64 = image.double(), weight.double(), residual.double()
        magnitude = F.conv2d(x64.abs(), w64.abs()) + r64.abs()
        tolerance.check(y, F.conv2d(x64, w64) + r64, tolerance.sums(9, magnitude))
        assert y.stride() == F.conv2d(image, weight).stride()


def test_one_image_without_a_batch() -> None:
    x, weight, residual = torch.randn(3, 8, 9), torch.randn(5, 3, 3, 3), torch.randn(5, 8, 9)
    y = ops.conv2d(x, weight, None, 1, 1, residual=residual, act="relu")
    assert torch.equal(
        y, ops.conv2d(x[None], weight, None, 1, 1, residual=residual[None], act="relu")[0]
    )
    check(ops.conv2d(x, weight), x, weight)


def test_four_paddings_are_top_left_bottom_right() -> None:
    x, weight = torch.randn(1, 9, 6, 7), torch.randn(4, 9, 3, 3)
    check(ops.conv2d(x, weight, padding=(1, 2, 3, 0)), F.pad(x, (2, 0, 1, 3)), weight)


def test_integers_of_any_kind_as_in_torch() -> None:
    x, weight = torch.randn(1, 9, 6, 7), torch.randn(4, 9, 3, 3)
    for stride in (np.int64(2), (2,), [2, 2], torch.Size([2, 2]), (np.int32(2), 2)):
        check(ops.conv2d(x, weight, None, stride, [1]), x, weight, None, 2, 1)


@pytest.mark.parametrize("act", ops.ACTS)
@pytest.mark.parametrize("fmt", [torch.contiguous_format, CHANNELS_LAST])
@pytest.mark.parametrize("c", [3, 19])
def test_nan_and_infinities_as_in_torch(act: str, fmt: torch.memory_format, c: int) -> None:
    x, weight, bias = (
        torch.randn(2, c, 6, 7).to(memory_format=fmt),
        torch.randn(20, c, 3, 3),
        torch.randn(20),
    )
    x[0, 1, 0, 0], x[0, 2, 4, 4], x[1, 0, 2, 2] = torch.nan, torch.inf, -torch.inf
    bias[7], bias[8] = torch.nan, torch.inf
    y = ops.conv2d(x, weight, bias, 1, 1, act=act, act_param=0.3)
    before = F.conv2d(x.double(), weight.double(), bias.double(), 1, 1)
    tolerance.check_values(y, ops.apply_act(before, act, 0.3))


def test_bits_do_not_depend_on_threads_or_batch() -> None:
    before = torch.get_num_threads()
    try:
        for fmt in (torch.contiguous_format, CHANNELS_LAST):
            for c, groups, k in ((3, 1, 40), (40, 1, 200), (64, 64, 64)):
                x = torch.randn(3, c, 14, 14).to(memory_format=fmt)
                weight = torch.randn(k, c // groups, 3, 3)
                torch.set_num_threads(1)
                one = ops.conv2d(x, weight, None, 1, 1, 1, groups, act="silu")
                for threads in (2, 3):
                    torch.set_num_threads(threads)
                    assert torch.equal(
                        ops.conv2d(x, weight, None, 1, 1, 1, groups, act="silu"), one
                    )
                    alone = ops.conv2d(x[1:2], weight, None, 1, 1, 1, groups, act="silu")
                    assert torch.equal(alone, one[1:2])
    finally:
        torch.set_num_threads(before)


X, W = torch.randn(1, 4, 5, 6), torch.randn(8, 4, 3, 3)
BAD: list[tuple[Callable[[], Tensor], type[Exception], str]] = [
    (lambda: ops.conv2d([1], W), TypeError, "x must be a Tensor, got list"),
    (lambda: ops.conv2d(X, None), TypeError, "weight must be a Tensor, got NoneType"),
    (lambda: ops.conv2d(X, W, [0] * 8), TypeError, "bias must be a Tensor, got list"),
    (lambda: ops.conv2d(X, W, residual=1), TypeError, "residual must be a Tensor, got int"),
    (lambda: ops.conv2d(X[0, 0], W), ValueError, r"x must have 3 or 4 dimensions, got shape \(5, 6\)"),
    (lambda: ops.conv2d(X, W[0]), ValueError, r"weight must have 4 dimensions, got shape \(4, 3, 3\)"),
    (lambda: ops.conv2d(X, W.double()), TypeError, "x is torch.float32, weight is torch.float64"),
    (lambda: ops.conv2d(X, W, W[:, 0, 0, 0].half()), TypeError, "x is torch.float32, bias is torch.float16"),
    (lambda: ops.conv2d(X, W.to("meta")), ValueError, "x is on cpu, weight on meta"),
    (lambda: ops.conv2d(X[:, :3], W), ValueError, "weight takes 4 channels, x has 3"),
    (lambda: ops.conv2d(X, W, groups=2), ValueError, "weight takes 8 channels, x has 4"),
    (lambda: ops.conv2d(X, W, groups=3), ValueError, "groups=3 does not divide c=4 and k=8"),
    (lambda: ops.conv2d(X, W, groups=0), ValueError, "groups=0 must be a positive integer"),
    (lambda: ops.conv2d(X, W, groups=1.0), ValueError, "groups=1.0 must be a positive integer"),
    (lambda: ops.conv2d(X, W, dilation=3), ValueError, "the kernel spans 7 pixels, the padded input has 5"),
    (lambda: ops.conv2d(X, W, torch.zeros(7)), ValueError, r"bias has shape \(7,\), expected \(8,\)"),
    (lambda: ops.conv2d(X, W, residual=W), ValueError, r"shape \(8, 4, 3, 3\), the output \(1, 8, 3, 4\)"),
    (lambda: ops.conv2d(X, W, act="swish"), ValueError, "act='swish' is not one of none, relu, relu6, "),
    (lambda: ops.conv2d(X, W, stride=0), ValueError, "stride=0 must be 1 or 2 integers >= 1"),
    (lambda: ops.conv2d(X, W, stride=1.5), ValueError, "stride=1.5 must be 1 or 2 integers >= 1"),
    (lambda: ops.conv2d(X, W, stride="a"), ValueError, "stride='a' must be 1 or 2 integers >= 1"),
    (lambda: ops.conv2d(X, W, stride=(1, 2, 3)), ValueError, r"stride=\(1, 2, 3\) must be 1 or 2 integers"),
    (lambda: ops.conv2d(X, W, dilation=None), ValueError, "dilation=None must be 1 or 2 integers >= 1"),
    (lambda: ops.conv2d(X, W, padding=-1), ValueError, "padding=-1 must be 1 or 2 or 4 integers >= 0"),
    (lambda: ops.conv2d(X, W, padding=(1, 1, 1)), ValueError, r"padding=\(1, 1, 1\) must be 1 or 2 or 4"),
    (lambda: ops.conv2d(X, W, padding="full"), ValueError, "padding='full' is not an integer, 'same' or 'valid'"),
    (lambda: ops.conv2d(X, W, padding="same", stride=2), ValueError, r"padding='same' needs stride 1, got \(2, 2\)"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "error", "message"), BAD)
def test_a_bad_argument_is_one_clear_sentence(
    call: Callable[[], Tensor], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=f"^conv2d: .*{message}"):
        call()


@pytest.mark.parametrize(
    ("dtype", "grad", "reason"),
    [
        (torch.float64, False, "no kernel for torch.float64"),
        (torch.bfloat16, False, "no kernel for torch.bfloat16"),
        (torch.float32, True, "a gradient is needed"),
    ],
)
def test_what_has_no_kernel_goes_to_torch_and_says_so(
    dtype: torch.dtype, grad: bool, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    x, weight = X.to(dtype), W.to(dtype).requires_grad_(grad)
    residual = torch.randn(1, 8, 5, 6).to(dtype)
    with caplog.at_level(logging.DEBUG, "pycnn.ops"):
        y = ops.conv2d(x, weight, None, 1, 1, residual=residual, act="gelu")
    assert f"conv2d: torch's own op runs: {reason}" in caplog.text
    assert torch.equal(y, F.gelu(F.conv2d(x, weight, None, 1, 1) + residual))


def test_a_kernel_that_refuses_or_does_not_exist() -> None:
    rest = ([1, 1], [0] * 4, [1, 1], 1, 0, 0.0)
    raw = torch.ops.pycnn.conv2d
    with pytest.raises(RuntimeError, match="no kernel named 'nope'"):
        raw(X, W, None, None, *rest, "nope")
    with pytest.raises(
        RuntimeError, match="depthwise_f32_baseline refuses: needs groups == c == k"
    ):
        raw(X, W, None, None, *rest, "conv2d_depthwise_f32_baseline")
    with pytest.raises(RuntimeError, match="igemm_f32_baseline refuses: needs an NHWC input"):
        raw(X, W, None, None, *rest, "conv2d_igemm_f32_baseline")
