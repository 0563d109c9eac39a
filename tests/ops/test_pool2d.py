"""max_pool2d, avg_pool2d, adaptive_avg_pool2d, adaptive_max_pool2d against torch."""

import logging
from collections.abc import Callable
from typing import Any

import pinned
import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from torch import Tensor

from pycnn import ops

# Sums of up to 9 * 9 values in [-4, 4], each addition rounded once, divided by at least 1.
TOLERANCE = 81 * 2**-24 * 4
CHANNELS_LAST = torch.channels_last
MAX, AVG, ADAPTIVE_MAX, ADAPTIVE_AVG = range(4)


def check(y: Tensor, expected: Tensor) -> None:
    """Values within TOLERANCE of fp64's."""
    assert y.shape == expected.shape
    torch.testing.assert_close(
        y.double(), expected.double(), rtol=0, atol=TOLERANCE, equal_nan=True
    )


def pinned_pool(kernel: str, x: Tensor, workers: int = 1, gap: int = 5, **params: int) -> Tensor:
    """One kernel on x [n, c, h, w] whose pixels lie c + gap apart, writing pixels c + gap + 1 apart."""
    n, c, h, w = x.shape
    full = dict(params, n=n, h=h, w=w, c=c, ldx=c + gap, ldy=c + gap + 1)
    rows = n * params["oh"] * params["ow"]
    y = pinned.call(
        "pool2d", kernel, full, pinned.spread(pinned.nhwc(x), c + gap), (rows, c), workers=workers
    )
    return pinned.nchw(y, n, params["oh"], params["ow"])


# torch arguments: kernel, stride, padding, dilation, ceil_mode
WINDOWS = [
    ((2, 2), (2, 2), (0, 0), (1, 1), False),
    ((3, 3), (2, 2), (1, 1), (1, 1), False),
    ((3, 3), (1, 1), (1, 1), (1, 1), True),
    ((1, 1), (1, 1), (0, 0), (1, 1), False),
    ((5, 2), (3, 1), (2, 1), (1, 1), True),
    ((3, 2), (2, 3), (1, 0), (2, 3), True),
    ((9, 9), (4, 4), (4, 4), (1, 1), True),
    ((3, 3), (2, 1), (0, 1), (1, 1), True),
    ((3, 3), (1, 2), (1, 0), (1, 1), False),
]
KERNELS = pinned.kernels("pool2d")
ANY_WINDOW = [kernel for kernel in KERNELS if "walk3x3" not in kernel]


def suits(kernel: str, k: tuple[int, int], s: tuple[int, int], d: tuple[int, int]) -> bool:
    return kernel in ANY_WINDOW or (k == (3, 3) and d == (1, 1) and s[1] < 3)


@pytest.mark.parametrize("c", pinned.EDGES)
@pytest.mark.parametrize("kernel", KERNELS)
def test_every_kernel_at_vector_edges(kernel: str, c: int) -> None:
    torch.manual_seed(c)
    x = torch.randn(2, c, 7, 9).clamp(-4, 4)
    for k, s, p, d, ceil_mode in WINDOWS:
        if not suits(kernel, k, s, d):
            continue
        expected = F.max_pool2d(x, k, s, p, d, ceil_mode)
        size = dict(zip(("oh", "ow"), expected.shape[2:], strict=True))
        window = {
            "kh": k[0],
            "kw": k[1],
            "sh": s[0],
            "sw": s[1],
            "ph": p[0],
            "pw": p[1],
            "dh": d[0],
            "dw": d[1],
        }
        assert torch.equal(pinned_pool(kernel, x, mode=MAX, **window, **size), expected)
        if d != (1, 1):
            continue
        for include in (0, 1):
            y = pinned_pool(kernel, x, mode=AVG, count_include_pad=include, **window, **size)
            check(y, F.avg_pool2d(x.double(), k, s, p, ceil_mode, bool(include)))
        y = pinned_pool(kernel, x, mode=AVG, divisor_override=3, **window, **size)
        check(y, F.avg_pool2d(x.double(), k, s, p, ceil_mode, divisor_override=3))


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("stride", [1, 2])
def test_every_kernel_on_maps_smaller_than_its_window(kernel: str, stride: int) -> None:
    for h, w in ((1, 1), (1, 2), (2, 3), (5, 1)):
        x = torch.randn(2, 9, h, w)
        expected = F.max_pool2d(x, 3, stride, 1)
        size = dict(zip(("oh", "ow"), expected.shape[2:], strict=True))
        window = {"kh": 3, "kw": 3, "sh": stride, "sw": stride, "ph": 1, "pw": 1}
        assert torch.equal(pinned_pool(kernel, x, mode=MAX, **window, **size), expected)
        y = pinned_pool(kernel, x, mode=AVG, count_include_pad=0, **window, **size)
        check(y, F.avg_pool2d(x.double(), 3, stride, 1, count_include_pad=False))


