"""SE-ResNet: "Squeeze-and-Excitation Networks", Hu, Shen, Albanie, Sun, Wu 2017 (arXiv 1709.01507).

Keys and initial values are timm's.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from pycnn.blocks.conv import divisible
from pycnn.blocks.fused import fused
from pycnn.blocks.residual import Bottleneck, Shape
from pycnn.blocks.squeeze_excite import SqueezeExcite
from pycnn.blocks.stochastic_depth import StochasticDepth
from pycnn.models.resnet import RESNET, ResNet
from pycnn.registry import Paper, model

SENET = replace(
    RESNET,
    name="senet",
    paper=Paper(
        "Squeeze-and-Excitation Networks", "Hu, Shen, Albanie, Sun, Wu", 2017, "1709.01507"
    ),
)


class SEBottleneck(Bottleneck):
    """relu(se(F(x)) + shortcut(x)), F = 1x1, 3x3, 1x1: [n, c, h, w] -> [n, 4 planes, h/stride, w/stride]."""

    def __init__(
        self, in_channels: int, planes: int, shape: Shape, downsample: nn.Module | None
    ) -> None:
        super().__init__(in_channels, planes, shape, None)
        out_channels = planes * self.expansion
        self.se = SqueezeExcite(out_channels, divisible(out_channels / 16))
        self.downsample = downsample
        self.drop_path: nn.Module | None = None

    def forward(self, x: Tensor) -> Tensor:
        y = fused(x, self.conv1, self.bn1, self.relu, self.conv2, self.bn2, self.relu)
        y = fused(y, self.conv3, self.bn3, self.se)
        y = y if self.drop_path is None else self.drop_path(y)
        shortcut = x if self.downsample is None else self.downsample(x)
        return fused(y, self.relu, residual=shortcut)


class SEResNet(ResNet):
    """A ResNet of `SEBottleneck`: [n, in_channels, h, w] -> [n, num_classes].

    Args:
        layers: number of blocks of each of the four stages.
        num_classes: number of logits.
        in_channels: channels of the image.
        drop_rate: probability of the dropout before the linear layer.
        stochastic_depth: probability of dropping the last block; it grows linearly from 0 at the first.

    Raises:
        ValueError: a rate is no probability.
    """

    def __init__(
        self,
        layers: tuple[int, int, int, int],
        num_classes: int = 1000,
        in_channels: int = 3,
        drop_rate: float = 0.0,
        stochastic_depth: float = 0.0,
    ) -> None:
        if not 0 <= stochastic_depth <= 1:
            raise ValueError(f"senet: stochastic_depth={stochastic_depth} is not in [0, 1]")
        super().__init__(SEBottleneck, layers, num_classes, in_channels, zero_init_residual=True)
        self.dropout = nn.Dropout(drop_rate)
        blocks = [module for module in self.modules() if isinstance(module, SEBottleneck)]
        for i, block in enumerate(blocks):
            p = stochastic_depth * i / (len(blocks) - 1)
            block.drop_path = StochasticDepth(p) if p > 0 else None

    def forward(self, x: Tensor) -> Tensor:
        x = fused(x, self.conv1, self.bn1, self.relu, self.maxpool)
        x = fused(x, self.layer1, self.layer2, self.layer3, self.layer4)
        x = torch.flatten(fused(x, self.avgpool), 1)
        return fused(x, self.dropout, self.fc)


model("seresnet50", SENET, layers=(3, 4, 6, 3))(SEResNet)
