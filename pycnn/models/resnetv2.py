"""ResNet v2: "Identity Mappings in Deep Residual Networks", He, Zhang, Ren, Sun 2016 (arXiv 1603.05027).

Keys and initial values are timm's, and so is the stride in the 3x3 convolution.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pycnn.blocks.fused import FusedSequential, fused, fused_add
from pycnn.blocks.stochastic_depth import StochasticDepth
from pycnn.registry import Family, Paper, model

RESNETV2 = Family(
    "resnetv2",
    Paper("Identity Mappings in Deep Residual Networks", "He, Zhang, Ren, Sun", 2016, "1603.05027"),
    image_size=(224, 224),
    num_classes=1000,
    stages={
        2: ("stem.conv",),
        4: ("stem.pool", "stages.0"),
        8: ("stages.1",),
        16: ("stages.2",),
        32: ("stages.3",),
    },
)
CHANNELS = (256, 512, 1024, 2048)


class Projection(FusedSequential):
    """A shortcut where the shape changes; key "conv.weight"."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, 1, stride, bias=False)


class PreActBottleneck(nn.Module):
    """shortcut(a) + F(a), a = relu(bn(x)), F = 1x1, 3x3, 1x1; where the shape stays, the shortcut is x itself.

    [n, in_channels, h, w] -> [n, out_channels, h/stride, w/stride]

    Args:
        in_channels, out_channels: of x and of the result.
        stride: of the 3x3 convolution.
        projects: the shortcut is a 1x1 convolution.
        p: probability of dropping F for an image in training.
    """

    def __init__(
        self, in_channels: int, out_channels: int, stride: int, projects: bool, p: float
    ) -> None:
        super().__init__()
        width = out_channels // 4
        self.downsample = Projection(in_channels, out_channels, stride) if projects else None
        self.norm1 = nn.BatchNorm2d(in_channels)
        self.conv1 = nn.Conv2d(in_channels, width, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, padding=1, bias=False)
        self.norm3 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, out_channels, 1, bias=False)
        self.relu = nn.ReLU(inplace=True)
        self.drop_path = StochasticDepth(p) if p > 0 else None

    def forward(self, x: Tensor) -> Tensor:
        a = fused(x, self.norm1, self.relu)
        shortcut = x if self.downsample is None else self.downsample(a)
        y = fused(a, self.conv1, self.norm2, self.relu, self.conv2, self.norm3, self.relu)
        last = [self.conv3] if self.drop_path is None else [self.conv3, self.drop_path]
        return fused_add(y, *last, residual=shortcut)


class Stage(nn.Module):
    """Blocks of one size; keys "blocks.0.*" ..."""

    def __init__(self, blocks: list[PreActBottleneck]) -> None:
        super().__init__()
        self.blocks = FusedSequential(*blocks)

    def forward(self, x: Tensor) -> Tensor:
        return fused(x, self.blocks)


class ResNetV2(nn.Module):
    """Stem without norm, four stages, norm, head of a 1x1 convolution: [n, in_channels, h, w] -> [n, num_classes].

    Args:
        layers: number of blocks of each stage.
        num_classes: number of logits.
        in_channels: channels of the image.
        drop_rate: probability of the dropout before the last convolution.
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
            raise ValueError(f"resnetv2: stochastic_depth={stochastic_depth} is not in [0, 1]")
        super().__init__()
        self.stem = FusedSequential()
        self.stem.conv = nn.Conv2d(in_channels, 64, 7, stride=2, padding=3, bias=False)
        self.stem.pool = nn.MaxPool2d(3, stride=2, padding=1)
        drops = iter(torch.linspace(0, stochastic_depth, sum(layers), device="cpu").tolist())
        c = 64
        stages = []
        for i, (n, k) in enumerate(zip(layers, CHANNELS, strict=True)):
            blocks = []
            for j in range(n):
                stride = 2 if i > 0 and j == 0 else 1
                blocks.append(PreActBottleneck(c, k, stride, j == 0, next(drops)))
                c = k
            stages.append(Stage(blocks))
        self.stages = nn.Sequential(*stages)
        self.norm = nn.BatchNorm2d(c)
        self.relu = nn.ReLU(inplace=True)
        self.head = FusedSequential()
        self.head.global_pool = nn.AdaptiveAvgPool2d(1)
        self.head.drop = nn.Dropout(drop_rate)
        self.head.fc = nn.Conv2d(c, num_classes, 1)
        self.head.flatten = nn.Flatten(1)
        for name, module in self.named_modules():
            if isinstance(module, nn.Conv2d):
                if name == "head.fc" and module.bias is not None:
                    nn.init.normal_(module.weight, mean=0.0, std=0.01)
                    nn.init.zeros_(module.bias)
                else:
                    nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        return fused(x, self.stem, self.stages, self.norm, self.relu, self.head)


model("resnetv2_50", RESNETV2, layers=(3, 4, 6, 3))(ResNetV2)
