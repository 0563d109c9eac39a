"""The kernels of conv2d's table that take any window, called by name, against F.conv2d in fp64."""

import dataclasses

import convolutions
import pytest
from convolutions import (
    LANES,
    ROWS,
    Conv,
    check,
    check_activation,
    check_bits,
    check_values_as_torch,
)

from pycnn import _C, ops

SPECIAL = (
    "winograd",
    "planar",
    "depthwise_window",
    "depthwise3x3",
    "grouped",
    "stem",
    "conv2d_scale",
)
KERNELS = [name for name in convolutions.KERNELS if not any(word in name for word in SPECIAL)]


def isa(kernel: str) -> str:
    return kernel.rsplit("_", 1)[1]


def edges(lanes: int) -> tuple[int, ...]:
    return lanes - 1, lanes, lanes + 1, 2 * lanes + 3, 8 * lanes + 1


@pytest.mark.parametrize("kernel", KERNELS)
def test_every_number_of_pixels_and_panels(kernel: str) -> None:
    lanes, rows = LANES[isa(kernel)], ROWS[isa(kernel)]
    for panels in (1, 2, 3, 5, 8, 15):
        for pixels in (*range(1, rows + 2), 2 * rows + 1):
            k = panels * lanes - panels % 3
            conv = Conv(c=9, k=k, h=1, w=pixels)
            if "depthwise" in kernel:
                conv = Conv(c=k, k=k, h=1, w=pixels, groups=k)
            check(kernel, conv)


@pytest.mark.parametrize("kernel", KERNELS)
def test_channels_at_vector_edges(kernel: str) -> None:
    lanes = LANES[isa(kernel)]
    for k in (1, *edges(lanes)):
        for c in (1, 3, 7, 8, 9, *edges(lanes)):
            conv = Conv(c, k, 3, 4, (3, 3), (1, 1), (1, 1, 1, 1))
            if "depthwise" in kernel:
                conv = dataclasses.replace(conv, k=c, groups=c)
            for nchw in (False, True):
                if conv.suits(kernel, nchw):
                    check(kernel, conv, nchw, gap=0 if c == k else 5)


WINDOWS = [
    ((1, 1), (1, 1), (0, 0, 0, 0), (1, 1)),
    ((1, 1), (2, 3), (0, 0, 0, 0), (1, 1)),
    ((1, 1), (1, 1), (1, 0, 2, 1), (1, 1)),
    ((3, 3), (1, 1), (1, 1, 1, 1), (1, 1)),
    ((3, 3), (2, 2), (1, 1, 1, 1), (1, 1)),
    ((3, 3), (2, 2), (0, 0, 1, 1), (1, 1)),
    ((3, 3), (1, 2), (2, 0, 1, 3), (1, 1)),
    ((3, 3), (1, 1), (2, 2, 2, 2), (2, 2)),
    ((3, 3), (2, 1), (0, 3, 1, 2), (1, 3)),
    ((3, 3), (1, 1), (5, 6, 4, 7), (2, 1)),  # some windows hold nothing but padding
    ((5, 1), (1, 1), (2, 0, 2, 0), (1, 1)),
    ((1, 7), (1, 1), (0, 3, 0, 3), (1, 1)),
    ((2, 4), (1, 1), (0, 1, 1, 2), (1, 1)),
    ((7, 7), (2, 2), (3, 3, 3, 3), (1, 1)),
    ((7, 9), (1, 1), (0, 0, 0, 0), (1, 1)),  # the whole map is one window
]
DENSE, DEPTHWISE = (
    [(3, 20, 1), (16, 17, 1)],
    [(19, 19, 19), (33, 33, 33), (5, 15, 5)],
)  # c, k, groups
GROUPS = [*DENSE, *DEPTHWISE, (6, 34, 2), (36, 8, 4), (40, 70, 2)]


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("window", WINDOWS)
def test_windows_strides_dilations_paddings_and_groups(kernel: str, window: tuple) -> None:
    for c, k, groups in GROUPS:
        conv = Conv(c, k, 7, 9, *window, groups, n=2)
        for nchw in (False, True):
            if conv.suits(kernel, nchw):
                check(kernel, conv, nchw)
                check(kernel, conv, nchw, gap=0, extras=False)


# Weights of more than half the L2, then more pixels than one block of the table of pointers holds.
LARGE = [
    Conv(256, 131, 5, 6, (3, 3), (1, 1), (1, 1, 1, 1), n=2),
    Conv(9, 20, 21, 20, (7, 7), (1, 1), (3, 3, 3, 3), n=2),
    Conv(24, 24, 21, 20, (5, 5), (1, 1), (2, 2, 2, 2), groups=24, n=2),
]


