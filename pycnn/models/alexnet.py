"""AlexNet: "ImageNet Classification with Deep Convolutional Neural Networks", Krizhevsky, Sutskever, Hinton 2012.

The one-column form of "One weird trick for parallelizing convolutional neural networks" (Krizhevsky 2014, arXiv
1404.5997), without local response normalisation; keys and initial values are torchvision's.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pycnn.blocks.fused import FusedSequential, fused
from pycnn.registry import Family, Paper, model

ALEXNET = Family(
    "alexnet",
    Paper(
        "ImageNet Classification with Deep Convolutional Neural Networks",
        "Krizhevsky, Sutskever, Hinton",
        2012,
    ),
    image_size=(224, 224),
    num_classes=1000,
    stages={
        4: ("features.:2",),
        8: ("features.2:5",),
        16: ("features.5:12",),
        32: ("features.12",),
    },
)


@model("alexnet", ALEXNET)
class AlexNet(nn.Module):
    """Five convolutions, three overlapping poolings, three linear layers: [n, in_channels, h, w] -> [n, num_classes].

    Args:
        num_classes: number of logits.
        in_channels: channels of the image; h, w >= 63.
        drop_rate: probability of the two dropouts of the classifier.
    """

    def __init__(
        self, num_classes: int = 1000, in_channels: int = 3, drop_rate: float = 0.5
    ) -> None:
        super().__init__()
        self.features = FusedSequential(
            nn.Conv2d(in_channels, 64, 11, stride=4, padding=2),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, stride=2),
            nn.Conv2d(64, 192, 5, padding=2),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, stride=2),
            nn.Conv2d(192, 384, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(384, 256, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(256, 256, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, stride=2),
        )
        self.avgpool = nn.AdaptiveAvgPool2d((6, 6))
        self.classifier = FusedSequential(
            nn.Dropout(drop_rate),
            nn.Linear(256 * 6 * 6, 4096),
            nn.ReLU(inplace=True),
            nn.Dropout(drop_rate),
            nn.Linear(4096, 4096),
            nn.ReLU(inplace=True),
            nn.Linear(4096, num_classes),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = fused(self.features(x), self.avgpool)
        logits: Tensor = self.classifier(torch.flatten(x, 1))
        return logits
