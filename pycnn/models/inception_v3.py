"""Inception v3: "Rethinking the Inception Architecture for Computer Vision", Szegedy et al. 2015 (arXiv 1512.00567).

Keys and initial values are torchvision's.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from pycnn.blocks.fused import concat, fused
from pycnn.blocks.inception import BasicConv2d, input_transform
from pycnn.registry import Family, Paper, model

INCEPTION_V3 = Family(
    "inception",
    Paper(
        "Rethinking the Inception Architecture for Computer Vision",
        "Szegedy, Vanhoucke, Ioffe, Shlens, Wojna",
        2015,
        "1512.00567",
    ),
    image_size=(299, 299),
    num_classes=1000,
    stages={
        2: ("transform_input", "Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_2b_3x3"),
        4: ("maxpool1", "Conv2d_3b_1x1", "Conv2d_4a_3x3"),
        8: ("maxpool2", "Mixed_5b", "Mixed_5c", "Mixed_5d"),
        16: ("Mixed_6a", "Mixed_6b", "Mixed_6c", "Mixed_6d", "Mixed_6e"),
        32: ("Mixed_7a", "Mixed_7b", "Mixed_7c"),
    },
)


class InceptionOutputs(NamedTuple):
    """Logits of the network and of its auxiliary head, each [n, num_classes]."""

    logits: Tensor
    aux_logits: Tensor


@model("inception_v3", INCEPTION_V3)
class InceptionV3(nn.Module):
    """Eleven Inception blocks of five kinds: [n, in_channels, h, w] -> [n, num_classes].

    In training mode with `aux_logits` the result is `InceptionOutputs`.

    Args:
        num_classes: number of logits.
        in_channels: channels of the image; h, w >= 75, and >= 299 where the auxiliary head trains.
        aux_logits: have the auxiliary head, which only trains.
        transform_input: take images normalised as ImageNet's, as the published weights need.
        drop_rate: probability in the head.
    """

    def __init__(
        self,
        num_classes: int = 1000,
        in_channels: int = 3,
        aux_logits: bool = True,
        transform_input: bool = False,
        drop_rate: float = 0.5,
    ) -> None:
        super().__init__()
        self.transform_input = input_transform(transform_input, in_channels)
        self.Conv2d_1a_3x3 = BasicConv2d(in_channels, 32, 3, stride=2)
        self.Conv2d_2a_3x3 = BasicConv2d(32, 32, 3)
        self.Conv2d_2b_3x3 = BasicConv2d(32, 64, 3, padding=1)
        self.maxpool1 = nn.MaxPool2d(3, stride=2)
        self.Conv2d_3b_1x1 = BasicConv2d(64, 80)
        self.Conv2d_4a_3x3 = BasicConv2d(80, 192, 3)
        self.maxpool2 = nn.MaxPool2d(3, stride=2)
        self.Mixed_5b = InceptionA(192, 32)
        self.Mixed_5c = InceptionA(256, 64)
        self.Mixed_5d = InceptionA(288, 64)
        self.Mixed_6a = InceptionB(288)
        self.Mixed_6b = InceptionC(768, 128)
        self.Mixed_6c = InceptionC(768, 160)
        self.Mixed_6d = InceptionC(768, 160)
        self.Mixed_6e = InceptionC(768, 192)
        self.AuxLogits = AuxiliaryHead(768, num_classes) if aux_logits else None
        self.Mixed_7a = InceptionD(768)
        self.Mixed_7b = InceptionE(1280)
        self.Mixed_7c = InceptionE(2048)
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.dropout = nn.Dropout(drop_rate)
        self.fc = nn.Linear(2048, num_classes)
        self._initialise()

    def _initialise(self) -> None:
        """Truncated normal, 0.1 wide but for two layers of the auxiliary head."""
        narrow: dict[nn.Module, float] = {}
        if self.AuxLogits is not None:
            narrow = {self.AuxLogits.fc: 0.001}
        for module in self.modules():
            if isinstance(module, (nn.Conv2d, nn.Linear)):
                deviation = narrow.get(module, 0.1)
                nn.init.trunc_normal_(module.weight, mean=0.0, std=deviation, a=-2, b=2)

    def forward(self, x: Tensor) -> Tensor | InceptionOutputs:
        x = fused(self.transform_input(x), self.Conv2d_1a_3x3, self.Conv2d_2a_3x3)
        x = fused(x, self.Conv2d_2b_3x3, self.maxpool1, self.Conv2d_3b_1x1, self.Conv2d_4a_3x3)
        x = fused(x, self.maxpool2, self.Mixed_5b, self.Mixed_5c, self.Mixed_5d)
        x = fused(x, self.Mixed_6a, self.Mixed_6b, self.Mixed_6c, self.Mixed_6d, self.Mixed_6e)
        auxiliary = None
        if self.training and self.AuxLogits is not None:
            auxiliary = self.AuxLogits(x)
        x = fused(x, self.Mixed_7a, self.Mixed_7b, self.Mixed_7c, self.avgpool)
        x = fused(torch.flatten(fused(x, self.dropout), 1), self.fc)
        return x if auxiliary is None else InceptionOutputs(x, auxiliary)

    def current_key(self, key: str) -> str | None:
        """Files have the auxiliary head; a network without it leaves it out."""
        return None if self.AuxLogits is None and key.startswith("AuxLogits.") else key


class InceptionA(nn.Module):
    """1x1, 5x5, two 3x3 and average pooling: [n, c, h, w] -> [n, 224 + pooled, h, w]."""

    def __init__(self, in_channels: int, pooled: int) -> None:
        super().__init__()
        self.branch1x1 = BasicConv2d(in_channels, 64)
        self.branch5x5_1 = BasicConv2d(in_channels, 48)
        self.branch5x5_2 = BasicConv2d(48, 64, 5, padding=2)
        self.branch3x3dbl_1 = BasicConv2d(in_channels, 64)
        self.branch3x3dbl_2 = BasicConv2d(64, 96, 3, padding=1)
        self.branch3x3dbl_3 = BasicConv2d(96, 96, 3, padding=1)
        self.branch_pool = BasicConv2d(in_channels, pooled)
        self.pool = nn.AvgPool2d(3, stride=1, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        single = fused(x, self.branch1x1)
        five = fused(x, self.branch5x5_1, self.branch5x5_2)
        double = fused(x, self.branch3x3dbl_1, self.branch3x3dbl_2, self.branch3x3dbl_3)
        return concat([single, five, double, fused(x, self.pool, self.branch_pool)])


class InceptionB(nn.Module):
    """3x3, two 3x3 and max pooling, all with stride 2: [n, c, h, w] -> [n, 480 + c, (h-1)/2, (w-1)/2]."""

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        self.branch3x3 = BasicConv2d(in_channels, 384, 3, stride=2)
        self.branch3x3dbl_1 = BasicConv2d(in_channels, 64)
        self.branch3x3dbl_2 = BasicConv2d(64, 96, 3, padding=1)
        self.branch3x3dbl_3 = BasicConv2d(96, 96, 3, stride=2)
        self.pool = nn.MaxPool2d(3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        three = fused(x, self.branch3x3)
        double = fused(x, self.branch3x3dbl_1, self.branch3x3dbl_2, self.branch3x3dbl_3)
        return concat([three, double, fused(x, self.pool)])


class InceptionC(nn.Module):
    """1x1, 7x7 and two 7x7 as 1x7 and 7x1, average pooling: [n, c, h, w] -> [n, 768, h, w]; `width` inside."""

    def __init__(self, in_channels: int, width: int) -> None:
        super().__init__()
        across: dict[str, tuple[int, int]] = {"kernel_size": (1, 7), "padding": (0, 3)}
        down: dict[str, tuple[int, int]] = {"kernel_size": (7, 1), "padding": (3, 0)}
        self.branch1x1 = BasicConv2d(in_channels, 192)
        self.branch7x7_1 = BasicConv2d(in_channels, width)
        self.branch7x7_2 = BasicConv2d(width, width, **across)
        self.branch7x7_3 = BasicConv2d(width, 192, **down)
        self.branch7x7dbl_1 = BasicConv2d(in_channels, width)
        self.branch7x7dbl_2 = BasicConv2d(width, width, **down)
        self.branch7x7dbl_3 = BasicConv2d(width, width, **across)
        self.branch7x7dbl_4 = BasicConv2d(width, width, **down)
        self.branch7x7dbl_5 = BasicConv2d(width, 192, **across)
        self.branch_pool = BasicConv2d(in_channels, 192)
        self.pool = nn.AvgPool2d(3, stride=1, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        single = fused(x, self.branch1x1)
        seven = fused(x, self.branch7x7_1, self.branch7x7_2, self.branch7x7_3)
        double = fused(x, self.branch7x7dbl_1, self.branch7x7dbl_2, self.branch7x7dbl_3)
        double = fused(double, self.branch7x7dbl_4, self.branch7x7dbl_5)
        return concat([single, seven, double, fused(x, self.pool, self.branch_pool)])


class InceptionD(nn.Module):
    """3x3, 7x7 with 3x3 and max pooling, with stride 2: [n, c, h, w] -> [n, 512 + c, (h-1)/2, (w-1)/2]."""

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        self.branch3x3_1 = BasicConv2d(in_channels, 192)
        self.branch3x3_2 = BasicConv2d(192, 320, 3, stride=2)
        self.branch7x7x3_1 = BasicConv2d(in_channels, 192)
        self.branch7x7x3_2 = BasicConv2d(192, 192, (1, 7), padding=(0, 3))
        self.branch7x7x3_3 = BasicConv2d(192, 192, (7, 1), padding=(3, 0))
        self.branch7x7x3_4 = BasicConv2d(192, 192, 3, stride=2)
        self.pool = nn.MaxPool2d(3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        three = fused(x, self.branch3x3_1, self.branch3x3_2)
        seven = fused(x, self.branch7x7x3_1, self.branch7x7x3_2, self.branch7x7x3_3)
        seven = fused(seven, self.branch7x7x3_4)
        return concat([three, seven, fused(x, self.pool)])


class InceptionE(nn.Module):
    """1x1, 3x3 and two 3x3 that end in 1x3 beside 3x1, average pooling: [n, c, h, w] -> [n, 2048, h, w]."""

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        across: dict[str, tuple[int, int]] = {"kernel_size": (1, 3), "padding": (0, 1)}
        down: dict[str, tuple[int, int]] = {"kernel_size": (3, 1), "padding": (1, 0)}
        self.branch1x1 = BasicConv2d(in_channels, 320)
        self.branch3x3_1 = BasicConv2d(in_channels, 384)
        self.branch3x3_2a = BasicConv2d(384, 384, **across)
        self.branch3x3_2b = BasicConv2d(384, 384, **down)
        self.branch3x3dbl_1 = BasicConv2d(in_channels, 448)
        self.branch3x3dbl_2 = BasicConv2d(448, 384, 3, padding=1)
        self.branch3x3dbl_3a = BasicConv2d(384, 384, **across)
        self.branch3x3dbl_3b = BasicConv2d(384, 384, **down)
        self.branch_pool = BasicConv2d(in_channels, 192)
        self.pool = nn.AvgPool2d(3, stride=1, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        single = fused(x, self.branch1x1)
        three = fused(x, self.branch3x3_1)
        three = concat([fused(three, self.branch3x3_2a), fused(three, self.branch3x3_2b)])
        double = fused(x, self.branch3x3dbl_1, self.branch3x3dbl_2)
        double = concat([fused(double, self.branch3x3dbl_3a), fused(double, self.branch3x3dbl_3b)])
        return concat([single, three, double, fused(x, self.pool, self.branch_pool)])


class AuxiliaryHead(nn.Module):
    """A classifier on inner features, for their gradient: [n, c, h, w] -> [n, num_classes], h, w >= 17."""

    def __init__(self, in_channels: int, num_classes: int) -> None:
        super().__init__()
        self.pool = nn.AvgPool2d(5, stride=3)
        self.conv0 = BasicConv2d(in_channels, 128)
        self.conv1 = BasicConv2d(128, 768, 5)
        self.global_pool = nn.AdaptiveAvgPool2d((1, 1))
        self.fc = nn.Linear(768, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = fused(x, self.pool, self.conv0, self.conv1, self.global_pool)
        return fused(torch.flatten(x, 1), self.fc)
