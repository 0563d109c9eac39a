"""MobileNetV2: "MobileNetV2: Inverted Residuals and Linear Bottlenecks", Sandler et al. 2018 (arXiv 1801.04381).

State_dict keys and initialisation are torchvision's.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pycnn.blocks.conv import ConvBnAct, divisible
from pycnn.blocks.fused import FusedSequential, fused, fused_add
from pycnn.registry import Family, Paper, model

# (expansion, channels, blocks, stride of the first) of each stage: table 2 of the paper
STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


class LinearBottleneck(nn.Module):
    """x + project(depthwise(expand(x))): [n, c, h, w] -> [n, out_channels, h/stride, w/stride].

    `blocks.InvertedResidual` under torchvision's keys for this network: "conv.<last - 1>.weight" and "conv.<last>.*"
    are the projection and its batch-norm, not "block.<last>.0.weight" and "block.<last>.1.*".
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int, expansion: int) -> None:
        super().__init__()
        c = in_channels * expansion
        expand = [] if expansion == 1 else [ConvBnAct(in_channels, c, 1, act=nn.ReLU6)]
        self.conv = FusedSequential(
            *expand,
            ConvBnAct(c, c, 3, stride, groups=c, act=nn.ReLU6),
            nn.Conv2d(c, out_channels, 1, bias=False),
            nn.BatchNorm2d(out_channels),
        )
        self.adds = stride == 1 and in_channels == out_channels

    def forward(self, x: Tensor) -> Tensor:
        return fused_add(x, self.conv, residual=x) if self.adds else fused(x, self.conv)


class MobileNetV2(nn.Module):
    """Stem, seventeen blocks, 1x1 convolution, global average, linear: [n, in_channels, h, w] -> [n, num_classes].

    Args:
        num_classes: number of logits.
        in_channels: channels of the image.
        width_mult: factor of all widths, which are rounded to multiples of 8; the last one never shrinks.
        drop_rate: of the dropout before the classifier.

    Raises:
        ValueError: width_mult is not positive, or drop_rate is no probability.
    """

    def __init__(
        self,
        num_classes: int = 1000,
        in_channels: int = 3,
        width_mult: float = 1.0,
        drop_rate: float = 0.2,
    ) -> None:
        super().__init__()
        if not width_mult > 0:
            raise ValueError(f"mobilenet_v2: width_mult={width_mult} must be positive")
        c = divisible(32 * width_mult)
        features: list[nn.Module] = [ConvBnAct(in_channels, c, 3, 2, act=nn.ReLU6)]
        for expansion, channels, n, stride in STAGES:
            k = divisible(channels * width_mult)
            for i in range(n):
                features.append(LinearBottleneck(c, k, stride if i == 0 else 1, expansion))
                c = k
        last = divisible(1280 * max(1.0, width_mult))
        features.append(ConvBnAct(c, last, 1, act=nn.ReLU6))
        self.features = nn.Sequential(*features)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.classifier = FusedSequential(nn.Dropout(drop_rate), nn.Linear(last, num_classes))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")
            elif isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, 0, 0.01)
                nn.init.zeros_(module.bias)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.flatten(fused(self.features(x), self.avgpool), 1)
        logits: Tensor = self.classifier(x)
        return logits


MOBILENET_V2 = Family(
    "mobilenet_v2",
    Paper(
        "MobileNetV2: Inverted Residuals and Linear Bottlenecks",
        "Sandler, Howard, Zhu, Zhmoginov, Chen",
        2018,
        "1801.04381",
    ),
    image_size=(224, 224),
    num_classes=1000,
    stages={
        2: ("features.:2",),
        4: ("features.2:4",),
        8: ("features.4:7",),
        16: ("features.7:14",),
        32: ("features.14:18",),
    },
)
model("mobilenet_v2", MOBILENET_V2)(MobileNetV2)
