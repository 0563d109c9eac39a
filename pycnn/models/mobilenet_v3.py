"""MobileNetV3: "Searching for MobileNetV3", Howard et al. 2019 (arXiv 1905.02244).

State_dict keys and initialisation are torchvision's.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn

from pycnn.blocks.conv import ConvBnAct, divisible
from pycnn.blocks.fused import FusedSequential, fused
from pycnn.blocks.inverted_residual import InvertedResidual
from pycnn.registry import Family, Paper, model


class Row(NamedTuple):
    """One block of tables 1 and 2 of the paper."""

    kernel: int
    expanded: int
    out: int
    squeezes: bool
    hardswish: bool  # else ReLU
    stride: int


LARGE = (
    Row(3, 16, 16, False, False, 1),
    Row(3, 64, 24, False, False, 2),
    Row(3, 72, 24, False, False, 1),
    Row(5, 72, 40, True, False, 2),
    Row(5, 120, 40, True, False, 1),
    Row(5, 120, 40, True, False, 1),
    Row(3, 240, 80, False, True, 2),
    Row(3, 200, 80, False, True, 1),
    Row(3, 184, 80, False, True, 1),
    Row(3, 184, 80, False, True, 1),
    Row(3, 480, 112, True, True, 1),
    Row(3, 672, 112, True, True, 1),
    Row(5, 672, 160, True, True, 2),
    Row(5, 960, 160, True, True, 1),
    Row(5, 960, 160, True, True, 1),
)
SMALL = (
    Row(3, 16, 16, True, False, 2),
    Row(3, 72, 24, False, False, 2),
    Row(3, 88, 24, False, False, 1),
    Row(5, 96, 40, True, True, 2),
    Row(5, 240, 40, True, True, 1),
    Row(5, 240, 40, True, True, 1),
    Row(5, 120, 48, True, True, 1),
    Row(5, 144, 48, True, True, 1),
    Row(5, 288, 96, True, True, 2),
    Row(5, 576, 96, True, True, 1),
    Row(5, 576, 96, True, True, 1),
)
LAST_BLOCKS = 3  # those at stride 32
norm = partial(nn.BatchNorm2d, eps=0.001, momentum=0.01)


class MobileNetV3(nn.Module):
    """Stem, inverted residuals, 1x1 convolution, two linear layers: [n, in_channels, h, w] -> [n, num_classes].

    Args:
        rows: the blocks.
        last_channels: width between the two linear layers.
        num_classes: number of logits.
        in_channels: channels of the image.
        width_mult: factor of all widths, which are rounded to multiples of 8.
        drop_rate: of the dropout before the last layer.
        dilated: keep stride 16 to the end: the last three blocks' depthwise convolutions are dilated instead.

    Raises:
        ValueError: width_mult is not positive, or drop_rate is no probability.
    """

    def __init__(
        self,
        rows: tuple[Row, ...],
        last_channels: int,
        num_classes: int = 1000,
        in_channels: int = 3,
        width_mult: float = 1.0,
        drop_rate: float = 0.2,
        dilated: bool = False,
    ) -> None:
        super().__init__()
        if not width_mult > 0:
            raise ValueError(f"mobilenet_v3: width_mult={width_mult} must be positive")
        c = divisible(16 * width_mult)
        features: list[nn.Module] = [ConvBnAct(in_channels, c, 3, 2, act=nn.Hardswish, norm=norm)]
        for i, row in enumerate(rows):
            dilation = 2 if dilated and i >= len(rows) - LAST_BLOCKS else 1
            features.append(_block(row, c, width_mult, dilation))
            c = divisible(row.out * width_mult)
        features.append(ConvBnAct(c, 6 * c, 1, act=nn.Hardswish, norm=norm))
        self.features = nn.Sequential(*features)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        last = divisible(last_channels * width_mult)
        self.classifier = FusedSequential(
            nn.Linear(6 * c, last),
            nn.Hardswish(inplace=True),
            nn.Dropout(drop_rate, inplace=True),
            nn.Linear(last, num_classes),
        )
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
            elif isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, 0, 0.01)
                nn.init.zeros_(module.bias)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.flatten(fused(self.features(x), self.avgpool), 1)
        logits: Tensor = self.classifier(x)
        return logits


def _block(row: Row, in_channels: int, width_mult: float, dilation: int) -> InvertedResidual:
    expanded = divisible(row.expanded * width_mult)
    return InvertedResidual(
        in_channels,
        divisible(row.out * width_mult),
        expanded,
        row.kernel,
        row.stride,
        dilation=dilation,
        squeezed=divisible(expanded // 4) if row.squeezes else None,
        act=nn.Hardswish if row.hardswish else nn.ReLU,
        gate=nn.Hardsigmoid,
        norm=norm,
    )


MOBILENET_V3 = Family(
    "mobilenet_v3",
    Paper(
        "Searching for MobileNetV3",
        "Howard, Sandler, Chu, Chen, Chen, Tan, Wang, Zhu, Pang, Vasudevan, Le, Adam",
        2019,
        "1905.02244",
    ),
    image_size=(224, 224),
    num_classes=1000,
    stages={
        2: ("features.:2",),
        4: ("features.2:4",),
        8: ("features.4:7",),
        16: ("features.7:13",),
        32: ("features.13:16",),
    },
)
SMALL_STAGES = {
    2: ("features.0",),
    4: ("features.1",),
    8: ("features.2:4",),
    16: ("features.4:9",),
    32: ("features.9:12",),
}
model("mobilenet_v3_large", MOBILENET_V3, rows=LARGE, last_channels=1280)(MobileNetV3)
model(
    "mobilenet_v3_small",
    replace(MOBILENET_V3, stages=SMALL_STAGES),
    rows=SMALL,
    last_channels=1024,
)(MobileNetV3)
