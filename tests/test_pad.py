"""Padding by numbers, by reflection, repetition and wrapping around; negative padding; on kernels, as torch."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from test_reduce import check
from torch import nn

import pycnn

MODES = ("constant", "reflect", "replicate", "circular")


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("pads", [(1, 2, 3, 0), (0, 0, 2, 1), (3, 3, 3, 3), (2, 0, 0, 0)])
def test_maps(pads: tuple[int, ...], mode: str) -> None:
    check(lambda m, x: F.pad(x.relu(), pads, mode).tanh(), (2, 3, 4, 5), (1, 3, 7, 6))
    check(lambda m, x: F.pad(x, pads, mode), (2, 5, 4, 4))


@pytest.mark.parametrize("mode", MODES)
def test_lines(mode: str) -> None:
    check(lambda m, x: F.pad(x.relu(), (2, 1), mode), (2, 3, 5), (1, 3, 8))


@pytest.mark.parametrize("value", [0.0, -1.5, float("inf")])
def test_values_and_ranks(value: float) -> None:
    for shape in ((3, 4), (2, 3, 4), (2, 3, 4, 5), (2, 2, 3, 4, 5)):
        check(lambda m, x: F.pad(x, (1, 2, 0, 1), value=value), shape)
        check(lambda m, x: F.pad(x * 2, (0, 3), value=value) * 1, shape)


def test_infinities_stay_in_their_place() -> None:
    fast = pycnn.optimize(nn.ConstantPad2d(1, 2.0).eval(), strict=True)
    x = torch.full((1, 2, 3, 3), torch.inf)
    x[0, 1] = torch.nan
    with torch.inference_mode():
        torch.testing.assert_close(fast(x), F.pad(x, (1, 1, 1, 1), value=2.0), equal_nan=True)


@pytest.mark.parametrize("pads", [(-1, 2, 0, -2), (-1, -1, -1, -1), (0, -3, 2, 1)])
def test_negative_padding_cuts(pads: tuple[int, ...]) -> None:
    for mode in MODES:
        formats = max(pads) > 0  # torch's result of cutting alone is dense in yet another order
        check(lambda m, x, k=mode: F.pad(x, pads, k), (2, 3, 6, 7), (1, 3, 9, 8), formats=formats)


@pytest.mark.parametrize("mode", ["reflect", "replicate", "circular"])
def test_convolutions_that_pad_by_themselves(mode: str) -> None:
    conv = nn.Conv2d(3, 8, (3, 5), padding=(1, 2), padding_mode=mode)
    ops = check(lambda m, x: m.conv(x).relu(), (2, 3, 8, 9), (1, 3, 6, 11), conv=conv)
    assert "rearrange" in ops and "conv2d" in ops


def test_a_size_that_cannot_be_reflected_is_torchs_error() -> None:
    fast = pycnn.optimize(nn.ReflectionPad2d(3).eval())
    with torch.inference_mode():
        fast(torch.randn(1, 2, 5, 5))
        with pytest.raises(RuntimeError, match=r"[Pp]adding size should be less"):
            fast(torch.randn(1, 2, 3, 5))


def test_padding_beyond_the_image_axes_goes_to_torch() -> None:
    class Net(nn.Module):
        def forward(self, x):
            return F.pad(x, (0, 0, 0, 0, 1, 2))

    fast, x = pycnn.optimize(Net().eval()), torch.randn(1, 2, 3, 4)
    with torch.inference_mode():
        assert torch.equal(fast(x), F.pad(x, (0, 0, 0, 0, 1, 2)))
    assert "reaches beyond the image axes" in pycnn.explain(fast, x).fallbacks[0]
