"""conv2d's depthwise kernels for square windows, called by name: sizes at the ends of their tiles and blocks."""

import dataclasses

import convolutions
import pytest
from convolutions import (
    LANES,
    Conv,
    check,
    check_activation,
    check_bits,
    check_values_as_torch,
)

from pycnn import _C, ops

THREE = [name for name in convolutions.KERNELS if "depthwise3x3" in name]
LARGER = [name for name in convolutions.KERNELS if "depthwise_window" in name]
KERNELS = THREE + LARGER
WINDOWS = [(name, 3) for name in THREE] + [(name, k) for name in LARGER for k in (5, 7)]


def window(kernel: str) -> int:
    return 3 if kernel in THREE else 5


def conv(c: int, h: int, w: int, k: int = 3, stride: int = 1, pads=None, n: int = 1) -> Conv:
    pads = (k // 2,) * 4 if pads is None else pads
    return Conv(c, c, h, w, (k, k), (stride, stride), pads, groups=c, n=n)


def sizes(h: int, w: int, k: int, pads: tuple[int, int, int, int]) -> bool:
    return h + pads[0] + pads[2] >= k and w + pads[1] + pads[3] >= k


@pytest.mark.parametrize(("kernel", "k"), WINDOWS)
@pytest.mark.parametrize("stride", [1, 2])
def test_every_width_around_a_tile_and_every_kind_of_border(
    kernel: str, k: int, stride: int
) -> None:
    c = LANES[kernel.rsplit("_", 1)[1]] + 3
    for w in (*range(1, 12), 14, 17, 22):
        for h in (4, 7):
            check(kernel, conv(c, h, w, k, stride))
    for pads in ((0, 0, 0, 0), (k - 1, 0, 1, k - 1), (0, 2, k, 1), (k + 2, k + 1, k + 3, k + 2)):
        for h, w in ((1, 20), (9, 9), (k, k)):
            if sizes(h, w, k, pads):
                check(kernel, conv(c, h, w, k, stride, pads, n=2))


@pytest.mark.parametrize(("kernel", "k"), WINDOWS)
@pytest.mark.parametrize("dilation", [(2, 2), (1, 3), (5, 1), (4, 7)])
def test_dilated_windows(kernel: str, k: int, dilation: tuple[int, int]) -> None:
    c = LANES[kernel.rsplit("_", 1)[1]] + 3
    dh, dw = dilation
    same = (k // 2 * dh, k // 2 * dw) * 2
    uneven = (dh, (k - 1) * dw + 3, (k - 1) * dh, 1)
    for pads in (same, uneven):
        for h, w in ((1, 1), (2, 3), (9, 16), (13, 30), (16, 41)):
            if h + pads[0] + pads[2] > (k - 1) * dh and w + pads[1] + pads[3] > (k - 1) * dw:
                check(
                    kernel, dataclasses.replace(conv(c, h, w, k, 1, pads, n=2), dilation=dilation)
                )


@pytest.mark.parametrize("kernel", KERNELS)
def test_bits_of_dilated_windows_do_not_depend_on_workers_or_batch(kernel: str) -> None:
    layer = dataclasses.replace(conv(70, 11, 12, window(kernel), n=3), dilation=(2, 3))
    layer = dataclasses.replace(layer, padding=(4, 6, 4, 6))
    check_bits(kernel, layer, "silu")
    check_activation(kernel, layer, "gelu")


@pytest.mark.parametrize("kernel", KERNELS)
def test_channels_at_vector_edges_and_blocks(kernel: str) -> None:
    lanes = LANES[kernel.rsplit("_", 1)[1]]
    for c in (1, lanes - 1, lanes, lanes + 1, 5 * lanes + 2, 40 * lanes + 1):
        check(kernel, conv(c, 6, 7, window(kernel)), gap=0)
        check(kernel, conv(c, 6, 7, window(kernel)), extras=False)
    check(kernel, conv(3 * lanes, 3, 150, window(kernel)))


@pytest.mark.parametrize("act", ops.ACTS)
@pytest.mark.parametrize("kernel", KERNELS)
def test_activations_bias_and_residual(kernel: str, act: str) -> None:
    check_activation(kernel, conv(35, 5, 8, window(kernel), n=2), act)


@pytest.mark.parametrize("kernel", KERNELS)
def test_nan_and_infinities_as_in_torch(kernel: str) -> None:
    layer = conv(35, 5, 8, window(kernel), n=2)
    check_values_as_torch(kernel, layer, (0, 3, 0, 0), (0, 5, 4, 7))


@pytest.mark.parametrize("kernel", KERNELS)
def test_bits_do_not_depend_on_workers_batch_or_strides(kernel: str) -> None:
    layer = conv(70, 9, 8, window(kernel), n=3)
    check_bits(kernel, layer, "silu")


@pytest.mark.parametrize(
    ("kernels", "k", "windows"), [(THREE, 3, "3 x 3"), (LARGER, 5, "5 x 5 or 7 x 7")]
)
def test_refusals_name_the_reason(kernels: list[str], k: int, windows: str) -> None:
    fits = {
        "c": 8,
        "k": 8,
        "groups": 8,
        "kh": k,
        "kw": k,
        "h": 9,
        "w": 9,
        "oh": 10 - k,
        "ow": 10 - k,
    }
    for change, reason in [
        ({}, None),
        ({"k": 16}, "needs groups == c == k"),
        ({"x_nchw": 1}, "needs an NHWC input"),
        ({"kw": 4}, f"needs a window of {windows}"),
        ({"kh": 9, "kw": 9}, f"needs a window of {windows}"),
        ({"sw": 2}, "needs stride 1 or 2"),
        ({"sh": 3, "sw": 3}, "needs stride 1 or 2"),
        ({"dh": 2, "dw": 2}, None),
        ({"dh": 2, "dw": 2, "sh": 2, "sw": 2}, "needs stride 1 or dilation 1"),
    ]:
        reasons = dict(_C.kernels("conv2d", {**fits, **change}))
        assert {reasons[name] for name in kernels} == {reason}
