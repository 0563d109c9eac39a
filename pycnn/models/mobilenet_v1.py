"""MobileNet: "MobileNets: Efficient Convolutional Neural Networks for Mobile Vision Applications", Howard et al. 2017.

arXiv 1704.04861. State_dict keys, ReLU6 and initialisation are timm's.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from pycnn.blocks.conv import DepthwiseSeparable, divisible
from pycnn.blocks.fused import fused
from pycnn.registry import Family, Paper, model

# (channels of the blocks, stride of the first) of each of the five stages
STAGES = (
    ((64,), 1),
    ((128, 128), 2),
    ((256, 256), 2),
    ((512, 512, 512, 512, 512, 512), 2),
    ((1024, 1024), 2),
)


class MobileNetV1(nn.Module):
    """Stem, thirteen depthwise-separable blocks, global average, linear: [n, in_channels, h, w] -> [n, num_classes].

    Args:
        num_classes: number of logits.
        in_channels: channels of the image.
        width_mult: factor of all widths, which are rounded to multiples of 8.
        drop_rate: of the dropout before the classifier.

    Raises:
        ValueError: width_mult is not positive, or drop_rate is no probability.
    """

    def __init__(
        self,
        num_classes: int = 1000,
        in_channels: int = 3,
        width_mult: float = 1.0,
        drop_rate: float = 0.0,
    ) -> None:
        super().__init__()
        if not width_mult > 0:
            raise ValueError(f"mobilenetv1: width_mult={width_mult} must be positive")
        c = divisible(32 * width_mult)
        self.conv_stem = nn.Conv2d(in_channels, c, 3, stride=2, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(c)
        self.act1 = nn.ReLU6(inplace=True)
        stages = []
        for widths, stride in STAGES:
            blocks = []
            for i, width in enumerate(widths):
                k = divisible(width * width_mult)
                blocks.append(DepthwiseSeparable(c, k, stride if i == 0 else 1))
                c = k
            stages.append(nn.Sequential(*blocks))
        self.blocks = nn.Sequential(*stages)
        self.global_pool = nn.AdaptiveAvgPool2d(1)
        self.drop = nn.Dropout(drop_rate)
        self.classifier = nn.Linear(c, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                fan_out = module.kernel_size[0] ** 2 * module.out_channels // module.groups
                nn.init.normal_(module.weight, 0.0, math.sqrt(2.0 / fan_out))
            elif isinstance(module, nn.Linear):
                bound = 1.0 / math.sqrt(module.out_features)
                nn.init.uniform_(module.weight, -bound, bound)
                nn.init.zeros_(module.bias)

    def forward(self, x: Tensor) -> Tensor:
        x = self.blocks(fused(x, self.conv_stem, self.bn1, self.act1))
        x = torch.flatten(fused(x, self.global_pool), 1)
        return fused(x, self.drop, self.classifier)


MOBILENET_V1 = Family(
    "mobilenet_v1",
    Paper(
        "MobileNets: Efficient Convolutional Neural Networks for Mobile Vision Applications",
        "Howard, Zhu, Chen, Kalenichenko, Wang, Weyand, Andreetto, Adam",
        2017,
        "1704.04861",
    ),
    image_size=(224, 224),
    num_classes=1000,
    stages={
        2: ("conv_stem", "bn1", "act1", "blocks.0"),
        4: ("blocks.1",),
        8: ("blocks.2",),
        16: ("blocks.3",),
        32: ("blocks.4",),
    },
)
VARIANTS = {"mobilenetv1_100": 1.0, "mobilenetv1_125": 1.25}

for _name, _width in VARIANTS.items():
    model(_name, MOBILENET_V1, width_mult=_width)(MobileNetV1)
