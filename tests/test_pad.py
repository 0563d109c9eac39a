"""Padding by numbers, by reflection, repetition and wrapping around; negative padding; on kernels, as torch."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from captured import Fn
from test_reduce import check
from torch import Tensor, nn

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


@pytest.mark.parametrize("value", [0.0, -1.5])
def test_axes_that_are_not_the_images(value: float) -> None:
    for pads in (
        (0, 0, 0, 0, 1, 2),
        (0, 0, 0, 3, 0, 2),
        (0, 1, 0, 0, 2, 0),
        (1, 0, 2, 1, 0, 3, 1, 1),
        (0, 0, 1, 0, -1, 2),
    ):
        check(lambda m, x, p=pads: F.pad(x.relu(), p, value=value) * 2, (2, 3, 4, 5), (3, 4, 5, 4))
    check(lambda m, x: F.pad(x * 2, (0, 0, 2, 1, 0, 0, 1, 0), value=value).relu(), (2, 2, 3, 4, 5))
    check(lambda m, x: F.pad(x * 2, (0, 0, 1, 2), value=value), (3, 4))


def test_windows_of_rows_are_padded_as_they_lie() -> None:
    """TinyViT's: tokens as [n, h, w, c], padded to whole windows."""

    def forward(m: Fn, x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        y = F.pad(m.norm(x.flatten(2).transpose(1, 2)).view(n, h, w, c), (0, 0, 0, 3, 0, 2))
        y = y.view(n, (h + 2) // 4, 4, (w + 3) // 4, 4, c).transpose(2, 3).reshape(-1, 16, c)
        return m.up(y)

    norm, up = nn.LayerNorm(8), nn.Linear(8, 5)
    check(forward, (2, 8, 6, 5), norm=norm, up=up)


def test_a_pad_of_another_axis_is_not_the_convolutions() -> None:
    conv = nn.Conv2d(5, 4, 3, padding=1)
    check(
        lambda m, x: m.conv(F.pad(x.relu(), (0, 0, 1, 1, 0, 2))),
        (2, 3, 6, 5),
        (1, 3, 4, 7),
        conv=conv,
    )