@pytest.mark.parametrize("kernel", ANY_WINDOW)
@pytest.mark.parametrize("size", [(1, 1), (7, 9), (3, 4), (10, 13), (2, 1)])
def test_every_kernel_adaptive(kernel: str, size: tuple[int, int]) -> None:
    x = torch.randn(2, 21, 7, 9).clamp(-4, 4)
    y = pinned_pool(kernel, x, mode=ADAPTIVE_MAX, oh=size[0], ow=size[1])
    assert torch.equal(y, F.adaptive_max_pool2d(x, size))
    y = pinned_pool(kernel, x, mode=ADAPTIVE_AVG, oh=size[0], ow=size[1])
    check(y, F.adaptive_avg_pool2d(x.double(), size))


@pytest.mark.parametrize("kernel", KERNELS)
def test_bits_do_not_depend_on_workers_or_batch(kernel: str) -> None:
    x = torch.randn(3, 19, 8, 8)
    window = {"kh": 3, "kw": 3, "sh": 2, "sw": 2, "ph": 1, "pw": 1, "oh": 4, "ow": 4}
    one = pinned_pool(kernel, x, mode=AVG, **window)
    for workers in (2, 3, 7):
        assert torch.equal(pinned_pool(kernel, x, workers, mode=AVG, **window), one)
    assert torch.equal(pinned_pool(kernel, x[1:2], mode=AVG, **window), one[1:2])


@pytest.mark.parametrize("kernel", KERNELS)
def test_nan_and_infinities_as_in_torch(kernel: str) -> None:
    x = torch.randn(1, 19, 9, 9)
    x[0, :, 1, 1], x[0, 3:, 4, 4] = torch.nan, torch.inf
    x[0, :5, 7, 7], x[0, 6, :, :3] = -torch.inf, -torch.inf
    window = {"kh": 3, "kw": 3, "sh": 1, "sw": 1, "ph": 1, "pw": 1, "oh": 9, "ow": 9}
    y, expected = pinned_pool(kernel, x, mode=MAX, **window), F.max_pool2d(x, 3, 1, 1)
    torch.testing.assert_close(y, expected, rtol=0, atol=0, equal_nan=True)
    check(pinned_pool(kernel, x, mode=AVG, **window), F.avg_pool2d(x.double(), 3, 1, 1))


def test_a_window_that_dilation_carries_over_the_map_is_minus_infinity() -> None:
    x = torch.zeros(1, 5, 2, 2)
    expected = F.max_pool2d(x, 2, 3, 1, 3, ceil_mode=True)
    assert torch.all(expected == -torch.inf)
    assert torch.equal(ops.max_pool2d(x, 2, 3, 1, 3, ceil_mode=True), expected)


sizes = st.integers(1, 9)
pairs = st.tuples(st.integers(1, 4), st.integers(1, 4))


@settings(max_examples=250, deadline=None, derandomize=True)
@given(
    size=st.tuples(sizes, sizes),
    k=st.tuples(st.integers(1, 6), st.integers(1, 6)),
    s=pairs,
    p=st.tuples(st.integers(0, 3), st.integers(0, 3)),
    d=pairs,
    ceil_mode=st.booleans(),
    include=st.booleans(),
    divisor=st.sampled_from([None, 1, 5, -2]),
    last=st.booleans(),
)
# ceil_mode with a last window that hangs over by more than the padding.
@example((7, 7), (3, 3), (4, 4), (1, 1), (1, 1), True, True, None, True)
def test_every_option_as_in_torch(
    size: tuple[int, int],
    k: tuple[int, int],
    s: tuple[int, int],
    p: tuple[int, int],
    d: tuple[int, int],
    ceil_mode: bool,
    include: bool,
    divisor: int | None,
    last: bool,
) -> None:
    x = torch.linspace(-4, 4, 2 * 6 * size[0] * size[1]).view(2, 6, *size).sin()
    x = x.to(memory_format=CHANNELS_LAST if last else torch.contiguous_format)
    calls: list[tuple[Callable[..., Tensor], Callable[..., Tensor], tuple[Any, ...]]] = [
        (ops.max_pool2d, F.max_pool2d, (k, s, p, d, ceil_mode)),
        (ops.avg_pool2d, F.avg_pool2d, (k, s, p, ceil_mode, include, divisor)),
    ]
    ran = False
    for ours, torchs, args in calls:
        try:
            expected = torchs(x, *args)
        except RuntimeError:
            with pytest.raises(ValueError, match=ours.__name__):
                ours(x, *args)
            continue
        ran = True
        y = ours(x, *args)
        assert y.stride() == expected.stride()
        check(y, torchs(x.double(), *args))
    assume(ran)


