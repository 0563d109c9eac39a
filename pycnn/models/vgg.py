"""VGG: "Very Deep Convolutional Networks for Large-Scale Image Recognition", Simonyan, Zisserman 2014.

arXiv 1409.1556; keys and initial values are torchvision's.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from pycnn.blocks.fused import FusedSequential, fused
from pycnn.registry import Family, Paper, model

WIDTHS = (64, 128, 256, 512, 512)
DEPTHS = {  # convolutions of each width
    "vgg11": (1, 1, 2, 2, 2),
    "vgg13": (2, 2, 2, 2, 2),
    "vgg16": (2, 2, 3, 3, 3),
    "vgg19": (2, 2, 4, 4, 4),
}
VGG_FAMILY = Family(
    "vgg",
    Paper(
        "Very Deep Convolutional Networks for Large-Scale Image Recognition",
        "Simonyan, Zisserman",
        2014,
        "1409.1556",
    ),
    image_size=(224, 224),
    num_classes=1000,
)


class VGG(nn.Module):
    """Five rows of 3x3 convolutions, a pooling after each, three linear layers: [n, c, h, w] -> [n, num_classes].

    Args:
        depths: convolutions of each row.
        batch_norm: a batch-norm after each convolution.
        num_classes: number of logits.
        in_channels: channels c of the image; h, w >= 32.
        drop_rate: probability of the two dropouts of the classifier.
    """

    def __init__(
        self,
        depths: tuple[int, ...],
        batch_norm: bool = False,
        num_classes: int = 1000,
        in_channels: int = 3,
        drop_rate: float = 0.5,
    ) -> None:
        super().__init__()
        self.features = _features(depths, batch_norm, in_channels)
        self.avgpool = nn.AdaptiveAvgPool2d((7, 7))
        self.classifier = FusedSequential(
            nn.Linear(512 * 7 * 7, 4096),
            nn.ReLU(inplace=True),
            nn.Dropout(drop_rate),
            nn.Linear(4096, 4096),
            nn.ReLU(inplace=True),
            nn.Dropout(drop_rate),
            nn.Linear(4096, num_classes),
        )
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]
            elif isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, 0, 0.01)
                nn.init.zeros_(module.bias)

    def forward(self, x: Tensor) -> Tensor:
        x = fused(self.features(x), self.avgpool)
        logits: Tensor = self.classifier(torch.flatten(x, 1))
        return logits


def _features(depths: tuple[int, ...], batch_norm: bool, in_channels: int) -> FusedSequential:
    layers: list[nn.Module] = []
    c = in_channels
    for width, depth in zip(WIDTHS, depths, strict=True):
        for _ in range(depth):
            layers.append(nn.Conv2d(c, width, 3, padding=1))
            layers += [nn.BatchNorm2d(width)] if batch_norm else []
            layers.append(nn.ReLU(inplace=True))
            c = width
        layers.append(nn.MaxPool2d(2, stride=2))
    return FusedSequential(*layers)


def _stages(depths: tuple[int, ...], batch_norm: bool) -> dict[int, tuple[str, ...]]:
    """Each row of convolutions with the pooling before it; last, the pooling behind them all."""
    stages: dict[int, tuple[str, ...]] = {}
    start = stop = 0
    for i, depth in enumerate(depths):
        stop += depth * (3 if batch_norm else 2) + (i > 0)
        stages[2**i] = (f"features.{start}:{stop}",)
        start = stop
    return {**stages, 32: (f"features.{start}",)}


for _name, _depths in DEPTHS.items():
    for _bn in (False, True):
        _family = replace(VGG_FAMILY, stages=_stages(_depths, _bn))
        model(_name + "_bn" * _bn, _family, depths=_depths, batch_norm=_bn)(VGG)
