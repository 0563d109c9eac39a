"""conv2d's kernel for 3 x 3 windows of few channels a group, called by name."""

from typing import Any

import convolutions
import pytest
from convolutions import LANES, Conv, check, check_activation, check_bits, check_values_as_torch

from pycnn import _C, ops

KERNELS = [name for name in convolutions.KERNELS if "grouped" in name]
SIZES = [(name, g) for name in KERNELS for g in (2, 4, 8, 16) if g <= LANES[name.rsplit("_", 1)[1]]]


def conv(
    channels: int,
    groups: int,
    h: int,
    w: int,
    stride: int = 1,
    pads: tuple[int, int, int, int] = (1, 1, 1, 1),
    **more: Any,
) -> Conv:
    c = channels * groups
    return Conv(c, c, h, w, (3, 3), (stride, stride), pads, groups=groups, **more)


def test_every_instruction_set_has_one() -> None:
    assert KERNELS


@pytest.mark.parametrize(("kernel", "channels"), SIZES)
@pytest.mark.parametrize("stride", [1, 2])
def test_every_width_around_a_tile_and_every_kind_of_border(
    kernel: str, channels: int, stride: int
) -> None:
    groups = LANES[kernel.rsplit("_", 1)[1]] // channels + 1  # the last vector is not full
    for w in (*range(1, 10), 14, 16, 17):
        check(kernel, conv(channels, groups, 4, w, stride))
    for pads in ((0, 0, 0, 0), (2, 0, 1, 2), (0, 2, 3, 1), (5, 4, 6, 5)):
        for h, w in ((3, 20), (9, 9)):
            check(kernel, conv(channels, groups, h, w, stride, pads, n=2))


@pytest.mark.parametrize(("kernel", "channels"), SIZES)
def test_numbers_of_groups_and_dilation(kernel: str, channels: int) -> None:
    for groups in (1, 2, 3, 7, 32):
        check(kernel, conv(channels, groups, 6, 7), gap=0)
        check(kernel, conv(channels, groups, 6, 7), extras=False)
    for d in ((2, 2), (1, 3), (4, 5)):
        pads = (d[0], d[1], d[0], d[1])
        check(kernel, conv(channels, 5, 11, 19, 1, pads, dilation=d, n=2))


@pytest.mark.parametrize("act", ops.ACTS)
@pytest.mark.parametrize("kernel", KERNELS)
def test_activations_bias_and_residual(kernel: str, act: str) -> None:
    check_activation(kernel, conv(4, 9, 5, 8, n=2), act)


@pytest.mark.parametrize("kernel", KERNELS)
def test_nan_and_infinities_as_in_torch(kernel: str) -> None:
    check_values_as_torch(kernel, conv(4, 9, 5, 8, n=2), (0, 3, 0, 0), (0, 5, 4, 7))


@pytest.mark.parametrize(("kernel", "channels"), SIZES)
def test_bits_do_not_depend_on_workers_batch_or_strides(kernel: str, channels: int) -> None:
    check_bits(kernel, conv(channels, 9, 9, 8, n=3), "silu")


def test_refusals_name_the_reason() -> None:
    fits = {"c": 8, "k": 8, "groups": 2, "kh": 3, "kw": 3, "h": 9, "w": 9, "oh": 7, "ow": 7}
    groups = "needs as many outputs as inputs, in groups of 2, 4, 8, .. within a vector"
    for change, reason in [
        ({}, None),
        ({"k": 16}, groups),
        ({"groups": 8}, groups),
        ({"c": 6, "k": 6}, groups),
        ({"c": 64, "k": 64}, groups),
        ({"x_nchw": 1}, "needs an NHWC input"),
        ({"kw": 4}, "needs a window of 3 x 3"),
        ({"sh": 3, "sw": 3}, "needs stride 1 or 2"),
        ({"dh": 2, "dw": 2, "sh": 2, "sw": 2}, "needs stride 1 or dilation 1"),
    ]:
        reasons = dict(_C.kernels("conv2d", {**fits, **change}))
        assert {reasons[name] for name in KERNELS} == {reason}
