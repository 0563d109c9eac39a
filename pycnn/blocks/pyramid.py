"""The feature pyramid: "Feature Pyramid Networks for Object Detection", Lin et al. 2016 (arXiv 1612.03144)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from pycnn.blocks.fused import FusedSequential, fused
from pycnn.blocks.resize import image_size, resize


class FeaturePyramid(nn.Module):
    """Maps of falling resolution -> as many of `width` channels, each knowing what the smaller ones saw.

    [n, in_channels[i], h_i, w_i] -> [n, width, h_i, w_i]: from the smallest map on, a 1x1 convolution of the map plus
    the sum so far, enlarged to it (nearest); then a 3x3 convolution of each sum.
    Keys "inner_blocks.<i>.0.*" (1x1) and "layer_blocks.<i>.0.*" (3x3), as torchvision's.

    Args:
        in_channels: of the maps, the largest map first.
        width: channels of all results.
    """

    def __init__(self, in_channels: Sequence[int], width: int = 256) -> None:
        super().__init__()
        self.inner_blocks, self.layer_blocks = nn.ModuleList(), nn.ModuleList()
        for c in in_channels:
            self.inner_blocks.append(FusedSequential(nn.Conv2d(c, width, 1)))
            self.layer_blocks.append(FusedSequential(nn.Conv2d(width, width, 3, padding=1)))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                _initialise(module)

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        inner = list(self.inner_blocks)
        x = inner[-1](maps[-1])
        sums = [x]
        for layer, lateral in zip(inner[-2::-1], maps[-2::-1], strict=True):
            side = layer(lateral)
            x = side + resize(x, image_size(side), "nearest")
            sums.insert(0, x)
        return [layer(s) for layer, s in zip(self.layer_blocks, sums, strict=True)]


class LastLevels(nn.Module):
    """Two coarser maps of the smallest one, by 3x3 convolutions of stride 2 with ReLU between; keys "p6.*", "p7.*"."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.p6 = nn.Conv2d(width, width, 3, stride=2, padding=1)
        self.p7 = nn.Conv2d(width, width, 3, stride=2, padding=1)
        for layer in (self.p6, self.p7):
            _initialise(layer)

    def forward(self, x: Tensor) -> list[Tensor]:
        p6 = fused(x, self.p6)
        return [p6, fused(F.relu(p6), self.p7)]


def _initialise(conv: nn.Conv2d) -> None:
    nn.init.kaiming_uniform_(conv.weight, a=1)
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)
