"""conv2d's kernel for few channels, called by name: lines, their phases and borders, and the ring that keeps them."""

import convolutions
import pytest
import torch
from convolutions import (
    LANES,
    ROWS,
    Conv,
    check,
    check_activation,
    check_bits,
    check_values_as_torch,
    problem,
    run,
)

from pycnn import _C, ops

KERNELS = [name for name in convolutions.KERNELS if "conv2d_stem" in name]


@pytest.mark.parametrize("nchw", [False, True])
@pytest.mark.parametrize("kernel", KERNELS)
def test_every_width_around_a_tile(kernel: str, nchw: bool) -> None:
    rows = ROWS[kernel.rsplit("_", 1)[1]]
    least = rows // 2 + 1 if nchw else rows
    for w in (*range(least, rows + 3), 2 * rows - 1, 2 * rows, 2 * rows + 1):
        check(kernel, Conv(3, 40, 4, w, (3, 3), (1, 1), (1, 1, 1, 1), n=2), nchw)


@pytest.mark.parametrize("nchw", [False, True])
@pytest.mark.parametrize("kernel", KERNELS)
def test_strides_dilations_and_borders(kernel: str, nchw: bool) -> None:
    count = 0
    for window in ((3, 3), (7, 7), (1, 2), (5, 4)):
        for stride in ((1, 1), (2, 2), (1, 3), (4, 3), (3, 1)):
            for dilation in ((1, 1), (2, 2), (1, 3)):
                for padding in ((0, 0, 0, 0), (1, 1, 1, 1), (2, 3, 0, 1), (9, 40, 8, 3)):
                    conv = Conv(3, 20, 15, 58, window, stride, padding, dilation, n=2)
                    if conv.suits(kernel, nchw):
                        check(kernel, conv, nchw)
                        count += 1
    assert count > 100


@pytest.mark.parametrize("kernel", KERNELS)
def test_channels_and_outputs(kernel: str) -> None:
    lanes = LANES[kernel.rsplit("_", 1)[1]]
    for k in (1, lanes - 1, lanes, lanes + 1, 3 * lanes, 4 * lanes + 2):
        for c in (1, 2, 7):
            conv = Conv(c, k, 6, 21, (3, 3), (2, 1), (1, 1, 1, 1))
            check(kernel, conv, gap=0)
            check(kernel, conv, nchw=True, extras=False)
    check(kernel, Conv(33, lanes, 6, 21, (3, 3), (1, 1), (1, 1, 1, 1)), nchw=True)


@pytest.mark.parametrize("act", ops.ACTS)
@pytest.mark.parametrize("kernel", KERNELS)
def test_activations_bias_and_residual(kernel: str, act: str) -> None:
    check_activation(kernel, Conv(3, 35, 5, 18, (3, 3), (1, 1), (1, 1, 1, 1), n=2), act)


@pytest.mark.parametrize("kernel", KERNELS)
def test_nan_and_infinities_as_in_torch(kernel: str) -> None:
    layer = Conv(3, 35, 5, 18, (3, 3), (1, 1), (1, 1, 1, 1), n=2)
    check_values_as_torch(kernel, layer, (0, 2, 0, 0), (0, 0, 4, 7))


@pytest.mark.parametrize("kernel", KERNELS)
def test_bits_do_not_depend_on_workers_batch_or_strides(kernel: str) -> None:
    layer = Conv(3, 70, 9, 30, (5, 5), (2, 2), (2, 2, 2, 2), n=3)
    y = check_bits(kernel, layer, "silu")
    assert torch.equal(run(kernel, layer, problem(layer), act="silu", nchw=True), y)


NARROW = "needs rows of outputs of a tile, from NCHW of more than half of one"


def test_refusals_name_the_reason() -> None:
    fits = {"c": 4, "k": 8, "kh": 3, "kw": 3, "h": 30, "w": 30, "oh": 28, "ow": 28}
    for change, reason in [
        ({}, None),
        ({"groups": 2}, "needs groups == 1"),
        ({"c": 8}, "needs fewer than 8 channels, or an NCHW input"),
        ({"c": 8, "x_nchw": 1}, None),
        ({"sw": 3, "ow": 10}, "needs windows that overlap: else a copy is read once"),
        ({"dw": 14, "ow": 2}, NARROW),
        ({"dw": 14, "ow": 2, "x_nchw": 1}, NARROW),
        ({"c": 4096, "x_nchw": 1}, "needs rows of inputs that fit half the L2"),
    ]:
        reasons = dict(_C.kernels("conv2d", {**fits, **change}))
        assert {reasons[name] for name in KERNELS} == {reason}
