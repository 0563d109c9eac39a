"""A convolution in a plan is that of the taps which see the map at some output."""

from __future__ import annotations

import pytest
import torch
from nets import error, fast, truth
from torch import nn

import pycnn
from pycnn.planning.params import _live_taps


def window(net: nn.Module, x: torch.Tensor) -> str:
    with torch.inference_mode():
        return pycnn.explain(pycnn.optimize(net), x).steps[0].window


@pytest.mark.parametrize(
    ("options", "h", "w", "expected"),
    [
        ({"padding": 24, "dilation": 24}, 16, 16, "1×1"),
        ({"padding": (24, 3), "dilation": (24, 3)}, 16, 16, "1×3, dilation 1×3"),
        ({"padding": 12, "dilation": 12}, 16, 11, "3×1, dilation 12×1"),
        ({"padding": 1}, 1, 1, "1×1"),
        ({"padding": 1}, 1, 7, "1×3"),
        ({"padding": 1}, 7, 7, "3×3"),
        ({"padding": (0, 1)}, 3, 1, "3×1"),
        ({"padding": 9, "dilation": 9, "stride": 3}, 9, 9, "1×1, stride 3"),
        ({"padding": (2, 0)}, 1, 5, "3×3"),
    ],
)
def test_windows(options: dict, h: int, w: int, expected: str) -> None:
    net = nn.Sequential(nn.Conv2d(16, 24, 3, **options), nn.BatchNorm2d(24), nn.ReLU()).eval()
    net[1].running_var.uniform_(0.5, 2)
    x = torch.randn(2, 16, h, w).contiguous(memory_format=torch.channels_last)
    assert window(net, x) == expected
    assert error(fast(net, x, exact=True), truth(net, x)) <= 1e-6


def test_sizes_of_one_net_have_taps_of_their_own() -> None:
    for groups in (1, 16):
        net = nn.Conv2d(16, 32, 3, padding=6, dilation=6, groups=groups).eval()
        optimised = pycnn.optimize(net)
        with torch.inference_mode():
            for size in ((5, 5), (5, 9), (9, 5), (9, 9), (5, 5), (13, 40)):
                x = torch.randn(1, 16, *size)
                assert error(optimised(x), truth(net, x)) <= 1e-6


def test_what_is_left_is_all_taps_that_see_the_map() -> None:
    for kernel in (1, 2, 3, 5):
        for size in (1, 2, 4, 9):
            for pad in range(10):
                for dilation in (1, 2, 3, 7):
                    for stride in (1, 2, 3):
                        span = size + 2 * pad - dilation * (kernel - 1)
                        if span < 1:
                            continue
                        out = (span - 1) // stride + 1
                        taps, left, step = _live_taps(kernel, size, out, stride, pad, dilation)
                        dropped = (pad - left) // dilation
                        assert left >= 0 and taps >= 1
                        assert step == (1 if taps == 1 < kernel else dilation)
                        for t in range(kernel):
                            at = [o * stride - pad + t * dilation for o in range(out)]
                            if not dropped <= t < dropped + taps:
                                assert not any(0 <= y < size for y in at)
