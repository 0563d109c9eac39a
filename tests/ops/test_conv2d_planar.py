"""conv2d's kernel for few outputs, called by name: sizes at the ends of its rows, passes and blocks, against fp64."""

import convolutions
import pytest
import torch
from convolutions import (
    LANES,
    Conv,
    check,
    check_activation,
    check_bits,
    check_values_as_torch,
    problem,
    run,
)

from pycnn import _C, ops

KERNELS = [name for name in convolutions.KERNELS if "planar" in name]


def lanes(kernel: str) -> int:
    return LANES[kernel.rsplit("_", 1)[1]]


@pytest.mark.parametrize("kernel", KERNELS)
def test_every_number_of_outputs_and_the_widths_around_a_pass(kernel: str) -> None:
    n = lanes(kernel)
    for k in range(1, n // 2 + 1):
        for w in (1, 3, n - 1, n, n + 1, 3 * n, 8 * n + 1):
            h = -(-4 * n // w) + w % 2
            for nchw in (False, True):
                check(kernel, Conv(3, k, h, w, (3, 3), (1, 1), (1, 1, 1, 1)), nchw)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize(
    ("window", "pads", "dilation"),
    [
        ((1, 1), (0, 0, 0, 0), (1, 1)),
        ((3, 3), (0, 0, 0, 0), (1, 1)),
        ((5, 5), (2, 2, 2, 2), (1, 1)),
        ((3, 3), (2, 2, 2, 2), (2, 2)),
        ((3, 1), (2, 0, 1, 3), (1, 1)),
        ((2, 4), (0, 5, 1, 0), (1, 2)),
        ((3, 3), (9, 14, 8, 13), (1, 1)),
        ((7, 9), (0, 0, 0, 0), (1, 1)),
    ],
)
def test_windows_paddings_and_dilations(
    kernel: str, window: tuple, pads: tuple, dilation: tuple
) -> None:
    for c in (1, 5, lanes(kernel), 2 * lanes(kernel) + 3):
        conv = Conv(c, 2, 15, 17, window, (1, 1), pads, dilation, n=2)
        for nchw in (False, True):
            check(kernel, conv, nchw)
        check(kernel, conv, gap=0, extras=False)


@pytest.mark.parametrize("kernel", KERNELS)
def test_more_rows_than_one_block(kernel: str) -> None:
    check(kernel, Conv(300, 1, 40, 24, (3, 3), (1, 1), (1, 1, 1, 1)))
    check(kernel, Conv(40, 2, 130, 40, (5, 1), (1, 1), (2, 0, 2, 0), n=2))


@pytest.mark.parametrize("act", ops.ACTS)
@pytest.mark.parametrize("kernel", KERNELS)
def test_activations_bias_and_residual(kernel: str, act: str) -> None:
    check_activation(kernel, Conv(4, 2, 9, 9, (3, 3), (1, 1), (1, 1, 1, 1), n=2), act)


@pytest.mark.parametrize("kernel", KERNELS)
def test_nan_and_infinities_as_in_torch(kernel: str) -> None:
    conv = Conv(4, 2, 9, 9, (3, 3), (1, 1), (1, 1, 1, 1), n=2)
    check_values_as_torch(kernel, conv, (0, 3, 0, 0), (0, 2, 8, 8))


@pytest.mark.parametrize("kernel", KERNELS)
def test_bits_do_not_depend_on_workers_batch_or_strides(kernel: str) -> None:
    conv = Conv(19, 2, 11, 9, (3, 3), (1, 1), (1, 1, 1, 1), n=3)
    y = check_bits(kernel, conv, "gelu")
    assert torch.equal(run(kernel, conv, problem(conv), act="gelu", nchw=True), y)


def test_refusals_name_the_reason() -> None:
    fits = {"c": 8, "k": 2, "h": 9, "w": 9, "oh": 9, "ow": 9, "ldx": 8, "ldy": 2}
    for change, reason in [
        ({}, None),
        ({"groups": 2}, "needs groups == 1"),
        ({"sw": 2}, "needs stride 1"),
        ({"k": 9}, "needs at most half a vector of outputs"),
        ({"oh": 1, "ow": 15}, "needs at least 4 vectors of output pixels"),
    ]:
        reasons = dict(_C.kernels("conv2d", {**fits, **change}))
        assert {reasons[name] for name in KERNELS} == {reason}
