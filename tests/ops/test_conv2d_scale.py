"""conv2d's kernel for one 1 x 1 filter a channel, called by name: channels at the ends of its vectors, against fp64."""

import convolutions
import pytest
from convolutions import LANES, Conv, check, check_activation, check_values_as_torch

from pycnn import _C, ops

KERNELS = [name for name in convolutions.KERNELS if "conv2d_scale" in name]


def conv(c: int, h: int = 3, w: int = 5, n: int = 2) -> Conv:
    return Conv(c, c, h, w, groups=c, n=n)


@pytest.mark.parametrize("kernel", KERNELS)
def test_channels_and_pixels_at_the_edges(kernel: str) -> None:
    lanes = LANES[kernel.rsplit("_", 1)[1]]
    for c in (1, lanes - 1, lanes, lanes + 1, 4 * lanes, 9 * lanes + 3):
        for w in (1, 15, 16, 17, 33):
            check(kernel, conv(c, 1, w))
            check(kernel, conv(c, 1, w), gap=0, extras=False)


@pytest.mark.parametrize("act", ops.ACTS)
@pytest.mark.parametrize("kernel", KERNELS)
def test_activations_bias_and_residual(kernel: str, act: str) -> None:
    check_activation(kernel, conv(67, 5, 8), act)


@pytest.mark.parametrize("kernel", KERNELS)
def test_nan_and_infinities_as_in_torch(kernel: str) -> None:
    layer = conv(35)
    check_values_as_torch(kernel, layer, (0, 3, 0, 0), (0, 34, 2, 4))


@pytest.mark.parametrize("kernel", KERNELS)
def test_what_it_does_not_take(kernel: str) -> None:
    takes = {"c": 8, "k": 8, "groups": 8, "h": 4, "w": 4, "oh": 4, "ow": 4}

    def reason(**changed: int) -> str | None:
        return dict(_C.kernels("conv2d", {**takes, **changed}))[kernel]

    assert reason() is None
    assert "groups == c == k" in str(reason(groups=4))
    assert "1 x 1 window" in str(reason(kh=3, ph=1))
    assert "1 x 1 window" in str(reason(sh=2, oh=2))
    assert "without padding" in str(reason(ph=1, oh=6))
    assert "NHWC" in str(reason(x_nchw=1))