@pytest.mark.parametrize("kernel", KERNELS)
def test_more_weights_or_pixels_than_one_block(kernel: str) -> None:
    for conv in LARGE:
        if conv.suits(kernel):
            check(kernel, conv)


# Dilated windows that reach over the map, for most outputs or all: taps outside are left out of wide enough tiles.
REACHING = [
    Conv(24, 37, 16, 18, (3, 3), (1, 1), (12, 12, 12, 12), (12, 12), n=2),
    Conv(16, 16, 9, 31, (3, 3), (1, 1), (4, 7, 4, 7), (4, 7), n=2),
    Conv(16, 35, 20, 33, (3, 3), (2, 2), (9, 9, 9, 9), (9, 9), n=2),
    Conv(18, 36, 11, 40, (2, 4), (1, 1), (3, 12, 5, 9), (6, 8), groups=2, n=2),
    Conv(16, 20, 6, 15, (3, 1), (1, 1), (20, 0, 20, 0), (20, 1)),
    Conv(8, 20, 30, 64, (9, 9), (1, 1), (12, 12, 12, 12), (3, 3)),  # more taps than are told apart
    Conv(16, 20, 3, 5, (3, 3), (1, 1), (6, 18, 6, 18), (2, 2)),  # tiles with no tap inside
]


@pytest.mark.parametrize("conv", REACHING)
@pytest.mark.parametrize("kernel", KERNELS)
def test_taps_outside_the_map(kernel: str, conv: Conv) -> None:
    if conv.suits(kernel):
        check(kernel, conv)
        check(kernel, conv, gap=0, extras=False)


def dense_or_depthwise(kernel: str) -> Conv:
    if "depthwise" in kernel:
        return Conv(35, 35, 5, 8, (3, 3), (1, 1), (1, 1, 1, 1), groups=35, n=2)
    return Conv(9, 35, 5, 8, (3, 3), (1, 1), (1, 1, 1, 1), n=2)


@pytest.mark.parametrize("act", ops.ACTS)
@pytest.mark.parametrize("kernel", KERNELS)
def test_activations_bias_and_residual(kernel: str, act: str) -> None:
    check_activation(kernel, dense_or_depthwise(kernel), act)


@pytest.mark.parametrize("act", ops.ACTS)
@pytest.mark.parametrize("kernel", KERNELS)
def test_nan_and_infinities_as_in_torch(kernel: str, act: str) -> None:
    conv = dense_or_depthwise(kernel)
    check_values_as_torch(kernel, conv, (0, 3, 0, 0), (0, 5, 4, 7), act)


BITS = [
    Conv(9, 35, 6, 5, (3, 3), (1, 1), (1, 1, 1, 1), n=3),
    Conv(64, 300, 2, 2, (3, 3), (1, 1), (1, 1, 1, 1), n=3),  # few pixels: shares are of outputs
    Conv(16, 64, 1, 1, n=3),
    Conv(6, 34, 6, 5, (3, 3), (2, 1), (1, 1, 1, 1), groups=2, n=3),
    Conv(35, 35, 9, 8, (3, 3), (1, 1), (1, 1, 1, 1), groups=35, n=3),
]


@pytest.mark.parametrize("act", ["relu", "gelu", "silu"])
@pytest.mark.parametrize("kernel", KERNELS)
def test_bits_do_not_depend_on_workers_batch_or_strides(kernel: str, act: str) -> None:
    for conv in BITS:
        for nchw in (False, True):
            if conv.suits(kernel, nchw):
                check_bits(kernel, conv, act, nchw)


REFUSALS = (
    "needs groups == c == k",
    "needs an NHWC input",
    "needs at least 8 input channels a group",
)


@pytest.mark.parametrize("kernel", KERNELS)
def test_a_kernel_takes_what_it_should_and_refuses_the_rest_in_a_sentence(kernel: str) -> None:
    for c, k, groups in [
        *GROUPS,
        (8, 8, 8),
        (7, 4, 1),
        (8, 4, 1),
        (16, 4, 2),
        (14, 4, 2),
        (8, 16, 8),
        (1, 1, 1),
    ]:
        for nchw in (False, True):
            params = {"c": c, "k": k, "groups": groups, "ldx": c, "ldy": k, "x_nchw": int(nchw)}
            reason = dict(_C.kernels("conv2d", params))[kernel]
            assert (reason is None) == Conv(c, k, groups=groups).suits(kernel, nchw)
            if reason is not None:
                assert reason in REFUSALS
                with pytest.raises(ValueError, match=f"{kernel} refuses: {reason}"):
                    _C.run("conv2d", kernel, params, 0, 0, 0, 0, 0, 1)
