"""Convolution, batch-norm, activation in a row: what most networks are made of."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from pycnn.blocks.fused import FusedSequential, fused

Norm = Callable[[int], nn.Module]
Act = Callable[..., nn.Module]


class ConvBnAct(FusedSequential):
    """act(bn(conv(x))): [n, in_channels, h, w] -> [n, out_channels, ceil(h/stride), ceil(w/stride)].

    Keys "0.weight" (conv, without bias) and "1.*" (batch-norm). The padding is (kernel_size - 1) / 2 * dilation.

    Args:
        in_channels, out_channels: of the convolution.
        kernel_size: odd.
        stride, dilation, groups: of the convolution.
        act: class of the activation, built with `inplace=True`; None for none.
        norm: from the number of channels to the layer after the convolution.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 3,
        stride: int = 1,
        *,
        dilation: int = 1,
        groups: int = 1,
        act: Act | None = nn.ReLU,
        norm: Norm = nn.BatchNorm2d,
    ) -> None:
        padding = (kernel_size - 1) // 2 * dilation
        layers = [
            nn.Conv2d(
                in_channels,
                out_channels,
                kernel_size,
                stride,
                padding,
                dilation,
                groups,
                bias=False,
            ),
            norm(out_channels),
        ]
        if act is not None:
            layers.append(act(inplace=True))
        super().__init__(*layers)


class DepthwiseSeparable(nn.Module):
    """A 3x3 filter per channel, then a 1x1 mix: [n, in_channels, h, w] -> [n, out_channels, h/stride, w/stride].

    After each of the two come batch-norm and the activation. Keys "conv_dw.weight", "bn1.*", "conv_pw.weight", "bn2.*".
    "MobileNets", Howard et al. 2017 (1704.04861).

    Args:
        in_channels, out_channels: of the block.
        stride: of the 3x3 convolution.
        act: class of the activations, built with `inplace=True`.
    """

    def __init__(
        self, in_channels: int, out_channels: int, stride: int = 1, act: Act = nn.ReLU6
    ) -> None:
        super().__init__()
        self.conv_dw = nn.Conv2d(
            in_channels, in_channels, 3, stride, padding=1, groups=in_channels, bias=False
        )
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.act1 = act(inplace=True)
        self.conv_pw = nn.Conv2d(in_channels, out_channels, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.act2 = act(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        return fused(x, self.conv_dw, self.bn1, self.act1, self.conv_pw, self.bn2, self.act2)


def divisible(channels: float, by: int = 8) -> int:
    """The multiple of `by` nearest to `channels`, at least `by` and never below 0.9 `channels`.

    The rule by which the mobile networks (MobileNetV2 onwards) round the widths they scale.
    """
    rounded = max(by, int(channels + by / 2) // by * by)
    return rounded + by if rounded < 0.9 * channels else rounded
