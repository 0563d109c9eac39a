"""Atrous spatial pyramid pooling: "Rethinking Atrous Convolution for Semantic Image Segmentation".

Chen, Papandreou, Schroff, Adam 2017 (1706.05587). With separable convolutions it is
DeepLabv3+'s, Chen et al. 2018 (1802.02611).
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from pycnn.blocks.fused import FusedSequential, concat, fused
from pycnn.blocks.resize import image_size, resize


class SeparableConv2d(FusedSequential):
    """A 3x3 filter per channel, then a 1x1 mix, no bias: [n, in_channels, h, w] -> [n, out_channels, h, w]."""

    def __init__(self, in_channels: int, out_channels: int, dilation: int = 1) -> None:
        super().__init__(
            nn.Conv2d(
                in_channels, in_channels, 3, padding=dilation, dilation=dilation,
                groups=in_channels, bias=False,
            ),
            nn.Conv2d(in_channels, out_channels, 1, bias=False),
        )  # fmt: skip


class ASPP(nn.Module):
    """1x1, dilated 3x3s and the mean of the map side by side, then 1x1.

    [n, in_channels, h, w] -> [n, out_channels, h, w]. Keys are torchvision's and segmentation_models_pytorch's.

    Args:
        in_channels: of x.
        rates: dilation of each 3x3 branch.
        out_channels: of each branch and of the result.
        separable: depthwise-separable 3x3 convolutions.
        dropout: probability of the dropout at the end.
    """

    def __init__(
        self,
        in_channels: int,
        rates: Sequence[int],
        out_channels: int = 256,
        separable: bool = False,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        branches: list[nn.Module] = [
            _norm_act(nn.Conv2d(in_channels, out_channels, 1, bias=False), out_channels)
        ]
        for r in rates:
            conv: nn.Module = (
                SeparableConv2d(in_channels, out_channels, r)
                if separable
                else nn.Conv2d(in_channels, out_channels, 3, padding=r, dilation=r, bias=False)
            )
            branches.append(_norm_act(conv, out_channels))
        branches.append(MeanBranch(in_channels, out_channels))
        self.convs = nn.ModuleList(branches)
        self.project = FusedSequential(
            nn.Conv2d(len(branches) * out_channels, out_channels, 1, bias=False),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(),
            nn.Dropout(dropout),
        )

    def forward(self, x: Tensor) -> Tensor:
        return fused(concat([branch(x) for branch in self.convs]), self.project)


class MeanBranch(nn.Sequential):
    """The mean over the map through a 1x1 convolution, spread over the map: [n, c, h, w] -> [n, out_channels, h, w]."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(in_channels, out_channels, 1, bias=False),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(),
        )

    def forward(self, x: Tensor) -> Tensor:
        return resize(fused(x, *self), image_size(x), "bilinear")


def _norm_act(conv: nn.Module, channels: int) -> FusedSequential:
    return FusedSequential(conv, nn.BatchNorm2d(channels), nn.ReLU())
