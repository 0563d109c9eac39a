"""ConvNeXt's block: "A ConvNet for the 2020s", Liu et al. 2022 (arXiv 2201.03545)."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pycnn.blocks.fused import FusedSequential
from pycnn.blocks.stochastic_depth import StochasticDepth

norm = partial(nn.LayerNorm, eps=1e-6)


class LayerNorm2d(nn.LayerNorm):
    """Layer-norm over the channels of each pixel: [n, c, h, w] -> the same shape; keys "weight", "bias" [c]."""

    def forward(self, x: Tensor) -> Tensor:
        y = F.layer_norm(
            x.permute(0, 2, 3, 1), self.normalized_shape, self.weight, self.bias, self.eps
        )
        return y.permute(0, 3, 1, 2)


class Permute(nn.Module):
    """`x.permute(dims)` as a layer."""

    def __init__(self, *dims: int) -> None:
        super().__init__()
        self.dims = dims

    def forward(self, x: Tensor) -> Tensor:
        return x.permute(self.dims)


class ConvNeXtBlock(nn.Module):
    """x + scale * mlp(norm(depthwise7x7(x))): [n, channels, h, w] -> the same shape.

    The MLP is wide by a factor of 4, with GELU, and runs on each pixel. Keys "block.0.*" (depthwise), "block.2.*"
    (layer-norm), "block.3.*" and "block.5.*" (linear), "layer_scale" [channels, 1, 1].

    Args:
        channels: of x.
        layer_scale: initial value of the scale.
        drop_path: probability of stochastic depth.
    """

    def __init__(self, channels: int, layer_scale: float = 1e-6, drop_path: float = 0.0) -> None:
        super().__init__()
        self.block = FusedSequential(
            nn.Conv2d(channels, channels, 7, padding=3, groups=channels),
            Permute(0, 2, 3, 1),
            norm(channels),
            nn.Linear(channels, 4 * channels),
            nn.GELU(),
            nn.Linear(4 * channels, channels),
            Permute(0, 3, 1, 2),
        )
        self.layer_scale = nn.Parameter(torch.ones(channels, 1, 1) * layer_scale)
        self.stochastic_depth = StochasticDepth(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.stochastic_depth(self.layer_scale * self.block(x))
        return y + x
