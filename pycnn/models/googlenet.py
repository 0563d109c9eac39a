"""GoogLeNet: "Going Deeper with Convolutions", Szegedy et al. 2014 (arXiv 1409.4842).

Keys, batch-norm and initial values are torchvision's; so are the 3x3 convolutions where the paper has 5x5.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from pycnn.blocks.fused import fused
from pycnn.blocks.inception import BasicConv2d, InceptionBlock, input_transform
from pycnn.registry import Family, Paper, model

GOOGLENET = Family(
    "inception",
    Paper("Going Deeper with Convolutions", "Szegedy et al.", 2014, "1409.4842"),
    image_size=(224, 224),
    num_classes=1000,
    stages={
        2: ("transform_input", "conv1"),
        4: ("maxpool1", "conv2", "conv3"),
        8: ("maxpool2", "inception3a", "inception3b"),
        16: ("maxpool3", "inception4a", "inception4b", "inception4c", "inception4d", "inception4e"),
        32: ("maxpool4", "inception5a", "inception5b"),
    },
)


class GoogLeNetOutputs(NamedTuple):
    """Logits of the network and of its two auxiliary heads, each [n, num_classes]."""

    logits: Tensor
    aux_logits2: Tensor
    aux_logits1: Tensor


@model("googlenet", GOOGLENET)
class GoogLeNet(nn.Module):
    """Nine Inception blocks: [n, in_channels, h, w] -> [n, num_classes].

    In training mode with `aux_logits` the result is `GoogLeNetOutputs`.

    Args:
        num_classes: number of logits.
        in_channels: channels of the image; h, w >= 15.
        aux_logits: have the two auxiliary heads, which only train.
        transform_input: take images normalised as ImageNet's, as the published weights need.
        drop_rate, drop_rate_aux: probability in the head and in the auxiliary heads.
    """

    def __init__(
        self,
        num_classes: int = 1000,
        in_channels: int = 3,
        aux_logits: bool = True,
        transform_input: bool = False,
        drop_rate: float = 0.2,
        drop_rate_aux: float = 0.7,
    ) -> None:
        super().__init__()
        self.transform_input = input_transform(transform_input, in_channels)
        self.conv1 = BasicConv2d(in_channels, 64, 7, stride=2, padding=3)
        self.maxpool1 = nn.MaxPool2d(3, stride=2, ceil_mode=True)
        self.conv2 = BasicConv2d(64, 64)
        self.conv3 = BasicConv2d(64, 192, 3, padding=1)
        self.maxpool2 = nn.MaxPool2d(3, stride=2, ceil_mode=True)
        self.inception3a = InceptionBlock(192, 64, (96, 128), (16, 32), 32)
        self.inception3b = InceptionBlock(256, 128, (128, 192), (32, 96), 64)
        self.maxpool3 = nn.MaxPool2d(3, stride=2, ceil_mode=True)
        self.inception4a = InceptionBlock(480, 192, (96, 208), (16, 48), 64)
        self.inception4b = InceptionBlock(512, 160, (112, 224), (24, 64), 64)
        self.inception4c = InceptionBlock(512, 128, (128, 256), (24, 64), 64)
        self.inception4d = InceptionBlock(512, 112, (144, 288), (32, 64), 64)
        self.inception4e = InceptionBlock(528, 256, (160, 320), (32, 128), 128)
        self.maxpool4 = nn.MaxPool2d(2, stride=2, ceil_mode=True)
        self.inception5a = InceptionBlock(832, 256, (160, 320), (32, 128), 128)
        self.inception5b = InceptionBlock(832, 384, (192, 384), (48, 128), 128)
        self.aux1 = AuxiliaryHead(512, num_classes, drop_rate_aux) if aux_logits else None
        self.aux2 = AuxiliaryHead(528, num_classes, drop_rate_aux) if aux_logits else None
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.dropout = nn.Dropout(drop_rate)
        self.fc = nn.Linear(1024, num_classes)
        for module in self.modules():
            if isinstance(module, (nn.Conv2d, nn.Linear)):
                nn.init.trunc_normal_(module.weight, mean=0.0, std=0.01, a=-2, b=2)

    def forward(self, x: Tensor) -> Tensor | GoogLeNetOutputs:
        x = fused(self.transform_input(x), self.conv1, self.maxpool1, self.conv2, self.conv3)
        x = fused(x, self.maxpool2, self.inception3a, self.inception3b, self.maxpool3)
        x = fused(x, self.inception4a)
        aux1 = self.aux1(x) if self.training and self.aux1 is not None else None
        x = fused(x, self.inception4b, self.inception4c, self.inception4d)
        aux2 = self.aux2(x) if self.training and self.aux2 is not None else None
        x = fused(x, self.inception4e, self.maxpool4, self.inception5a, self.inception5b)
        x = torch.flatten(fused(x, self.avgpool), 1)
        x = fused(x, self.dropout, self.fc)
        return x if aux1 is None or aux2 is None else GoogLeNetOutputs(x, aux2, aux1)

    def current_key(self, key: str) -> str | None:
        """Files have the auxiliary heads; a network without them leaves them out."""
        return None if self.aux1 is None and key.startswith(("aux1.", "aux2.")) else key


class AuxiliaryHead(nn.Module):
    """A classifier on inner features, for their gradient: [n, in_channels, h, w] -> [n, num_classes]."""

    def __init__(self, in_channels: int, num_classes: int, drop_rate: float) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d((4, 4))
        self.conv = BasicConv2d(in_channels, 128)
        self.fc1 = nn.Linear(2048, 1024)
        self.fc2 = nn.Linear(1024, num_classes)
        self.relu = nn.ReLU(inplace=True)
        self.dropout = nn.Dropout(drop_rate)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.flatten(fused(x, self.pool, self.conv), 1)
        return fused(x, self.fc1, self.relu, self.dropout, self.fc2)
