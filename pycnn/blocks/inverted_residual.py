"""Inverted residuals: wide inside, narrow outside, depthwise in the middle.

"MobileNetV2: Inverted Residuals and Linear Bottlenecks", Sandler et al. 2018 (1801.04381); with squeeze-and-excitation
as in "Searching for MobileNetV3", Howard et al. 2019 (1905.02244); with a full 3x3 convolution in place of expansion
and depthwise as in "EfficientNetV2", Tan & Le 2021 (2104.00298).
"""

from __future__ import annotations

from torch import Tensor, nn

from pycnn.blocks.conv import Act, ConvBnAct, Norm
from pycnn.blocks.fused import FusedSequential, fused_add
from pycnn.blocks.squeeze_excite import SqueezeExcite
from pycnn.blocks.stochastic_depth import StochasticDepth


class _Residual(nn.Module):
    """block(x) + x where the shapes allow it, else block(x); in training the branch is dropped now and then."""

    def __init__(self, block: FusedSequential, adds: bool, drop_path: float) -> None:
        super().__init__()
        self.block = block
        self.stochastic_depth = StochasticDepth(drop_path)
        self.adds = adds

    def forward(self, x: Tensor) -> Tensor:
        if not self.adds:
            y: Tensor = self.block(x)
            return y
        if self.training:
            y = self.stochastic_depth(self.block(x))
            return y + x
        return fused_add(x, self.block, residual=x)


class InvertedResidual(_Residual):
    """x + project(squeeze_excite(depthwise(expand(x)))): [n, in, h, w] -> [n, out, h/stride, w/stride].

    Expansion is left out where `expanded` is `in_channels`; x is added where stride is 1 and in = out. Projection has
    no activation. Keys "block.0.0.weight", "block.0.1.*", ...; "block.<i>.fc1.*" for squeeze-and-excitation.

    Args:
        in_channels, out_channels: outside.
        expanded: channels inside.
        kernel_size, stride: of the depthwise convolution.
        dilation: of the depthwise convolution, which then has no stride, whatever `stride` says.
        squeezed: channels of squeeze-and-excitation; None leaves it out.
        act: class of the activations.
        squeeze_act, gate: classes of the two activations of squeeze-and-excitation.
        norm: from the number of channels to the normalisation.
        drop_path: probability of stochastic depth.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        expanded: int,
        kernel_size: int = 3,
        stride: int = 1,
        *,
        dilation: int = 1,
        squeezed: int | None = None,
        act: Act = nn.ReLU6,
        squeeze_act: Act = nn.ReLU,
        gate: Act = nn.Sigmoid,
        norm: Norm = nn.BatchNorm2d,
        drop_path: float = 0.0,
    ) -> None:
        layers: list[nn.Module] = []
        if expanded != in_channels:
            layers.append(ConvBnAct(in_channels, expanded, 1, act=act, norm=norm))
        layers.append(
            ConvBnAct(
                expanded, expanded, kernel_size, stride if dilation == 1 else 1,
                dilation=dilation, groups=expanded, act=act, norm=norm,
            )
        )  # fmt: skip
        if squeezed is not None:
            layers.append(SqueezeExcite(expanded, squeezed, squeeze_act, gate))
        layers.append(ConvBnAct(expanded, out_channels, 1, act=None, norm=norm))
        adds = stride == 1 and in_channels == out_channels
        super().__init__(FusedSequential(*layers), adds, drop_path)


class FusedInvertedResidual(_Residual):
    """x + project(conv(x)), one full convolution in place of expansion and depthwise: shapes as `InvertedResidual`.

    Where `expanded` is `in_channels` there is only the convolution, to `out_channels`, with its activation.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        expanded: int,
        kernel_size: int = 3,
        stride: int = 1,
        *,
        act: Act = nn.SiLU,
        norm: Norm = nn.BatchNorm2d,
        drop_path: float = 0.0,
    ) -> None:
        narrow = expanded == in_channels
        middle = out_channels if narrow else expanded
        layers = [ConvBnAct(in_channels, middle, kernel_size, stride, act=act, norm=norm)]
        if not narrow:
            layers.append(ConvBnAct(expanded, out_channels, 1, act=None, norm=norm))
        adds = stride == 1 and in_channels == out_channels
        super().__init__(FusedSequential(*layers), adds, drop_path)