def views() -> list[Tensor]:
    x = torch.randn(2, 19, 7, 9)
    last = x.contiguous(memory_format=CHANNELS_LAST)
    return [
        x, last, x[:, 3:8], last[:, 3:8], x[:, :, 1:6, 2:8], last[:, :, 1:6, 2:8], x[:1].expand(3, -1, -1, -1),
        x[:, :1].expand(-1, 5, -1, -1), x[:, :, :1, :1].expand(-1, -1, 4, 3), x.permute(0, 1, 3, 2), x[:0], last[:0],
        x[:, :, ::2, ::3], last[:, :, ::2, ::3], x[:, :, :1, :1], last[:, :, :1, :1], x[:, :1], last[:1, :1, :1, :1],
        torch.randn(2, 1, 4, 5).as_strided((2, 1, 4, 5), (20, 1, 5, 1)), last[:, :3, :, 4:5],
    ]  # fmt: skip


@pytest.mark.parametrize("i", range(len(views())))
def test_views_keep_torchs_values_and_strides(i: int) -> None:
    x = views()[i]
    for call in (
        lambda f, x: f.max_pool2d(x, 3, 2, 1),
        lambda f, x: f.avg_pool2d(x, (1, 2), 1, (0, 1)),
        lambda f, x: f.adaptive_avg_pool2d(x, 1),
        lambda f, x: f.adaptive_avg_pool2d(x, (3, None)),
        lambda f, x: f.adaptive_max_pool2d(x, (2, 5)),
        lambda f, x: f.adaptive_max_pool2d(x, 0),
    ):
        y, expected = call(ops, x), call(F, x)
        assert y.stride() == expected.stride()
        check(y, call(F, x.double()))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ops.max_pool2d([1], 2), "max_pool2d: x must be a Tensor, got list"),
        (lambda: ops.max_pool2d(torch.zeros(3, 3), 2), r"must have 3 or 4 dimensions, got shape \(3, 3\)"),
        (lambda: ops.max_pool2d(torch.zeros(1, 1, 0, 3), 2), r"no pixels, its shape is \(1, 1, 0, 3\)"),
        (lambda: ops.max_pool2d(torch.zeros(1, 1, 3, 3), 0), "kernel_size=0 must be one or two integers >= 1"),
        (lambda: ops.max_pool2d(torch.zeros(1, 1, 3, 3), 2, (1, 2, 3)), r"stride=\(1, 2, 3\) must be one or two"),
        (lambda: ops.max_pool2d(torch.zeros(1, 1, 3, 3), 2, dilation=0), "dilation=0 must be"),
        (lambda: ops.max_pool2d(torch.zeros(1, 1, 3, 3), 2, padding=2), "padding=2 is more than half of kernel_size=2"),
        (lambda: ops.max_pool2d(torch.zeros(1, 1, 3, 3), 5), r"kernel_size=\(5, 5\).* does not fit .*\(1, 1, 3, 3\)"),
        (lambda: ops.max_pool2d(torch.zeros(1, 1, 3, 3), 2, return_indices=True), "return_indices=True is not offered"),
        (lambda: ops.avg_pool2d(torch.zeros(1, 1, 3, 3), 2, divisor_override=0), "divisor_override=0 must be"),
        (lambda: ops.avg_pool2d(torch.zeros(1, 1, 3, 3), 2, padding=-1), "padding=-1 must be"),
        (lambda: ops.adaptive_avg_pool2d(torch.zeros(1, 1, 3, 3), (1, 2, 3)), r"output_size=\(1, 2, 3\) must be"),
        (lambda: ops.adaptive_avg_pool2d(torch.zeros(1, 1, 3, 3), -1), "output_size=-1 must be"),
        (lambda: ops.adaptive_max_pool2d(torch.zeros(1, 1, 3, 3), 1, True), "return_indices=True is not offered"),
        (lambda: ops.adaptive_max_pool2d(None, 1), "adaptive_max_pool2d: x must be a Tensor, got NoneType"),
    ],
)  # fmt: skip
def test_a_bad_argument_is_one_clear_sentence(call: Callable[[], Tensor], message: str) -> None:
    with pytest.raises((TypeError, ValueError, NotImplementedError), match=message):
        call()


@pytest.mark.parametrize(
    ("x", "reason"),
    [
        (torch.randn(2, 5, 6, dtype=torch.float64)[None], "no kernel for torch.float64"),
        (torch.randn(1, 2, 5, 6).bfloat16(), "no kernel for torch.bfloat16"),
        (torch.randn(2, 5, 6), "x has shape"),
        (torch.randn(1, 2, 5, 6, requires_grad=True), "a gradient is needed"),
    ],
)
def test_what_has_no_kernel_goes_to_torch_and_says_so(
    x: Tensor, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    for call in (
        lambda f: f.max_pool2d(x, 2),
        lambda f: f.avg_pool2d(x, 2),
        lambda f: f.adaptive_avg_pool2d(x, 2),
        lambda f: f.adaptive_max_pool2d(x, 2),
    ):
        caplog.clear()
        with caplog.at_level(logging.DEBUG, "pycnn.ops"):
            y = call(ops)
        assert torch.equal(y, call(F))
        assert reason in caplog.text
